"""A model a partition: whoever reads it, whenever it moves, it learns its own events, each once and in order."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from ihomer.checkpoint import CheckpointError, CheckpointStore, FencedError
from ihomer.engine import Engine, Outputs
from ihomer.evaluation.metrics import MultiLabelMetrics
from ihomer.evaluation.track import Track
from ihomer.pipeline import Pipeline
from ihomer.promotion import promote
from learners import LinearClassifier, MajorityClassifier, NoChangeClassifier
from streams.batch import Batch, Schema
from streams.files import LinesSink
from streams.memory import BatchSource
from streams.source import Changes, Position, Source

N = 400


def named(labels: list[str]) -> Schema:
    return Schema([f"x{j}" for j in range(5)], labels)


def partition_events(partition: int, n: int = N) -> Batch:
    """Events whose labels are named otherwise, and ordered otherwise, in every partition."""
    rng = np.random.default_rng(partition)
    x = rng.normal(size=(n, 5)).astype(np.float32)
    y = x @ rng.normal(size=(5, 4)) > 0.5
    batch = Batch.from_arrays(x, y, schema=named([f"label {(partition + j) % 5}" for j in range(4)]))
    batch.key = [f"{partition}-{i}" for i in range(n)]
    return batch


class ToyTopic:
    """Partitions in memory, given and taken as a script says: a list of what happens in each poll."""

    name = "toy"
    partitions = (0, 1, 2)

    def __init__(self, script: list[tuple[str, list[int]]]) -> None:
        self.script = list(script)
        self.committed: dict[int, Position] = {}

    def poll(self, timeout: float, release: Callable[[list[int]], None]) -> Changes:
        what, partitions = self.script.pop(0) if self.script else ("", [])
        if what == "revoke":
            release(partitions)
        return Changes(
            tuple(partitions) if what == "assign" else (),
            tuple(partitions) if what == "lose" else (),
        )

    def source(self, partition: int) -> Source:
        return BatchSource(partition_events(partition), f"toy/{partition}")

    def commit(self, positions: Mapping[int, Position]) -> None:
        self.committed |= positions

    def lag(self, partition: int) -> int | None:
        return None

    def close(self) -> None:
        pass


def make_engine(folder: Path) -> Callable[[Source, int], Engine]:
    def make(source: Source, partition: int) -> Engine:
        store = CheckpointStore(folder / f"partition-{partition:04d}")
        store.claim()
        return Engine(
            source,
            [Track("linear", LinearClassifier()), Track("no-change", NoChangeClassifier(), baseline=True)],
            batch_size=4,
            outputs=Outputs(predictions=LinesSink(folder / f"predictions-{partition}.jsonl")),
            store=store,
            checkpoint_every=30,
        )

    return make


def replaced(pipeline: Pipeline) -> bool:
    store = pipeline.engines[0].store
    assert store is not None
    try:
        store.check()
    except FencedError:
        return True
    return False


def left_behind(folder: Path, partition: int) -> dict[str, Any]:
    """The state of a partition's learners and what was predicted, to the bit."""
    found = CheckpointStore(folder / f"partition-{partition:04d}").latest()
    assert found is not None
    _, manifest, arrays = found
    states = {name: array.tobytes() for name, array in arrays.items() if not name.endswith("/log")}
    return {
        "counts": manifest["counts"],
        "states": states,
        "predictions": (folder / f"predictions-{partition}.jsonl").read_bytes(),
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert Pipeline(ToyTopic([("assign", [0, 1, 2])]), make_engine(folder)).run()
    return [left_behind(folder, partition) for partition in range(3)]


def test_a_partition_learns_as_if_it_were_alone(undisturbed: list[dict[str, Any]]) -> None:
    for partition, found in enumerate(undisturbed):
        model = LinearClassifier()
        model.learn_batch(partition_events(partition))
        for name, array in model.get_state().items():
            assert found["states"][f"0/model/{name}"] == array.tobytes()
        assert found["predictions"].count(b"\n") == N


def test_partitions_that_come_and_go_end_as_if_they_had_stayed(
    undisturbed: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ihomer.pipeline._TURN_S", 0.0)
    rng = np.random.default_rng(5)
    script: list[tuple[str, list[int]]] = [("assign", [0, 1, 2])]
    mine = {0, 1, 2}
    for _ in range(60):
        partition = int(rng.integers(3))
        what = rng.choice(["revoke", "lose", "", ""]) if partition in mine else "assign"
        script.append((what, [partition]))
        mine ^= {partition} if what else set()
    script.append(("assign", sorted({0, 1, 2} - mine)))
    topic = ToyTopic(script)
    pipeline = Pipeline(topic, make_engine(tmp_path))
    assert pipeline.run()
    assert sorted(pipeline.engines) == [0, 1, 2]
    assert [left_behind(tmp_path, partition) for partition in range(3)] == undisturbed
    assert topic.committed == {partition: {"offset": N} for partition in range(3)}


def test_a_process_that_was_replaced_gives_up_and_harms_nothing(
    undisturbed: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ihomer.pipeline._TURN_S", 0.0)
    zombie = Pipeline(ToyTopic([("assign", [0])]), make_engine(tmp_path))
    zombie.topic.poll(0, zombie._release)
    zombie._take_on(0)
    for _ in range(10):
        zombie._step(0)
    heir = Thread(target=Pipeline(ToyTopic([("assign", [0])]), make_engine(tmp_path), resume=True).run)
    heir.start()
    while not replaced(zombie):
        pass
    while zombie.engines:
        zombie._step(0)
    heir.join()
    assert left_behind(tmp_path, 0) == undisturbed[0]


def test_metrics_of_partitions_are_summed() -> None:
    pipeline = Pipeline(
        ToyTopic([("assign", [0, 1, 2])]),
        lambda source, partition: Engine(source, [Track("majority", MajorityClassifier())]),
    )
    assert pipeline.run()
    joint = MultiLabelMetrics()
    names = [f"label {j}" for j in range(5)]
    for partition in range(3):
        batch, model = partition_events(partition), MajorityClassifier()
        answers = model.test_then_train(batch)
        numbers = np.array([names.index(str(name)) for name in batch.schema.label_names], np.int32)
        renumbered = Batch.from_arrays(
            np.asarray(batch.x), batch.y.renumbered(numbers).to_dense(5), schema=named(names)
        )
        assert answers.proba is not None
        wide = np.zeros((N, 5), np.float32)
        wide[:, numbers] = np.asarray(answers.proba)
        joint.update(renumbered, type(answers)(answers.labels.renumbered(numbers), wide))
    pooled = pipeline.pooled()
    assert len(pooled.label_names) == 5
    assert pooled.metrics["majority"].n_scored == 3 * N
    assert pooled.cumulative()["majority"] == pytest.approx(joint.cumulative(5), rel=1e-12)


def test_a_challenger_is_promoted_with_all_that_it_has_learned(tmp_path: Path) -> None:
    def contest(names: dict[str, Any]) -> Callable[[Source, int], Engine]:
        def make(source: Source, partition: int) -> Engine:
            tracks = [Track(name, model.clone(), silent=place > 0) for place, (name, model) in enumerate(names.items())]
            tracks.append(Track("no-change", NoChangeClassifier(), baseline=True))
            sink = LinesSink(tmp_path / f"predictions-{partition}.jsonl")
            store = CheckpointStore(tmp_path / f"partition-{partition:04d}")
            store.claim()
            return Engine(source, tracks, store=store, outputs=Outputs(predictions=sink), max_events=100)

        return make

    script = [("assign", [0, 1])]
    both = Pipeline(ToyTopic(script), contest({"majority": MajorityClassifier(), "linear": LinearClassifier()}))
    assert both.run()
    both.close()
    lines = (tmp_path / "predictions-0.jsonl").read_text().splitlines()
    assert {json.loads(line)["model"] for line in lines} == {"majority"}
    with pytest.raises(CheckpointError, match="learner must be one of majority, linear, got 'knn'"):
        promote(tmp_path, "knn")
    assert len(promote(tmp_path, "linear")) == 2
    alone = Pipeline(ToyTopic(script), contest({"linear": LinearClassifier()}), resume=True)
    assert alone.run()
    model = LinearClassifier()
    model.learn_batch(partition_events(1)[:100])
    track = alone.engines[1].tracks[0]
    assert {name: array.tobytes() for name, array in track.model.get_state().items()} == {
        name: array.tobytes() for name, array in model.get_state().items()
    }
    assert track.scored == 100
