"""Rows, schemas and batches: what goes in comes out, and what is wrong is refused."""

from __future__ import annotations

import math
import pickle

import numpy as np
import pytest

from streams.batch import (
    COMPLETE,
    NOMINAL,
    NUMERIC,
    PARTIAL,
    UNDECIDED,
    UNLABELLED,
    Batch,
    Prediction,
    Rows,
    Schema,
)


def random_rows(seed, n=12, d=7, values=True):
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random((n, d)) < 0.4, rng.integers(1, 9, (n, d)), 0)
    dense[3] = 0
    return dense.astype(np.float32), Rows.from_dense(dense, values=values)


def test_rows_and_matrices_are_the_same():
    for n in (0, 1, 12):
        dense, _ = random_rows(0)
        rows = Rows.from_dense(dense[:n], values=True)
        assert (rows.to_dense(7) == dense[:n]).all()
        assert rows.nbytes == rows.indptr.nbytes + rows.indices.nbytes + rows.data.nbytes
        assert Rows.from_dense(dense[:n]).data is None
    assert len(Rows.empty(3)) == 3
    assert Rows.empty(2, values=True).data.dtype == np.float32


def test_selections_of_rows():
    dense, rows = random_rows(1)
    order = np.array([5, 3, 5, 0])
    assert (rows[2:6].to_dense(7) == dense[2:6]).all()
    assert len(rows[6:2]) == 0
    assert (rows.take(order).to_dense(7) == dense[order]).all()
    assert (Rows.concat([rows[:4], rows[4:4], rows[4:]]).to_dense(7) == dense).all()
    assert len(Rows.concat([])) == 0
    to = np.array([2, -1, 0, 1, 5, 4, 3], np.int32)
    moved = rows.renumbered(to)
    assert (moved.to_dense(6)[:, to[to >= 0]] == dense[:, to >= 0]).all()
    assert all((np.diff(moved.row(i)) > 0).all() for i in range(len(moved)))
    assert Rows.from_lists([[3, 1, 3], []]).row(0).tolist() == [1, 3]
    assert Rows.from_lists([[3, 1, 3]]).row(0).tolist() == [1, 3]


def test_rows_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="indptr must be one-dimensional and start with 0, got"):
        Rows(np.array([1, 2]), np.zeros(2, np.int32))
    with pytest.raises(ValueError, match="indices must have length 3, got 2"):
        Rows(np.array([0, 3]), np.zeros(2, np.int32))
    with pytest.raises(ValueError, match="data must have length 2, got 1"):
        Rows(np.array([0, 2]), np.zeros(2, np.int32), np.zeros(1, np.float32))
    with pytest.raises(ValueError, match="step must be 1, got 2; use take for other selections"):
        random_rows(2)[1][::2]
    with pytest.raises(ValueError, match="data must be there in all parts or in none, got a mixture"):
        Rows.concat([random_rows(3)[1], random_rows(3, values=False)[1]])


def test_a_schema_grows_and_keeps_its_numbers():
    schema = Schema(["a", 1, 2.5], ["p"])
    versions = {schema.version}
    assert [schema.feature_id(name) for name in ("a", 2.5, "new")] == [0, 2, 3]
    versions.add(schema.version)
    assert schema.label_id("q") == 1
    versions.add(schema.version)
    schema.make_nominal(3, ["x"])
    versions.add(schema.version)
    assert (schema.category_id(3, "y"), schema.find_category(3, "z")) == (1, -1)
    versions.add(schema.version)
    schema.ignored.add(0)
    versions.add(schema.version)
    assert len(versions) == 6
    assert (schema.find_feature("none"), schema.find_label("none")) == (-1, -1)
    assert schema.kinds == [UNDECIDED, UNDECIDED, UNDECIDED, NOMINAL]
    for other in (schema.copy(), Schema.from_array(schema.to_array()), pickle.loads(pickle.dumps(schema))):
        assert other == schema
        other.feature_id("another")
        assert other != schema
    assert repr(schema) == "Schema(4 features, 2 labels, dense)"


