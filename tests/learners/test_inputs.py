"""Inputs and their scale: against moments counted anew, and numbers that never change their meaning."""

from __future__ import annotations

import numpy as np
import pytest

from learners.inputs import Inputs, transform
from streams.batch import Batch, Rows, Schema
from tests.naive import learners_inputs as naive


def listed(batch, standardise=True, learned=None):
    """The inputs of each event as {name: value}, the events in ``learned`` (all if None) being remembered."""
    inputs = Inputs()
    inputs.grow(batch.schema)
    names = {0: "intercept"}
    numbers = inputs.numbers(batch.schema, batch.schema).tolist()
    places = iter(numbers[1:])
    for column in range(batch.schema.n_features):
        if column in batch.schema.ignored:
            continue
        if column in batch.schema.categories:
            names.update({next(places): (column, category) for category in batch.schema.categories[column]})
        else:
            names[next(places)] = column
    assert next(places, None) is None
    dense, of, cells, sparse = inputs.encode(batch)
    found = []
    for i in range(len(batch)):
        row = slice(cells.indptr[i], cells.indptr[i + 1])
        used = np.zeros(1 + dense.shape[1] + len(cells.indices[row]), np.int32)
        values = np.zeros(len(used), np.float32)
        learn = learned is None or i in learned
        m = transform(
            dense[i], of, cells.indices[row], cells.data[row], sparse, standardise, learn, inputs.moments, used, values
        )
        found.append({names[int(j)]: float(v) for j, v in zip(used[:m], values[:m], strict=True)})
    return found


def mixed_batch(seed, n=40, sparse=False):
    """Numeric, constant, all-missing, nominal, tied and ignored columns; float32 values, some missing."""
    rng = np.random.default_rng(seed)
    schema = Schema(["wide", "group", "constant", "id", "ties", "colour", "gone", "late"], sparse=sparse)
    schema.make_nominal(1, ["a", "b"])
    schema.make_nominal(3, [str(i) for i in range(n)])
    schema.make_nominal(5, ["red", "green", "blue"])
    schema.ignored.add(3)
    x = np.column_stack(
        [
            rng.normal(1000, 5, n),
            rng.integers(0, 2, n),
            np.full(n, 0.1),
            np.arange(n),
            rng.integers(0, 3, n),
            rng.choice([0, 1, 1, 1, 2], n),
            np.full(n, np.nan),
            np.where(np.arange(n) < n // 2, np.nan, rng.exponential(size=n)),
        ]
    ).astype(np.float32)
    x[0, 0] = 50.0
    if sparse:
        x = np.nan_to_num(x)
        x[rng.random(x.shape) < 0.3] = 0
        rows = Rows.from_dense(np.ones_like(x), values=True)
        listed_zeros = Rows(rows.indptr, rows.indices, x.ravel())
        listed_zeros.data[::17] = np.nan
        return Batch(schema, listed_zeros, Rows.empty(n), np.zeros(n, np.uint8))
    x[rng.random(x.shape) < 0.15] = np.nan
    return Batch(schema, x, Rows.empty(n), np.zeros(n, np.uint8))


@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("standardise", [False, True])
def test_kernel_equals_counting_anew(sparse, standardise):
    batch = mixed_batch(0, sparse=sparse)
    learned = set(range(0, len(batch), 3)) | set(range(1, len(batch), 3))
    found = listed(batch, standardise, learned)
    history = []
    for i, event in enumerate(naive.events_of(batch)):
        expected = naive.scaled(history, event, sparse, standardise)
        for name in found[i].keys() | expected.keys():  # a value on the mean may miss 0 by its rounding
            assert found[i].get(name, 0.0) == pytest.approx(expected.get(name, 0.0), rel=2e-5, abs=1e-7)
        if i in learned:
            history.append(event)


def test_inputs_stay_within_the_clip():
    x = np.ones((60, 1), np.float32)
    x[1], x[-1] = 2, 1e30
    values = [event.get(0, 0.0) for event in listed(Batch.from_arrays(x))]
    assert max(values) == 5.0
    assert np.isfinite(values).all()


def test_numbers_do_not_depend_on_when_names_are_met():
    schema = Schema(["a", "b"])
    schema.make_nominal(1, ["x"])
    inputs = Inputs()
    inputs.grow(schema)
    first = inputs.numbers(schema, schema)
    schema.feature_id("c")
    for category in "yzuvw":
        schema.category_id(1, category)
        schema.feature_id(f"feature {category}")
        inputs.grow(schema)
    assert inputs.numbers(schema, schema)[: len(first)].tolist() == first.tolist()
    fresh = Inputs()
    fresh.grow(schema)
    order = inputs.numbers(schema, schema)
    assert fresh.numbers(schema, schema).tolist() == list(range(fresh.n))
    assert sorted(order.tolist()) == list(range(inputs.n))
    assert inputs.moments.shape[1] >= inputs.n


def test_a_column_ignored_later_is_dropped():
    schema = Schema(["a", "b"])
    inputs = Inputs()
    inputs.grow(schema)
    schema.ignored.add(0)
    inputs.grow(schema)
    assert inputs.numbers(schema, schema).tolist() == [0, 2]
    encoded = inputs.encode(Batch(schema, np.ones((1, 2), np.float32), Rows.empty(1), np.zeros(1, np.uint8)))
    assert encoded.inputs.tolist() == [2]
