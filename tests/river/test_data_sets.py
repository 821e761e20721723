"""Sources as data sets of river, and data sets of river as sources."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import math

import numpy as np
import pytest
from river import compose, datasets, evaluate, metrics, stream
from river.datasets import synth

import ihomer
from ihomer import LinearClassifier, SingleLabel, open_source, river_metric, to_river
from ihomer.evaluation.metrics import MultiLabelMetrics
from streams.batch import COMPLETE, PARTIAL, UNLABELLED, Batch, Rows, Schema
from streams.memory import BatchSource, read_all
from streams.river_source import RiverSource
from streams.source import DecodeError
from tests.contracts import ALL_STATES, check
from tests.contracts import stream as made
from tests.river.events import learners


def test_a_known_name_is_a_data_set():
    data = to_river("yeast")
    assert isinstance(data, datasets.base.Dataset)
    assert (data.n_samples, data.n_features, data.n_outputs, data.sparse) == (2417, 103, 14, False)
    assert data.task == datasets.Yeast().task == "Multi-output binary classification"
    for (x, y), (same_x, same_y) in zip(data.take(30), datasets.Yeast().take(30), strict=True):
        assert {name: np.float32(value) for name, value in same_x.items()} == x
        assert {label: bool(value) for label, value in same_y.items()} == y
    assert "yeast" in repr(data)
    assert "2,417" in repr(data)


@pytest.mark.parametrize("states", [(COMPLETE,), ALL_STATES])
@pytest.mark.parametrize("sparse", [False, True])
def test_there_and_back_is_the_same(states, sparse):
    batch = made(3, states=states, sparse=sparse)
    pairs = list(to_river(batch))
    for i, (x, y) in enumerate(pairs):
        known = {UNLABELLED: [], PARTIAL: batch.known.row(i) if batch.known else [], COMPLETE: range(5)}
        assert set(y) == {f"y{label}" for label in known[int(batch.label_state[i])]}
        assert {label for label, value in y.items() if value} == {f"y{label}" for label in batch.y.row(i)}
        assert all(isinstance(value, str) == (name == "x5") for name, value in x.items())
        assert None not in x.values()
    again = read_all(RiverSource(pairs))
    assert again.y.to_dense(5).sum() == batch.y.to_dense(5).sum()
    assert sum(len(x) for x, _ in pairs) == (
        len(batch.x.indices) if sparse else int(np.count_nonzero(~np.isnan(batch.x)))
    )


def test_reads_again_and_again_and_side_by_side(tmp_path):
    path = tmp_path / "events.jsonl"
    path.write_text("".join(json.dumps({"x": {"a": i}, "y": ["p"] if i % 2 else []}) + "\n" for i in range(9)))
    for data in (to_river(path), to_river(str(path)), to_river(made(4, 9))):
        assert list(data) == list(data)
        assert len(list(data)) == 9
        pairs = list(itertools.zip_longest(data, data))
        assert all(one == other for one, other in pairs)
    assert next(iter(to_river(path))) == ({"a": 0.0}, {})


def test_a_source_is_read_from_where_it_stands_by_one_at_a_time():
    source = BatchSource(made(5, 600, n_labels=3))
    source.next_batch(10)
    data = to_river(source)
    first = list(data)
    assert len(first) == 590
    assert list(data) == first
    early, late = iter(data), iter(data)
    assert next(early) == first[0]
    assert next(late) == first[0]
    with pytest.raises(RuntimeError, match="memory must be read by one iteration at a time, got a later one"):
        next(early)
    assert next(late) == first[1]


def test_a_made_stream_is_a_data_set():
    data = to_river("synthetic:hyperplane?events=50&seed=1")
    assert data.n_samples == 50
    assert list(data) == list(data)
    assert len(list(data)) == 50


def test_labels_that_a_source_discovers_are_named_from_the_event_that_has_them(tmp_path):
    path = tmp_path / "events.jsonl"
    lines = [{"x": {"a": 1}, "y": ["p"]}, {"x": {"a": 2}, "y": ["q"]}, {"x": {"a": 3}, "y": {"p": True, "r": False}}]
    path.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"x": {"a": 4}, "y": []}, {"x": {"a": 5}}]))
    assert [y for _, y in to_river(path)] == [
        {"p": True},
        {"p": False, "q": True},
        {"p": True, "r": False},
        {"p": False, "q": False, "r": False},
        {},
    ]


def test_single_labels_payloads_and_times(tmp_path):
    schema = Schema(["a"], ["p", "q"])
    x, y = np.ones((3, 1), np.float32), Rows.from_lists([[0], [1], [0, 1]])
    batch = Batch(schema, x, y, np.full(3, COMPLETE, np.uint8), time=np.array([0, 1500, 3000]), payload=["u", "v", "w"])
    assert list(to_river(batch[:2], single_label=True)) == [({"a": 1.0}, "p"), ({"a": 1.0}, "q")]
    data = to_river(batch, single_label=True)
    assert (data.task, data.n_classes, data.n_outputs) == ("Multi-class classification", 2, None)
    with pytest.raises(DecodeError, match="memory:2: an event must have exactly one label, found 2"):
        list(data)
    at = dt.datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=dt.UTC)
    assert list(to_river(batch, time="at", payload="text"))[1][0] == {"a": 1.0, "text": "v", "at": at}
    delayed = list(stream.simulate_qa(to_river(batch, time="at"), moment="at", delay=dt.timedelta(seconds=2)))
    assert [(i, y is None) for i, _, y in delayed] == [
        (0, True), (1, True), (0, False), (2, True), (1, False), (2, False)
    ]  # fmt: skip
    model = compose.Discard("at") | LinearClassifier()
    score = evaluate.progressive_val_score(
        to_river(batch, time="at"), model, river_metric("micro_f1"), moment="at", delay=dt.timedelta(seconds=1)
    )
    assert score.get() > 0


def test_what_cannot_be_opened_is_refused_at_once():
    with pytest.raises(FileNotFoundError, match="a source must be a file, a URL or a known data set"):
        to_river("nowhere.arff")
    with pytest.raises(TypeError, match="a source must be a path, a name, a Source, a Batch"):
        to_river(3)


@learners
def test_rivers_loop_scores_a_learner_as_the_engine_does(make):
    """River leaves out answers that name no label: those before the first event with labels has been learned."""

    def law(make):
        batch = made(21, 40, states=ALL_STATES)
        batch.weight = None
        # In dictionaries, who names all labels is complete; and the first event names them all.
        batch.label_state[np.diff(batch.known.indptr) == 5] = COMPLETE
        batch.label_state[0] = COMPLETE
        metric = river_metric("micro_f1") + river_metric("example_jaccard_empty1") + river_metric("hamming_loss")
        evaluate.progressive_val_score(to_river(batch), make(), metric)
        ours, model = MultiLabelMetrics(), make()
        prediction = model.test_then_train(batch)
        ours.update(batch[1:], prediction[1:])
        scores = ours.cumulative(5)
        assert metric.get() == [scores[m.name] for m in metric]

    check(law, make)


# The other way: data sets of river as sources.

CLASSIFICATION = {
    "Yeast": (datasets.Yeast, 14),
    "Logical": (lambda: synth.Logical(n_tiles=10, seed=1), 3),
    "Phishing": (datasets.Phishing, 1),
    "Bananas": (datasets.Bananas, 1),
    "SEA": (lambda: synth.SEA(seed=1), 1),
    "Agrawal": (lambda: synth.Agrawal(seed=1), 2),
    "ImageSegments": (datasets.ImageSegments, 7),
    "LED": (lambda: synth.LED(seed=1), 10),
    "RandomRBF": (lambda: synth.RandomRBF(seed_model=1, seed_sample=1, n_classes=3), 3),
    "Waveform": (lambda: synth.Waveform(seed=1), 3),
}

REGRESSION = {
    "TrumpApproval": datasets.TrumpApproval,
    "ChickWeights": datasets.ChickWeights,
    "Friedman": lambda: synth.Friedman(seed=1),
    "SolarFlare": datasets.SolarFlare,
    "AirlinePassengers": datasets.AirlinePassengers,
}


@pytest.mark.parametrize("name", CLASSIFICATION)
def test_data_sets_for_classification_are_sources(name):
    make, n_labels = CLASSIFICATION[name]
    source = open_source(make())
    batch = source.next_batch(60)
    more = source.next_batch(240)
    schema = batch.schema
    assert schema.n_labels <= n_labels
    assert (batch.label_state == COMPLETE).all()
    assert len(batch.y.indices) + (0 if more is None else len(more.y.indices)) > 0
    model = LinearClassifier()
    assert len(model.test_then_train(batch)) == min(60, source.n_events or 60)
    assert model.schema_.n_labels > 0
    if n_labels > 1 and name not in ("Yeast", "Logical"):
        assert batch.y.indptr.tolist() == list(range(61))


@pytest.mark.parametrize("name", REGRESSION)
def test_regression_is_refused(name):
    with pytest.raises(ValueError, match=rf"a data set must be one for classification, got {name}: .*regression"):
        open_source(REGRESSION[name]())


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        (2.5, "a target must be a class, labels or a truth value, got 2.5"),
        (math.nan, "a target must be a class, labels or a truth value, got nan"),
        ({"a": 0.3}, "label 'a' must be True, False or None, got 0.3"),
        ({"a": "False"}, "label 'a' must be True, False or None, got 'False'"),
    ],
)
def test_targets_that_are_numbers_are_refused_where_they_stand(target, reason):
    source = RiverSource([({"a": 1.0}, "p"), ({"a": 2.0}, target)])
    with pytest.raises(DecodeError, match=f"list:1: {reason}"):
        source.next_batch()


def test_targets_may_be_of_numpy_or_unknown():
    batch = read_all(RiverSource([({"a": 1.0}, np.int64(3)), ({"a": 1.0}, None), ({"a": 1.0}, np.bool_(True))]))
    assert batch.schema.label_names == [3, "y"]
    assert batch.label_state.tolist() == [COMPLETE, UNLABELLED, PARTIAL]


def test_the_engine_and_rivers_loop_score_alike():
    result = ihomer.evaluate("river:datasets.Yeast", LinearClassifier(), max_events=200)
    metric = evaluate.progressive_val_score(datasets.Yeast().take(200), LinearClassifier(), river_metric("micro_f1"))
    batch = read_all(open_source("river:datasets.Yeast"), 200)
    counted = MultiLabelMetrics()
    prediction = LinearClassifier().test_then_train(batch)
    counted.update(batch[1:], prediction[1:])
    assert metric.get() == counted.cumulative(14)["micro_f1"]
    counted.update(batch[:1], prediction[:1])
    assert result.runs[0].metrics["micro_f1"] == counted.cumulative(14)["micro_f1"]


def test_class_streams_go_to_rivers_classifiers():
    data = to_river("river:datasets.ImageSegments", single_label=True)
    ours = evaluate.progressive_val_score(data.take(150), SingleLabel(LinearClassifier()), metrics.Accuracy())
    rounded = (({k: float(np.float32(v)) for k, v in x.items()}, y) for x, y in datasets.ImageSegments().take(150))
    theirs = evaluate.progressive_val_score(rounded, SingleLabel(LinearClassifier()), metrics.Accuracy())
    assert ours.get() == theirs.get() > 0.5
