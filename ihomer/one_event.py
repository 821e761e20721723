"""A single event in one call into compiled code: every part of the classifier in turn, on its own arrays."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numba import config, njit, types
from numba.experimental import structref
from numpy.typing import NDArray

from ihomer.decision import MOST, Decision, decide, learn_answer
from ihomer.events import Cells, Columns, Events, shared_rows
from ihomer.experts import SCORE_SHARPNESS, SHARPNESS, USUAL, Experts, write_logits
from ihomer.hierarchy import LabelHierarchy, count_labels
from ihomer.joint import LONGEST, N_PASSED, LabelSetJoint, likely_sets
from ihomer.label_window import count_votes, has_room, take_labels
from ihomer.loss_watch import LossWatch, answer_losses
from ihomer.neighbours import Neighbours, has_room_for_one, look_up
from ihomer.ridge import ridge_scores
from ihomer.shortlist import list_cells
from ihomer.stack import Evidence, Room, Stack, answer_event, learn_event, room_for
from ihomer.temporal import N_FEATURES, past_features
from learners.linear import LinearParts, run_event
from learners.one_event import REFUSED, Event, OneEvent, read_labels, read_values
from streams.batch import Rows, Schema

ANSWERED, CHOSEN, COUNTED, FULL, LOSSES = 0, 1, 2, 3, 4
"""Places in ``Parts.notes``: whether the event in ``Parts.event`` was answered and nothing was learned since, so that
its neighbours and its answer are known, and of how many labels that is; of the last event learned, whether the
hierarchy has counted it; whether there may be no room left for the next one; and, in two places, what `answer_losses`
gave for the last event learned."""

_MANY = 256
"""Labels that there is room for in the next event, if there are so many; one that has more makes room by itself."""


class Kept(NamedTuple):
    """Of the last event answered, if nothing was learned since: the probability of each cell, what it was made of, and
    the columns of the labels predicted. The first two are kept where all labels are looked at, since to learn an event
    others may be looked at than to answer it where not all are."""

    proba: NDArray[np.float64]
    room: Room
    chosen: NDArray[np.int32]


class Parts(NamedTuple):
    """Everything that single events are answered by and learned in: for each part of the classifier what its own kernel
    takes, as its ``arrays`` gives it."""

    event: Event
    x: NDArray[np.float32]
    events: Events
    labels: NDArray[np.int32]
    column_of: NDArray[np.int32]
    notes: NDArray[np.float64]
    inputs: NDArray[np.int32]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    rows: tuple[Any, ...]
    near: Neighbours
    nearest: tuple[Any, ...]
    score_near: Neighbours
    nearest_scores: tuple[Any, ...]
    window: tuple[Any, ...]
    size: int
    shortlist: tuple[Any, ...]
    ridge: tuple[Any, ...]
    shadow_ridge: tuple[Any, ...]
    logistic: LinearParts
    shadow_logistic: LinearParts
    past: tuple[Any, ...]
    stack: tuple[Any, ...]
    kept: Kept
    joint: tuple[Any, ...]
    decision: tuple[Any, ...]
    hierarchy: tuple[Any, ...]
    watch: tuple[Any, ...]
    has_ridge: bool
    has_votes: bool
    has_score_votes: bool
    has_logistic: bool
    has_shadow: bool
    has_joint: bool


class OneIHOMEREvent(OneEvent):
    """Answers and learns single events for an `ihomer.classifier.IHOMERClassifier`.

    Parameters
    ----------
    schema, parts
        Of the classifier, from `parts_of`.
    learned
        Called after each event learned with the two numbers of `answer_losses`, its label set where the hierarchy has
        yet to be told of it, else None, and whether this must be made anew, with more room.
    """

    def __init__(
        self, schema: Schema, parts: Parts, learned: Callable[[float, float, Rows | None, bool], None]
    ) -> None:
        super().__init__(schema, _run_one, _bundle(parts), parts.event)
        self._events, self._notes, self._learned = parts.events, parts.notes, learned

    def learn(self, x: Mapping[Any, Any], y: Mapping[Any, Any], weight: float) -> bool:
        """Learn an event; False where it is refused."""
        if not super().learn(x, y, weight):
            return False
        _, _, counted, full, relative, risen = self._notes.tolist()
        self._learned(relative, risen, None if counted else self._label_set(), full > 0)
        return True

    def _label_set(self) -> Rows:
        start = self._events.present_start.copy()
        return Rows(start, self._events.present[: start[-1]].copy())


def parts_of(
    schema: Schema,
    columns: Columns,
    experts: Experts,
    stacked: Stack,
    joint: LabelSetJoint | None,
    decision: Decision,
    hierarchy: LabelHierarchy,
    watch: LossWatch,
) -> Parts:
    """What single events are learned in, with room for the next one."""
    n, d = len(columns), schema.n_features
    rows, n_places = experts.rows.arrays(schema), experts.rows.n
    has_ridge, has_logistic, has_votes, has_score_votes = (
        name in experts.names and (name != "logistic" or experts.are_few) for name in USUAL
    )
    has_shadow = experts.has_shadow
    # What is not there is left as it is, and something of the same shape stands in its place.
    shadow_ridge = experts.shadow_ridge if has_shadow else experts.ridge
    shadow_logistic = experts.shadow_logistic if has_shadow else experts.logistic
    nearest = experts.nearest.arrays(n_places)
    shadows = has_shadow and has_ridge, has_shadow and has_logistic
    given = True, has_ridge, has_logistic, has_votes, has_score_votes, False, *shadows, False
    evidence = Evidence(*(np.zeros(int(there), np.float32) for there in given))
    room = np.zeros((1, schema.n_labels), np.float32)
    stack, few = stacked.arrays(evidence, n), n if n <= experts.limit else 0
    return Parts(
        event=Event.of(schema),
        x=np.zeros((1, d), np.float32),
        events=Events.room(n),
        labels=columns.labels,
        column_of=columns.of(schema),
        notes=np.zeros(6),
        inputs=experts.rows.inputs.of_columns(),
        indices=np.zeros(d + 1, np.int32),
        values=np.zeros(d + 1, np.float32),
        rows=rows,
        near=Neighbours.none(1, experts.nearest.k),
        nearest=nearest,
        score_near=Neighbours.none(1, experts.nearest_scores.k),
        nearest_scores=experts.nearest_scores.arrays(n) if has_score_votes else nearest,
        # Rows double when they are full; with labels that do so at the same time, all this is made half as often.
        window=experts.labels.arrays(1, max(min(n, _MANY), experts.labels.n_cells), n),
        size=experts.labels.size,
        shortlist=experts.shortlist.arrays(n, n),
        ridge=experts.ridge.arrays(n_places, n),
        shadow_ridge=shadow_ridge.arrays(n_places, n),
        logistic=experts.logistic.parts(room),
        shadow_logistic=shadow_logistic.parts(room),
        past=experts.past.arrays(n),
        stack=stack,
        kept=Kept(np.zeros(few), room_for(few, stack[4].shape[1], len(stack[0])), np.zeros(min(n, MOST), np.int32)),
        joint=(joint or LabelSetJoint()).arrays(n),
        decision=decision.arrays(n),
        hierarchy=hierarchy.arrays(),
        watch=watch.arrays(),
        has_ridge=has_ridge,
        has_votes=has_votes,
        has_score_votes=has_score_votes,
        has_logistic=has_logistic,
        has_shadow=has_shadow,
        has_joint=joint is not None,
    )


if config.DISABLE_JIT:  # type: ignore[attr-defined]
    _Bundle = Parts

else:

    @structref.register
    class _BundleType(types.StructRef):
        pass

    class _Bundle(structref.StructRefProxy):  # type: ignore[no-redef]
        """`Parts` as one argument of a kernel, as `learners.one_event.Bundle` is, of which each part is read by itself:
        all arrays of what is read are counted, which takes 1 microsecond for those of all parts."""

    structref.define_proxy(_Bundle, _BundleType, list(Parts._fields))


@njit(cache=True)
def _bundle(parts):
    return _Bundle(*parts)


@njit(cache=True, nogil=True)
def _run_one(parts, values, columns, flags, labels, weight):
    event, events, notes, taught = parts.event, parts.events, parts.notes, len(flags) > 0
    if not read_values(values, columns, parts.x):
        return REFUSED
    is_known = notes[ANSWERED] > 0 and _are_same(parts.x[0], event.x[0])
    if is_known and not taught:
        return np.int64(notes[CHOSEN])
    notes[ANSWERED] = 0.0
    read_labels(flags, labels, weight, event)
    if not _read_columns(event, parts.column_of, parts.labels, taught, events):
        return REFUSED
    n_listed = events.present_start[1] + events.known_start[1]
    if taught and not _has_room(parts.nearest, parts.nearest_scores, parts.window, parts.size, n_listed):
        return REFUSED
    event.x[:] = parts.x

    start = shared_rows(
        event.x, parts.inputs, event.start, event.cells, event.data, False, events.taught, parts.rows,
        parts.indices, parts.values,
    )  # fmt: skip
    indices, row, near = parts.indices, parts.values, parts.near
    # Place 0 is the intercept.
    look_up(parts.nearest, start, indices - np.int32(1), row, events.taught, is_known, near)
    marks, records, window, tally = parts.window
    take_labels(events, marks, records, window)
    cells_start, label, target, asked = list_cells(events, near.event, records, window, parts.shortlist)
    cells = Cells(cells_start, label, target, asked)
    n, absent = len(label), np.zeros(0, np.float32)
    # Where all labels are listed, what was kept of the answer to a known event is all that need be told of them.
    kept = parts.kept
    are_all = n == len(kept.proba)
    is_told = is_known and are_all

    ridge = np.empty(n, np.float32)
    ridge_scores(parts.ridge, start, indices, row, events, cells, ridge)
    votes = score_votes = logistic = shadow_ridge = shadow_logistic = absent
    if parts.has_votes and not is_told:
        votes = np.zeros(n, np.float32)
        count_votes(near, cells, SHARPNESS, records, window, tally, votes)
    if parts.has_score_votes:
        near, scores = parts.score_near, np.where(asked, ridge, np.float32(0.0))
        look_up(parts.nearest_scores, cells_start, label, scores, events.taught, is_known, near)
        if not is_told:
            score_votes = np.zeros(n, np.float32)
            count_votes(near, cells, SCORE_SHARPNESS, records, window, tally, score_votes)
    if parts.has_logistic:
        logistic = np.empty(n, np.float32)
        run_event(event, parts.logistic, taught)
        write_logits(parts.logistic.proba, parts.labels, cells, logistic)
    if parts.has_shadow:
        shadow_ridge = np.empty(n, np.float32)
        ridge_scores(parts.shadow_ridge, start, indices, row, events, cells, shadow_ridge)
        if parts.has_logistic:
            shadow_logistic = np.empty(n, np.float32)
            run_event(event, parts.shadow_logistic, taught)
            write_logits(parts.shadow_logistic.proba, parts.labels, cells, shadow_logistic)
    past = np.empty((n, N_FEATURES), np.float32)
    past_features(parts.past, events, cells, past)
    if not parts.has_ridge:
        ridge = shadow_ridge = absent

    proba, room = kept.proba, kept.room
    if not are_all:
        proba, room = np.empty(n), room_for(n, room.z.shape[1], len(room.lower))
    if not is_told:
        evidence = Evidence(
            past, ridge, logistic, votes, score_votes, absent, shadow_ridge, shadow_logistic, absent
        )  # fmt: skip
        answer_event(parts.stack, evidence, cells, 0, room, proba)
    if taught:
        learn_event(parts.stack, events, cells, 0, room, proba)
    mass, size = np.zeros((1, N_PASSED)), np.zeros((1, N_PASSED), np.int64)
    members = np.zeros((1, N_PASSED, LONGEST), np.int32)
    if parts.has_joint:
        likely_sets(parts.joint, proba, past[:, 0].copy(), events, cells, mass, size, members)
    if is_known:
        learn_answer(parts.decision, proba, cells, kept.chosen[: np.int64(notes[CHOSEN])])
    else:
        answer_start = np.zeros(2, np.int64)
        decide(parts.decision, proba, mass, size, members, events, cells, answer_start, kept.chosen)
        notes[CHOSEN] = answer_start[1]

    if taught:
        answer_losses(parts.watch, proba, past, events, cells, notes[LOSSES:].reshape(2, 1))
        notes[COUNTED] = 1.0 if count_labels(parts.hierarchy, events.present_start, events.present) else 0.0
        most = min(len(parts.labels), _MANY)
        has_more = _has_room(parts.nearest, parts.nearest_scores, parts.window, parts.size, most)
        notes[FULL] = 0.0 if has_more else 1.0
        return 0
    event.proba[:] = 0.0
    for cell in range(n):
        if asked[cell]:
            event.proba[0, parts.labels[label[cell]]] = proba[cell]
    n_chosen = np.int64(notes[CHOSEN])
    for k in range(n_chosen):
        event.chosen[k] = parts.labels[kept.chosen[k]]
    notes[ANSWERED] = 1.0
    return n_chosen


# Inlined, since every array that is passed on is counted, which takes 12 ns.
@njit(cache=True, nogil=True, inline="always")
def _read_columns(event, column_of, labels, taught, events):
    """Write the labels of an event as columns; False where one that is present has none yet."""
    events.taught[0], events.state[0], events.weight[0] = taught, event.state[0], event.weight[0]
    events.present_start[1] = _to_columns(event.present[: event.present_start[1]], column_of, labels, events.present)
    events.known_start[1] = _to_columns(event.known[: event.known_start[1]], column_of, labels, events.known)
    return events.present_start[1] == event.present_start[1]


@njit(cache=True, nogil=True)
def _to_columns(listed, column_of, labels, columns):
    """Write the columns of labels, ascending; return how many have one."""
    n = 0
    for label in listed:
        if column_of[label] >= 0:
            columns[n] = column_of[label]
            n += 1
    columns[:n].sort()
    return n


@njit(cache=True, nogil=True, inline="always")
def _has_room(nearest, nearest_scores, window, size, n_cells):
    """Whether all windows have room for one event more, of which so many labels are listed."""
    marks, records, labels, _ = window
    return (
        has_room_for_one(nearest)
        and has_room_for_one(nearest_scores)
        and has_room(marks, records, labels, size, n_cells)
    )


@njit(cache=True, nogil=True)
def _are_same(a, b):
    for column in range(len(a)):
        if a[column] != b[column] and not (np.isnan(a[column]) and np.isnan(b[column])):
            return False
    return True
