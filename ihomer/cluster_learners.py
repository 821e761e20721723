"""A learner for each cluster of labels, and how labels change learners when the clusters change."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ihomer.cluster_member import Member, Said, pack, unpack
from ihomer.hand_over import LABEL, NOBODY, compare, targets_of
from learners.base import Learner, State, with_room
from learners.linear import LinearClassifier
from streams.batch import PARTIAL, UNLABELLED, Batch, Name, Prediction, Rows, Schema

REPLACEMENTS = ("warm", "immediate")
"""How the labels of a changed cluster come to its new learner."""


class ClusterLearners(Learner):
    """One learner a cluster of labels, each taught its own labels only; the answer is the union of theirs.

    Parameters
    ----------
    prototype
        Any learner of the contract, of which each cluster gets a fresh copy; None: `learners.linear.LinearClassifier`.
    replacement
        ``"warm"``: where a cluster changed, a new learner starts in the background while the former ones answer, and a
        label moves to it once it is not worse there. ``"immediate"``: the new learner answers at once, knowing nothing,
        as published.
    min_events
        Events with a known value of a label after which it may move, at least 1.
    half_life
        Events after which a comparison of losses counts half, above 0.
    delta
        How much worse an heir may look: by a margin that one as good as the owner exceeds with at most this chance, in
        (0, 1]; 1: by nothing. With a smaller one labels move sooner.
    max_learners
        Learners alive at a time, at least 1. A changed cluster for which there is no room is taken over by the owner of
        most of its labels; if that one is for another cluster, its labels stay where they are.

    Attributes
    ----------
    owners_
        Number of the learner that answers for each label, by name; the first learner has number 0.
    learners_
        The learners alive, by number, those in the background too.
    events_
        Hand-overs: ``kind`` is ``"hand-over"``, ``labels`` went from the learner ``former`` to ``learner``.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    Until `restructure` is first called one learner has all labels. A learner is kept, untouched, where its cluster is
    among the new ones. Two clusters count as the same if they differ by nothing but labels that belonged to no cluster
    before or belong to none now: such a label costs no learner its life. A label that is born, or that is left out of
    the clusters, is with the learner that answers for the most labels (of equals the oldest) or with the one that has
    it; there it stays until a cluster has it.

    In the background, owner and heir of a label are compared by the log loss (0/1 loss where there are no
    probabilities) of what each said before it learned the event. The label moves when the heir has been compared
    ``min_events`` times and the decayed mean m of its loss minus the owner's, with variance v over the decayed number
    of events n, is at most sqrt(2 v log(1 / delta) / n), the leading term of Bernstein's bound [1]_. A learner that
    neither owns nor inherits a label is dropped, and so is one in the background whose cluster has changed again before
    it owned any. Without a margin (``delta=1``) some labels stay with former owners for good, where nothing but the
    clusters has changed: better answers (in paper mode, over 13 real streams, a micro-F1 of 0.574 in place of 0.565
    with linear learners, 0.483 in place of 0.480 with kNN over label sets) for a third more learners alive.

    A cluster's learner is taught every labelled event, those with none of its labels as their absence. Where an event
    is known in part, a learner is taught the known cells of labels that have been born, and nothing where there are
    none. Missing features are the learner's affair. When labels move depends on no cut of the stream into batches, so
    long as `restructure` is called after the same event.

    Time and memory: those of the learners alive, each with its own labels, and 41 bytes a label.

    References
    ----------
    .. [1] Maurer, Pontil, "Empirical Bernstein bounds and sample-variance penalization", COLT 2009, theorem 4.

    Examples
    --------
    >>> from ihomer.cluster_learners import ClusterLearners
    >>> from learners.linear import LinearClassifier
    >>> model = ClusterLearners(LinearClassifier(), min_events=50)
    >>> for i in range(200):
    ...     if i == 100:
    ...         model.restructure([["ice", "snow"], ["sun"]])
    ...     model.learn_one({"heat": i % 10}, {"ice": i % 10 < 3, "snow": i % 10 < 3, "sun": i % 10 > 6})
    >>> model.owners_
    {'ice': 1, 'snow': 1, 'sun': 2}
    >>> [event["event"] for event in model.events_]
    [150, 150]
    >>> model.predict_one({"heat": 1})
    {'ice': True, 'snow': True, 'sun': False}
    """

    def __init__(
        self,
        prototype: Learner | None = None,
        replacement: str = "warm",
        *,
        min_events: int = 200,
        half_life: float = 500.0,
        delta: float = 0.05,
        max_learners: int = 64,
    ) -> None:
        super().__init__()
        if replacement not in REPLACEMENTS:
            raise ValueError(f"replacement must be one of {', '.join(REPLACEMENTS)}, got {replacement!r}")
        if min_events < 1:
            raise ValueError(f"min_events must be at least 1, got {min_events}")
        if not half_life > 0:
            raise ValueError(f"half_life must be above 0, got {half_life}")
        if not 0 < delta <= 1:
            raise ValueError(f"delta must be in (0, 1], got {delta}")
        if max_learners < 1:
            raise ValueError(f"max_learners must be at least 1, got {max_learners}")
        self.prototype, self.replacement, self.min_events = prototype, replacement, min_events
        self.half_life, self.delta, self.max_learners = half_life, delta, max_learners
        self._labels = np.zeros(0, LABEL)
        self._members = {0: Member(self._fresh())}
        self._n_events, self._n_made = 0, 1
        self._restructured: list[list[Name]] | None = None
        self._features: tuple[tuple[int, int], bool] | None = None

    def _fresh(self) -> Learner:
        return LinearClassifier() if self.prototype is None else self.prototype.clone()

    @property
    def owners_(self) -> dict[Name, int]:
        """The learner that answers for each label."""
        names, owner = self.schema_.label_names, self._labels["owner"]
        return {names[label]: int(owner[label]) for label in np.flatnonzero(owner != NOBODY)}

    @property
    def learners_(self) -> dict[int, Learner]:
        """The learners alive, by number."""
        return {number: member.learner for number, member in self._members.items()}

    # Changes of the clusters.

    def restructure(self, clusters: Sequence[Sequence[Name]]) -> None:
        """Let there be a learner for each of these clusters, which are label names; see Notes.

        Raises
        ------
        ValueError
            A label has not been present so far, or is in two clusters.
        """
        if self._restructured == clusters:
            return
        found = [[self._born(name) for name in cluster] for cluster in clusters if len(cluster)]
        placed = np.zeros(len(self._labels), np.bool_)
        for column in (column for cluster in found for column in cluster):
            if placed[column]:
                raise ValueError(f"clusters must be disjoint, got {self.schema_.label_names[column]!r} twice")
            placed[column] = True
        steady = placed & self._labels["placed"]
        self._labels["placed"] = placed
        targets: list[int] = []
        for cluster in found:
            targets.append(self._kept(cluster, placed, steady, targets))
        self._labels["heir"][~placed | ~np.isin(self._labels["heir"], targets)] = NOBODY
        self._retire()
        for place, cluster in enumerate(found):
            if targets[place] == NOBODY:
                targets[place] = self._found(cluster, targets)
            if targets[place] != NOBODY:
                member = self._members[targets[place]]
                member.cluster = frozenset(cluster)
                member.take(cluster, self.schema_)
            self._bequeath(np.array(cluster, np.int64), targets[place])
        # The same clusters once more would change nothing, unless one still waits for room.
        self._restructured = None if NOBODY in targets else [list(cluster) for cluster in clusters]

    def _born(self, name: Name) -> int:
        column = self.schema_.find_label(name)
        if column < 0 or column >= len(self._labels) or self._labels["owner"][column] == NOBODY:
            raise ValueError(f"a label of a cluster must have been present, got {name!r}")
        return column

    def _kept(
        self, cluster: list[int], placed: NDArray[np.bool_], steady: NDArray[np.bool_], taken: Sequence[int]
    ) -> int:
        """The learner that is for this cluster already, or nobody."""
        wanted, core = set(cluster), {column for column in cluster if steady[column]}
        for number, member in self._members.items():
            if number in taken:
                continue
            if set(member.columns[placed[member.columns]].tolist()) == wanted:
                return number
            if core and {column for column in member.cluster if steady[column]} == core:
                return number
        return NOBODY

    def _found(self, cluster: list[int], taken: Sequence[int]) -> int:
        """A new learner for this cluster, or where there is no room the owner of most of it, or nobody."""
        if len(self._members) < self.max_learners:
            number, self._n_made = self._n_made, self._n_made + 1
            self._members[number] = Member(self._fresh())
            self._share_features(self._members[number])
            return number
        owners, owned = np.unique(self._labels["owner"][cluster], return_counts=True)
        free = ~np.isin(owners, taken)
        return int(owners[free][np.argmax(owned[free])]) if free.any() else NOBODY

    def _bequeath(self, cluster: NDArray[np.int64], number: int) -> None:
        """Let the learner of this number become heir of the labels, or their owner."""
        owner, heir = self._labels["owner"], self._labels["heir"]
        if number == NOBODY:
            heir[cluster] = NOBODY
            return
        elsewhere = cluster[owner[cluster] != number]
        heir[cluster[owner[cluster] == number]] = NOBODY
        fresh = elsewhere[heir[elsewhere] != number]
        self._forget(fresh)
        heir[fresh] = number
        if self.replacement == "immediate":
            self._move(elsewhere, self._n_events)
            self._retire()

    def _move(self, columns: NDArray[np.int64], event: int) -> None:
        """Give labels to their heirs."""
        owner, heir = self._labels["owner"], self._labels["heir"]
        pairs = np.stack([heir[columns], owner[columns]], 1)
        for new, former in np.unique(pairs, axis=0).tolist():
            moved = columns[(pairs == (new, former)).all(1)]
            labels = [self.schema_.label_names[column] for column in moved]
            self.events_.append(
                {"event": event, "kind": "hand-over", "labels": labels, "learner": new, "former": former}
            )
        owner[columns] = heir[columns]
        heir[columns] = NOBODY
        self._forget(columns)

    def _forget(self, columns: NDArray[np.int64]) -> None:
        for name in ("seen", "weight", "mean", "square"):
            self._labels[name][columns] = 0

    def _retire(self) -> None:
        """Drop the learners that neither own nor inherit a label."""
        in_use = {*self._labels["owner"].tolist(), *self._labels["heir"].tolist()} - {NOBODY}
        if in_use:
            self._members = {number: member for number, member in self._members.items() if number in in_use}

    # Events.

    def _run(self, batch: Batch, learn: bool) -> Prediction:
        self._keep_up()
        cells = np.flatnonzero(self._labels["owner"][batch.y.indices] == NOBODY)
        if not learn or not len(cells):
            return self._pass(batch, learn)
        labels, first = np.unique(batch.y.indices[cells], return_index=True)
        event = np.searchsorted(batch.y.indptr, cells[first], side="right") - 1
        # A birth may be taken in ahead of its event, unless labels may move by then, or there are known cells, of which
        # only those of labels born count.
        is_cut = batch.known is not None or (self._labels["heir"] != NOBODY).any()
        parts, start = [], 0
        for birth in np.unique(event).tolist():
            if birth > start and is_cut:
                parts.append(self._pass(batch[start:birth], True))
                start = birth
            self._bear(labels[event == birth].tolist())
        return Prediction.concat([*parts, self._pass(batch[start:], True)])

    def _keep_up(self) -> None:
        """Take notice of features and labels that the schema has gained."""
        n_labels = self.schema_.n_labels
        if n_labels > len(self._labels):
            known = len(self._labels)
            self._labels = with_room(self._labels, n_labels)[:n_labels].copy()
            self._labels["owner"][known:] = self._labels["heir"][known:] = NOBODY
        features = self.schema_.version, self.schema_.sparse
        if features != self._features:
            for member in self._members.values():
                self._share_features(member)
            self._features = features

    def _share_features(self, member: Member) -> None:
        member.learner.schema_.extend(Schema.from_json({**self.schema_.to_json(), "labels": []}))

    def _bear(self, columns: list[int]) -> None:
        """Give labels that are present for the first time to the learner with the most."""
        owner = self._labels["owner"]
        owned = {number: int(np.count_nonzero(owner == number)) for number in self._members}
        number = max(owned, key=lambda number: (owned[number], -number))
        names = self.schema_.label_names
        columns = sorted(columns, key=lambda column: (type(names[column]).__name__, str(names[column])))
        self._members[number].take(columns, self.schema_)
        owner[columns] = number

    def _pass(self, batch: Batch, learn: bool) -> Prediction:
        """Answer events in which no label is born but with the first, and learn them."""
        n_labels, owner = self.schema_.n_labels, self._labels["owner"]
        said = {
            number: member.run(batch, n_labels, learn)
            for number, member in self._members.items()
            if learn or (owner == number).any() or len(self._members) == 1
        }
        held = np.flatnonzero(owner != NOBODY)
        answers = np.zeros((len(batch), n_labels), np.bool_)
        answers[:, held], owned = self._gather(said, owner[held], held)
        proba = None
        if owned is not None:
            proba = np.zeros((len(batch), n_labels), np.float32)
            proba[:, held] = owned
        if learn:
            self._compare(batch, said, answers, proba)
        return Prediction(Rows.from_dense(answers), proba)

    def _gather(self, said: Mapping[int, Said], who: NDArray[np.int32], columns: NDArray[np.int64]) -> Said:
        """What the learner ``who[j]`` said of label ``columns[j]``."""
        first, with_proba = next(iter(said.values()))
        answers = np.zeros((len(first), len(columns)), np.bool_)
        proba = None if with_proba is None else np.zeros((len(first), len(columns)), np.float32)
        for number in np.unique(who).tolist():
            picked = np.flatnonzero(who == number)
            places = self._members[number].places(self.schema_.n_labels)[columns[picked]]
            their_answers, their_proba = said[number]
            answers[:, picked] = their_answers[:, places]
            if proba is not None and their_proba is not None:
                proba[:, picked] = their_proba[:, places]
        return answers, proba

    def _compare(
        self, batch: Batch, said: Mapping[int, Said], answers: NDArray[np.bool_], proba: NDArray[np.float32] | None
    ) -> None:
        """Compare heirs with owners in the events learned, let labels move, and let the heirs answer from there on."""
        taught = batch.label_state != UNLABELLED
        if batch.known is not None:
            taught &= (batch.label_state != PARTIAL) | (np.diff(batch.known.indptr) > 0)
        n_events = self._n_events + np.cumsum(taught)
        columns = np.flatnonzero(self._labels["heir"] != NOBODY)
        if len(columns) and len(batch):
            by_heir, proba_by_heir = self._gather(said, self._labels["heir"][columns], columns)
            moved = compare(
                self._labels,
                columns,
                (answers if proba is None else proba)[:, columns].astype(np.float64),
                (by_heir if proba_by_heir is None else proba_by_heir).astype(np.float64),
                targets_of(batch, columns, self.schema_.n_labels),
                proba is not None,
                self.min_events,
                2.0 ** (-1.0 / self.half_life),
                math.log(1.0 / self.delta),
            )
            for place in np.flatnonzero(moved >= 0):
                column, after = columns[place], int(moved[place]) + 1
                answers[after:, column] = by_heir[after:, place]
                if proba is not None and proba_by_heir is not None:
                    proba[after:, column] = proba_by_heir[after:, place]
            for last in np.unique(moved[moved >= 0]).tolist():
                self._move(columns[moved == last], int(n_events[last]))
            self._retire()
        self._n_events += int(np.count_nonzero(taught))

    # State.

    def _get_state(self) -> State:
        labels = np.zeros(self.schema_.n_labels, LABEL)
        labels["owner"] = labels["heir"] = NOBODY
        labels[: len(self._labels)] = self._labels
        return {
            "labels": labels,
            "counts": np.array([self._n_events, self._n_made]),
            "learners": pack(self._members),
        }

    def _set_state(self, state: State) -> None:
        self._labels = state["labels"].copy()
        self._n_events, self._n_made = state["counts"].tolist()
        self._features = self._restructured = None
        self._members = unpack(state["learners"], self._fresh, self.schema_)
