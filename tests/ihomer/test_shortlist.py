"""Lists of likely labels against their twin, in any cut, saved and loaded."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from ihomer import shortlist as module
from ihomer.events import Cells, Columns
from ihomer.label_window import LabelWindow
from ihomer.neighbours import Neighbours
from ihomer.shortlist import Shortlist
from streams.batch import PARTIAL, UNLABELLED, Batch, Rows, Schema
from tests.naive import ihomer_neighbours as naive

N_LABELS = 300


def stream(seed, n=240):
    """Events with few of many labels, some partly labelled and some not at all; frequent labels change half-way."""
    rng = np.random.default_rng(seed)
    sets, known = [], []
    for i in range(n):
        some = (rng.zipf(1.5, rng.integers(0, 7)) % N_LABELS * 7 + (i > n // 2) * 31) % N_LABELS
        sets.append(some.tolist())
        known.append([*some.tolist(), *rng.integers(0, N_LABELS, 40).tolist()])
    kind = rng.random(n)
    state = np.where(kind < 0.1, UNLABELLED, np.where(kind < 0.3, PARTIAL, 2)).astype(np.uint8)
    schema = Schema(["x"], [f"y{label}" for label in range(N_LABELS)])
    batch = Batch.from_arrays(np.zeros((n, 1)), Rows.from_lists(sets), schema=schema)
    batch.y = Rows.from_lists([[] if state[i] == UNLABELLED else sets[i] for i in range(n)])
    batch.known = Rows.from_lists([known[i] if state[i] == PARTIAL else [] for i in range(n)])
    batch.label_state[:] = state
    return batch


def some_neighbours(seed, taught, size=50, k=4):
    rng = np.random.default_rng(seed)
    event = np.full((len(taught), k), -1)
    for i, stored in enumerate(np.cumsum(taught) - taught):
        picked = rng.permutation(np.arange(max(0, stored - size), stored))[:k]
        event[i, : len(picked)] = picked
    return Neighbours(event, np.zeros((len(taught), k), np.float32))


def run(batch, cuts, neighbours, save=False, learn=True, **settings):
    """The cells of every event, and the list and the events as they are afterwards."""
    columns, window, model = Columns(), LabelWindow(50), Shortlist(**settings)
    listed = []
    for low, high in itertools.pairwise([0, *cuts, len(batch)]):
        events = columns.admit(batch[low:high], batch.schema, learn)
        window.take(events)
        cells = model.run(events, Neighbours(*(array[low:high] for array in neighbours)), window)
        assert isinstance(cells, Cells)
        for i in range(high - low):
            own = slice(cells.start[i], cells.start[i + 1])
            listed.append(
                [
                    (label, None if np.isnan(target) else target, asked)
                    for label, target, asked in zip(
                        cells.label[own].tolist(), cells.target[own].tolist(), cells.asked[own].tolist(), strict=True
                    )
                ]
            )
        if save:
            state = model.get_state()
            model = Shortlist(**settings)
            model.set_state(state)
    return listed, model


@pytest.mark.parametrize("limit", [0, 20, 40, 512])
@pytest.mark.parametrize("n_frequent", [1, 5])
def test_lists_equal_twin(limit, n_frequent):
    batch = stream(1)
    events = Columns().admit(batch, batch.schema, True)
    neighbours = some_neighbours(2, events.taught)
    told = []
    for i in range(len(batch)):
        present = events.present[events.present_start[i] : events.present_start[i + 1]].tolist()
        known = set(events.known[events.known_start[i] : events.known_start[i + 1]].tolist())
        known = known if events.state[i] == PARTIAL else None
        told.append((present, known, events.taught[i], *events.born[i : i + 2].tolist()))
    near = [[(number, 0.0) for number in row if number >= 0] for row in neighbours.event.tolist()]
    expected = naive.cells(told, near, limit, n_frequent, 3, module.HALF_LIFE)
    found, _ = run(batch, (), neighbours, limit=limit, n_frequent=n_frequent, n_negatives=3)
    assert found == expected
    n_asked = sum(asked for row in found for _, _, asked in row)
    assert n_asked > 1000
    if limit < 512:
        assert n_asked < 0.5 * events.born[:-1].sum()


@pytest.mark.parametrize("limit", [0, 40, 512])
def test_lists_are_the_same_in_any_cut(limit):
    batch = stream(3)
    taught = Columns().admit(batch, batch.schema, True).taught
    neighbours = some_neighbours(4, taught)
    expected, straight = run(batch, (), neighbours, limit=limit)
    for save in (False, True):
        found, model = run(batch, (1, 2, 3, 30, 100, 101, 239), neighbours, save, limit=limit)
        assert found == expected
        for name, array in straight.get_state().items():
            assert (array == model.get_state()[name]).all(), name


def test_the_most_frequent_are_known_without_counting_again(monkeypatch):
    """Half of an occurrence is forgotten after 10 events here, so that ranks change and counts are divided."""
    batch = stream(5, 900)
    monkeypatch.setattr(module, "HALF_LIFE", 10)
    monkeypatch.setattr(module, "_PERIOD", 640)
    events = Columns().admit(batch, batch.schema, True)
    count = getattr(module._count, "py_func", module._count)  # compiled code has the constants built in
    counts, frequent = np.zeros(N_LABELS), np.full(7, -1, np.int32)
    history = []
    for number, i in enumerate(np.flatnonzero(events.taught)):
        own = events.present[events.present_start[i] : events.present_start[i + 1]]
        count(own, number, counts, frequent)
        history.append(own.tolist())
        if number % 50 == 49:
            expected = naive.most_frequent(history, 7, 10)
            assert frequent.tolist()[: len(expected)] == expected
    assert len(history) > 700
    assert counts.max() < 2.0**66


@pytest.mark.parametrize("n_labels", [1, 2, 511, 512, 513, 1_000_000])
def test_lists_are_sorted(n_labels):
    rng = np.random.default_rng(8)
    for n in (0, 1, 2, 300):
        label = rng.permutation(n_labels)[:n].astype(np.int32)
        expected = np.sort(label)
        module._sort(label, np.empty(n, np.int32))
        assert (label == expected).all()


def test_looking_up_teaches_nothing():
    batch = stream(6, 60)
    events = Columns().admit(batch, batch.schema, True)
    neighbours = some_neighbours(7, events.taught)
    window, model = LabelWindow(50), Shortlist(5)
    window.take(events)
    model.run(events, neighbours, window)
    before = model.get_state()
    for born in (3, 30):
        blank = events._replace(taught=np.zeros(60, bool), born=np.full(61, born))
        cells = model.run(blank, neighbours, window)
        assert np.isnan(cells.target).all()
        assert cells.asked.all()
        assert cells.label.max() < born
    assert all((array == before[name]).all() for name, array in model.get_state().items())


def test_a_list_is_as_long_as_its_labels_however_many_are_born():
    """Every label is born with an event of its own; lists stay short, and nothing is left behind in the notes."""
    n = 3000
    batch = Batch.from_arrays(np.zeros((n, 1)), Rows.from_lists([[i, 0] for i in range(n)]))
    nobody = Neighbours(np.full((n, 2), -1), np.zeros((n, 2), np.float32))
    listed, model = run(batch, (), nobody, limit=100, n_frequent=3, n_negatives=2)
    assert [len(row) for row in listed[:101]] == [*range(1, 101), 101]
    assert max(len(row) for row in listed[102:]) <= 3 + 2 + 2 + 2
    assert not model._notes.any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"limit": -1}, "limit must be at least 0, got -1"),
        ({"n_frequent": 0}, "n_frequent must be at least 1, got 0"),
        ({"n_negatives": -2}, "n_negatives must be at least 0, got -2"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Shortlist(**settings)
