"""Partitions learned by actors of Ray, on a real broker: as one process learns them, whatever dies on the way."""

from __future__ import annotations

import json
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ihomer
from learners.base import Learner
from learners.heads.loki import LokiClassifier
from learners.naive_bayes import GaussianNBClassifier
from streams.batch import Batch
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

pytestmark = pytest.mark.deep

PARTITIONS, N = 4, 8_000


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """A cluster of Ray with a head and one more node, all on this machine."""
    pytest.importorskip("ray", reason="needs Ray")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    yield cluster
    cluster.shutdown()


@pytest.fixture(scope="module")
def undisturbed(bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """A topic, and what one process makes of it with a learner."""
    from tests.kafka.running import create_topic

    name = uuid.uuid4().hex[:10]
    events, made = f"kafka://{bootstrap}/events-{name}", {}
    create_topic(bootstrap, f"events-{name}", PARTITIONS)
    fill(events, spread(made_events(N), PARTITIONS))

    def of(learner: str) -> dict[str, Any]:
        if learner not in made:
            sink = f"whole-{uuid.uuid4().hex[:10]}"
            create_topic(bootstrap, sink, PARTITIONS)
            folder, whole = tmp_path_factory.mktemp("whole"), f"kafka://{bootstrap}/{sink}"
            words = command(events, folder, "--sink", whole, "--until-end", learner=learner)
            subprocess.run(words, check=True, capture_output=True)
            made[learner] = {"url": events, "left": left_behind(folder), "answers": answers(whole)}
        return made[learner]

    return of


def on_ray(nodes: Any, url: str, folder: Path, *more: str, learner: str = "linear") -> list[str]:
    """The command that learns with two actors."""
    source = f"{url}?group=g-{uuid.uuid4().hex[:8]}&session_timeout_ms=6000"
    words = ("--ray", nodes.address, "--workers", "2", *more)
    return [word for word in command(source, folder, *words, learner=learner) if word != "--resume"]


def of_one_pass(model: Learner) -> Learner:
    events = made_events(N)
    names = sorted({label for event in events for label in event["y"]})
    x = np.array([list(event["x"].values()) for event in events], np.float32)
    y = np.array([[name in event["y"] for name in names] for event in events])
    schema = ihomer.Schema(list(events[0]["x"]), names)
    learned = model.clone()
    learned.learn_batch(Batch.from_arrays(x, y, schema=schema))
    if not isinstance(model, LokiClassifier):
        return learned
    # Its answers are of weights that were solved a while ago; those of a merge are solved anew.
    solved = model.clone()
    solved.merge(learned)
    return solved


def together(model: Learner) -> dict[frozenset[str], float]:
    """How often which two labels came together, and each label by itself."""
    state, names = model.get_state(), model.schema_.label_names
    rows = [names[label] for label in state["class_labels"]]
    alone = {frozenset([name]): n for name, n in zip(rows, state["occurrence"].tolist(), strict=True)}
    pairs = zip(state["pairs"].tolist(), state["joint"].tolist(), strict=True)
    return alone | {frozenset([rows[a], rows[b]]): n for (a, b), n in pairs}


@pytest.mark.parametrize(
    ("learner", "model"), [("naive-bayes", GaussianNBClassifier()), ("loki", LokiClassifier())], ids=["moments", "gram"]
)
def test_two_actors_learn_what_one_process_does_and_merge_to_one_pass(
    nodes: Any,
    undisturbed: Callable[[str], dict[str, Any]],
    new_topic: Callable[..., str],
    tmp_path: Path,
    learner: str,
    model: Learner,
) -> None:
    expected, sink, state = undisturbed(learner), new_topic(PARTITIONS), tmp_path / "state"
    more = ("--sink", sink, "--until-end", "--merge", "2000")
    words = on_ray(nodes, expected["url"], state, *more, learner=learner)
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    whole = json.loads(done.stdout)["runs"][0]
    assert whole["counts"]["learned"] == N
    assert (whole["data"]["actors"], whole["data"]["merged"]["rule"]) == (2, "exact")
    assert left_behind(state) == expected["left"]
    assert answers(sink) == expected["answers"]
    assert whole["data"]["merged"]["events"] == N
    merged, one_pass = ihomer.load(state / "merged.ckpt"), of_one_pass(model)
    for event in made_events(100, seed=2):
        theirs = one_pass.predict_proba_one(event["x"])
        for label, probability in merged.predict_proba_one(event["x"]).items():
            assert probability[True] == pytest.approx(theirs[label][True], rel=1e-9, abs=1e-9)
    if isinstance(merged, LokiClassifier):
        assert together(merged) == together(one_pass)
        assert max(map(len, together(merged))) == 2


def test_a_node_that_is_killed_loses_and_doubles_nothing(
    nodes: Any, new_topic: Callable[..., str], tmp_path: Path
) -> None:
    source, sink, whole = (new_topic(PARTITIONS) for _ in range(3))
    messages, state, log = spread(made_events(N), PARTITIONS), tmp_path / "state", tmp_path / "log"
    fill(source, messages[: N // 4])
    second = nodes.add_node(num_cpus=2)
    nodes.wait_for_nodes()
    words = on_ray(nodes, source, state, "--sink", sink)
    running = start([word for word in words if word != "--quiet"], log)
    try:
        wait_for(lambda: both_have_partitions(log), 120, "both to have partitions", lambda: still(running, log))
        fill(source, messages[N // 4 : N // 2])
        wait_for(lambda: read_counts(state) >= N // 4, 60, "the middle", lambda: still(running, log))
        nodes.remove_node(second, allow_graceful=False)
        fill(source, messages[N // 2 :])
        wait_for(lambda: read_counts(state) == N, 120, "the end", lambda: still(running, log))
        wait_for(lambda: "begun anew" in log.read_text(), 120, "a replacement", lambda: still(running, log))
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 130, log.read_text()
    finally:
        running.kill()
        running.wait()
    alone = tmp_path / "alone"
    subprocess.run(command(source, alone, "--sink", whole, "--until-end"), check=True, capture_output=True)
    assert left_behind(state) == left_behind(alone)
    found = answers(sink)
    assert sum(map(len, found.values())) == N
    assert found == answers(whole)


def both_have_partitions(log: Path) -> bool:
    lines = log.read_text().splitlines()
    return all(any(line.startswith(f"actor {k}: ") and "is ours" in line for line in lines) for k in range(2))


def still(running: subprocess.Popen[bytes], log: Path) -> None:
    assert running.poll() is None, log.read_text()


def test_ctrl_c_leaves_checkpoints_of_all_partitions(
    nodes: Any, undisturbed: Callable[[str], dict[str, Any]], new_topic: Callable[..., str], tmp_path: Path
) -> None:
    expected, sink, state = undisturbed("linear"), new_topic(PARTITIONS), tmp_path / "state"
    words, log = on_ray(nodes, expected["url"], state, "--sink", sink), tmp_path / "log"
    running = start(words, log)
    try:
        wait_for(lambda: read_counts(state) >= 1000, 120, "the first events", lambda: still(running, log))
        begun = time.monotonic()
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130, log.read_text()
        assert time.monotonic() - begun < 30
        assert "To go on:" in log.read_text()
    finally:
        running.kill()
        running.wait()
    source = words[words.index("--source") + 1]
    subprocess.run(command(source, state, "--sink", sink, "--until-end"), check=True, capture_output=True)
    assert left_behind(state) == expected["left"]
    assert answers(sink) == expected["answers"]