def test_bad_names_and_kinds_are_refused():
    with pytest.raises(ValueError, match="feature names must differ, got 'a' twice"):
        Schema(["a", "a"])
    with pytest.raises(ValueError, match="label names must differ, got 'p' twice"):
        Schema([], ["p", "p"])
    with pytest.raises(TypeError, match=r"label name must be a string or a number, got \('t',\)"):
        Schema().label_id(("t",))
    schema = Schema(["a"])
    schema.decide(0, NUMERIC)
    with pytest.raises(ValueError, match="feature 'a' must stay numeric, got a nominal value"):
        schema.make_nominal(0)


def test_extending_a_schema():
    one, two = Schema(["a", "b"], ["p"]), Schema(["c", "b"], ["q"], sparse=True)
    two.make_nominal(1, ["x"])
    two.decide(0, NUMERIC)
    two.ignored.add(0)
    one.extend(two)
    assert one.feature_names == ["a", "b", "c"]
    assert (one.kinds, one.categories) == ([UNDECIDED, NOMINAL, NUMERIC], {1: ["x"]})
    assert (one.ignored, one.label_names, one.sparse) == ({2}, ["p", "q"], True)


@pytest.mark.parametrize("sparse", [False, True])
def test_events_from_dictionaries(sparse):
    schema = Schema(sparse=sparse)
    xs = [{"a": 1.5, "c": "red"}, {"b": True, "a": None}, {}, {"c": "blue", "a": np.float32(2)}]
    ys = [{"p": True, "q": False}, {"p": None, "q": True}, None, ["r", "p"]]
    batch = Batch.from_dicts(xs, ys, schema=schema)
    x = batch.x.to_dense(3) if sparse else batch.x
    absent, red, blue = (0, 1, 2) if sparse else (math.nan, 0, 1)
    expected = [[1.5, red, absent], [math.nan, absent, 1], [absent] * 3, [2, blue, absent]]
    np.testing.assert_array_equal(x, np.array(expected, np.float32))
    assert schema.feature_names == ["a", "c", "b"]
    assert schema.categories == {1: ["", "red", "blue"] if sparse else ["red", "blue"]}
    assert batch.label_state.tolist() == [COMPLETE, PARTIAL, UNLABELLED, COMPLETE]
    assert [batch.y.row(i).tolist() for i in range(4)] == [[0], [1], [], [0, 2]]
    assert batch.known.row(1).tolist() == [1]


def test_a_mapping_that_names_fewer_labels_is_partly_known():
    schema = Schema(labels=["p", "q"])
    batch = Batch.from_dicts([{}, {}], [{"q": True}, {"p": False, "q": False}], schema=schema)
    assert batch.label_state.tolist() == [PARTIAL, COMPLETE]
    assert batch.known.row(0).tolist() == [1]


def test_the_order_of_names_and_repeated_names_change_nothing():
    rng = np.random.default_rng(4)
    names = [f"f{j}" for j in range(9)]
    xs = [dict(zip(names, rng.normal(size=9).tolist(), strict=True)) for _ in range(6)]
    xs[2] = dict(reversed(xs[2].items()))
    xs[4] = {name: xs[4][name] for name in names[3:]}
    expected = np.array([[x.get(name, math.nan) for name in names] for x in xs], np.float32)
    together = Batch.from_dicts(xs)
    np.testing.assert_array_equal(together.x, expected)
    schema = Schema()
    for x, row in zip(xs, expected, strict=True):
        np.testing.assert_array_equal(Batch.from_dicts([x], schema=schema).x[0], row)


def test_without_growing_unknown_names_are_passed_over():
    schema = Schema(["a", "c", "u"], ["p", "q"])
    schema.decide(0, NUMERIC)
    schema.make_nominal(1, ["red"])
    before = schema.to_json()
    for sparse in (False, True):
        schema.sparse = sparse
        xs = [{"new": 1.0, "c": "violet", "a": 2.0}, {"u": "word", "a": 1.0}, {"u": 3.0, "other": "text"}]
        batch = Batch.from_dicts(
            xs, [{"z": True, "p": True}, ["z", "q"], {"p": True, "q": False}], schema=schema, grow=False
        )
        x = batch.x.to_dense(3) if sparse else batch.x
        absent = 0 if sparse else math.nan
        np.testing.assert_array_equal(x, np.array([[2, math.nan, absent], [1, absent, math.nan], [absent, absent, 3]]))
        assert [batch.y.row(i).tolist() for i in range(3)] == [[0], [1], [0]]
        assert batch.label_state.tolist() == [PARTIAL, COMPLETE, COMPLETE]
    schema.sparse = False
    assert schema.to_json() == before


