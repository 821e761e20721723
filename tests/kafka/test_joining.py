"""Labels that come late, twice, corrected or never, on a real broker: counts and scores are those of the logs."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ihomer.checkpoint import CheckpointStore
from learners import LinearClassifier
from streams.batch import Batch, Schema
from streams.topics.client import Outgoing
from tests.kafka.running import answers, command, fill, made_events, read_counts, start, wait_for

N = 4000
PARTITIONS = 2
JOIN_S = 90


def made_labels(events: list[dict[str, Any]]) -> list[tuple[int, int, str, list[str], str]]:
    """Time, number of the event, id, labels and kind of every label message, in the order of time: 20 % late by up to
    a minute, 5 % never, 1 % twice, 1 % corrected, and some for events that never were."""
    rng = np.random.default_rng(11)
    found = []
    for i, event in enumerate(events):
        kind = rng.choice(["soon", "late", "never", "twice", "corrected"], p=[0.73, 0.2, 0.05, 0.01, 0.01])
        wait = int(rng.integers(1, 60_000)) if kind == "late" else int(rng.integers(-200, 300))
        at = event["ts"] + wait
        if kind != "never":
            found.append((at, i, event["id"], event["y"], "first"))
        if kind == "twice":
            found.append((at + 500, i, event["id"], event["y"], "again"))
        if kind == "corrected":
            found.append((at + 700, i, event["id"], [*event["y"], "corrected"], "other"))
        if i % 200 == 17:
            found.append((event["ts"], i, f"nobody-{i}", ["l0"], "orphan"))
    return sorted(found, key=lambda label: (label[0], label[1]))


def offline(events: list[dict[str, Any]], labels: list[Any]) -> tuple[list[dict[str, Any]], dict[str, int], list[Any]]:
    """Answers in order of the events, what became of labels, and (truth, answer) in order of scoring, by hand."""
    model = LinearClassifier()
    schema = Schema(list(events[0]["x"]))
    messages = [(event["ts"], 0, event) for event in events] + [(at, 1, (key, y)) for at, _, key, y, _ in labels]
    waiting: dict[str, tuple[dict[str, Any], set[str]]] = {}
    early: dict[str, list[str]] = {}
    done: dict[str, list[str]] = {}
    counts = dict.fromkeys(("joined", "early", "duplicate", "corrected"), 0)
    answered, scored = [], []

    def learn(event: dict[str, Any], y: list[str]) -> None:
        model.learn_batch(Batch.from_dicts([event["x"]], [set(y)], schema=schema))

    def predict(event: dict[str, Any]) -> set[str]:
        batch = Batch.from_dicts([event["x"]], schema=schema)
        found = model.predict_batch(batch).labels.row(0).tolist()
        return {str(model.schema_.label_names[label]) for label in found}

    for _, kind, what in sorted(messages, key=lambda message: (message[0], message[1])):
        if kind == 0:
            answer = predict(what)
            answered.append({"id": what["id"], "labels": sorted(answer)})
            if what["id"] in early:
                done[what["id"]] = early.pop(what["id"])
                scored.append((set(done[what["id"]]), answer))
                learn(what, done[what["id"]])
                counts["joined"] += 1
                counts["early"] += 1
            else:
                waiting[what["id"]] = (what, answer)
            continue
        key, y = what
        if key in waiting:
            event, answer = waiting.pop(key)
            done[key] = y
            scored.append((set(y), answer))
            learn(event, y)
            counts["joined"] += 1
        elif key in done:
            counts["duplicate" if sorted(done[key]) == sorted(y) else "corrected"] += 1
        else:
            early[key] = y
    return answered, {**counts, "waiting": len(waiting), "early left": len(early)}, scored


def test_joined_labels_give_the_scores_of_the_logs(new_topic: Callable[..., str], tmp_path: Path) -> None:
    events = made_events(N, features=6)
    for i, event in enumerate(events):
        event["ts"] = 1_700_000_000_000 + 20 * i
    labels = made_labels(events)
    bare = [{name: value for name, value in event.items() if name != "y"} for event in events]
    event_url, label_url, sink = new_topic(PARTITIONS), new_topic(PARTITIONS), new_topic(PARTITIONS)
    fill(
        event_url,
        [Outgoing(json.dumps(event).encode(), i % PARTITIONS, None, (), event["ts"]) for i, event in enumerate(bare)],
    )
    fill(
        label_url,
        [
            Outgoing(json.dumps({"id": key, "y": y}).encode(), i % PARTITIONS, None, (), at)
            for at, i, key, y, _ in labels
        ]
        + [Outgoing(b"broken", 0, None, (), events[-1]["ts"])],
    )
    state = tmp_path / "state"
    more = ("--sink", sink, "--label-source", label_url, "--join-time", str(JOIN_S))
    # Killed twice on the way.
    for share in (4, 2):
        process = start(command(event_url, state, *more), tmp_path / "log")
        wait_for(lambda share=share: read_counts(state) >= N // share, 60, "events")
        process.kill()
        process.wait()
    subprocess.run(command(event_url, state, *more, "--until-end"), check=True, capture_output=True)
    found = answers(sink)
    for partition in range(PARTITIONS):
        mine = [event for i, event in enumerate(events) if i % PARTITIONS == partition]
        theirs = [label for label in labels if label[1] % PARTITIONS == partition]
        answered, counts, scored = offline(mine, theirs)
        got = [json.loads(answer) for answer in found[partition]]
        assert [{"id": one["id"], "labels": sorted(one["labels"])} for one in got] == answered
        latest = CheckpointStore(state / f"partition-{partition:04d}").latest()
        assert latest is not None
        _, manifest, arrays = latest
        join = json.loads(arrays["join/table"].tobytes())
        assert {name: join["counts"][name] for name in ("joined", "early", "duplicate", "corrected")} == {
            name: counts[name] for name in ("joined", "early", "duplicate", "corrected")
        }
        assert join["counts"]["dead"] == (partition == 0)
        assert manifest["counts"]["scored"] == counts["joined"]
        assert manifest["counts"]["pending"] + join["counts"]["expired"] == counts["waiting"]
        early = sum(labels is not None for _, _, labels in join["waiting"])
        assert join["counts"]["orphan"] + early == counts["early left"]
        assert join["counts"]["behind"] == 0
        log = json.loads(arrays["0/log"].tobytes())
        assert log["scored"] == len(scored)
        hits = sum(len(truth & answer) for truth, answer in scored)
        pooled = 2 * hits / sum(len(truth) + len(answer) for truth, answer in scored)
        outcomes = arrays["0/metrics/outcomes"][:, 0].sum(0)
        assert 2 * outcomes[2] / (2 * outcomes[2] + outcomes[0] + outcomes[1]) == pooled
