"""The nearest of the last events, and what they say about labels, against their twins."""

from __future__ import annotations

import itertools
import pickle

import numpy as np
import pytest

from ihomer.events import Cells, Columns, Events, SharedRows
from ihomer.label_window import LabelWindow
from ihomer.neighbours import SCALE, WIDEST_INPUTS, WIDEST_SCORES, NearestEvents, NearestRows, Neighbours, score_rows
from streams.batch import COMPLETE, PARTIAL, UNLABELLED, Batch, Rows, Schema
from tests import contracts
from tests.naive import ihomer_neighbours as naive


def as_lists(neighbours):
    return [
        [(number, similarity) for number, similarity in zip(*row, strict=True) if number >= 0]
        for row in zip(neighbours.event.tolist(), neighbours.similarity.tolist(), strict=True)
    ]


def as_dicts(rows):
    return [
        dict(zip(rows.row(i).tolist(), rows.data[rows.indptr[i] : rows.indptr[i + 1]].tolist(), strict=True))
        for i in range(len(rows))
    ]


def numbers(seed, n, d, *, tied=False, share=1.0):
    rng = np.random.default_rng(seed)
    x = rng.integers(-1, 2, (n, d)) if tied else rng.normal(size=(n, d)) * 10.0 ** rng.integers(-3, 4, (n, 1))
    x = np.where(rng.random((n, d)) < share, x, 0).astype(np.float32)
    x[n // 2] = 0
    return Rows.from_dense(x, values=True), rng.random(n) < 0.8


def assert_same(a: Neighbours, b: Neighbours):
    assert (a.event == b.event).all()
    assert (a.similarity == b.similarity).all()


@pytest.mark.parametrize("size", [1, 7, 90, 4000])
@pytest.mark.parametrize("tied", [False, True])
def test_nearest_rows_equal_twin(size, tied):
    """To the bit, since all products are whole numbers; ties go to the older row."""
    rows, taught = numbers(1, 300, 6, tied=tied)
    found = NearestRows(size, 5).run(rows, 6, taught)
    expected = naive.nearest(as_dicts(rows), taught, size, 5)
    assert as_lists(found) == [[(n, float(np.float32(s))) for n, s in row] for row in expected]
    assert (found.event[np.isclose(found.similarity, 0, atol=0) & (found.event < 0)] == -1).all()


def test_columns_beyond_the_widest_share_others():
    rows, taught = numbers(2, 150, 60, share=0.4)
    found = NearestRows(40, 4, widest=8).run(rows, 60, taught)
    expected = naive.nearest(as_dicts(rows), taught, 40, 4, widest=8)
    assert [[n for n, _ in row] for row in as_lists(found)] == [[n for n, _ in row] for row in expected]


@pytest.mark.parametrize("width", [3, 1024])
def test_products_are_exact(width):
    """The longest rows that rounding can make, and all sums of their products, fit into float32."""
    rng = np.random.default_rng(3)
    x = rng.choice([-1, 1], (70, width)).astype(np.float32)
    x[0] = 1
    model = NearestRows(100, 70)
    found = model.run(Rows.from_dense(x, values=True), width, np.ones(70, bool))
    held = model.get_state()["rows"].astype(np.int64)
    assert (held == model.get_state()["rows"]).all()
    assert np.square(held).sum(1).max() <= 2**24
    assert width != 1024 or np.square(held[0]).sum() == 2**24
    products = held @ held.T
    for number, similarity in as_lists(found)[-1]:
        assert similarity == np.float32(products[-1, number] / SCALE**2)


@pytest.mark.parametrize("size", [5, 100, 4000])
def test_cuts_and_saving_change_no_row_found(size):
    rows, taught = numbers(4, 260, 10, share=0.5)
    whole = NearestRows(size, 6)
    expected = whole.run(rows, 10, taught)
    model, found = NearestRows(size, 6), []
    for low, high in itertools.pairwise([0, 1, 2, 60, 61, 200, 259, 260]):
        # Columns that are still to come may be known of already, or not yet.
        part = rows[low:high]
        n_columns = 10 if low % 2 else int(rows[:high].indices.max(initial=-1)) + 1
        found.append(model.run(part, n_columns, taught[low:high]))
        again = NearestRows(size, 6)
        again.set_state(model.get_state())
        model = pickle.loads(pickle.dumps(again))
    assert_same(Neighbours(*map(np.concatenate, zip(*found, strict=True))), expected)
    for name, array in whole.get_state().items():
        assert (array == model.get_state()[name]).all(), name


def test_looking_up_teaches_nothing():
    rows, taught = numbers(5, 100, 4)
    model = NearestRows(30, 3)
    model.run(rows, 4, taught)
    before = model.get_state()
    model.run(rows, 4, np.zeros(100, bool))
    assert all((array == before[name]).all() for name, array in model.get_state().items())


def test_rows_forgotten_count_as_zero():
    rows, taught = numbers(7, 120, 4)
    model = NearestRows(50, 5)
    model.run(rows[:80], 4, taught[:80])
    model.forget()
    found = model.run(rows[80:], 4, taught[80:])
    forgotten = [{} for _ in range(80)] + as_dicts(rows[80:])
    expected = naive.nearest(forgotten, taught, 50, 5)[80:]
    assert as_lists(found) == [[(n, float(np.float32(s))) for n, s in row] for row in expected]


def test_memory_of_rows_stays_bounded():
    rows, _ = numbers(6, 500, 4)
    model = NearestRows(50, 3)
    model.run(rows, 4, np.ones(500, bool))
    assert model._held.nbytes <= 4 * 4 * (50 + 64)
    assert model.get_state()["rows"].shape == (50, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NearestRows(0), "size must be at least 1, got 0"),
        (lambda: NearestRows(5, 0), "k must be at least 1, got 0"),
        (lambda: NearestEvents(-1), "size must be at least 1, got -1"),
        (lambda: NearestRows(widest=2000), f"widest must be from 1 to {WIDEST_INPUTS}, got 2000"),
        (lambda: LabelWindow(0), "size must be at least 1, got 0"),
    ],
)
def test_bad_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def run_events(batch, cuts=(), size=40, k=5, save=False):
    """Neighbours of the events of a batch, cut at these events, and the search as it is afterwards."""
    schema, taught = batch.schema, batch.label_state != UNLABELLED
    rows, model, found = SharedRows(), NearestEvents(size, k), []
    for low, high in itertools.pairwise([0, *cuts, len(batch)]):
        part = batch[low:high]
        shared = rows.run(part, schema, taught[low:high])
        found.append(model.run(part, schema, shared, rows.n, taught[low:high]))
        if save:
            state = model.get_state(schema)
            model = NearestEvents(size, k)
            model.set_state(state, schema)
    return Neighbours(*map(np.concatenate, zip(*found, strict=True))), model


