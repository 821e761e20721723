"""A Hoeffding tree whose classes are label sets."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.one_event import REFUSED, read_values
from learners.trees.candidates import grow_leaf, may_learn
from learners.trees.class_trees import ClassTrees
from learners.trees.nodes import inner
from learners.trees.pool import (
    Events,
    Floats,
    Ints,
    Pool,
    Records,
    Settings,
    find_leaf,
    find_leaf_to_learn,
    has_room,
    new_leaf,
    unpack,
    wipe,
    woven,
)
from learners.trees.posterior import class_to_learn, consider, learn


class HoeffdingTreeClassifier(ClassTrees):
    """Hoeffding tree [1]_ [2]_ for one class or many labels an event: splits when it has seen enough to be sure.

    Parameters
    ----------
    grace_period
        Weight that a leaf takes in between two attempts to split it, at least 1.
    delta
        Chance of a wrong split that the Hoeffding bound allows, in (0, 1).
    split_criterion
        ``"info_gain"`` or ``"gini"``.
    tau
        A bound below this splits on the best input even if the second best is as good.
    leaf_prediction
        A leaf answers by the weights of its classes (``"mc"``), by naive Bayes (``"nb"``), or by whichever of the two
        has been right about more weight there (``"nba"`` [3]_).
    nb_threshold
        With ``"nb"``, the weight from which on a leaf answers by naive Bayes.
    n_splits
        Thresholds tried between the least and the largest value of a number, at least 1.
    binary_split
        Whether a nominal column only ever splits in two, one category against the rest.
    min_branch_fraction
        Two sides of a split at least must have more than this share of the weight, in [0, 0.5).
    max_share_to_split
        A leaf with a class of more than this share is not split, in (0, 1].
    merit_preprune
        Whether not to split at all is among what a split must be better than.
    max_depth
        Of the tree, from 0 (the root alone) to 1000; None: 1000.
    max_classes
        Label sets that are told apart, at least 2; see Notes.
    max_bytes
        For all records of the tree together; see Notes.
    threshold
        Labels above this probability are answered, in (0, 1); None: the most probable label set.

    Attributes
    ----------
    events_
        ``kind`` is ``"split"``, with ``feature`` (of a split by one category ``feature=category``), the serial number
        of the ``node``, its ``depth``, and the ``weight`` that it had.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    *Classes* are label sets. Where every event has one label the tree is the multi-class tree. The probability of a
    label is the sum over the sets that hold it, and 0 before it is born. Of an event that is labelled in part, a leaf
    learns the most probable of its sets that agree with what is known, or else the set of the labels known to be there.
    A set that comes after ``max_classes`` others is taken for the one that is most like it: of the largest Jaccard
    similarity, and of equals the oldest. A label that only such sets hold is never answered.

    *Splits.* For each class, a leaf keeps the weight and the normal distribution, N(m, s²), of every number, and the
    weight of every category. A split at t gives the left n · Φ((t − m) / s) of a class, or all or nothing where t lies
    outside the values seen; its merit is the entropy of the leaf less the mean entropy of the sides. The best input is
    taken when its merit beats the second best by sqrt(R² ln(1 / delta) / (2 n)), n being the weight of the leaf and R
    the logarithm to base 2 of the number of its classes (at least 2; for Gini R is 1), or when that bound is below
    ``tau``. Children begin with the weights of the classes that they are estimated to have had. Naive Bayes adds, for
    every input that has a value, ln N(x; m, s²) or the logarithm of the category's share; an input without spread says
    nothing.

    *Missing values* are not learned. An event without a value of what a branch asks goes the way that more weight has
    gone. A category that a branch with a child for each has not met is given a new leaf when it is learned. In sparse
    rows an absent cell is 0: a split asks whether a cell is 0, and naive Bayes weighs (n + 1) / (w + 2) for the listed
    cells, n of the weight w of the class having listed it. Numbers are held as float32.

    *Agreement with river.* With the same parameters, on the same numbers (as float32), weights and categories, splits,
    thresholds and predictions are those of river's ``HoeffdingTreeClassifier``, up to the order in which sums round.
    The Hellinger criterion, other observers, ``remove_poor_attrs`` and leaves that observe again once there is memory
    are river's alone. A class of weight 0 takes no part in naive Bayes, where river's counts with likelihood 1. Of
    classes that are equally probable the one that was met first is answered, not the one that sorts first.

    *Memory.* An observed class of a leaf costs 64 bytes an input, in sparse rows 8. Where ``max_bytes`` is short, the
    leaves that have least weight outside their commonest class lose what they have observed and are not split any more.

    *Time.* An event costs its way down, an update of D inputs, and a density of D inputs for each class of the leaf;
    an attempt to split costs D · ``n_splits`` times the number of classes.

    References
    ----------
    .. [1] Domingos, Hulten, "Mining high-speed data streams", KDD 2000.
    .. [2] Gama, Rocha, Medas, "Accurate decision trees for mining high-speed data streams", KDD 2003: numbers, naive
       Bayes in the leaves.
    .. [3] Holmes, Kirkby, Pfahringer, "Stress-testing Hoeffding trees", PKDD 2005.

    Examples
    --------
    >>> from learners.trees.hoeffding import HoeffdingTreeClassifier
    >>> model = HoeffdingTreeClassifier(grace_period=50)
    >>> for i in range(400):
    ...     model.learn_one({"heat": i % 10, "wet": i % 3}, {"ice": i % 10 < 3, "snow": i % 10 < 3, "sun": i % 10 > 6})
    >>> model.predict_one({"heat": 1, "wet": 0})
    {'ice': True, 'snow': True, 'sun': False}
    >>> print(model.draw())
    heat ≤ 2.45455?
      yes: {ice, snow} (120)
      no: heat ≤ 6.27273?
        yes: {} (140)
        no: {sun} (105)
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
        max_classes: int = 1000,
        max_bytes: float = 100 * 2**20,
        threshold: float | None = None,
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
        self.max_classes = max_classes
        self.max_bytes = max_bytes
        self.threshold = threshold
        self._check()
        self._start()

    def _step(
        self, events: Events, begin: int, learn: bool, proba: NDArray[np.float64], best: NDArray[np.int64]
    ) -> int:
        return int(_run(self._pool, self._settings, events, begin, learn, proba, best))

    def _kernel_of_one(self) -> Any:
        return _run_one


