"""Frames and arrays of many events teach and answer as the events do one by one."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from learners import GaussianNBClassifier, LinearClassifier, NoChangeClassifier

N, D, L = 60, 4, 3


def numbers(seed=0):
    """Features with missing ones, labels with unknown ones, weights."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(N, D)).astype(np.float32).astype(float)
    y = (x[:, :L] + 0.2 * rng.normal(size=(N, L)) > 0).astype(float)
    x[rng.random(x.shape) < 0.1] = np.nan
    y[rng.random(y.shape) < 0.1] = np.nan
    return x, y, rng.choice([0.5, 1.0, 2.0], N)


def as_pandas(matrix, names):
    return pd.DataFrame(matrix, columns=names, index=np.arange(len(matrix)) * 10)


def as_polars(matrix, names):
    polars = pytest.importorskip("polars", reason="polars is not installed")
    return polars.DataFrame(dict(zip(names, matrix.T, strict=True)))


def as_polars_with_nulls(matrix, names):
    frame = as_polars(matrix, names)
    return frame.fill_nan(None)


def as_array(matrix, names):
    return matrix


def as_objects(matrix, names):
    return np.where(np.isnan(matrix), None, matrix.astype(object))


KINDS = {
    "pandas": as_pandas,
    "polars": as_polars,
    "polars-nulls": as_polars_with_nulls,
    "numpy": as_array,
    "objects": as_objects,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cls", [LinearClassifier, GaussianNBClassifier])
def test_many_events_are_events_one_by_one(cls, kind):
    x, y, w = numbers()
    is_array = kind in ("numpy", "objects")
    features = list(range(D)) if is_array else [f"x{j}" for j in range(D)]
    labels = list(range(L)) if is_array else [f"y{j}" for j in range(L)]
    X, Y = KINDS[kind](x, features), KINDS[kind](y, labels)
    one, many = cls(), cls()
    many.learn_many(X[:25], Y[:25], w=w[:25])
    many.learn_many(X[25:50], Y[25:50], w=w[25:50])
    events = [{name: None if np.isnan(v) else v for name, v in zip(features, row, strict=True)} for row in x.tolist()]
    for i in range(50):
        told = {name: None if np.isnan(v) else bool(v) for name, v in zip(labels, y[i].tolist(), strict=True)}
        one.learn_one(events[i], told, w=w[i])
    mine, theirs = one.get_state(), many.get_state()
    assert mine.keys() == theirs.keys()
    assert {name: array.tobytes() for name, array in mine.items()} == {
        name: array.tobytes() for name, array in theirs.items()
    }
    answer, likely = many.predict_many(X[50:]), many.predict_proba_many(X[50:])
    assert type(answer) is type(likely) is type(X)
    assert not np.isnan(np.asarray(likely, float)).any()
    assert np.asarray(answer).dtype == bool
    for i in range(50, N):
        said, p = one.predict_one(events[i]), one.predict_proba_one(events[i])
        assert np.asarray(answer)[i - 50].tolist() == [said[name] for name in labels]
        assert np.asarray(likely)[i - 50].tolist() == [p[name][True] for name in labels]
    if not is_array:
        assert list(answer.columns) == list(likely.columns) == labels
    if kind == "pandas":
        assert answer.index.equals(X.index[50:])


def test_words_are_categories():
    polars = pytest.importorskip("polars", reason="polars is not installed")
    words, truth = ["red", None, "blue", "red"], [True, False, False, None]
    pairs = [
        (pd.DataFrame({"c": words}), pd.DataFrame({"p": truth})),
        (polars.DataFrame({"c": words}), polars.DataFrame({"p": truth})),
        (np.array([[word] for word in words], object), np.array([[value] for value in truth], object)),
    ]
    states = []
    for X, Y in pairs:
        model = GaussianNBClassifier()
        model.learn_many(X, Y)
        assert model.schema_.categories == {0: ["red", "blue"]}
        states.append({name: array.tobytes() for name, array in model.get_state().items() if name != "schema"})
    assert states[0] == states[1] == states[2]


def test_kinds_may_be_mixed():
    x, y, _ = numbers()
    model = LinearClassifier()
    model.learn_many(x, as_pandas(y, list("abc")))
    assert list(model.predict_many(as_pandas(x, list(range(D)))).columns) == list("abc")
    assert model.predict_many(x[:2]).shape == (2, 3)
    assert model.predict_many(np.zeros((0, D))).shape == (0, 3)


@pytest.mark.parametrize(
    ("thing", "error", "message"),
    [
        (np.zeros(3), ValueError, r"an array of events must have shape \(n, k\), got \(3,\)"),
        ([[1.0]], TypeError, "events must be a frame of pandas or polars or an array, got list"),
        (pd.Series([1.0]), TypeError, "events must be a frame of pandas or polars or an array, got Series"),
    ],
    ids=["flat", "list", "series"],
)
def test_other_things_are_refused(thing, error, message):
    model = LinearClassifier()
    for act in (model.predict_many, model.predict_proba_many, lambda x: model.learn_many(x, np.ones((1, 1)))):
        with pytest.raises(error, match=message):
            act(thing)


def test_labels_of_another_number_of_events_are_refused():
    with pytest.raises(ValueError, match="must have a row for each of the 3 events, got 2"):
        LinearClassifier().learn_many(np.zeros((3, 1)), np.ones((2, 1)))


def test_without_probabilities():
    model = NoChangeClassifier()
    model.learn_many(np.zeros((1, 1)), np.ones((1, 2)))
    assert model.predict_many(np.zeros((2, 1))).tolist() == [[True, True], [True, True]]
    with pytest.raises(NotImplementedError, match="NoChangeClassifier has no probabilities"):
        model.predict_proba_many(np.zeros((1, 1)))


def test_arrays_need_neither_library():
    code = (
        "import sys, numpy as np\n"
        "sys.modules['polars'] = None\n"
        "import learners.frames\n"
        "found = learners.frames.records(np.array([[1.0, np.nan]]))\n"
        "assert found == [{0: 1.0, 1: None}], found\n"
        "assert learners.frames.like(np.zeros((1, 1)), np.ones((1, 2)), 'ab').shape == (1, 2)\n"
        "assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
