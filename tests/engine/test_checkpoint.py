"""Checkpoints are whole or absent, hold arrays and JSON alone, and are refused clearly where they cannot be read."""

from __future__ import annotations

import json
import os
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import ihomer
from ihomer.checkpoint import (
    VERSION,
    CheckpointError,
    CheckpointStore,
    FencedError,
    below,
    build,
    describe,
    load,
    nested,
    read,
    save,
    write,
)
from ihomer.river_spec import build as build_river
from ihomer.specs import SpecError
from ihomer.specs import build as build_learner
from learners import LinearClassifier, MajorityClassifier
from streams.batch import Batch

RECORD = np.dtype([("n", np.int64), ("mean", np.float64)])


def trained(seed: int = 0) -> LinearClassifier:
    rng = np.random.default_rng(seed)
    model = LinearClassifier()
    model.learn_batch(Batch.from_arrays(rng.normal(size=(50, 4)), rng.random((50, 3)) < 0.4))
    return model


def test_arrays_come_back_equal(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6, dtype=np.int32).reshape(2, 3),
        "deep/er": np.array([(1, np.nan), (2, -0.0)], RECORD),
        "empty": np.zeros((0, 5), np.float32),
        "scalar": np.array(3.5),
    }
    write(tmp_path / "x.ckpt", {"kind": "test", "name": "Ünï"}, arrays)
    manifest, found = read(tmp_path / "x.ckpt")
    assert manifest == {"format": "ihomer-checkpoint", "version": VERSION, "kind": "test", "name": "Ünï"}
    assert list(found) == list(arrays)
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        assert found[name].shape == array.shape
        assert found[name].tobytes() == array.tobytes()


def test_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Object arrays cannot be saved"):
        write(tmp_path / "x.ckpt", {}, {"a": np.array([{}], object)})
    assert list(tmp_path.iterdir()) == []


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.ckpt"
    write(path, {"kind": "old"}, {})

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(path, {"kind": "new"}, {"a": np.zeros(10)})
    assert read(path)[0]["kind"] == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("keep", [0, 1, 100, -40, -1])
def test_damaged_files_are_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "x.ckpt"
    write(path, {}, {"a": np.arange(1000)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="must be a whole checkpoint file"):
        read(path)


def test_a_flipped_bit_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.ckpt"
    write(path, {}, {"a": np.zeros(1000)})
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CheckpointError, match="must be a whole checkpoint file, got Bad CRC-32"):
        read(path)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        ({"format": "else", "version": VERSION}, "format must be 'ihomer-checkpoint', got 'else'"),
        ({"format": "ihomer-checkpoint", "version": VERSION + 1}, f"version must be {VERSION}, got {VERSION + 1}"),
        ({"format": "ihomer-checkpoint"}, f"version must be {VERSION}, got None"),
    ],
)
def test_other_formats_are_refused(tmp_path: Path, head: dict, message: str) -> None:
    with zipfile.ZipFile(tmp_path / "x.ckpt", "w") as archive:
        archive.writestr("manifest.json", json.dumps(head))
    with pytest.raises(CheckpointError, match=message):
        read(tmp_path / "x.ckpt")


def test_nesting_is_undone() -> None:
    arrays = {"a": np.zeros(1), "b/c": np.ones(1)}
    everything = nested("1", arrays) | nested("11", {"d": np.zeros(2)})
    assert below("1", everything).keys() == arrays.keys()


def test_the_store_keeps_two_and_prefers_the_latest(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "new" / "folder")
    assert store.latest() is None
    for event in (5, 100, 20_000):
        store.save(event, {"event": event}, {})
    assert sorted(path.name for path in store.directory.iterdir()) == [
        "checkpoint-000000000100.ckpt",
        "checkpoint-000000020000.ckpt",
    ]
    found = store.latest()
    assert found is not None
    assert found[1]["event"] == 20_000


