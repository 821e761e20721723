"""How the jars of a broker are fetched."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from benchmarks.broker import cluster


@pytest.fixture
def maven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Maven that notes its runs in a file, and fails where the folder it copies to holds a file `broken`."""
    tools, jars, runs = tmp_path / "tools", tmp_path / "jars", tmp_path / "runs"
    tools.mkdir()
    script = f"""#!/bin/sh
for last; do :; done
echo run >> {runs}
sleep 0.3
if [ -e "${{last#*=}}/broken" ]; then echo no network; exit 1; fi
touch "${{last#*=}}/kafka_2.13-{cluster.KAFKA}.jar"
"""
    for name in ("mvn", "java"):
        (tools / name).write_text(script)
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("IHOMER_KAFKA_JARS", str(jars))
    return runs


def test_those_who_ask_at_the_same_time_wait_for_one_that_fetches(maven):
    with ThreadPoolExecutor(4) as pool:
        folders = set(pool.map(lambda _: cluster.jars(), range(4)))
    assert folders == {maven.with_name("jars")}
    assert maven.read_text().split() == ["run"]


def test_what_failed_is_told_and_tried_again(maven):
    jars = maven.with_name("jars")
    jars.mkdir()
    (jars / "broken").touch()
    with pytest.raises(RuntimeError, match=r"mvn could not fetch Apache Kafka 4\.1\.0: no network"):
        cluster.jars()
    (jars / "broken").unlink()
    assert cluster.jars() == jars
    assert maven.read_text().split() == ["run", "run"]
