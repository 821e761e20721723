"""A Hoeffding adaptive tree whose classes are label sets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drift.adwin_window import feed_windows
from learners.draws import POISSON, poisson
from learners.one_event import REFUSED, read_values
from learners.trees.backgrounds import GRACE_PERIOD, IMPROVEMENT, MIN_WINDOW_LENGTH, NOTHING, WARNING, switch_bound
from learners.trees.candidates import grow_leaf, is_due, needs
from learners.trees.class_trees import DEEPEST, ClassTrees
from learners.trees.hoeffding import add_labels
from learners.trees.nodes import inner
from learners.trees.pool import (
    CLOCK,
    DROPPED,
    NODE_BYTES,
    STARTED,
    SWITCHED,
    Events,
    Floats,
    Ints,
    Pool,
    Records,
    Settings,
    add_total,
    bytes_used,
    find_leaf,
    find_leaf_to_learn,
    free_subtree,
    has_room,
    new_leaf,
    new_window,
    note,
    unpack,
    wipe,
    woven,
)
from learners.trees.posterior import class_to_learn, consider, learn

VOTES_FROM = 30.0
"""An alternate tree votes once it has answered more events than this. With 300 (``drift_window_threshold``) the answers
are right 2 to 4 % less often in the 3,000 events after classes have changed places."""

SURE_ERROR = 0.01
"""Added to the error of a tree before the weight of its vote is taken from it."""


class HoeffdingAdaptiveTreeClassifier(ClassTrees):
    """Hoeffding adaptive tree [1]_ for one class or many labels an event: branches that err more than they did are
    replaced by trees that have grown beside them.

    Parameters
    ----------
    grace_period, delta, split_criterion, tau, leaf_prediction, nb_threshold, n_splits, binary_split
        As in `HoeffdingTreeClassifier`.
    min_branch_fraction, max_share_to_split, merit_preprune, max_depth, max_classes, max_bytes, threshold
        As in `HoeffdingTreeClassifier`; ``max_bytes`` is for alternate trees, too.
    bootstrap_sampling
        Whether every tree learns an event as often as a Poisson(1) number says, but at least once.
    drift_delta
        Sensitivity of the ADWIN at each branch, in (0, 1).
    drift_window_threshold
        Events that a branch and its alternate tree must have answered beside each other before they are compared, at
        least 0.
    switch_significance
        Chance of a wrong switch, in (0, 1).
    seed
        Of Poisson numbers.

    Attributes
    ----------
    events_
        As in `HoeffdingTreeClassifier`; ``kind`` may also be ``"background"`` (an alternate tree was started),
        ``"switch"`` (it took the branch's place) or ``"drop"`` (it was given up), ``weight`` being the number of events
        that the branch or the alternate tree has answered.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    An ADWIN at every branch watches whether the leaf below it answers the right label set. When the share of wrong
    answers has risen, a leaf begins to grow beside the branch, which learns all that the branch learns. Once both have
    answered enough, with shares of wrong answers e and f over n and m events since then, the alternate tree takes the
    branch's place if e - f is above sqrt(2 e (1 - e) ln(2 / ``switch_significance``) (1 / n + 1 / m)), and is given up
    if f - e is. From its 31st event on it votes, as the branch does, with weight 1 / (0.01 + error)². With
    ``bootstrap_sampling=False`` and without drift the tree is that of `HoeffdingTreeClassifier`, and river's.

    Where there is drift it differs from river's ``HoeffdingAdaptiveTreeClassifier``: there an alternate tree takes the
    branch's place untested when its first leaf is split; an alarm replaces an alternate tree that is growing; whether
    the error has risen is judged by the last answer alone; votes are weighed by the errors of leaves.

    An event costs what it costs in a `HoeffdingTreeClassifier`, in the tree and in each alternate tree on its way, and
    an ADWIN for every branch on it, of 3.6 kilobytes.

    References
    ----------
    .. [1] Bifet, Gavaldà, "Adaptive learning from evolving data streams", IDA 2009.

    Examples
    --------
    >>> from learners.trees.adaptive import HoeffdingAdaptiveTreeClassifier
    >>> model = HoeffdingAdaptiveTreeClassifier(grace_period=50)
    >>> for i in range(4000):
    ...     model.learn_one({"heat": i % 10}, {"sun": (i % 10 > 4) ^ (i > 2000)})
    >>> model.predict_one({"heat": 1})
    {'sun': True}
    >>> [(event["kind"], event["event"]) for event in model.events_ if event["kind"] != "split"]
    [('background', 2024), ('switch', 2325)]
    """

    def __init__(
        self,
        grace_period: int = 200,
        delta: float = 1e-7,
        *,
        split_criterion: str = "info_gain",
        tau: float = 0.05,
        leaf_prediction: str = "nba",
        nb_threshold: float = 0.0,
        n_splits: int = 10,
        binary_split: bool = False,
        min_branch_fraction: float = 0.01,
        max_share_to_split: float = 0.99,
        merit_preprune: bool = True,
        max_depth: int | None = None,
        bootstrap_sampling: bool = True,
        drift_delta: float = 0.002,
        drift_window_threshold: int = 300,
        switch_significance: float = 0.05,
        max_classes: int = 1000,
        max_bytes: float = 100 * 2**20,
        threshold: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.grace_period = grace_period
        self.delta = delta
        self.split_criterion = split_criterion
        self.tau = tau
        self.leaf_prediction = leaf_prediction
        self.nb_threshold = nb_threshold
        self.n_splits = n_splits
        self.binary_split = binary_split
        self.min_branch_fraction = min_branch_fraction
        self.max_share_to_split = max_share_to_split
        self.merit_preprune = merit_preprune
        self.max_depth = max_depth
        self.bootstrap_sampling = bootstrap_sampling
        self.drift_delta = drift_delta
        self.drift_window_threshold = drift_window_threshold
        self.switch_significance = switch_significance
        self.max_classes = max_classes
        self.max_bytes = max_bytes
        self.threshold = threshold
        self.seed = seed
        self._check()
        for name, value in (("drift_delta", drift_delta), ("switch_significance", switch_significance)):
            if not 0 < value < 1:
                raise ValueError(f"{name} must be in (0, 1), got {value}")
        if not drift_window_threshold >= 0:
            raise ValueError(f"drift_window_threshold must be at least 0, got {drift_window_threshold}")
        self._start()

    def _settings_now(self) -> Settings:
        return self._settings_of(
            bootstrap=bool(self.bootstrap_sampling),
            seed=int(self.seed),
            drift_delta=float(self.drift_delta),
            window_threshold=float(self.drift_window_threshold),
            switch_delta=float(self.switch_significance),
        )

    def _step(
        self, events: Events, begin: int, learn: bool, proba: NDArray[np.float64], best: NDArray[np.int64]
    ) -> int:
        return int(_run(self._pool, self._settings, events, begin, learn, proba, best))

    def _kernel_of_one(self) -> Any:
        return _run_one


@inner
def _judge(nodes: Records, node: int, wrong: bool) -> None:
    """Take an answer, right or wrong, into the mean error of a node."""
    record = nodes[node]
    record["n_judged"] += 1.0
    record["error"] += (wrong - record["error"]) / record["n_judged"]


@woven
def _monitor(pool: Pool, node: int, wrong: bool, settings: Settings) -> int:
    """Give an answer, right or wrong, to the ADWIN window of a branch; tell what it says with every 32nd."""
    if pool.nodes[node]["window"] < 0:
        new_window(pool, node)
    pool.pending[pool.nodes[node]["window"], pool.nodes[node]["n_pending"]] = wrong
    pool.nodes[node]["n_pending"] += 1
    return _check(pool, node, settings) if pool.nodes[node]["n_pending"] == CLOCK else NOTHING


@inner
def _check(pool: Pool, node: int, settings: Settings) -> int:
    """Give all answers that wait to the ADWIN window of a branch; tell what it says."""
    pool.nodes[node]["n_pending"] = 0
    w = pool.nodes[node]["window"]
    window = pool.windows[w]
    before = window["total"] / max(window["width"], 1)
    alarms = np.zeros((CLOCK, 1), np.bool_)
    feed_windows(
        pool.windows[w : w + 1], pool.n_buckets[w : w + 1], pool.buckets[w : w + 1],
        pool.pending[w].copy().reshape((CLOCK, 1)), alarms,
        settings.drift_delta, CLOCK, MIN_WINDOW_LENGTH, GRACE_PERIOD, True,
    )  # fmt: skip
    pool.pending[w] = 0.0
    if not alarms[CLOCK - 1, 0]:
        return NOTHING
    return WARNING if window["total"] / window["width"] > before else IMPROVEMENT


@inner
def _start_alternate(pool: Pool, node: int, settings: Settings) -> None:
    """Let a new leaf learn beside a branch, from now on, and compare the two from here."""
    record = pool.nodes[node]
    if bytes_used(pool, record["tree"], settings) + NODE_BYTES > settings.max_bytes:
        return
    note(pool, STARTED, node, record["n_judged"])
    alternate = new_leaf(pool, record["tree"], record["depth"])
    record["alternate"], pool.nodes[alternate]["host"] = alternate, node
    record["n_judged"] = record["error"] = 0.0


@inner
def _settle(pool: Pool, node: int, settings: Settings) -> bool:
    """Compare a branch with its alternate tree; the better one stays if it is better by more than chance allows.

    Returns whether the alternate tree has taken the branch's place.
    """
    record = pool.nodes[node]
    alternate = record["alternate"]
    rival = pool.nodes[alternate]
    least = settings.window_threshold
    if not (record["n_judged"] > least and rival["n_judged"] > least):
        return False
    bound = switch_bound(record["error"], record["n_judged"], rival["n_judged"], settings.switch_delta)
    if rival["error"] - record["error"] > bound:
        note(pool, DROPPED, node, rival["n_judged"])
        record["alternate"] = -1
        free_subtree(pool, alternate)
        return False
    if not record["error"] - rival["error"] > bound:
        return False
    note(pool, SWITCHED, node, rival["n_judged"])
    parent = record["parent"]
    record["alternate"], rival["host"] = -1, -1
    rival["parent"], rival["sibling"], rival["category"] = parent, record["sibling"], record["category"]
    if parent < 0:
        pool.trees[record["tree"]]["root"] = alternate
    else:
        if pool.nodes[parent]["child"] == node:
            pool.nodes[parent]["child"] = alternate
        else:
            other = pool.nodes[parent]["child"]
            while pool.nodes[other]["sibling"] != node:
                other = pool.nodes[other]["sibling"]
            pool.nodes[other]["sibling"] = alternate
        add_total(pool.nodes, parent, rival["total"] - record["total"])
    free_subtree(pool, node)
    return True


@inner
def _n_voters(nodes: Records, path: Ints) -> int:
    """How many alternate trees of the branches on a way have seen enough to vote."""
    n = 0
    for node in path:
        alternate = nodes[node]["alternate"]
        n += alternate >= 0 and nodes[alternate]["n_judged"] > VOTES_FROM
    return n


@inner
def _combine(
    pool: Pool,
    settings: Settings,
    events: Events,
    t: int,
    x: Floats,
    path: Ints,
    posterior: Floats,
    other: Floats,
    votes: Floats,
    proba: Floats,
) -> int:
    """Answer by the live leaf, whose answer is in ``posterior``, and by the alternate trees on its way that have seen
    enough, each weighed by the square of the inverse of its error. Returns the class."""
    error = 0.0
    for node in path:
        alternate = pool.nodes[node]["alternate"]
        if alternate >= 0 and pool.nodes[alternate]["n_judged"] > VOTES_FROM:
            error = pool.nodes[node]["error"]
    mass = 1.0 / (error + SURE_ERROR) ** 2
    votes[:] = posterior * mass
    for node in path:
        alternate = pool.nodes[node]["alternate"]
        if alternate >= 0 and pool.nodes[alternate]["n_judged"] > VOTES_FROM:
            leaf = find_leaf(pool, alternate, x)
            answer, _, _ = consider(pool, leaf, settings, events, t, x, False, other)
            if answer >= 0:
                share = 1.0 / (pool.nodes[alternate]["error"] + SURE_ERROR) ** 2
                votes += other * share
                mass += share
    best = -1
    for key in range(len(votes)):
        if votes[key] > 0.0 and (best < 0 or votes[key] > votes[best]):
            best = key
        if votes[key] > 0.0:
            for k in range(events.indptr_of_sets[key], events.indptr_of_sets[key + 1]):
                proba[events.labels[k]] += votes[key] / mass
    return best


@inner
def _learn_below(
    pool: Pool,
    top: int,
    leaf: int,
    settings: Settings,
    events: Events,
    t: int,
    x: Floats,
    weight: float,
    majority: int,
    bayes: int,
    posterior: Floats,
) -> None:
    """Let the tree below ``top`` learn event ``t``, which ``leaf`` has answered as `consider` tells."""
    taught, _ = find_leaf_to_learn(pool, top, x)
    if taught != leaf:
        majority = bayes = -1
        posterior[:] = 0.0
    key = class_to_learn(pool, taught, events, t, posterior)
    learn(pool, taught, settings, events, t, x, key, weight, majority, bayes)
    if is_due(pool.nodes, pool.entries, taught, settings.grace_period, 0.0, False):
        grow_leaf(pool, taught, settings, events)


@inner
def _times(settings: Settings, event: int, draw: int) -> float:
    """How many times an event is learned: as often as Poisson(1) says, but at least once."""
    return max(1.0, float(poisson(settings.seed, event, draw))) if settings.bootstrap else 1.0


@njit(cache=True, nogil=True, error_model="numpy")
def _run(
    pool: Pool, settings: Settings, events: Events, begin: int, learns_all: bool, proba: Floats, best: Ints
) -> int:
    """Answer the events from ``begin`` on in ``proba`` and ``best``; if ``learns_all``, learn each before the next.

    Returns the number of the first event that is short of room, for which nothing was done yet.
    """
    n, sparse = len(proba), events.sparse
    x = np.full(events.n_inputs, 0.0 if sparse else np.nan)
    n_classes = len(events.indptr_of_sets) - 1
    posterior, other, votes = np.zeros(n_classes), np.zeros(n_classes), np.zeros(n_classes)
    way = np.zeros(DEEPEST + 2, np.int64)
    most = len(POISSON) if settings.bootstrap else 1
    for t in range(begin, n):
        learns, weight = learns_all and events.key[t] >= 0, events.weight[t]
        tree = pool.trees[0]
        if tree["root"] < 0:
            if not learns:
                continue
            if not has_room(pool, 2, 1, 1, 0, 1):
                return t
            tree["root"] = new_leaf(pool, 0, 0)
        cells = events.indices[events.indptr[t] : events.indptr[t + 1]]
        data = events.data[events.indptr[t] : events.indptr[t + 1]]
        unpack(events.dense[t], events.inputs, cells, data, sparse, events.whole_of, x)
        leaf = find_leaf(pool, tree["root"], x)
        n_path, node = pool.nodes[leaf]["depth"], pool.nodes[leaf]["parent"]
        for k in range(n_path - 1, -1, -1):
            way[k] = node
            node = pool.nodes[node]["parent"]
        path = way[:n_path]

        if learns:
            n_nodes, n_entries = needs(pool, leaf, settings, events, weight * most)
            for node in path:
                alternate = pool.nodes[node]["alternate"]
                if alternate >= 0:
                    found = find_leaf(pool, alternate, x)
                    more_nodes, more_entries = needs(pool, found, settings, events, weight * most)
                    n_nodes += more_nodes
                    n_entries += more_entries
            more = 2 * n_path
            if not has_room(pool, n_nodes + more, n_entries + more, 1 + n_path, n_path, 1 + more):
                return t

        answer, majority, bayes = consider(pool, leaf, settings, events, t, x, learns, posterior)
        if _n_voters(pool.nodes, path) == 0:
            best[t] = answer
            add_labels(events, pool, leaf, posterior, 1.0, proba[t])
        else:
            best[t] = _combine(pool, settings, events, t, x, path, posterior, other, votes, proba[t])

        if learns:
            tree["n_learned"] += 1
            wrong = answer != class_to_learn(pool, leaf, events, t, posterior)
            top, switched = tree["root"], False
            for k in range(n_path):
                node = path[k]
                _judge(pool.nodes, node, wrong)
                verdict = _monitor(pool, node, wrong, settings)
                record = pool.nodes[node]
                if record["alternate"] >= 0:
                    top = record["alternate"]
                    if _settle(pool, node, settings):
                        switched, n_path = True, k
                        break
                elif verdict == WARNING:
                    _start_alternate(pool, node, settings)
                elif verdict == IMPROVEMENT:
                    record["n_judged"] = record["error"] = 0.0
            for k in range(n_path):
                alternate = pool.nodes[path[k]]["alternate"]
                if alternate < 0:
                    continue
                found = find_leaf(pool, alternate, x)
                theirs, their_majority, their_bayes = consider(
                    pool, found, settings, events, t, x, True, other
                )  # fmt: skip
                _judge(pool.nodes, alternate, theirs != class_to_learn(pool, found, events, t, other))
                times = _times(settings, tree["n_learned"], k + 1)
                _learn_below(
                    pool, alternate, found, settings, events, t, x, weight * times, their_majority, their_bayes, other
                )
            if switched:
                leaf = find_leaf(pool, top, x)
                answer, majority, bayes = consider(pool, leaf, settings, events, t, x, True, posterior)
            else:
                top = tree["root"]
            times = _times(settings, tree["n_learned"], 0)
            _learn_below(pool, top, leaf, settings, events, t, x, weight * times, majority, bayes, posterior)
        for label in range(proba.shape[1]):
            proba[t, label] = min(proba[t, label], 1.0)
        wipe(cells, sparse, events.whole_of, x)
    return int(n)


@njit(cache=True, nogil=True, error_model="numpy")
def _run_one(bundle, values, columns, key, weight):
    parts = bundle.parts
    pool, settings, events, proba, best = parts.pool, parts.settings, parts.events, parts.proba, parts.best
    if not read_values(values, columns, events.dense):
        return REFUSED
    events.key[0], events.weight[0] = key, weight
    proba[:] = 0.0
    best[:] = -1
    return 0 if _run(pool, settings, events, 0, key >= 0, proba, best) == 1 else REFUSED