def test_the_store_falls_back_where_the_latest_is_damaged(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.save(1, {"event": 1}, {})
    store.save(2, {"event": 2}, {}).write_bytes(b"half")
    found = store.latest()
    assert found is not None
    assert found[1]["event"] == 1
    (tmp_path / "checkpoint-000000000001.ckpt").write_bytes(b"half")
    with pytest.raises(CheckpointError, match=r"checkpoint-000000000001\.ckpt: must be a whole checkpoint file"):
        store.latest()
    store.clear()
    assert store.latest() is None


def test_a_saved_learner_goes_on_bit_for_bit(tmp_path: Path) -> None:
    model = trained()
    save(model, tmp_path / "m.ckpt")
    again = load(tmp_path / "m.ckpt")
    assert describe(again) == describe(model)
    more = Batch.from_arrays(np.random.default_rng(1).normal(size=(20, 4)), np.eye(20, 3, dtype=int))
    first, second = model.test_then_train(more), again.test_then_train(more)
    assert first.proba.tobytes() == second.proba.tobytes()
    assert {k: v.tobytes() for k, v in model.get_state().items()} == {
        k: v.tobytes() for k, v in again.get_state().items()
    }


PIPELINE = "river:preprocessing.StandardScaler() | multioutput.PerOutputClassifier(linear_model.LogisticRegression())"


@pytest.mark.parametrize("by_text", [True, False], ids=["specification", "object"])
def test_a_river_model_comes_back_where_it_is_trusted(tmp_path: Path, by_text: bool) -> None:
    model = build_learner(PIPELINE, seed=1) if by_text else ihomer.from_river(build_river(PIPELINE))
    rng = np.random.default_rng(0)
    model.learn_batch(Batch.from_arrays(rng.normal(size=(50, 4)), rng.random((50, 3)) < 0.4))
    path = tmp_path / "m.ckpt"
    save(model, path)
    with pytest.raises(CheckpointError, match=r"m\.ckpt: the state holds a pickled river object, .* trust_pickle=True"):
        load(path)
    again = load(path, trust_pickle=True)
    assert describe(again) == describe(model)
    more = Batch.from_arrays(rng.normal(size=(20, 4)), np.eye(20, 3, dtype=int))
    first, second = model.test_then_train(more), again.test_then_train(more)
    assert first.proba.tobytes() == second.proba.tobytes()
    assert again.clone().predict_one({"x0": 1.0}) == {}
    save(again, path)
    assert read(path)[0]["learners"][0] == describe(model)


def test_a_river_model_of_a_forged_specification_is_not_made(tmp_path: Path) -> None:
    path = tmp_path / "m.ckpt"
    save(build_learner(PIPELINE), path)
    manifest, arrays = read(path)
    manifest["learners"][0]["params"]["model"] = "river:compose.pipeline.functools.partial(1)"
    write(path, manifest, arrays)
    with pytest.raises(SpecError, match="must have what is named, got 'functools'"):
        load(path, trust_pickle=True)
    manifest["learners"][0]["params"]["model"] = "tests.cli.toys:Toy"
    write(path, manifest, arrays)
    with pytest.raises(
        CheckpointError, match=r"must be a specification that begins with river:, got 'tests\.cli\.toys:Toy'"
    ):
        load(path, trust_pickle=True)


def test_a_checkpoint_of_another_river_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.ckpt"
    save(build_learner(PIPELINE), path)
    monkeypatch.setattr("drift.pickled.version", lambda name: "99.0")
    with pytest.raises(
        CheckpointError, match=r"m\.ckpt: river must be of version 0\.\d+ to read this state, got 99\.0"
    ):
        load(path, trust_pickle=True)


def test_only_known_classes_are_made(tmp_path: Path) -> None:
    class Outsider(MajorityClassifier):
        """A learner from outside."""

    path = tmp_path / "m.ckpt"
    save(Outsider(), path)
    with pytest.raises(CheckpointError, match="class must be a learner of the engine"):
        load(path)
    assert type(load(path, classes=[Outsider])) is Outsider
    for wrong in ("os:system", "ihomer.checkpoint:CheckpointStore", "ihomer.checkpoint:nothing", "builtins:dict"):
        with pytest.raises(CheckpointError, match=f"got '{wrong}'"):
            build({"class": wrong, "params": {}})


def test_a_parameter_that_is_no_plain_value_is_named() -> None:
    class Odd(MajorityClassifier):
        """A learner with an odd parameter."""

        def __init__(self, thing: object = None) -> None:
            super().__init__()
            self.thing = thing

    with pytest.raises(TypeError, match="parameter thing must be a number, a string, None, a list or a learner"):
        describe(Odd(object()))


def test_generations_fence_a_process_that_was_replaced(tmp_path: Path) -> None:
    first, second = CheckpointStore(tmp_path / "state"), CheckpointStore(tmp_path / "state")
    assert first.claim() == 1
    first.save(100, {"turn": "first"}, {})
    assert second.claim() == 2
    with pytest.raises(FencedError, match="generation must be 2, which has taken over, got 1"):
        first.save(900, {"turn": "late"}, {})
    second.save(50, {"turn": "second"}, {})
    found = second.latest()
    assert found is not None
    assert found[1]["turn"] == "second"


def test_a_late_write_does_not_come_before_the_successors(tmp_path: Path) -> None:
    zombie, owner = CheckpointStore(tmp_path), CheckpointStore(tmp_path)
    zombie.claim()
    owner.claim()
    owner.save(50, {"turn": "owner"}, {})
    # As if it had looked for a successor just before that one came.
    write(tmp_path / "checkpoint-g000001-000000000900.ckpt", {"turn": "zombie"}, {})
    found = owner.latest()
    assert found is not None
    assert found[1]["turn"] == "owner"


def test_every_claim_is_another_generation(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        generations = list(pool.map(lambda _: CheckpointStore(tmp_path).claim(), range(64)))
    assert len(set(generations)) == 64


def test_a_store_at_a_url() -> None:
    pytest.importorskip("upath", reason="universal-pathlib is not installed")
    store = CheckpointStore("memory://state/run")
    store.claim()
    for event in (10, 20, 30):
        store.save(event, {"kind": "run"}, {"numbers": np.arange(event)})
    found = CheckpointStore("memory://state/run").latest()
    assert found is not None
    assert len(found[2]["numbers"]) == 30
    assert len(list(store.directory.glob("*.ckpt"))) == 2