@woven
def add_labels(events: Events, pool: Pool, leaf: int, posterior: Floats, share: float, proba: Floats) -> None:
    """Add the probabilities of a leaf's classes, times ``share``, to those of their labels."""
    _add_labels(pool.nodes[leaf]["entry"], pool.entries, events.indptr_of_sets, events.labels, posterior, share, proba)


@inner
def _add_labels(
    entry: int,
    entries: Records,
    indptr: Ints,
    labels: NDArray[np.int32],
    posterior: Floats,
    share: float,
    proba: Floats,
) -> None:
    """What `add_labels` does, from the leaf's first entry on."""
    while entry >= 0:
        key = entries[entry]["key"]
        for k in range(indptr[key], indptr[key + 1]):
            proba[labels[k]] += posterior[key] * share
        entry = entries[entry]["next"]


@woven
def learn_and_grow(
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
    """Let the tree below ``top`` learn event ``t``, which ``leaf`` has answered as `consider` tells.

    As in river, an event that did not find its way by its values alone brings about no attempt to split.
    """
    taught, straight = find_leaf_to_learn(pool, top, x)
    if taught != leaf:
        posterior[:] = 0.0
    key = class_to_learn(pool, taught, events, t, posterior)
    learn(
        pool, taught, settings, events, t, x, key, weight, majority if taught == leaf else -1,
        bayes if taught == leaf else -1,
    )  # fmt: skip
    if straight:
        grow_leaf(pool, taught, settings, events)


@njit(cache=True, nogil=True, error_model="numpy")
def _run(
    pool: Pool, settings: Settings, events: Events, begin: int, learns_all: bool, proba: Floats, best: Ints
) -> int:
    """Answer the events from ``begin`` on in ``proba`` and ``best``; if ``learns_all``, learn each before the next.

    Returns the number of the first event that is short of room, for which nothing was done yet.
    """
    n = len(proba)
    sparse = events.sparse
    x = np.full(events.n_inputs, 0.0 if sparse else np.nan)
    posterior = np.zeros(len(events.indptr_of_sets) - 1)
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
        if learns and not may_learn(pool, leaf, settings, events, weight, 0):
            return t
        best[t], majority, bayes = consider(pool, leaf, settings, events, t, x, learns, posterior)
        add_labels(events, pool, leaf, posterior, 1.0, proba[t])
        if learns:
            tree["n_learned"] += 1
            learn_and_grow(
                pool, tree["root"], leaf, settings, events, t, x, weight, majority, bayes, posterior
            )  # fmt: skip
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