@pytest.mark.parametrize("sparse", [False, True])
def test_nearest_events_are_the_same_in_any_cut(sparse):
    batch = contracts.stream(7, n=200, states=contracts.ALL_STATES, sparse=sparse)
    expected, straight = run_events(batch)
    for save in (False, True):
        found, model = run_events(batch, (1, 2, 70, 71, 150), save=save)
        assert_same(found, expected)
        for name, array in straight.get_state(batch.schema).items():
            np.testing.assert_array_equal(array, model.get_state(batch.schema)[name], err_msg=name)


def test_nearest_dense_events_are_those_of_the_shared_rows():
    batch = contracts.stream(8, n=120, states=contracts.ALL_STATES)
    taught = batch.label_state != UNLABELLED
    rows = SharedRows().run(batch, batch.schema, taught)
    inputs = [{place - 1: value for place, value in row.items()} for row in as_dicts(rows)]
    expected = naive.nearest(inputs, taught, 40, 5)
    found = as_lists(run_events(batch)[0])
    assert [[n for n, _ in row] for row in found] == [[n for n, _ in row] for row in expected]


def test_nearest_sparse_events_equal_twin():
    rows, _ = numbers(9, 160, 12, share=0.4)
    batch = Batch.from_arrays(rows, np.ones((160, 1)))
    taught = batch.label_state != UNLABELLED
    weighed = naive.weighed_rows(as_dicts(rows), taught)
    for i, row in enumerate(as_lists(run_events(batch, size=30)[0])):
        cosines = {j: sum(v * weighed[j].get(c, 0.0) for c, v in weighed[i].items()) for j in range(max(0, i - 30), i)}
        assert len(row) == min(5, i)
        if not weighed[i]:
            continue
        np.testing.assert_allclose([s for _, s in row], sorted(cosines.values(), reverse=True)[:5], atol=1e-5)
        np.testing.assert_allclose([s for _, s in row], [cosines[j] for j, _ in row], atol=1e-5)


def test_events_are_sought_anew_once_rows_are_sparse():
    x = np.random.default_rng(10).normal(size=(40, 3)).astype(np.float32)
    schema = Schema(["a", "b", "c"], ["y"])
    rows, model, taught = SharedRows(), NearestEvents(100, 4), np.ones(20, bool)
    for half, sparse in ((x[:20], False), (x[20:], True)):
        schema.sparse = sparse
        batch = Batch(schema, half, Rows.empty(20), np.full(20, COMPLETE, np.uint8))
        found = model.run(batch, schema, rows.run(batch, schema, taught), rows.n, taught)
    assert found.event[0].tolist() == [-1] * 4
    assert found.event[1].tolist() == [20, -1, -1, -1]
    assert set(found.event[-1].tolist()) <= set(range(20, 39))
    state = model.get_state(schema)
    assert state["rows"].shape == (0, 0)
    restored = NearestEvents(100, 4)
    restored.set_state(state, schema)
    none = np.zeros(20, bool)
    shared = rows.run(batch, schema, none)
    assert_same(*(each.run(batch, schema, shared, rows.n, none) for each in (model, restored)))


