"""Streams of one class an event, what of MOA's side can be tested without it, and how answers are judged."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import single_label
from benchmarks.classes import Classes, accuracy, radial, random_tree, stream
from benchmarks.frame import Clock, Contestant, PeerMissingError, Setting, measure
from benchmarks.peers import Environment
from ihomer import open_source
from learners import MajorityClassifier
from streams.batch import Batch


@pytest.mark.parametrize("make", [random_tree, radial], ids=["tree", "radial"])
def test_a_shorter_stream_is_the_beginning_of_a_longer_one(make):
    short, long = make(3, 7, 400), make(3, 7, 1200)
    assert len(short) == 400
    assert (short.x == long.x[:400]).all()
    assert (short.y == long.y[:400]).all()
    assert not np.array_equal(long.x[:500], long.x[500:1000])
    assert set(long.y.tolist()) == {0, 1, 2}
    assert (long.x == long.x.astype(np.float32)).all()


@pytest.mark.parametrize("make", [random_tree, radial], ids=["tree", "radial"])
def test_classes_can_be_told_from_features(make):
    from sklearn.tree import DecisionTreeClassifier

    events = make(2, 5, 4000)
    tree = DecisionTreeClassifier(max_depth=8, random_state=0).fit(events.x[:3000], events.y[:3000])
    assert tree.score(events.x[3000:], events.y[3000:]) > 0.75


def test_files_and_dictionaries_hold_the_events_of_memory(tmp_path):
    events = radial(2, 4, 60)
    events.write_arff(tmp_path / "events.arff")
    text = (tmp_path / "events.arff").read_text()
    assert "@attribute class {0,1}" in text
    rows = [line.split(",") for line in text.split("@data\n")[1].splitlines()]
    assert [[float(cell) for cell in row[:-1]] for row in rows] == events.x.tolist()
    assert [int(row[-1]) for row in rows] == events.y.tolist()
    source = open_source(str(tmp_path / "events.arff"), labels="last:1")
    read = Batch.concat(list(iter(source.next_batch, None)))
    memory = Batch.concat(events.batches())
    assert (read.x == memory.x).all()
    assert memory.y.indices.tolist() == events.y.tolist()
    assert events.to_river()[3] == (dict(zip(["x0", "x1", "x2", "x3"], events.x[3], strict=True)), events.y[3])


def test_answers_are_judged_over_what_all_have_seen():
    truth = np.array([0, 1, 1, 0])
    assert single_label.judged(truth, np.array([0, -1, 1, 1]), 2) == {"accuracy": 0.5, "accuracy_of_all": 0.5}
    assert single_label.judged(truth, truth, 4) == {"accuracy": 1.0}
    with pytest.raises(ValueError, match=r"answers must have shape \(4,\), got \(3,\)"):
        accuracy(truth, truth[:3])


@pytest.fixture
def method():
    """The majority class against itself, on few events."""
    return single_label.Method(
        "fake", MajorityClassifier, lambda: single_label._single_label(MajorityClassifier), "Majority", {}, "none",
        [stream(radial, 2, 3, 600, 200)],
    )  # fmt: skip


def built(method, tmp_path):
    return {side.name: side for side in single_label._build(method, method.streams[0], Setting(False, tmp_path))}


def test_arrays_and_dictionaries_answer_alike(method, tmp_path):
    sides = built(method, tmp_path)
    events = radial(2, 3, 600)
    arrays, single = (sides[name].attempt(Clock()) for name in (single_label.ARRAYS, single_label.DICTIONARIES))
    assert arrays["accuracy"] == single["accuracy"] > 0.3
    assert arrays["accuracy_of_all"] == pytest.approx((events.y == np.bincount(events.y).argmax()).mean(), abs=0.02)
    assert single.keys() == {"accuracy"}


def test_a_machine_without_java_lacks_the_peer_and_nothing_else(method, tmp_path, monkeypatch):
    monkeypatch.setattr(single_label.shutil, "which", lambda name: None)
    with pytest.raises(PeerMissingError, match="java is not installed"):
        single_label.require_java()
    cell = single_label.Cell("fake", "radial", lambda setting: list(built(method, tmp_path).values()), repeats=1)
    record = measure(cell)
    assert record["failures"] == []
    reasons = {side["name"]: side.get("reason") for side in record["contestants"]}
    assert reasons[single_label.JAVA] == reasons[single_label.PYTHON] == "peer not available: java is not installed"
    assert reasons[single_label.ARRAYS] is None


def test_a_process_that_answers_otherwise_when_it_is_timed_is_refused(method, tmp_path, monkeypatch):
    def run(command, clock):
        np.save(command[-1], radial(2, 3, 600).y)
        return {"seconds": 1.0, "events": 600, "accuracy": 0.9}

    monkeypatch.setattr(single_label, "run_process", run)
    monkeypatch.setattr(Environment, "python", lambda self: "python")
    side: Contestant = built(method, tmp_path)[single_label.JAVA]
    with pytest.raises(ValueError, match="both passes must be equally right"):
        side.attempt(Clock())


def test_an_event_without_a_class_counts_as_wrong():
    events = Classes("a_v1", np.zeros((4, 1)), np.array([0, 0, 0, 0]))
    side = single_label._arrays(events, 4, MajorityClassifier)
    assert side.attempt(Clock()) == {"accuracy": 0.75}