def test_values_that_are_none_are_refused():
    for value in (math.nan, math.inf, 1e39, -1e300):
        for seen in ([], [{"a": 1.0}]):
            with pytest.raises(ValueError, match=r"feature 'a' must be finite as a float32, got .*; None is missing"):
                Batch.from_dicts([*seen, {"a": value}])
    with pytest.raises(TypeError, match=r"feature 'a' must be a number, a string or None, got \[1\]"):
        Batch.from_dicts([{"a": [1]}])
    with pytest.raises(ValueError, match="feature 'a' must stay numeric, got a nominal value"):
        Batch.from_dicts([{"a": 1.0}, {"a": "1.0"}])
    with pytest.raises(ValueError, match="feature 'a' must stay nominal, got a numeric value"):
        Batch.from_dicts([{"a": "1.0"}, {"a": 1.0}])


def test_values_near_the_limit_are_taken():
    schema = Schema()
    for value in (1.0, 3e38, -3e38, 10**20, 0):
        assert Batch.from_dicts([{"a": value}], schema=schema).x[0, 0] == np.float32(value)


def test_events_from_matrices():
    y = np.array([[1, 0], [math.nan, 1], [0, 0]])
    batch = Batch.from_arrays(np.eye(3), y, weight=[1, 2, 3])
    assert batch.schema.kinds == [NUMERIC] * 3
    assert batch.label_state.tolist() == [COMPLETE, PARTIAL, COMPLETE]
    assert [batch.y.row(i).tolist() for i in range(3)] == [[0], [1], []]
    assert batch.known.row(1).tolist() == [1]
    assert Batch.from_arrays(np.eye(3)).label_state.tolist() == [UNLABELLED] * 3
    rows = Batch.from_arrays(Rows.from_dense(np.eye(3), values=True), Rows.from_lists([[1], [], [0]]))
    assert rows.is_sparse
    assert rows.schema.sparse
    assert rows.schema.n_labels == 2


def test_matrices_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"x must have shape \(n, d\), got \(3,\)"):
        Batch.from_arrays(np.zeros(3))
    with pytest.raises(ValueError, match="x must be finite or NaN, got infinity in row 1"):
        Batch.from_arrays(np.array([[0.0], [np.inf]]))
    with pytest.raises(ValueError, match="x must be finite or NaN, got infinity in row 2"):
        Batch.from_arrays(Rows(np.array([0, 0, 0, 1]), np.zeros(1, np.int32), np.array([np.inf], np.float32)))
    with pytest.raises(ValueError, match=r"y must have shape \(2, L\), got \(3, 1\)"):
        Batch.from_arrays(np.zeros((2, 1)), np.zeros((3, 1)))
    with pytest.raises(ValueError, match="weight must have a row for each of the 2 events, got 1"):
        Batch.from_arrays(np.zeros((2, 1)), weight=np.ones(1))
    for weight in (0.0, -1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="weight must be positive and finite, got"):
            Batch.from_arrays(np.zeros((1, 1)), weight=np.array([weight]))


def full_batch():
    dense, y = random_rows(5)[0], random_rows(6, d=3, values=False)[1]
    return Batch(
        Schema(range(7), "pqr"),
        dense,
        y,
        np.full(12, COMPLETE, np.uint8),
        weight=np.arange(1.0, 13),
        time=np.arange(12),
        key=[f"k{i}" for i in range(12)],
        payload=[None] * 12,
        partition=np.zeros(12, np.int32),
        offset=np.arange(12) + 100,
    )


