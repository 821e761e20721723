"""A broker that goes away for a while, and a leader that dies for good: the pipeline waits, and goes on exactly."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from benchmarks.broker import Cluster
from tests.kafka.conftest import skip_without_broker
from tests.kafka.running import (
    answers,
    command,
    fill,
    left_behind,
    made_events,
    read_counts,
    spread,
    start,
    wait_for,
)

PARTITIONS = 4


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("n_brokers", "n_events", "away_s"),
    [
        (1, 20_000, 5),
        pytest.param(1, 200_000, 60, marks=pytest.mark.slow),
        pytest.param(3, 200_000, 0, marks=pytest.mark.slow),
    ],
)
def test_an_outage_costs_time_and_nothing_else(tmp_path: Path, n_brokers: int, n_events: int, away_s: int) -> None:
    skip_without_broker()
    with Cluster(tmp_path / "kafka", n_brokers) as cluster:
        for topic in ("events", "whole", "answers"):
            cluster.create_topic(topic, PARTITIONS)
        events, whole, sink = (f"kafka://{cluster.bootstrap}/{topic}" for topic in ("events", "whole", "answers"))
        fill(events, spread(made_events(n_events), PARTITIONS))
        subprocess.run(
            command(events, tmp_path / "whole", "--sink", whole, "--until-end"), check=True, capture_output=True
        )
        state, log = tmp_path / "state", tmp_path / "member.log"
        member = start(command(f"{events}?group=g", state, "--sink", sink), log)
        try:
            wait_for(lambda: read_counts(state) >= n_events // 4, 200, "a quarter of the events")
            cluster.kill(0)
            before = read_counts(state)
            time.sleep(away_s)
            if n_brokers == 1:
                cluster.start(0)
            assert before < n_events
            wait_for(lambda: read_counts(state) == n_events or member.poll() is not None, 800, "the end")
            assert member.poll() is None, log.read_text()[-3000:]
            member.terminate()
            assert member.wait(60) == 130, log.read_text()[-3000:]
        finally:
            member.kill()
            member.wait()
        assert left_behind(state) == left_behind(tmp_path / "whole")
        assert answers(sink) == answers(whole)
