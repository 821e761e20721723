"""iHOMER: shared experts, label columns owned by clusters of an online hierarchy, and one decision a label set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer.cluster_learners import REPLACEMENTS, ClusterLearners
from ihomer.decision import Decision, objective_of
from ihomer.detectors import AnyDetector
from ihomer.events import Cells, Columns, Events
from ihomer.experts import EXPERTS, USUAL, Experts, by_part, no_probabilities, run_learner
from ihomer.explanation import Explanation, LabelExplanation, Neighbour
from ihomer.hierarchy import LabelHierarchy
from ihomer.joint import LabelSetJoint, Likely
from ihomer.loss_watch import LossWatch
from ihomer.one_event import OneIHOMEREvent, parts_of
from ihomer.stack import FEATURES, Evidence, Stack
from learners.base import Learner, State
from learners.one_event import OneEvent, is_plain
from streams.batch import Batch, Name, Prediction, Rows

CHUNK = 64
"""Events handled at a time. What is decided for all labels at once is decided after every so many events."""

WARY = 16
"""Events handled at a time while the detector warns: what there is to be done after an alarm is done the sooner."""

_LOOK = 1024
"""Events after which bytes are counted where there is a budget; before so many are learned, they are at every chunk."""

_AIM = 7 / 8
"""Share of the budget that is left in use, since the model grows until bytes are counted again."""

_TABLE, _SMALLEST_TABLE = 1 / 4, 8192
"""Share of the budget that the table of label pairs has, and the bytes that it has at least."""


class IHOMERClassifier(Learner):
    """Multi-label classifier over an online hierarchy of labels.

    Parameters
    ----------
    local
        A further expert: any learner of the contract with probabilities, of which a fresh copy is taken. None: there is
        none. In paper mode copies of it answer alone, one a cluster; None is `learners.linear.LinearClassifier` there.
        An `ihomer.cluster_learners.ClusterLearners` is taken as it is, with its own parameters, in either mode.
    optimise
        What answers are chosen for: ``"balanced"``, ``"f1"``, ``"subset"``, ``"hamming"``, or five weights, of subset
        accuracy, micro-F1, macro-F1, Hamming loss and example-F1.
    mode
        ``"default"``, or ``"paper"``: the published hierarchy, and the answers of a local learner for each cluster.
    replacement
        How labels come to the new learner of a cluster that has changed: ``"warm"``, once it is not worse, or
        ``"immediate"``, as published; see `ihomer.cluster_learners.ClusterLearners`.
    local_per_cluster
        Default mode: whether there is a copy of ``local`` for each cluster (None: of a linear model) rather than one
        for all labels. Labels in the cold bucket stay where they are.
    n_min, delta, half_life, support, min_size, max_size
        Of the `LabelHierarchy`, in labels and events.
    experts
        Which of ``"ridge"``, ``"logistic"``, ``"neighbours"``, ``"score-neighbours"`` and ``"trees"`` take part. The
        last one, twenty random trees over a window, costs half as much again and has to be asked for.
    joint
        Whether answers are told which label sets occur; else labels count as independent.
    temporal
        Whether the labels' own past takes part. It helps where events are grouped in time and labels come at once.
    window
        Events among which neighbours are sought.
    shortlist
        With more labels than this, an event is asked about a shortlist of them only; see `ihomer.shortlist.Shortlist`.
    detector
        What watches the answers (see `ihomer.loss_watch.LossWatch`): a detector of change in a number, its name or one
        to start from; None: nothing does.
    memory_budget
        Bytes of the model, ``nbytes``, at least 8,192; None: unbounded. A quarter is the hierarchy's table of label
        pairs (see `LabelHierarchy`); where all is too much, neighbours are sought among fewer events, at least 64. What
        is left grows with inputs and labels alone (see Notes) and is never given up, nor do trees and ``local`` shrink.
    seed
        Of the trees, which alone are random; a local learner keeps the seed that it has.

    Attributes
    ----------
    events_
        Structural events of the hierarchy (see there), with names in place of numbers, alarms of the detector (``kind``
        is ``"loss"``), and labels that have changed learners (``"hand-over"``).

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    Everything that concerns an event is computed once and shared by all labels; everything that concerns a label is a
    column, and clusters own columns. So a label that changes clusters takes along all that was learned about it, and
    nothing starts anew at a restructuring, but for learners of single clusters, where there are any. An event passes
    the parts in this order, each answering before it learns:

    1. `SharedRows`: inputs on a common scale;
    2. `NearestEvents` finds similar events in the window, and `Shortlist` says which labels are looked at;
    3. `RidgeExpert`, a logistic expert, the votes of neighbours by inputs and by ridge scores, the trees, the local
       learner, and `LabelPast` look at these labels;
    4. `Stack` makes one calibrated probability out of what they say;
    5. `LabelSetJoint` knows which label sets occur, and `Decision` picks the set with the best expected utility;
    6. `LabelHierarchy` takes in the label set.

    The hierarchy tells which labels belong together, and when that changes. It does not steer the answers: one joint of
    all labels is at least as good as one a cluster wherever label sets repeat, and the experts' columns are
    independent.

    When the detector finds that answers have become worse, fresh copies of the ridge and the logistic expert start to
    learn beside the old ones, the stack may change its mind as quickly as at its start, and the label sets seen are
    forgotten, as are how often labels occurred and what past ridge scores spoke for. This happens after every ``CHUNK``
    events, or every ``WARY`` while the detector warns, whatever batches come.

    In paper mode the answer is the union of what the learners of all clusters say, and nothing else takes part in it.

    The order of the labels in a schema, and whether they are declared in it or found on the way, changes nothing. In
    partly labelled events only known cells teach; the joint learns from complete events alone, and the hierarchy takes
    unknown labels for absent. The weight of an event counts in the ridge, the logistic expert, the votes, the trees,
    the stack and the joint.

    An event costs O(D^2) for D inputs (at most 1,025), a comparison with every row in the window, and time proportional
    to the labels looked at. ``nbytes`` tells the memory.

    Examples
    --------
    >>> from ihomer.classifier import IHOMERClassifier
    >>> model = IHOMERClassifier()
    >>> for i in range(200):
    ...     model.learn_one({"heat": i % 10}, {"ice": i % 10 < 3, "snow": i % 10 < 3, "sun": i % 10 > 6})
    >>> model.predict_one({"heat": 1})
    {'ice': True, 'snow': True, 'sun': False}
    """

    def __init__(
        self,
        local: Learner | None = None,
        optimise: str | Sequence[float] = "balanced",
        *,
        mode: str = "default",
        replacement: str = "warm",
        local_per_cluster: bool = False,
        n_min: int = 100,
        delta: float = 0.05,
        half_life: float | None = 1000.0,
        support: float = 5.0,
        min_size: int = 2,
        max_size: int = 8,
        experts: Sequence[str] = USUAL,
        joint: bool = True,
        temporal: bool = True,
        window: int = 4000,
        shortlist: int = 512,
        detector: str | AnyDetector | None = "stepd:threshold=4",
        memory_budget: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        unknown = set(experts) - set(EXPERTS)
        if unknown:
            raise ValueError(f"experts must be among {', '.join(EXPERTS)}, got {', '.join(sorted(unknown))}")
        if replacement not in REPLACEMENTS:
            raise ValueError(f"replacement must be one of {', '.join(REPLACEMENTS)}, got {replacement!r}")
        self.local, self.optimise, self.mode, self.n_min, self.delta = local, optimise, mode, n_min, delta
        self.replacement, self.local_per_cluster = replacement, local_per_cluster
        self.half_life, self.support, self.min_size, self.max_size = half_life, support, min_size, max_size
        self.experts, self.joint, self.temporal, self.window = experts, joint, temporal, window
        self.shortlist, self.detector, self.memory_budget, self.seed = shortlist, detector, memory_budget, seed
        self._hierarchy = LabelHierarchy(
            mode, n_min, delta=delta, half_life=half_life, support=support,
            min_size=min_size, max_size=max_size, memory_budget=_of_table(memory_budget),
        )  # fmt: skip
        one = None if local is None else local.clone()
        if (mode == "paper" or local_per_cluster) and not isinstance(one, ClusterLearners):
            one = ClusterLearners(one, replacement)
        self._experts = Experts(experts, one, window, shortlist, seed)
        self._columns = Columns()
        self._stack, self._joint = Stack(temporal), LabelSetJoint()
        self._decision = Decision(objective_of(optimise))
        self._watch = LossWatch(detector)
        self._n_taught, self._alarmed, self._every = 0, False, CHUNK

    @property
    def clusters_(self) -> list[list[Name]]:
        """Label names of every cluster; together they are all labels that have been present so far."""
        names = self._names()
        return [[names[column] for column in cluster] for cluster in self._hierarchy.clusters]

    @property
    def hierarchy_(self) -> LabelHierarchy:
        """The label hierarchy as it is now, a copy, with labels numbered as in ``schema_``."""
        return self._hierarchy.renumbered(self._columns.labels)

    def explain_one(self, x: Mapping[Any, Any]) -> Explanation:
        """What decides the answer to the event ``x`` (feature to value): experts, neighbours and likely label sets.

        Changes nothing. Not in paper mode, in which the local learners answer.

        Raises
        ------
        ValueError
            The mode is ``"paper"``.
        """
        if self.mode == "paper":
            raise ValueError("mode must be 'default' for an explanation, got 'paper'")
        self._one = None  # parts may make room
        batch = Batch.from_dicts([x], schema=self.schema_, grow=False)
        events = self._columns.admit(batch, self.schema_, False)
        cells, evidence = self._experts.look(batch, self.schema_, self._columns, events)
        proba = self._stack.run(evidence, events, cells)
        likely = self._likely(proba, evidence, events, cells)
        chosen = set(self._decision.run(proba, likely, events, cells).row(0).tolist())
        added = self._stack.contributions(evidence, cells)
        voters = self._experts.voters(batch, self.schema_, events)
        names = self._names()
        cluster_of = {label: cluster for cluster in self.clusters_ for label in cluster}
        labels = [
            LabelExplanation(
                label=names[column],
                proba=float(p),
                answered=column in chosen,
                cluster=cluster_of.get(names[column], []),
                contributions={
                    name: float(value) for name, value in zip(FEATURES, row, strict=True) if name in self._stack.weights
                },
                neighbours=[Neighbour(*vote) for vote, present in voters if column in present],
            )
            for column, p, row in zip(cells.label.tolist(), proba, added, strict=True)
        ]
        sets = [
            ([names[column] for column in likely.members[0, place, : likely.size[0, place]]], float(mass))
            for place, mass in enumerate(likely.mass[0])
            if mass > 0
        ]
        return Explanation(sorted(labels, key=lambda told: -told.proba), sets)

    def _names(self) -> list[Name]:
        """Names of the labels in the order of their birth."""
        return [self.schema_.label_names[label] for label in self._columns.labels]

    def _run(self, batch: Batch, learn: bool) -> Prediction:
        parts: list[Prediction] = []
        start = 0
        while start < len(batch) or not parts:
            room = self._every - self._n_taught % self._every if learn else CHUNK
            if self.mode == "paper":
                room = self._hierarchy.until_test if learn else max(len(batch), 1)
            elif learn and isinstance(self._experts.local, ClusterLearners):
                room = min(room, self._hierarchy.until_test)
            parts.append(self._answer(batch[start : start + room], learn))
            start += room
        answer = Prediction.concat(parts)
        if isinstance(answer.proba, Rows) and self.schema_.n_labels <= self.shortlist:
            answer.proba = answer.proba.to_dense(self.schema_.n_labels)
        return answer

    def _one_event(self) -> OneEvent | None:
        schema = self.schema_
        if self.mode == "paper" or not len(self._columns) or not is_plain(schema) or not self._experts.is_ready(schema):
            return None
        joint = self._joint if self.joint else None
        parts = parts_of(
            schema, self._columns, self._experts, self._stack, joint, self._decision, self._hierarchy,
            self._watch,
        )  # fmt: skip
        return OneIHOMEREvent(schema, parts, self._learned)

    def _learned(self, relative: float, risen: float, labels: Rows | None, is_full: bool) -> None:
        """What follows from a single event that the parts have learned: what `LossWatch` is told, its labels, as
        columns, where the hierarchy has yet to be told of them, and whether there must be more room for the next one.
        """
        if is_full:
            self._one = None
        told = len(self.events_)
        self._experts.grow_older(1)
        if self._watch.update(relative, risen):
            self._note_alarm(0)
        self._n_taught += 1
        self._take_stock()
        if labels is not None:
            table = self._hierarchy.table
            self._restructure(labels)
            self._put_in_order(told)
            if self._hierarchy.table is not table:
                self._one = None

    def _answer(self, batch: Batch, learn: bool) -> Prediction:
        """The answers to the events of a chunk."""
        events = self._columns.admit(batch, self.schema_, learn)
        told = len(self.events_)
        if self.mode == "paper":
            assert self._experts.local is not None
            answer = run_learner(self._experts.local, batch, learn)
            if answer.proba is None:
                raise no_probabilities(self._experts.local)
        else:
            answer = self._combine(batch, events)
        if learn:
            taught = np.flatnonzero(events.taught)
            self._n_taught += len(taught)
            if len(taught) and self.mode != "paper":
                self._take_stock()
            self._restructure(Rows(events.present_start, events.present).take(taught))
            self._put_in_order(told)
        return answer

    def _put_in_order(self, told: int) -> None:
        """Put what parts have told one after another since then in the order of the stream."""
        if len(self.events_) > told + 1:
            self.events_[told:] = sorted(self.events_[told:], key=lambda happened: int(happened["event"]))

    def _combine(self, batch: Batch, events: Events) -> Prediction:
        cells, evidence = self._experts.look(batch, self.schema_, self._columns, events)
        proba = self._stack.run(evidence, events, cells)
        likely = self._likely(proba, evidence, events, cells)
        chosen = self._decision.run(proba, likely, events, cells)
        for alarm in self._watch.run(proba, evidence.past, events, cells):
            self._note_alarm(alarm)
        asked = Rows(*_cells_asked(cells, proba, self._columns.labels))
        return Prediction(chosen.renumbered(self._columns.labels), asked)

    def _likely(self, proba: NDArray[np.float64], evidence: Evidence, events: Events, cells: Cells) -> Likely:
        if not self.joint:
            return Likely.none(len(events.taught))
        return self._joint.run(proba, np.ascontiguousarray(evidence.past[:, 0]), events, cells)

    def _note_alarm(self, place: int) -> None:
        """Note an alarm of the detector at the event of that place among those being learned."""
        # Drifts are numbered as structural events are: by labelled events learned.
        event = self._n_taught + place + 1
        self.events_.append({"event": event, "kind": "loss", "labels": [], **self._watch.evidence})
        self._alarmed = True

    def _take_stock(self) -> None:
        """Act on alarms and let shadows take over, where it is time for that."""
        if self._n_taught % self._every:
            return
        self._every = WARY if self._watch.warns else CHUNK
        if self._experts.count(len(self._columns)) or self._alarmed or self._experts.is_due:
            self._one = None
        if self._experts.is_due or (self._alarmed and self._experts.has_shadow):
            self._experts.promote()
            self._stack.promote_shadow()
        if self._alarmed:
            self._experts.begin_shadow()
            self._stack.loosen()
            self._joint.forget(1.0)
            self._watch.begin_anew()
            self._alarmed = False
        if self.memory_budget is not None and (self._n_taught < _LOOK or self._n_taught % _LOOK == 0):
            self._make_do(self.memory_budget)

    def _make_do(self, budget: int) -> None:
        """Shorten the windows of neighbours until the model is well within the budget."""
        window = min(self._experts.labels.size, self._n_taught)
        while window > CHUNK and self.nbytes > _AIM * budget:
            window = max(CHUNK, window * 7 // 8)
            self._experts.shorten(window, self.schema_)
            self._one = None

    def _restructure(self, sets: Rows) -> None:
        """Tell the hierarchy the label sets, and note what it made of them."""
        told = len(self._hierarchy.events)
        was_tested = len(sets) == self._hierarchy.until_test
        self._hierarchy.update_many(sets)
        if len(self._hierarchy.events) > told:
            self.events_ += self._hierarchy.named_events(self._names(), told)
        local = self._experts.local
        if isinstance(local, ClusterLearners):
            if was_tested:
                local.restructure(self._partition())
            self.events_ += local.events_
            local.events_ = []

    def _partition(self) -> list[list[Name]]:
        """Label names of the clusters that have a learner each: all but the cold bucket."""
        clusters = self.clusters_
        return clusters[:-1] if self._hierarchy.cold else clusters

    def _get_state(self) -> State:
        parts = {"experts": self._experts.get_state(self.schema_)}
        parts |= {name: part.get_state() for name, part in self._parts().items()}
        flat = {f"{part}/{name}": array for part, state in parts.items() for name, array in state.items()}
        return {**flat, "progress": np.array([self._n_taught, self._alarmed, self._every])}

    def _set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        self._n_taught, alarmed, self._every = state["progress"].tolist()
        self._alarmed = bool(alarmed)
        parts = by_part(state)
        self._experts.set_state(parts["experts"], self.schema_)
        for name, part in self._parts().items():
            part.set_state(parts.get(name, {}))

    def _parts(self) -> dict[str, Any]:
        return {
            "hierarchy": self._hierarchy,
            "columns": self._columns,
            "stack": self._stack,
            "joint": self._joint,
            "decision": self._decision,
            "watch": self._watch,
        }


def _of_table(memory_budget: int | None) -> int | None:
    """What the table of label pairs may have; of too small a budget all, so that it is refused."""
    if memory_budget is None or memory_budget < _SMALLEST_TABLE:
        return memory_budget
    return max(_SMALLEST_TABLE, int(_TABLE * memory_budget))


@njit(cache=True, nogil=True)
def _cells_asked(cells, proba, labels):
    """Start, label and probability of the cells that are asked, as the arrays of `Rows`; labels of a row ascend."""
    start = np.zeros(len(cells.start), np.int64)
    label, value, n = np.empty(len(proba), np.int32), np.empty(len(proba), np.float32), 0
    order = np.empty(len(proba), np.int64)
    for i in range(len(cells.start) - 1):
        low = n
        for cell in range(cells.start[i], cells.start[i + 1]):
            if cells.asked[cell]:
                # Sorted as one number: by the label, which is below 2^31, the cell coming along.
                order[n] = np.int64(labels[cells.label[cell]]) << 32 | cell
                n += 1
        order[low:n].sort()
        start[i + 1] = n
    for place in range(n):
        label[place], value[place] = order[place] >> 32, proba[order[place] & 0xFFFFFFFF]
    return start, label[:n], value[:n]
