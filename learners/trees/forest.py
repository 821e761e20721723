"""The adaptive random forest: trees over random subspaces, watched for drift, with new ones in the background."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.trees.nodes import inner
from learners.trees.pool import CLOCK, Events, Floats, Ints, Pool, Settings, unpack, wipe
from learners.trees.tree_ensemble import (
    DRIFTED,
    LEAST_VOTE,
    REPLACED,
    WARNED,
    TreeEnsemble,
    Turn,
    Watch,
    answer_and_learn,
    empty,
    fell,
    has_leaf,
    note_member,
    rises,
    settle,
)


class AdaptiveRandomForestClassifier(TreeEnsemble):
    """An adaptive random forest: Hoeffding trees over random subspaces, each replaced where its errors rise.

    Parameters
    ----------
    n_models
        Trees that answer, at least 1.
    max_features
        Columns that a leaf looks at, drawn by lot when it begins: ``"sqrt"`` for the square root of their number and
        one more, ``"log2"`` for the binary logarithm and one more, a share in (0, 1], a number, or None for all.
    lambda_value
        Mean of the Poisson number that is the weight of an event for a tree, in (0, 100].
    drift_delta, warning_delta
        Confidence of ADWIN that a tree is to be replaced, and that one is to grow in the background, in (0, 1); None:
        never.
    disable_weighted_vote
        Let all trees have the same say.
    grace_period, delta, split_criterion, tau, leaf_prediction, nb_threshold, n_splits, binary_split, \
