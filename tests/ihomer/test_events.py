"""Labels by order of birth, the cells to look at, and inputs on a common scale."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ihomer.events import Cells, Columns, SharedRows
from streams.batch import PARTIAL, Batch, Rows, Schema
from tests import contracts


def test_columns_are_in_order_of_birth_and_of_names_within_an_event():
    schema = Schema(labels=["zebra", "ant", "bee", "never"])
    batch = Batch.from_arrays(np.zeros((4, 1)), Rows.from_lists([[], [2], [0, 1], [0, 1, 2]]), schema=schema)
    columns = Columns()
    events = columns.admit(batch, batch.schema, True)
    assert [schema.label_names[label] for label in columns.labels] == ["bee", "ant", "zebra"]
    assert events.born.tolist() == [0, 0, 1, 3, 3]
    assert events.present.tolist() == [0, 1, 2, 0, 1, 2]
    again = Columns()
    again.set_state(columns.get_state())
    assert again.admit(batch, schema, False).present.tolist() == events.present.tolist()
    fresh = Columns()
    assert fresh.admit(batch, schema, False).present.tolist() == [], "nothing is born where nothing is learned"
    assert len(fresh) == 0


@pytest.mark.parametrize("sparse", [False, True])
def test_shared_rows_have_about_length_one(sparse):
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(200, 30)) * 10 + 3).astype(np.float32)
    if sparse:
        dense = np.where(rng.random(x.shape) < 0.2, np.abs(x), 0)
        dense[5] = 0
        x = Rows.from_dense(dense, values=True)
    else:
        x[rng.random(x.shape) < 0.1] = np.nan
    batch = Batch.from_arrays(x, np.ones((200, 1)))
    rows = SharedRows()
    ahead = rows.run(batch[:1], batch.schema, np.zeros(1, bool))
    found = rows.run(batch, batch.schema, np.ones(200, bool))
    assert ahead.data.tolist() == found[:1].data.tolist(), "an event looks alike to prediction and learning"
    length = np.array([np.sum(found.data[low + 1 : high] ** 2) for low, high in itertools.pairwise(found.indptr)])
    assert (found.data[found.indptr[:-1]] == 1).all()
    assert (found.indices[found.indptr[:-1]] == 0).all()
    if sparse:
        assert length[:20].max() < 16
        assert np.median(length[50:]) == pytest.approx(1, abs=1e-5)
        assert length[50:].max() < 1 + 1e-5
    else:
        assert length[100:].mean() == pytest.approx(1, abs=0.1)


def test_places_of_inputs_survive_saving_although_categories_come_late():
    schema = Schema(["number", "a", "b"])
    schema.make_nominal(0, ["one", "two"])
    schema.ignored.add(0)
    first = Batch.from_dicts([{"a": "x", "b": 1.0}, {"a": "y", "b": 2.0}], [["l"], []], schema=schema)
    rows = SharedRows()
    rows.run(first, schema, np.ones(2, bool))
    late = Batch.from_dicts([{"a": "z", "b": 5.0}, {"a": "x", "b": 0.0}], [["l"], []], schema=schema)
    rows.run(late, schema, np.ones(2, bool))
    saved = SharedRows()
    saved.set_state(rows.get_state(schema), schema)
    taught = np.ones(6, bool)
    events = [{"a": "q", "b": 5.0, "c": 1.0}, {"a": "z", "b": 3.0, "c": 2.0}] * 3
    more = Batch.from_dicts(events, [["l"], []] * 3, schema=schema)
    expected, found = rows.run(more, schema, taught), saved.run(more, schema, taught)
    assert found.indices.tolist() == expected.indices.tolist()
    assert found.data.tolist() == expected.data.tolist()
    assert saved.n == rows.n == 1 + max(expected.indices)
    twice = SharedRows()
    twice.set_state(saved.get_state(schema), schema)
    assert twice.run(more, schema, taught).indices.tolist() == rows.run(more, schema, taught).indices.tolist()


def test_an_input_of_dense_rows_counts_once_it_has_been_met():
    schema = Schema(["number", "colour"])
    schema.make_nominal(1, ["red", "blue"])
    batch = Batch.from_arrays(np.array([[1.0, 0], [3.0, 1], [2.0, 0], [5.0, 1]]), np.ones((4, 1)), schema=schema)
    rows = SharedRows().run(batch, schema, np.ones(4, bool))
    colours = rows.to_dense(4)[:, 2:]
    assert (colours[:2] == 0).all()
    assert colours[2, 0] != 0
    assert colours[3, 1] != 0


def test_all_cells_are_all_labels_born_by_then():
    batch = contracts.stream(1, n=60, n_labels=4, states=contracts.ALL_STATES)
    events = Columns().admit(batch, batch.schema, True)
    cells = Cells.all(events)
    for i in range(60):
        low, high = cells.start[i : i + 2]
        n = events.born[i + 1] if events.taught[i] else events.born[i]
        assert cells.label[low:high].tolist() == list(range(n))
        assert cells.asked[low:high].tolist() == [label < events.born[i] for label in range(n)]
        present = set(events.present[events.present_start[i] : events.present_start[i + 1]].tolist())
        known = set(events.known[events.known_start[i] : events.known_start[i + 1]].tolist()) | present
        for label, y in zip(range(n), cells.target[low:high].tolist(), strict=True):
            if not events.taught[i] or (events.state[i] == PARTIAL and label not in known):
                assert np.isnan(y)
            else:
                assert y == (label in present)
