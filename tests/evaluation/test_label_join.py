"""The join of events and late labels: what becomes of each, in any cut, and after going on from its state."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from ihomer.evaluation.joining import LabelJoin
from streams.batch import COMPLETE, PARTIAL, UNLABELLED, Batch, Prediction, Rows, Schema
from streams.topics.joining import Label

SCHEMA = Schema(["a"], ["l0", "l1", "l2"])


def batch_of(items: list[tuple[str | None, int]]) -> Batch:
    """Unlabelled events of these keys and times; the feature is the time."""
    times = np.array([time for _, time in items], np.int64)
    batch = Batch.from_arrays(times.astype(np.float32)[:, None], schema=SCHEMA)
    batch.time, batch.key = times, [key for key, _ in items]
    return batch


def answers_to(batch: Batch) -> list[Prediction]:
    """Two learners' answers, by which an event can be told."""
    sets = [[int(time) % 3] for time in batch.time if batch.time is not None]
    return [Prediction(Rows.from_lists(sets)), Prediction(Rows.from_lists([[] for _ in sets]), np.ones((len(sets), 3)))]


def joined(join: LabelJoin, messages: list[Any], sizes: list[int]) -> list[Any]:
    """Drive a join with ``("event", key, time)`` and ``("label", key, time, present)``, messages of a kind together up
    to the next size; what was joined: key, labels, state, known labels, first learner's answer."""
    found: list[Any] = []

    def take(pair: tuple[Batch, list[Prediction]] | None) -> None:
        if pair is None:
            return
        events, predictions = pair
        for i, key in enumerate(events.key or []):
            known = None if events.known is None else events.known.row(i).tolist()
            found.append(
                (
                    key,
                    events.y.row(i).tolist(),
                    int(events.label_state[i]),
                    known,
                    predictions[0].labels.row(i).tolist(),
                )
            )

    start, turn = 0, 0
    while start < len(messages):
        kind, stop = messages[start][0], start + 1
        while stop < len(messages) and messages[stop][0] == kind and stop - start < sizes[turn % len(sizes)]:
            stop += 1
        part = messages[start:stop]
        if kind == "event":
            batch = join.admit(batch_of([(key, time) for _, key, time in part]))
            join.answered(answers_to(batch))
            for i in np.flatnonzero(batch.label_state != UNLABELLED).tolist():
                known = None if batch.known is None else batch.known.row(i).tolist()
                answer = answers_to(batch)[0].labels.row(i).tolist()
                found.append(((batch.key or [])[i], batch.y.row(i).tolist(), int(batch.label_state[i]), known, answer))
        else:
            take(join.labels([Label(key, time, *rest) for _, key, time, *rest in part]))
        start, turn = stop, turn + 1
    return found


def test_every_fate_of_a_label_is_counted() -> None:
    join = LabelJoin(100, 1000, 2)
    found = joined(
        join,
        [
            ("event", "a", 0),
            ("label", "early", 1, [2]),
            ("event", "b", 2),
            ("event", None, 3),
            ("event", "early", 4),
            ("label", "a", 10, [0, 1]),
            ("label", "a", 11, [1, 0]),
            ("label", "a", 12, [1]),
            ("event", "gone", 13),
            ("label", "gone", 14, None),
            ("label", "nobody", 15, [0]),
            ("event", "partly", 90),
            ("label", "partly", 91, [1], [1, 2]),
            ("event", "later", 200),
            ("label", "b", 201, [0]),
        ],
        [1],
    )
    assert found == [
        ("early", [2], COMPLETE, None, [1]),
        ("a", [0, 1], COMPLETE, None, [0]),
        ("partly", [1], PARTIAL, [1, 2], [0]),
    ]
    counts = {name: count for name, count in vars(join.counts).items() if count}
    assert counts == {
        "joined": 3,
        "early": 1,
        "duplicate": 1,
        "corrected": 1,
        "late": 1,
        "orphan": 1,
        "expired": 1,
        "dropped": 1,
        "keyless": 1,
    }
    assert join.n_waiting == 1


def random_messages(n: int) -> list[Any]:
    rng = np.random.default_rng(8)
    messages: list[Any] = []
    for time in range(n):
        key = f"k{rng.integers(40)}" if rng.random() < 0.95 else None
        if rng.random() < 0.5:
            messages.append(("event", key, time))
        elif key is not None:
            present = rng.choice(3, rng.integers(4), replace=False).tolist() if rng.random() < 0.95 else None
            messages.append(("label", key, time, present))
    return messages


