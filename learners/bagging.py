"""Online bagging: members that learn other draws of the events over other features, weighed by how they fare."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray
from river import base

import drift
from learners import threshold as thresholding
from learners.base import Learner, State
from learners.draws import lots, named, poissons
from learners.members import Member, pack, unpack
from learners.trees.mlhat import MLHATClassifier
from streams.batch import PARTIAL, UNLABELLED, Batch, Prediction, Rows

CHUNK = 64
"""Events handled at a time. Members begin and end after every so many events taught."""

HALF_LIFE = 500.0
"""Events after which a loss counts half in the weight of a vote."""

PRIOR = 20.0
"""Events that the loss over all labels counts as in the loss of a member at a label."""

SURE_LOSS = 1e-3
"""Added to a loss before the weight of a vote is taken from it."""

GAP_HALF_LIFE = 200.0
"""Events after which a comparison of a background member with the one that it stands beside counts half."""

PATIENCE = 2 * CHUNK
"""Events after which a background member may take over."""

LIFE = 32 * CHUNK
"""Events after which a background member that has not taken over is given up."""

HIGHEST_RATE = 100.0
"""Largest mean of the Poisson draws."""

VOTER = np.dtype(
    [
        ("number", np.int64),
        ("began", np.int64),
        ("loss", np.float64),
        ("mass", np.float64),
        ("total", np.float64),
        ("n", np.int64),
        ("gap", np.float64),
    ]
)
"""A member's number; events taught before it began; decayed sum of its losses and decayed number of events; sum of its
losses and number of events; and for one in the background the decayed sum of how much its losses were above those of
the member that it stands beside."""

_LOSS_DECAY, _GAP_DECAY = 0.5 ** (1.0 / HALF_LIFE), 0.5 ** (1.0 / GAP_HALF_LIFE)


class BaggingEnsemble(Learner):
    """Online bagging of any learner, over random subspaces, with members that are replaced where the stream drifts.

    Parameters
    ----------
    prototype
        Any learner of the contract, of which every member is a fresh copy, with another seed where it has one; None:
        `learners.trees.mlhat.MLHATClassifier`.
    n_members
        Members that vote, at least 1.
    rate
        Mean of the Poisson number of times that a member learns an event, in (0, 100]: as the event's weight; where the
        number is 0 the member is not told the labels. None: each event once.
    features
        Share of the features that a member sees, in (0, 1].
    labels
        Share of the labels that a member answers for and learns, in (0, 1].
    threshold
        A label is predicted where its probability is above this, in (0, 1); or ``"f1"``: above half of the micro-F1
        reached so far.
    detector
        What watches the loss of each member: the name of a detector of change in a number (``"adwin"``, ``"cusum"``,
        ``"ddm"``, ``"ecdd"``, ``"eddm"``, ``"fhddm"``, ``"hddm-a"``, ``"hddm-w"``, ``"kswin"``, ``"page-hinkley"`` or
        ``"stepd"``) or one to start from; None: nothing does, and members stay for good.
    background
        What an alarm leads to. True: a new member starts in the background and takes over when it is better. False: of
        all members that alarmed, the worst is replaced at once by one that knows nothing.
    seed
        For the draws: features, labels and Poisson numbers.

    Attributes
    ----------
    members_
        The learners that vote, by place.
    backgrounds_
        The learners in the background, by the place of the member that they stand beside.
    events_
        Changes of members: ``kind`` is ``"background"`` (one began), ``"replacement"`` (one took over) or ``"dropped"``
        (one in the background was given up); ``member`` is the place, ``number`` the new member's.

    Raises
    ------
    ValueError
        A parameter is outside its range, or no detector has this name.
    TypeError
        ``detector`` is neither a name nor a detector.

    Notes
    -----
    The first member is the prototype: it sees all features and labels, and each event once. So every label has a member
    that answers for it, however small ``labels`` is; and an ensemble with ``n_members=1``, or with ``rate=None``,
    ``features=1``, ``labels=1`` and a prototype without a seed, gives the probabilities of its prototype as long as no
    member is replaced. The others are bagged [1]_, by default with a mean of 6 as in leveraging bagging [2]_, over
    random subspaces [3]_.

    What a member sees depends on the seed, on its number and on the *names* of features and labels; how often it learns
    an event, on the seed, on its number and on how many events were taught before. So the order in which features and
    labels are met, and the cut into batches, change nothing. Columns that a member does not see do not reach it: it
    takes less memory and time for that. Where features are few, a member may see none.

    An answer is the mean of what the members say, each weighted at each label by (e + 0.001)^-8 with its recent squared
    error e there. This is the decayed mean (half-life 500 events) of (p - y)^2 over the events in which the label was
    known, shrunk towards the member's mean over all labels as by 20 events of that. The squared error is bounded,
    proper, and that of a member without probabilities is its 0/1 loss. A new member counts as having been wrong once.

    The loss that is watched is the mean squared error over the known labels of an event that have been present before
    and are the member's. An alarm counts where the recent loss is above the mean since the member began, so that no one
    is replaced for having improved. It starts a member in the background, beside the one that alarmed: with a subspace
    of its own, and the labels of the other. It takes over after at least 128 events, as soon as its loss has been less
    than the other's (half-life 200 events), or when that one alarms again. After 2,048 events it is given up. All this
    happens only after every 64 events taught. [4]_ has members replaced by better ones from the background as well, but
    always the worst one; here each place keeps its labels, and the first its features.

    Events without known labels teach nothing. The weight of an event multiplies the number of times; it does not count
    in the weights of votes. Missing features are the members' affair.

    Time: that of the members, of those in the background too, and n_members + backgrounds operations a label; the call
    into a member costs the same for one event as for 64. Memory: that of the members, 18 bytes a member and label, and
    while events are handled 4 bytes for each of 64 events, each member and each label. Members have no common budget:
    the prototype's own, where it has one, holds for each of them.

    On emotions, yeast, enron, scene and medical ten trees reach, in the mean of three seeds, a micro-F1 of 0.685 in
    place of 0.671 for one, a macro-F1 of 0.456 in place of 0.451, an example-F1 of 0.661 in place of 0.646, a subset
    accuracy of 0.356 in place of 0.344 and a Hamming loss of 0.107 in place of 0.111, for ten times the time. Five
    trees are within 0.004 of that for half of it. With ``rate=1``, where each tree misses more than a third of these
    short streams, the F1 scores of ten are below those of one.

    References
    ----------
    .. [1] Oza, Russell, "Online bagging and boosting", AISTATS 2001.
    .. [2] Bifet, Holmes, Pfahringer, "Leveraging bagging for evolving data streams", ECML PKDD 2010.
    .. [3] Ho, "The random subspace method for constructing decision forests", IEEE TPAMI 20(8), 1998.
    .. [4] Alberghini, Barbon, Cano, "Adaptive ensemble of self-adjusting nearest neighbor subspaces for multi-label
       drifting data streams", Neurocomputing 481, 2022.

    Examples
    --------
    >>> from learners.bagging import BaggingEnsemble
    >>> from learners.linear import LinearClassifier
    >>> model = BaggingEnsemble(LinearClassifier(), n_members=3, features=0.5)
    >>> for i in range(200):
    ...     model.learn_one({"size": i % 10, "age": i % 7}, {"big": i % 10 > 5, "old": i % 7 > 3})
    >>> model.predict_one({"size": 9, "age": 1})
    {'big': True, 'old': False}
    >>> [learner.schema_.feature_names for learner in model.members_]
    [['size', 'age'], ['size'], ['size']]
    """

    def __init__(
        self,
        prototype: Learner | None = None,
        n_members: int = 10,
        *,
        rate: float | None = 6.0,
        features: float = 0.7,
        labels: float = 1.0,
        threshold: float | str = 0.4,
        detector: str | base.DriftDetector | None = "adwin",
        background: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if n_members < 1:
            raise ValueError(f"n_members must be at least 1, got {n_members}")
        if rate is not None and not 0 < rate <= HIGHEST_RATE:
            raise ValueError(f"rate must be in (0, {HIGHEST_RATE:g}] or None, got {rate}")
        for name, share in (("features", features), ("labels", labels)):
            if not 0 < share <= 1:
                raise ValueError(f"{name} must be in (0, 1], got {share}")
        self.prototype, self.n_members, self.rate, self.features, self.labels = (
            prototype, n_members, rate, features, labels,
        )  # fmt: skip
        self.threshold, self.detector, self.background, self.seed = threshold, detector, background, seed
        self._fixed = thresholding.fixed(threshold)
        self._key = seed % 2**63
        self._detectors = [] if detector is None else [_fresh(detector) for _ in range(n_members)]
        self._members: list[Member | None] = [Member(self._learner(k), k) for k in range(n_members)]
        self._members += [None] * n_members
        self._voters = np.zeros(2 * n_members, VOTER)
        self._voters["number"][:n_members] = np.arange(n_members)
        self._voters["loss"] = self._voters["mass"] = 1.0
        self._alarmed = np.zeros(n_members, np.bool_)
        self._totals = np.array(thresholding.START)
        self._n_taught, self._n_made = 0, n_members
        self._set_up()

    def _set_up(self) -> None:
        """What is known of the columns of the schema: nothing so far."""
        self._seen = np.zeros(0, np.uint8)
        self._label_loss = np.zeros((2 * self.n_members, 0))
        self._label_mass = np.zeros((2 * self.n_members, 0))
        self._feature_names, self._label_names = named([]), named([])
        self._marks = np.zeros(0, np.int64)
        self._grown_to: tuple[tuple[int, int], bool] | None = None

    @property
    def members_(self) -> list[Learner]:
        """The learners that vote."""
        return [member.learner for member in self._members[: self.n_members] if member is not None]

    @property
    def backgrounds_(self) -> dict[int, Learner]:
        """The learners in the background, by place."""
        waiting = enumerate(self._members[self.n_members :])
        return {place: member.learner for place, member in waiting if member is not None}

    def _learner(self, number: int) -> Learner:
        """A fresh copy of the prototype for the member of this number."""
        prototype = self._default() if self.prototype is None else self.prototype
        if "seed" not in inspect.signature(type(prototype)).parameters:
            return prototype.clone()
        return prototype.clone({"seed": vars(prototype)["seed"] + number})

    def _default(self) -> Learner:
        """The prototype where none is given."""
        return MLHATClassifier()

    @property
    def _unit(self) -> float:
        """What an event learned once weighs."""
        return 1.0

    # Columns.

    def _keep_up(self) -> None:
        """Take notice of what the schema has gained."""
        schema = self.schema_
        if self._grown_to == (schema.version, schema.sparse):
            return
        self._feature_names = _longer(self._feature_names, schema.feature_names)
        self._label_names = _longer(self._label_names, schema.label_names)
        more = schema.n_labels - len(self._seen)
        self._seen = np.pad(self._seen, (0, more))
        self._label_loss = np.pad(self._label_loss, ((0, 0), (0, more)))
        self._label_mass = np.pad(self._label_mass, ((0, 0), (0, more)))
        marks = np.array(schema.kinds, np.int64)
        for column, names in schema.categories.items():
            marks[column] += 4 * len(names)
        marks[list(schema.ignored)] *= -1
        known = np.zeros(len(marks), np.bool_)
        known[: len(self._marks)] = marks[: len(self._marks)] == self._marks
        changed = np.flatnonzero(~known).tolist()
        for row, member in enumerate(self._members):
            if member is not None:
                self._tell(row, member, changed)
        self._marks, self._grown_to = marks, (schema.version, schema.sparse)

    def _tell(self, row: int, member: Member, changed: list[int]) -> None:
        """Tell a member of the columns that it has."""
        place = row % self.n_members
        features = np.ones(len(self._feature_names), np.bool_)
        labels = np.ones(len(self._label_names), np.bool_)
        if place > 0:
            features = lots(self._key, member.number, self._feature_names) < self.features
            labels = lots(self._key, place, self._label_names) < self.labels
        member.grow(self.schema_, features, labels, changed)

    # Events.

    def _run(self, batch: Batch, learn: bool) -> Prediction:
        self._keep_up()
        parts: list[Prediction] = []
        start = 0
        while start < len(batch) or not parts:
            room = CHUNK - self._n_taught % CHUNK if learn else CHUNK
            parts.append(self._answer(batch[start : start + room], learn))
            start += room
        return Prediction.concat(parts)

    def _answer(self, batch: Batch, learn: bool) -> Prediction:
        """Answer the events of a chunk and, if ``learn``, learn them."""
        n, n_labels = len(batch), self.schema_.n_labels
        known = Rows.empty(n) if batch.known is None else batch.known
        is_taught = (batch.label_state != UNLABELLED) & ((batch.label_state != PARTIAL) | (np.diff(known.indptr) > 0))
        taught = np.flatnonzero(is_taught & learn)
        heard = self._members if learn else self._members[: self.n_members]
        alive = [(row, member) for row, member in enumerate(heard) if member is not None]
        said = np.zeros((len(alive), n, n_labels), np.float32)
        holds = np.zeros((len(alive), n_labels), np.bool_)
        for k, (row, member) in enumerate(alive):
            said[k][:, member.labels] = member.run(batch, self._counts(row, member, n, taught), self._unit, learn)
            holds[k, member.labels] = True
        proba, thresholds = np.zeros((n, n_labels), np.float32), np.zeros(n, np.float32)
        losses = np.full((len(alive), n), np.nan)
        rows = np.array([row for row, _ in alive])
        _vote(
            said, holds, rows, self.n_members, batch.y.indptr, batch.y.indices, batch.label_state, known.indptr,
            known.indices, learn, self._voters, self._label_loss, self._label_mass, self._seen, self._totals,
            self._fixed, proba, thresholds, losses,
        )  # fmt: skip
        answers = self._decide(batch, proba, thresholds, learn)
        if len(taught):
            self._n_taught += len(taught)
            self._watch(losses[: self.n_members, taught])
            if self._n_taught % CHUNK == 0:
                self._renew()
        return Prediction(answers, proba)

    def _counts(self, row: int, member: Member, n: int, taught: NDArray[np.int64]) -> NDArray[np.int64] | None:
        """How often a member learns each of ``n`` events, of which some are ``taught``; None: once."""
        if self.rate is None or row % self.n_members == 0:
            return None
        drawn = np.empty(len(taught), np.int64)
        poissons(self._key, member.number, self._n_taught, self.rate, drawn)
        counts = np.ones(n, np.int64)
        counts[taught] = drawn
        return counts

    def _decide(self, batch: Batch, proba: NDArray[np.float32], thresholds: NDArray[np.float32], learn: bool) -> Rows:
        """The labels that are answered."""
        return Rows.from_dense(proba > thresholds[:, None])

    # Change.

    def _watch(self, losses: NDArray[np.float64]) -> None:
        """Tell the detectors the losses of the members, shape (members, events)."""
        for place, detector in enumerate(self._detectors):
            values = losses[place][~np.isnan(losses[place])]
            if isinstance(detector, drift.FHDDM):
                values = 1.0 - values
            self._alarmed[place] |= len(detector.update_many(values)) > 0

    def _renew(self) -> None:
        """Let members begin and end."""
        voters, n_members = self._voters, self.n_members
        worse = self._alarmed & (
            voters["loss"][:n_members] / voters["mass"][:n_members]
            > voters["total"][:n_members] / np.maximum(voters["n"][:n_members], 1)
        )
        self._alarmed[:] = False
        if not self.background:
            if worse.any():
                recent = voters["loss"][:n_members] / voters["mass"][:n_members]
                place = int(np.argmax(np.where(worse, recent, -1.0)))
                self._start(place)
                self._settle(place)
            return
        for place in range(n_members):
            row = n_members + place
            age = self._n_taught - voters["began"][row]
            if self._members[row] is None:
                if worse[place]:
                    self._start(row)
                    self._note("background", place, row)
            elif age >= PATIENCE and (worse[place] or voters["gap"][row] < 0):
                for table in (voters, self._label_loss, self._label_mass):
                    table[place] = table[row]
                self._members[place], self._members[row] = self._members[row], None
                self._settle(place)
            elif age >= LIFE:
                self._note("dropped", place, row)
                self._members[row] = None

    def _start(self, row: int) -> None:
        """Let a new member begin in this row."""
        number, self._n_made = self._n_made, self._n_made + 1
        member = self._members[row] = Member(self._learner(number), number)
        self._voters[row] = (number, self._n_taught, 1.0, 1.0, 0.0, 0, 0.0)
        self._label_loss[row] = self._label_mass[row] = 0.0
        self._tell(row, member, list(range(self.schema_.n_features)))

    def _settle(self, place: int) -> None:
        """Watch the member anew that has come to this place."""
        assert self.detector is not None
        self._detectors[place] = _fresh(self.detector)
        self._note("replacement", place, place)

    def _note(self, kind: str, place: int, row: int) -> None:
        number = int(self._voters["number"][row])
        self.events_.append({"event": self._n_taught, "kind": kind, "member": place, "number": number})

    # State.

    def _get_state(self) -> State:
        self._keep_up()
        watching = {
            f"detector{place}/{name}": array
            for place, detector in enumerate(self._detectors)
            for name, array in detector.get_state().items()
        }
        return {
            "voters": self._voters.copy(),
            "label_loss": self._label_loss.copy(),
            "label_mass": self._label_mass.copy(),
            "seen": self._seen.copy(),
            "totals": self._totals.copy(),
            "alarmed": self._alarmed.copy(),
            "counts": np.array([self._n_taught, self._n_made]),
            "members": pack(self._members),
            **watching,
        }

    def _set_state(self, state: State) -> None:
        self._members = unpack(state["members"], self._learner)
        self._set_up()
        self._keep_up()
        self._voters, self._seen = state["voters"].copy(), state["seen"].copy()
        self._label_loss, self._label_mass = state["label_loss"].copy(), state["label_mass"].copy()
        self._totals, self._alarmed = state["totals"].copy(), state["alarmed"].copy()
        self._n_taught, self._n_made = state["counts"].tolist()
        for place, detector in enumerate(self._detectors):
            start = f"detector{place}/"
            detector.set_state({name[len(start) :]: array for name, array in state.items() if name.startswith(start)})


def _fresh(detector: str | base.DriftDetector) -> Any:
    """A detector that has seen nothing."""
    if isinstance(detector, str):
        if detector not in drift.LOSS:
            raise ValueError(f"detector must be one of {', '.join(drift.LOSS)}, got {detector!r}")
        return getattr(drift, drift.LOSS[detector].partition(":")[2])()
    if isinstance(detector, type) or not all(hasattr(detector, name) for name in ("update_many", "set_state", "clone")):
        raise TypeError(f"detector must be a name or a detector of the room drift, got {detector!r}")
    return detector.clone()


def _longer(numbers: NDArray[np.uint64], names: list[Any]) -> NDArray[np.uint64]:
    """The numbers of all names, of which the first are known."""
    return np.concatenate([numbers, named(names[len(numbers) :])])


@njit(cache=True, nogil=True, error_model="numpy")
def _vote(
    said: NDArray[np.float32],
    holds: NDArray[np.bool_],
    rows: NDArray[np.int64],
    n_members: int,
    y_indptr: NDArray[np.int64],
    y_indices: NDArray[np.int32],
    label_state: NDArray[np.uint8],
    known_indptr: NDArray[np.int64],
    known_indices: NDArray[np.int32],
    learn: bool,
    voters: NDArray[Any],
    label_loss: NDArray[np.float64],
    label_mass: NDArray[np.float64],
    seen: NDArray[np.uint8],
    totals: NDArray[np.float64],
    fixed: float,
    proba: NDArray[np.float32],
    thresholds: NDArray[np.float32],
    losses: NDArray[np.float64],
) -> None:
    """Combine what was said of each event in ``proba`` and ``thresholds``; if ``learn``, learn how good it was.

    ``said[k]`` comes from the member in row ``rows[k]`` of ``voters``, of which those below ``n_members`` vote;
    ``losses[k]`` gets its loss in each event, or stays NaN.
    """
    n, n_labels = proba.shape
    mean = np.zeros(n_members)
    live, truth = np.zeros(n_labels, np.bool_), np.zeros(n_labels)
    for t in range(n):
        thresholds[t] = thresholding.current(fixed, totals)
        for k in range(n_members):
            mean[k] = voters["loss"][k] / voters["mass"][k]
        for label in range(n_labels):
            if not seen[label]:
                continue
            total, mass = 0.0, 0.0
            for k in range(n_members):
                if holds[k, label]:
                    loss = (label_loss[k, label] + PRIOR * mean[k]) / (label_mass[k, label] + PRIOR)
                    weight = 1.0 / (loss + SURE_LOSS)
                    weight *= weight
                    weight *= weight
                    weight *= weight
                    total += weight * said[k, t, label]
                    mass += weight
            proba[t, label] = min(total / mass, 1.0)

        present = y_indices[y_indptr[t] : y_indptr[t + 1]]
        known = known_indices[known_indptr[t] : known_indptr[t + 1]]
        partial = label_state[t] == PARTIAL
        if not learn or label_state[t] == UNLABELLED or (partial and len(known) == 0):
            continue
        live[:] = not partial
        for label in known:
            live[label] = True
        truth[:] = 0.0
        for label in present:
            truth[label] = 1.0
        thresholding.count(proba[t], live, present, n_labels, thresholds[t], totals)
        for k in range(len(rows)):
            row, loss, m = rows[k], 0.0, 0
            for label in range(n_labels):
                if live[label] and seen[label] and holds[k, label]:
                    gap = said[k, t, label] - truth[label]
                    label_loss[row, label] = label_loss[row, label] * _LOSS_DECAY + gap * gap
                    label_mass[row, label] = label_mass[row, label] * _LOSS_DECAY + 1.0
                    loss += gap * gap
                    m += 1
            if m > 0:
                losses[k, t] = loss / m
                voters["loss"][row] = voters["loss"][row] * _LOSS_DECAY + losses[k, t]
                voters["mass"][row] = voters["mass"][row] * _LOSS_DECAY + 1.0
                voters["total"][row] += losses[k, t]
                voters["n"][row] += 1
                if row >= n_members:
                    voters["gap"][row] = voters["gap"][row] * _GAP_DECAY + losses[k, t] - losses[row - n_members, t]
        for label in present:
            seen[label] = 1