def test_scores_that_are_not_asked_count_nothing():
    """That a label is listed because the event has it must not tell where the event lies."""
    cells = Cells(
        np.array([0, 3, 5]), np.array([0, 4, 200, 1, 4], np.int32), np.zeros(5, np.float32),
        np.array([True, False, True, True, False]),
    )  # fmt: skip
    rows = score_rows(cells, np.array([0.5, 9, 0.25, 1, 9], np.float32))
    assert rows.data.tolist() == [0.5, 0, 0.25, 1, 0]
    model = NearestRows(10, 1, widest=WIDEST_SCORES)
    model.run(rows, 201, np.ones(2, bool))
    column, sign = naive.column_and_sign(200, WIDEST_SCORES)
    held = model.get_state()["rows"]
    assert held.shape == (2, WIDEST_SCORES)
    assert set(np.flatnonzero(held[0])) == {0, column}
    assert np.sign(held[0, column]) == sign


# Votes.


def labelled(seed, n=150, n_labels=6) -> tuple[Batch, Events]:
    batch = contracts.stream(seed, n=n, n_labels=n_labels, states=contracts.ALL_STATES)
    return batch, Columns().admit(batch, batch.schema, True)


def of_taught(events):
    """Of every taught event its labels, what is known of it, and its weight, as the twin takes them."""
    told = []
    for i in np.flatnonzero(events.taught):
        present = events.present[events.present_start[i] : events.present_start[i + 1]]
        known = events.known[events.known_start[i] : events.known_start[i + 1]]
        known = {label for label in known.tolist() if label < events.born[i + 1]}
        told.append((set(present.tolist()), known if events.state[i] == PARTIAL else None, events.weight[i]))
    return told


def some_neighbours(seed, taught, size, k):
    """Neighbours picked at random among the last ``size`` taught events."""
    rng = np.random.default_rng(seed)
    event, similarity = np.full((len(taught), k), -1), np.zeros((len(taught), k), np.float32)
    for i, stored in enumerate(np.cumsum(taught) - taught):
        picked = rng.permutation(np.arange(max(0, stored - size), stored))[:k]
        event[i, : len(picked)] = picked
        similarity[i, : len(picked)] = np.sort(rng.random(len(picked)))[::-1]
    return Neighbours(event, similarity)


def take(neighbours, part):
    return Neighbours(neighbours.event[part], neighbours.similarity[part])


@pytest.mark.parametrize("sharpness", [0.0, 8.0])
def test_votes_equal_twin_and_are_the_same_in_any_cut(sharpness):
    batch, events = labelled(11)
    neighbours = some_neighbours(12, events.taught, 20, 4)
    whole = LabelWindow(20)
    whole.take(events)
    cells = Cells.all(events)
    votes = whole.vote(neighbours, cells, sharpness)
    told = of_taught(events)
    for i, near in enumerate(as_lists(neighbours)):
        for cell in range(cells.start[i], cells.start[i + 1]):
            expected = naive.vote(near, told, cells.label[cell], sharpness)
            assert votes[cell] == pytest.approx(expected, rel=1e-6)
    assert len(np.unique(votes)) > 20
    columns, model, found = Columns(), LabelWindow(20), []
    for low, high in itertools.pairwise([0, 1, 2, 3, 60, 61, 140, 150]):
        part = columns.admit(batch[low:high], batch.schema, True)
        model.take(part)
        found.append(model.vote(take(neighbours, slice(low, high)), Cells.all(part), sharpness))
        again = LabelWindow(20)
        again.set_state(model.get_state())
        model = again
    assert (np.concatenate(found) == votes).all()
    for name, array in whole.get_state().items():
        assert (array == model.get_state()[name]).all(), name


def test_labels_of_events_held_can_be_read():
    batch, _ = labelled(13)
    columns, window, told = Columns(), LabelWindow(20), []
    for low in range(0, 150, 30):
        events = columns.admit(batch[low : low + 30], batch.schema, True)
        window.take(events)
        told += of_taught(events)
        for number in range(max(0, len(told) - 20), len(told)):
            assert set(window.present(number).tolist()) == told[number][0]
    assert len(window.records) == 64
    assert len(window.labels) <= 256


def test_nobody_knows_without_neighbours():
    _, events = labelled(14, n=10)
    cells, window = Cells.all(events), LabelWindow(5)
    window.take(events)
    nobody = Neighbours(np.full((10, 3), -1), np.zeros((10, 3), np.float32))
    assert (window.vote(nobody, cells, 16.0) == 0).all()


def test_votes_find_labels_that_depend_on_inputs():
    rng = np.random.default_rng(15)
    x = rng.normal(size=(600, 5))
    batch = Batch.from_arrays(x, x[:, :3] > 0.5)
    events = Columns().admit(batch, batch.schema, True)
    neighbours, _ = run_events(batch, size=400, k=10)
    window = LabelWindow(400)
    window.take(events)
    cells = Cells.all(events)
    votes = window.vote(neighbours, cells, 16.0)
    late = np.repeat(np.arange(600), np.diff(cells.start)) >= 200
    right = (votes > 0.5) == (cells.target == 1)
    assert right[late].mean() > 0.85, "the most frequent answer is right 70 % of the time"