min_branch_fraction, max_share_to_split, merit_preprune, max_depth, max_classes, threshold
        As in `learners.trees.hoeffding.HoeffdingTreeClassifier`, for every tree.
    max_bytes
        Room for all trees; each, in the background or not, has an equal share of it, within which it stays as that one
        does.
    seed
        For the draws.

    Attributes
    ----------
    events_
        What happened to tree ``member``, which had answered ``n_seen`` events: ``kind`` is ``"warning"`` (one
        began to grow in the background), ``"replacement"`` (that one took over) or ``"drift"`` (there was none, and a
        tree that knows nothing took over).

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    The method of [1]_, with its parameters. A tree learns an event with a Poisson number as its weight, unless that is
    0; its errors before learning those events go into two ADWIN windows. These look for a change with every 32nd, and a
    change counts where errors have risen, as in MOA; river counts those where they have fallen as well, and loses trees
    that were getting better. The vote of a tree has its accuracy since it began as its weight, but at least 0.01.

    What is drawn depends on the seed, the tree, the number of events taught before, and the names of columns. A leaf
    draws among the columns that have had a value by then. So neither the cut into batches, nor what a header declares,
    nor the order of columns changes anything.

    Classes are label sets, so that one class an event and several labels an event are the same to it; a partly labelled
    event counts as the likeliest class that agrees with what is known. Of sparse rows, leaves look at the columns drawn
    for them alone, so that many columns of which few are present call for a large ``max_features``.

    An event costs each tree a walk to a leaf and ``max_features`` values for every class there. Splits are too many to
    be told in ``events_``.

    References
    ----------
    .. [1] Gomes, Bifet, Read, Barddal, Enembreck, Pfahringer, Holmes, Abdessalem, "Adaptive random forests for evolving
       data stream classification", Machine Learning 106, 2017.

    Examples
    --------
    >>> from ihomer import AdaptiveRandomForestClassifier, SingleLabel
    >>> model = SingleLabel(AdaptiveRandomForestClassifier(5, seed=1))
    >>> for size in range(300):
    ...     model.learn_one({"size": size % 100}, "big" if size % 100 > 50 else "small")
    >>> model.predict_one({"size": 90}), model.predict_one({"size": 10})
    ('big', 'small')
    """

    _TREES = 2
    _WINDOWS = 2

    def __init__(
        self,
        n_models: int = 10,
        max_features: int | float | str | None = "sqrt",
        *,
        lambda_value: float = 6.0,
        drift_delta: float | None = 0.001,
        warning_delta: float | None = 0.01,
        disable_weighted_vote: bool = False,
        grace_period: int = 50,
        delta: float = 0.01,
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
        max_bytes: float = 200 * 2**20,
        threshold: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.n_models = n_models
        self.max_features = max_features
        self.lambda_value = lambda_value
        self.drift_delta = drift_delta
        self.warning_delta = warning_delta
        self.disable_weighted_vote = disable_weighted_vote
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
        self.seed = seed
        self._check()
        for name, value in (("drift_delta", drift_delta), ("warning_delta", warning_delta)):
            if value is not None and not 0 < value < 1:
                raise ValueError(f"{name} must be in (0, 1) or None, got {value}")
        self._start()

    def _kernel(
        self,
        settings: Settings,
        events: Events,
        begin: int,
        end: int,
        learn: bool,
        proba: NDArray[np.float64],
        best: NDArray[np.int64],
    ) -> int:
        deltas = np.array([self.warning_delta or 0.0, self.drift_delta or 0.0])
        weighted = not self.disable_weighted_vote
        where = begin, end, learn, weighted
        done = _run(
            self._pool, self._members, self._watch, settings, deltas, events, *where, self._draws, self._nth,
            self._taught, self._turn, proba, best,
        )  # fmt: skip
        return int(done)


@inner
def _look_out(pool: Pool, members: Any, watch: Watch, k: int, deltas: Floats, event: int, wrong: bool) -> None:
    """Give an answer of a member, right or wrong, to its two windows, which look at every 32nd. A warning starts a tree
    in the background; a drift lets that take over, or one that knows nothing where there is none."""
    member = members[k]
    watch.pending[k, member["n_pending"]] = wrong
    member["n_pending"] += 1
    if member["n_pending"] < CLOCK:
        return
    member["n_pending"] = 0
    tree, n_seen = member["tree"], member["seen"]
    other = 4 * k + 1 - tree
    if deltas[0] > 0.0 and rises(watch, 2 * k, watch.pending[k], deltas[0]):
        fell(pool, other)
        empty(watch, 2 * k)
        member["warned"] = 1
        note_member(pool, WARNED, event, k, n_seen)
    if deltas[1] > 0.0 and rises(watch, 2 * k + 1, watch.pending[k], deltas[1]):
        fell(pool, tree)
        note_member(pool, REPLACED if member["warned"] else DRIFTED, event, k, n_seen)
        if member["warned"]:
            member["tree"], member["warned"] = other, 0
        empty(watch, 2 * k)
        empty(watch, 2 * k + 1)
        member["right"] = member["seen"] = 0.0
    watch.pending[k] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _run(
    pool: Pool,
    members: Any,
    watch: Watch,
    settings: Settings,
    deltas: Floats,
    events: Events,
    begin: int,
    end: int,
    learns_all: bool,
    weighted: bool,
    draws: Ints,
    nth: Ints,
    taught: Ints,
    turn: Turn,
    proba: Floats,
    best: Ints,
) -> int:
    """Answer the events from ``begin`` to ``end``; then, if ``learns_all``, learn each before the next.

    A unit of work is the background tree of a member, or its tree that answers. Returns the number of the first event
    that is short of room, for which the units before ``turn.at[0]`` are done.
    """
    x = np.full(events.n_inputs, 0.0 if events.sparse else np.nan)
    votes = turn.votes
    posterior = np.zeros(len(votes))
    for t in range(begin, end):
        learns = learns_all and events.key[t] >= 0
        cells = events.indices[events.indptr[t] : events.indptr[t + 1]]
        data = events.data[events.indptr[t] : events.indptr[t + 1]]
        unpack(events.dense[t], events.inputs, cells, data, events.sparse, events.whole_of, x)
        if turn.at[0] == 0:
            votes[:] = 0.0
        while turn.at[0] < 2 * len(members):
            k = turn.at[0] // 2
            member = members[k]
            is_background = turn.at[0] % 2 == 0
            weight = draws[k, nth[t]] * events.weight[t] if learns else 0.0
            if is_background and not (weight > 0.0 and member["warned"]):
                turn.at[0] += 1
                continue
            tree = 4 * k + 1 - member["tree"] if is_background else member["tree"]
            leaf, is_room = has_leaf(pool, tree, settings, events, x, weight)
            if not is_room:
                return t
            share = 0.0
            if not is_background:
                share = 1.0
                if weighted:
                    share = max(member["right"] / member["seen"], LEAST_VOTE) if member["seen"] > 0.0 else LEAST_VOTE
            wrong = answer_and_learn(
                pool, tree, leaf, settings, events, t, x, weight, share, posterior, votes
            )  # fmt: skip
            if learns and not is_background:
                member["seen"] += events.weight[t]
                if not wrong:
                    member["right"] += events.weight[t]
                if weight > 0.0:
                    _look_out(pool, members, watch, k, deltas, taught[0] + 1, wrong)
            turn.at[0] += 1
        turn.at[0] = 0
        best[t] = settle(events, votes, proba[t])
        if learns:
            taught[0] += 1
        wipe(cells, events.sparse, events.whole_of, x)
    return end