@pytest.mark.parametrize("size", [5, 1000])
@pytest.mark.parametrize("cut", [[1000], [1], [3, 1, 7]])
def test_cuts_change_nothing(size: int, cut: list[int]) -> None:
    messages = random_messages(800)
    reference, join = LabelJoin(60, size, 2), LabelJoin(60, size, 2)
    assert joined(join, messages, cut) == joined(reference, messages, [2])
    assert join.counts == reference.counts
    assert join.n_waiting == reference.n_waiting
    assert json.loads(join.get_state()["table"].tobytes()) == json.loads(reference.get_state()["table"].tobytes())
    n_events = sum(kind == "event" for kind, *_ in messages)
    assert join.counts.joined + join.counts.unlabelled + join.n_waiting == n_events
    counts = join.counts
    n_labels = sum(kind == "label" and rest[2] is not None for kind, *rest in messages)
    met = counts.joined + counts.duplicate + counts.corrected + counts.late + counts.orphan
    assert met + join.n_early == n_labels


def test_goes_on_from_its_state_as_if_it_had_not_stopped() -> None:
    messages = random_messages(400)
    reference = LabelJoin(60, 30, 2)
    whole = joined(reference, messages, [1])
    for stop in range(0, 400, 37):
        first = LabelJoin(60, 30, 2)
        head = joined(first, messages[:stop], [4])
        again = LabelJoin(60, 30, 2)
        again.set_state(first.get_state(), SCHEMA)
        assert head + joined(again, messages[stop:], [4]) == whole
        assert again.counts == reference.counts


@pytest.mark.parametrize("settings", [(0, 10), (10, 0)])
def test_refuses_bounds_that_hold_nothing(settings: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="a join must have at least 1 ms and 1 entry"):
        LabelJoin(*settings, 1)


def test_keys_that_are_done_with_push_nobody_out() -> None:
    join = LabelJoin(1000, 2, 2)
    messages: list[Any] = [("event", "waits", 0)]
    for i in range(1, 50):
        messages += [("event", f"k{i}", i), ("label", f"k{i}", i, [1])]
    assert len(joined(join, [*messages, ("label", "waits", 60, [2])], [1])) == 50
    assert join.counts.expired == 0


def test_a_label_of_an_event_that_was_pushed_out_is_late() -> None:
    join = LabelJoin(1000, 3, 2)
    events = [("event", key, 0) for key in "abcd"]
    assert joined(join, [*events, *(("label", key, 1, [0]) for key in "dca")], [4])
    assert (join.counts.joined, join.counts.expired, join.counts.late) == (2, 1, 1)
    assert (join.n_waiting, join.n_early) == (1, 0)


@pytest.mark.parametrize("ahead", [10**6, 1 << 62])
def test_a_label_dated_far_ahead_harms_only_its_own_event(ahead: int) -> None:
    join = LabelJoin(100, 1000, 2)
    messages: list[Any] = [("event", "a", 0), ("event", "b", 0), ("label", "a", ahead, [1]), ("label", "c", ahead, [1])]
    messages += [("label", "b", 50, [1]), ("event", "old", 60), ("event", "d", 200), ("event", "c", 201)]
    assert [key for key, *_ in joined(join, messages, [1])] == ["b"]
    counts = join.counts
    assert (counts.late, counts.orphan, counts.expired, join.n_waiting) == (1, 1, 2, 2)


def test_what_comes_behind_the_other_topic_is_counted() -> None:
    join = LabelJoin(100, 1000, 2)
    ordered: list[Any] = [("event", "a", 5), ("label", "a", 5, [1]), ("event", "b", 6), ("label", "b", 9, [1])]
    joined(join, ordered, [1])
    assert join.counts.behind == 0
    joined(join, [("event", "c", 9), ("event", "d", 30), ("label", "c", 29, [1]), ("label", "d", 30, [1])], [1])
    assert join.counts.behind == 2


def test_labels_before_any_event_wait_from_the_first_one_on() -> None:
    join = LabelJoin(100, 1000, 2)
    messages: list[Any] = [("label", "a", 0, [1]), ("event", "x", 10**12), ("event", "a", 10**12 + 100)]
    assert [key for key, *_ in joined(join, messages, [1])] == ["a"]