def test_selections_of_events():
    batch = full_batch()
    part = batch[3:5]
    assert (part.key, part.offset.tolist(), part.weight.tolist()) == (["k3", "k4"], [103, 104], [4, 5])
    assert (part.x == batch.x[3:5]).all()
    taken = batch.take(np.array([7, 2]))
    assert (taken.key, taken.time.tolist()) == (["k7", "k2"], [7, 2])
    whole = Batch.concat([batch[:4], batch[4:4], batch[4:]])
    assert (whole.key, whole.offset.tolist()) == (batch.key, batch.offset.tolist())
    assert (whole.y.to_dense(3) == batch.y.to_dense(3)).all()
    narrow = Batch(batch.schema, batch.x[:, :2], batch.y, batch.label_state)
    widened = Batch.concat([narrow, batch])
    assert np.isnan(widened.x[:12, 2:]).all()
    assert widened.weight.tolist() == [1.0] * 12 + batch.weight.tolist()
    with pytest.raises(ValueError, match="batches must all be dense or all be sparse, got a mixture"):
        Batch.concat([batch, Batch.from_arrays(random_rows(7)[1])])


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("grow", [False, True])
def test_events_under_another_schema(sparse, grow):
    theirs = Schema(["a", "c", "b"], ["p", "q"], sparse=sparse)
    theirs.make_nominal(1, ["red", "blue"])
    mine = Schema(["b", "c"], ["q"], sparse=sparse)
    mine.make_nominal(1, ["blue", "green"])
    x = np.array([[1, 1, 2], [3, 0, 4]], np.float32)
    features = Rows(np.array([0, 3, 6]), np.tile(np.arange(3, dtype=np.int32), 2), x.ravel()) if sparse else x
    batch = Batch(theirs, features, Rows.from_lists([[0], [0, 1]]), np.full(2, COMPLETE, np.uint8))
    moved = batch.aligned(mine, grow=grow)
    assert mine.feature_names == ["b", "c", "a"][: 2 + grow]
    assert mine.categories[1] == ["blue", "green", "red"][: 2 + grow]
    dense = moved.x.to_dense(mine.n_features) if sparse else moved.x
    expected = np.array([[2, 0, 1], [4, 2 if grow else math.nan, 3]], np.float32)
    np.testing.assert_array_equal(dense, expected[:, : 2 + grow])
    assert [moved.y.row(i).tolist() for i in range(2)] == ([[1], [0, 1]] if grow else [[], [0]])


def test_a_schema_of_another_kind_is_refused():
    numeric, nominal = Batch.from_dicts([{"a": 1.0}]), Batch.from_dicts([{"a": "x"}])
    for grow in (False, True):
        with pytest.raises(ValueError, match="feature 'a' must stay nominal, got a numeric value"):
            numeric.aligned(nominal.schema.copy(), grow=grow)


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("grow", [False, True])
def test_numbers_of_an_undecided_column_are_no_categories(sparse, grow):
    nominal = Batch.from_dicts([{"a": "x"}]).schema
    values = Rows(np.array([0, 1]), np.array([0], np.int32), np.array([0.5], np.float32)) if sparse else None
    x = values if sparse else np.array([[0.5]], np.float32)
    some = Batch(Schema(["a"], sparse=sparse), x, Rows.empty(1), np.zeros(1, np.uint8))
    with pytest.raises(ValueError, match="feature 'a' must stay nominal, got a numeric value"):
        some.aligned(nominal.copy(), grow=grow)
    none = Batch(Schema(["a"]), np.full((1, 1), np.nan, np.float32), Rows.empty(1), np.zeros(1, np.uint8))
    assert np.isnan(none.aligned(nominal.copy(), grow=grow).x).all()


def test_joined_predictions_are_as_wide_as_the_widest():
    first = Prediction(Rows.from_lists([[0]]), np.array([[0.7]], np.float32))
    second = Prediction(Rows.from_lists([[1], []]), np.array([[0.1, 0.9], [0.2, 0.3]], np.float32))
    joined = Prediction.concat([first, second])
    np.testing.assert_array_equal(joined.proba, np.array([[0.7, 0], [0.1, 0.9], [0.2, 0.3]], np.float32))
    assert (len(joined), joined[1:].labels.row(0).tolist()) == (3, [1])


def test_no_category_met_in_sparse_rows_means_what_an_absent_cell_means():
    schema = Schema(sparse=True)
    batch = Batch.from_dicts([{"colour": "red"}, {"colour": "blue"}, {}], schema=schema)
    assert schema.categories[0] == ["", "red", "blue"]
    assert batch.x.to_dense(1)[:, 0].tolist() == [1, 2, 0]
    assert Schema.from_json(schema.to_json()) == schema
