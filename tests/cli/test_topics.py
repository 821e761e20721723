"""The commands around a pipeline, on topics in folders: produce, run, tail, promote, and what operators look at."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from ihomer.checkpoint import CheckpointStore
from streams.memory import read_all
from streams.opening import open_source
from tests.conftest import Command


def produce(command: Command, n: int = 300, *more: str) -> None:
    words = ("--source", "yeast", "--max-events", str(n), "--quiet", *more)
    assert command("produce", *words, "--sink", "log:events?partitions=2")[0] == 0


RUN = ("run", "--source", "log:events", "--until-end", "--quiet", "--json")


def counts(path: str) -> dict[str, int]:
    found = CheckpointStore(path).latest()
    assert found is not None
    return dict(found[1]["counts"])


def test_produce_run_and_tail(command: Command) -> None:
    produce(command)
    code, out, _ = command(*RUN, "--learner", "linear", "--sink", "log:answers", "--checkpoint", "state")
    assert code == 0
    runs = json.loads(out)["runs"]
    assert [run["data"]["name"] for run in runs[:3]] == ["events"] * 3
    assert runs[0]["counts"]["scored"] == 300
    assert sum(counts(f"state/partition-{p:04d}")["read"] for p in range(2)) == 300
    lines = [
        json.loads(line) for p in range(2) for line in Path(f"answers/partition-{p:04d}.jsonl").read_text().splitlines()
    ]
    assert sorted(int(line["id"].removeprefix("yeast-")) for line in lines) == list(range(300))
    assert all(re.fullmatch(r"events/[01]/\d+", line["source"]) for line in lines)
    code, out, _ = command("tail", "log:answers", "-n", "3")
    assert code == 0
    assert len(out.splitlines()) == 3
    assert "linear answers" in out
    code, out, _ = command("tail", "log:events", "-n", "2", "--json")
    assert [json.loads(line)["id"] for line in out.splitlines()] == ["yeast-298", "yeast-299"]


def test_a_structural_event_is_no_dead_letter(command: Command) -> None:
    produce(command, 600)
    assert command(*RUN, "--learner", "ihomer", "--events-sink", "log:changes", "--checkpoint", "state")[0] == 0
    told = command("tail", "log:changes", "-n", "1000")[1]
    assert re.search(r"ihomer: split at event \d+ ", told)
    assert "dead letter" not in told
    code, out, err = command("show", "state")
    assert (code, out) == (2, "")
    assert "got a folder without; partition-0000, partition-0001 in it have some" in err
    shown = command("show", "state/partition-0000")[1]
    assert re.search(r"^ *schema  .*^ *source  .*^ *detectors  ", shown, re.DOTALL | re.MULTILINE)
    assert "reported" not in shown


def test_the_latest_of_all_partitions_are_shown(command: Command) -> None:
    produce(command, 40)
    lines = [line for p in range(2) for line in Path(f"events/partition-000{p}.jsonl").read_text().splitlines()]
    times = sorted(json.loads(line)["ts"] for line in lines)
    code, out, _ = command("tail", "log:events", "-n", "40", "--json")
    assert code == 0
    assert [json.loads(line)["ts"] for line in out.splitlines()] == times
    code, out, _ = command("tail", "log:events", "-n", "4", "--json")
    assert [json.loads(line)["ts"] for line in out.splitlines()] == times[-4:]


@pytest.mark.parametrize(
    "message",
    [
        '{"ts": 99999999999999999, "x": {}}',
        '{"kind": "drift"}',
        '{"learners": [1], "event": 3}',
        '{"learners": {"a": {"micro_f1": "x"}}, "event": 3}',
        '{"x": 3}',
        '{"x": {}, "y": 3}',
        '{"labels": 3, "model": "m", "source": "s"}',
        '{"labels": ["a"], "proba": {"a": "x"}, "model": "m", "source": "s"}',
        "[1]",
        "null",
        "{broken",
        "",
    ],
)
def test_odd_messages_are_shown_as_they_are(command: Command, message: str) -> None:
    Path("odd.jsonl").write_text(f'{message}\n{{"id": "behind", "y": ["a"]}}\n')
    code, out, _ = command("tail", "odd.jsonl")
    assert code == 0
    assert out.splitlines()[-1] == "2  behind  labels a"


def test_no_message_steers_the_terminal(command: Command) -> None:
    Path("odd.jsonl").write_bytes(b'{"id": "\\u001b[31mred\\u202e", "y": ["a"]}\n\x1b[2J\n')
    for more in ((), ("--json",)):
        out = command("tail", "odd.jsonl", *more)[1]
        assert "red" in out
        assert not re.search("[\x1b\u202e]", out)


def test_one_model_for_the_topic_learns_in_order_of_time(command: Command) -> None:
    produce(command, 200)
    assert command(*RUN, "--learner", "linear", "--model-per", "topic", "--sink", "answers.jsonl")[0] == 0
    ids = [json.loads(line)["id"] for line in Path("answers.jsonl").read_text().splitlines()]
    assert sorted(ids) == sorted(f"yeast-{i}" for i in range(200))
    times = [json.loads(line)["ts"] for line in Path("answers.jsonl").read_text().splitlines()]
    assert times == sorted(times)


def test_labels_that_come_by_a_topic_of_their_own(command: Command) -> None:
    produce(command, 300, "--label-sink", "log:labels?partitions=2", "--label-delay", "0.01")
    code, out, _ = command(*RUN, "--learner", "linear", "--label-source", "log:labels", "--checkpoint", "state")
    assert code == 0
    first = json.loads(out)["runs"][0]
    assert first["counts"] == {"read": 300, "scored": 300, "learned": 300, "unlabelled": 0, "pending": 0, "dead": 0}
    assert first["data"]["cardinality"] == pytest.approx(read_all(open_source("yeast")).y.indptr[300] / 300)
    code, out, _ = command("tail", "log:labels", "-n", "1")
    assert re.search(r"yeast-\d+ .* labels Class", out)
    code, out, _ = command(
        *RUN, "--learner", "linear", "--label-source", "log:labels", "--model-per", "topic", "--checkpoint", "one"
    )
    assert code == 0
    assert json.loads(out)["runs"][0]["data"]["join"]["joined"] == 300


def test_a_rate_is_kept_and_events_are_dated(command: Command) -> None:
    begun = time.time()
    produce(command, 50, "--rate", "100")
    assert 0.4 < time.time() - begun < 5
    times = sorted(
        json.loads(line)["ts"]
        for p in range(2)
        for line in Path(f"events/partition-{p:04d}.jsonl").read_text().splitlines()
    )
    assert times[-1] - times[0] == pytest.approx(490, abs=2)


def test_a_learner_trained_on_history_goes_on_on_a_topic(command: Command) -> None:
    assert command("run", "--source", "yeast", "--learner", "linear", "--checkpoint", "trained", "--quiet")[0] == 0
    (latest,) = sorted(Path("trained").glob("*.ckpt"))[-1:]
    produce(command, 100)
    code, out, _ = command(*RUN, "--learner", "linear", "--warm-start", str(latest))
    warm = json.loads(out)["runs"][0]["metrics"]["micro_f1"]
    code, out, _ = command(*RUN, "--learner", "linear")
    assert code == 0
    assert warm > json.loads(out)["runs"][0]["metrics"]["micro_f1"]
    code, _, err = command(*RUN, "--learner", "majority", "--warm-start", str(latest))
    assert code == 1
    assert "learner must be that of the checkpoint" in err


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_challenger_is_scored_and_promoted(command: Command, scheme: str) -> None:
    produce(command, 100)
    state = f"{scheme}{Path('state').resolve()}"
    words = (*RUN, "--checkpoint", state, "--sink", "answers.jsonl", "--no-baselines")
    code, out, _ = command(*words, "--learner", "majority", "--challenger", "linear")
    assert code == 0
    assert [run["learner"]["name"] for run in json.loads(out)["runs"][:2]] == ["majority", "linear"]
    assert {json.loads(line)["model"] for line in Path("answers-0000.jsonl").read_text().splitlines()} == {"majority"}
    assert command("promote", state, "--learner", "knn")[0] == 1
    code, out, _ = command("promote", state, "--learner", "linear")
    assert code == 0
    assert out.count("promoted") == 2
    produce(command, 100)
    code, out, _ = command(*words, "--learner", "linear", "--resume")
    assert code == 0
    assert json.loads(out)["runs"][0]["counts"]["read"] == 200
    models = [json.loads(line)["model"] for line in Path("answers-0001.jsonl").read_text().splitlines()]
    assert models == ["majority"] * (len(models) // 2) + ["linear"] * (len(models) // 2)


def fetch(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_operators_see_how_a_run_gets_on(command: Command, tmp_path: Path) -> None:
    produce(command, 600)
    words = [sys.executable, "-m", "ihomer", "run", "--source", "log:events", "--learner", "linear"]
    more = ["--checkpoint", "state", "--metrics-port", "0", "--log-format", "json"]
    with open("log", "wb") as log:
        process = subprocess.Popen([*words, *more], stderr=log, stdout=log, cwd=tmp_path)
    try:
        deadline, found = time.monotonic() + 60, None
        while found is None and time.monotonic() < deadline:
            time.sleep(0.1)
            found = re.search(r"http://127\.0\.0\.1:\d+", Path("log").read_text())
        assert found is not None, Path("log").read_text()
        while "ihomer_events_read_total" not in fetch(f"{found[0]}/metrics")[1] or not _read_all(found[0], 600):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        _, page = fetch(f"{found[0]}/metrics")
        for name in ("ihomer_lag_events", "ihomer_checkpoint_age_seconds", "ihomer_event_time_delay_seconds"):
            assert f'{name}{{partition="0"}}' in page
        assert 'ihomer_drifts_total{learner="linear",partition="1"}' in page
        assert fetch(f"{found[0]}/healthz") == (200, "ok\n")
        assert fetch(f"{found[0]}/readyz") == (200, "ok\n")
        assert fetch(f"{found[0]}/else")[0] == 404
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 130
    finally:
        process.kill()
        process.wait()
    told: list[dict[str, Any]] = [
        json.loads(line) for line in Path("log").read_text().splitlines() if line.startswith('{"time"')
    ]
    assert {"begin", "note", "end"} <= {line["event"] for line in told}
    assert sum(counts(f"state/partition-{p:04d}")["read"] for p in range(2)) == 600


def test_operators_see_how_a_run_on_a_pipe_gets_on(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "ihomer", "run", "--source", "-", "--learner", "linear", "--metrics-port", "0"]
    log = tmp_path / "log"
    with log.open("wb") as out:
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stderr=out, stdout=out, cwd=tmp_path)
    try:
        assert process.stdin is not None
        process.stdin.write(b"".join(b'{"x": {"a": %d}, "y": ["p"]}\n' % i for i in range(40)))
        process.stdin.flush()
        deadline, found = time.monotonic() + 60, None
        while found is None or not _read_all(found[0], 40):
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
            found = found or re.search(r"http://127\.0\.0\.1:\d+", log.read_text())
        assert fetch(f"{found[0]}/healthz") == (200, "ok\n")
        process.stdin.close()
        assert process.wait(30) == 0, log.read_text()
    finally:
        process.kill()
        process.wait()


def _read_all(url: str, n: int) -> bool:
    _, page = fetch(f"{url}/metrics")
    values = re.findall(r'ihomer_events_read_total\{partition="\d"\} ([0-9.]+)', page)
    return sum(map(float, values)) == n


@pytest.mark.parametrize(
    ("words", "rule"),
    [
        (("produce", "--source", "yeast", "--sink", "file.jsonl"), "--sink must be a topic"),
        (("produce", "--source", "yeast", "--sink", "log:x", "--rate", "0"), "rate must be positive"),
        (("tail", "nowhere"), "S must be a topic or a file"),
        (("run", "--source", "yeast", "--label-source", "log:x"), "source: must be a topic where labels are joined"),
        (("run", "--source", "log:x", "--label-source", "l.jsonl"), "label-source: must be a topic"),
        (("run", "--source", "log:x", "--label-source", "log:y", "--delay", "3"), "delay: must be 0"),
        (("run", "--source", "log:x", "--no-learn", "--challenger", "linear"), "challenger: must be left out"),
        (("run", "--source", "log:x", "--join-time", "-1"), "join-time: must be positive, got -1"),
        (("run", "--source", "log:x", "--metrics-port", "70000"), "metrics-port: must be at most 65535"),
        (("run", "--source", "log:x", "--max-events", "5"), "max-events: must be left out where each partition"),
        (("run", "--source", "log:x", "--shuffle", "1"), "shuffle: must be left out where each partition"),
        (("run", "--source", "log:nowhere"), "the folder of a topic must be there"),
    ],
)
def test_wrong_usage_is_told(command: Command, words: tuple[str, ...], rule: str) -> None:
    code, _, err = command(*words)
    assert code in (1, 2)
    assert rule in err.replace("\n", " ")
