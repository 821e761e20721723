"""ADWIN bagging: trees that learn other draws of the events, the worst of which is replaced when errors rise."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.trees.nodes import inner
from learners.trees.pool import CLOCK, Events, Floats, Ints, Pool, Settings, has_room, unpack, wipe
from learners.trees.tree_ensemble import (
    REPLACED,
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


class ADWINBaggingClassifier(TreeEnsemble):
    """ADWIN bagging of Hoeffding trees: where the errors of any of them rise, the worst one begins anew.

    Parameters
    ----------
    n_models
        Trees, at least 1.
    drift_delta
        Confidence of ADWIN over the errors of each tree, in (0, 1).
    lambda_value
        Mean of the Poisson number that is the weight of an event for a tree, in (0, 100]; 1 as published, 6 as in
        leveraging bagging.
    grace_period, delta, split_criterion, tau, leaf_prediction, nb_threshold, n_splits, binary_split, \
min_branch_fraction, max_share_to_split, merit_preprune, max_depth, max_classes, threshold
        As in `learners.trees.hoeffding.HoeffdingTreeClassifier`, for every tree.
    max_bytes
        Room for all trees; each has an equal share of it, within which it stays as that one does.
    seed
        For the draws.

    Attributes
    ----------
    events_
        ``kind`` is ``"replacement"``: the tree number ``member`` began anew after ``n_seen`` events.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    Online bagging [1]_ with ADWIN [2]_. A tree learns an event with a Poisson number as its weight, which depends on
    the seed, the tree and the number of events taught before. Whether it was right, *before* it learned the event, goes
    into its ADWIN window, which looks for a change with every 32nd event. A change counts where errors have risen; then
    the tree of the largest mean error in its window is replaced by one that knows nothing. An answer is the mean of
    what the trees say.

    MOA and river let a tree answer *after* it has learned an event; river's 0.26 hands the right answers to ADWIN, not
    the wrong ones, and so replaces the best tree where answers get better.

    Classes are label sets, so that one class an event and several labels an event are the same to it; a partly labelled
    event counts as the likeliest class that agrees with what is known.

    References
    ----------
    .. [1] Oza, Russell, "Online bagging and boosting", AISTATS 2001.
    .. [2] Bifet, Holmes, Pfahringer, Kirkby, Gavaldà, "New ensemble methods for evolving data streams", KDD 2009.

    Examples
    --------
    >>> from ihomer import ADWINBaggingClassifier, SingleLabel
    >>> model = SingleLabel(ADWINBaggingClassifier(5, seed=1))
    >>> for size in range(300):
    ...     model.learn_one({"size": size % 100}, "big" if size % 100 > 50 else "small")
    >>> model.predict_one({"size": 90}), model.predict_one({"size": 10})
    ('big', 'small')
    """

    max_features = None

    def __init__(
        self,
        n_models: int = 10,
        drift_delta: float = 0.002,
        *,
        lambda_value: float = 1.0,
        grace_period: int = 200,
        delta: float = 1e-7,
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
        self.drift_delta = drift_delta
        self.lambda_value = lambda_value
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
        if not 0 < drift_delta < 1:
            raise ValueError(f"drift_delta must be in (0, 1), got {drift_delta}")
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
        done = _run(
            self._pool, self._members, self._watch, settings, float(self.drift_delta), events, begin, end, learn,
            self._draws, self._nth, self._taught, self._turn, proba, best,
        )  # fmt: skip
        return int(done)


@inner
def _look_out(watch: Watch, member: Any, k: int, delta: float, wrong: bool) -> bool:
    """Give an answer of a member, right or wrong, to its window, which looks at every 32nd; whether errors rose."""
    watch.pending[k, member["n_pending"]] = wrong
    member["n_pending"] += 1
    if member["n_pending"] < CLOCK:
        return False
    member["n_pending"] = 0
    rose = rises(watch, k, watch.pending[k], delta)
    watch.pending[k] = 0.0
    return rose


@inner
def _replace_worst(pool: Pool, members: Any, watch: Watch, event: int) -> None:
    """Let the member with the largest mean error, the first of equals, begin anew."""
    worst, most = 0, -1.0
    for k in range(len(members)):
        n = watch.windows[k]["width"] + members[k]["n_pending"]
        error = (watch.windows[k]["total"] + watch.pending[k].sum()) / n if n > 0 else 0.0
        if error > most:
            worst, most = k, error
    member = members[worst]
    note_member(pool, REPLACED, event, worst, member["seen"])
    fell(pool, member["tree"])
    empty(watch, worst)
    watch.pending[worst] = 0.0
    member["n_pending"] = 0
    member["right"] = member["seen"] = 0.0


@njit(cache=True, nogil=True, error_model="numpy")
def _run(
    pool: Pool,
    members: Any,
    watch: Watch,
    settings: Settings,
    delta: float,
    events: Events,
    begin: int,
    end: int,
    learns_all: bool,
    draws: Ints,
    nth: Ints,
    taught: Ints,
    turn: Turn,
    proba: Floats,
    best: Ints,
) -> int:
    """Answer the events from ``begin`` to ``end``; then, if ``learns_all``, learn each before the next.

    A unit of work is a member. Returns the number of the first event that is short of room, for which the members
    before ``turn.at[0]`` are done; ``turn.at[1]`` tells whether the errors of any of those rose.
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
        while turn.at[0] < len(members):
            k = turn.at[0]
            member = members[k]
            weight = draws[k, nth[t]] * events.weight[t] if learns else 0.0
            leaf, is_room = has_leaf(pool, member["tree"], settings, events, x, weight)
            if not is_room:
                return t
            wrong = answer_and_learn(
                pool, member["tree"], leaf, settings, events, t, x, weight, 1.0, posterior, votes
            )  # fmt: skip
            if learns:
                member["seen"] += events.weight[t]
                if not wrong:
                    member["right"] += events.weight[t]
                if _look_out(watch, member, k, delta, wrong):
                    turn.at[1] = 1
            turn.at[0] += 1
        if turn.at[1] == 1:
            if not has_room(pool, 0, 0, 0, 0, 1):
                return t
            _replace_worst(pool, members, watch, taught[0] + 1)
        turn.at[0] = turn.at[1] = 0
        best[t] = settle(events, votes, proba[t])
        if learns:
            taught[0] += 1
        wipe(cells, events.sparse, events.whole_of, x)
    return end
