"""MVP on frozen features: keys that choose masks of logits, a focal loss by gradient similarity, scaling and replay."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.base import State
from learners.heads.blocks import (
    BLOCK,
    VALUE,
    BlockHead,
    adam,
    add,
    classes_of,
    cosines,
    descend,
    enter,
    length_of,
    rows_of_event,
    softmax_errors,
)
from learners.heads.head import choose, dot, to_shares
from learners.heads.reservoir import REPLAY, Reservoir, draw, keep
from learners.heads.statistics import FILL, ROWS, TAUGHT
from streams.batch import Batch

Floats = NDArray[np.float64]
Floats32 = NDArray[np.float32]
Labels = NDArray[np.int32]
Integers = NDArray[np.int64]

MARGIN, BALANCE, FOCUS = 0.5, 0.5, 2.0
"""As published: the margin of feature scaling, the share of the focal loss, and its exponent."""

TIMES, STEPS = range(2)
"""Columns of what is counted of a key: how often it was taken, and its steps."""

ROUNDING = 1e-9
"""What distances and gradients may owe to the order in which features happen to be summed, as a share of them."""

_UNTAUGHT_MASK = -1.0


class MVPLightClassifier(BlockHead):
    """What of MVP needs no backbone: masked cosine softmax regression that weighs, scales and repeats its vectors.

    Parameters
    ----------
    buffer
        Vectors that are kept to be repeated, at least 0.
    replay
        Of them, those that join a step, at least 0.
    keys
        Keys, and with them masks, at least 1.
    rate
        Of Adam, above 0.
    steps
        Gradient steps a block, at least 1.
    temperature
        Cosines are divided by it, above 0.
    block
        Vectors that are learned together, at least 2.
    normalise
        What is done to a vector first, as in `Normaliser`.
    seed
        Of what is kept and repeated, at least 0.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    Vectors x are brought to length one. Of the keys the one with the least (1 - cos(x, k_e)) (n_e + 1) is taken, where
    n_e says how often it has been taken in steps; it gives the factors mu = 2 sigmoid(m_e) of the logits
    z = mu cos(x, w) / temperature, which are answered by softmax. When ``block`` vectors have come, there are ``steps``
    steps of Adam, each with as many vectors of the reservoir as ``replay`` says, drawn anew. A step lowers, over the
    classes in it alone, of which there must be two,

    * the cross-entropy of z / r, where r = 1 - cos(x, w_y) + 0.5 (adaptive feature scaling), times
      0.5 + 0.5 s^2, where s is one less the cosine between the gradient of a vector by w_y and that of all of them,
      both in closed form and of z (gradient-similarity focal loss); r and s are constants in it;
    * for the keys, -log(A / (Q + A)) with Q = exp((1 - cos(x, k)) / (n + 1)) of the key that was taken and A the sum
      over the others k' of exp((1 - cos(k, k')) / (n + 1)), these being constants.

    This is not the published system: there are no prompts, the head is cosine and not linear, with the mask of classes
    that are absent, the focal weight is each vector's own, as the paper has it and its code has not, the contrastive
    loss is that of each vector, the reservoir is balanced between classes and holds features, and its vectors are
    offered after the steps. Classes start with their first vector and keys with the first vectors of all.

    An event with several labels is one vector of each of their classes. The order of events matters, and there is no
    `merge`. With n = ``block`` + ``replay``, S = ``steps``, E = ``keys`` and C classes in a step:
    O(S (C + E) d n / block) to learn a vector, and of the reservoir O(d + buffer); O((K + E) d) to answer one. Bytes:
    24 (K + E) d + 24 K E + up to 8 d ``block`` + 4 d ``buffer``. Missing values are 0, nominal columns are not looked
    at.

    References
    ----------
    .. [1] Moon et al., "Online class incremental learning on stochastic blurry task boundary via mask and visual prompt
       tuning", ICCV 2023, arXiv 2308.09303.

    Examples
    --------
    >>> from learners.heads.mvp import MVPLightClassifier
    >>> head = MVPLightClassifier()
    >>> head.learn_one({"a": 1.0, "b": 0.1}, {"left": True})
    >>> head.learn_one({"a": 0.1, "b": 1.0}, {"right": True})
    >>> head.predict_one({"a": 0.2, "b": 3.0})
    {'left': False, 'right': True}
    """

    def __init__(
        self,
        buffer: int = 2000,
        replay: int = 32,
        *,
        keys: int = 10,
        rate: float = 0.005,
        steps: int = 3,
        temperature: float = 0.1,
        block: int = BLOCK,
        normalise: str = "none",
        seed: int = 0,
    ) -> None:
        for name, value, least in (("replay", replay, 0), ("keys", keys, 1), ("seed", seed, 0)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        super().__init__(rate, steps, temperature, block, normalise)
        self.buffer = buffer
        self.replay = replay
        self.keys = keys
        self.seed = seed
        self._start()

    def _start(self) -> None:
        super()._start()
        self._reservoir = Reservoir(self.buffer)
        self._masks = np.zeros((0, 3, self.keys))
        self._n_keys = np.zeros(1, np.int64)
        self._keys = np.zeros((self.keys, 3, 0))
        self._key_lengths = np.ones(self.keys)
        self._taken = np.zeros((self.keys, 2), np.int64)

    def _make_rows(self, rows: int) -> None:
        super()._make_rows(rows)
        more = len(self._weights) - len(self._masks)
        if more > 0:
            self._masks = np.pad(self._masks, ((0, more), (0, 0), (0, 0)))
            self._masks[-more:, VALUE] = _UNTAUGHT_MASK

    def _grow(self, width: int, n_labels: int) -> None:
        super()._grow(width, n_labels)
        self._reservoir.grow(width)
        more = width - self._keys.shape[2]
        if more > 0:
            self._keys = np.pad(self._keys, ((0, 0), (0, 0), (0, more)))

    def _walk_block(
        self, x: Floats, weight: Floats, batch: Batch, learn: bool, answer: bool, proba: Floats, chosen: Labels
    ) -> None:
        kept = self._reservoir
        if learn:
            kept.make_room(len(batch.y.indices) + self.block, len(self._labels))
        _walk(
            x, weight, batch.y.indptr, batch.y.indices, learn, answer, self.rate, self.steps, self.temperature,
            self.replay, self.seed, self._counters, self._row_of, self._labels, self._weights, self._lengths,
            self._updates, self._block, self._block_rows, self._block_weight, self._masks, self._n_keys, self._keys,
            self._key_lengths, self._taken, kept.size, kept.n_stored, kept.counts, kept.vectors, kept.rows, kept.weight,
            proba, chosen,
        )  # fmt: skip

    def _get_state(self) -> State:
        state = super()._get_state()
        rows, n_keys = int(self._counters[ROWS]), int(self._n_keys[0])
        self._reservoir.make_room(0, rows)
        return {
            **state,
            "masks": self._masks[:rows].copy(),
            "keys": self._keys[:n_keys].copy(),
            "key_lengths": self._key_lengths[:n_keys].copy(),
            "taken": self._taken[:n_keys].copy(),
            **self._reservoir.get_state(rows),
        }

    def _set_state(self, state: State) -> None:
        super()._set_state(state)
        rows, n_keys = len(state["class_labels"]), len(state["keys"])
        if n_keys > self.keys:
            raise ValueError(f"state 'keys' must have at most {self.keys} rows, got {n_keys}")
        self._masks = np.array(state["masks"], np.float64, order="C").reshape(rows, 3, self.keys)
        self._n_keys[0] = n_keys
        self._keys[:n_keys], self._key_lengths[:n_keys] = state["keys"], state["key_lengths"]
        self._taken[:n_keys] = state["taken"]
        self._reservoir.set_state(state)


@njit(cache=True, nogil=True)
def _walk(
    x: Floats,
    weight: Floats,
    indptr: Integers,
    indices: Labels,
    learn: bool,
    answer: bool,
    rate: float,
    n_steps: int,
    temperature: float,
    n_replay: int,
    seed: int,
    counters: Integers,
    row_of: Labels,
    labels: Labels,
    weights: Floats,
    lengths: Floats,
    updates: Integers,
    block: Floats,
    block_rows: Labels,
    block_weight: Floats,
    masks: Floats,
    n_keys: Integers,
    keys: Floats,
    key_lengths: Floats,
    taken: Integers,
    size: int,
    n_stored: Integers,
    counts: Integers,
    stored: Floats32,
    stored_rows: Labels,
    stored_weight: Floats,
    proba: Floats,
    chosen: Labels,
) -> None:
    scores = np.empty(len(labels))
    n_replay = min(n_replay, size)
    part = np.zeros((len(block) + n_replay, x.shape[1]))
    part_rows, part_weight = np.zeros(len(part), np.int32), np.zeros(len(part))
    for i in range(len(x)):
        rows = counters[ROWS]
        if answer and rows:
            e = nearest_key(x[i], keys[: n_keys[0]], key_lengths, taken)
            for k in range(rows):
                cosine = dot(x[i], weights[k, VALUE]) / lengths[k]
                scores[k] = factor(masks[k, VALUE, e]) * cosine / temperature
            to_shares(scores, labels[:rows], proba[i])
            choose(proba[i : i + 1], labels[:rows], chosen[i : i + 1])
        if not learn or indptr[i] == indptr[i + 1]:
            continue
        present = indices[indptr[i] : indptr[i + 1]]
        for k in rows_of_event(x[i], present, row_of, labels, counters, weights, lengths):
            if n_keys[0] < len(keys):
                keys[n_keys[0], VALUE] = x[i]
                key_lengths[n_keys[0]] = length_of(x[i])
                n_keys[0] += 1
            if not enter(x[i], k, weight[i], counters, block, block_rows, block_weight):
                continue
            n = len(block) + (n_replay if n_stored[0] else 0)
            part[: len(block)], part_rows[: len(block)], part_weight[: len(block)] = block, block_rows, block_weight
            for step in range(n_steps):
                for place in range(len(block), n):
                    number = REPLAY + step * n_replay + place - len(block)
                    j = draw(seed, counters[TAUGHT], number, n_stored[0])
                    part[place], part_rows[place], part_weight[place] = stored[j], stored_rows[j], stored_weight[j]
                _step(
                    part[:n], part_rows[:n], part_weight[:n], rate, temperature, counters[ROWS], weights, lengths,
                    updates, masks, keys[: n_keys[0]], key_lengths, taken,
                )  # fmt: skip
            for place in range(len(block)):
                keep(
                    block[place], block_rows[place], block_weight[place], seed, counters[TAUGHT] - len(block) + place,
                    size, n_stored, counts, stored, stored_rows, stored_weight,
                )  # fmt: skip
            counters[FILL] = 0


@njit(cache=True, nogil=True)
def nearest_key(x: Floats, keys: Floats, lengths: Floats, taken: Integers) -> int:
    """The key of the least cosine distance times how often it was taken, and once more; the first among equals."""
    best, least = 0, np.inf
    for e in range(len(keys)):
        distance = (1 - dot(x, keys[e, VALUE]) / lengths[e]) * (taken[e, TIMES] + 1)
        if distance < least - ROUNDING:
            best, least = e, distance
    return best


@njit(cache=True, nogil=True)
def factor(mask: float) -> float:
    """What a logit is multiplied by."""
    return float(2 / (1 + np.exp(-mask)))


@njit(cache=True, nogil=True)
def _step(
    x: Floats,
    rows: Labels,
    weight: Floats,
    rate: float,
    temperature: float,
    n_rows: int,
    weights: Floats,
    lengths: Floats,
    updates: Integers,
    masks: Floats,
    keys: Floats,
    key_lengths: Floats,
    taken: Integers,
) -> None:
    """One gradient step by the vectors ``x`` of the classes in ``rows``."""
    classes, places = classes_of(rows, n_rows)
    if len(classes) < 2:
        return
    cosine = cosines(x, classes, weights, lengths)
    which = np.empty(len(x), np.int64)
    mu = np.empty(cosine.shape)
    for i in range(len(x)):
        which[i] = nearest_key(x[i], keys, key_lengths, taken)
        for place in range(len(classes)):
            mu[place, i] = factor(masks[classes[place], VALUE, which[i]])
    logits = mu * cosine / temperature
    importance = focal(x, weight, mu * softmax_errors(logits.copy(), places), places)
    scale = np.empty(len(x))
    for i in range(len(x)):
        scale[i] = 1 - cosine[places[i], i] + MARGIN
    errors = softmax_errors(logits / scale, places)
    errors *= weight * importance / (weight.sum() * temperature * scale)

    by_mask = np.zeros((len(classes), len(keys)))
    for i in range(len(x)):
        for place in range(len(classes)):
            by_mask[place, which[i]] += errors[place, i] * cosine[place, i] * mu[place, i] * (1 - mu[place, i] / 2)
    descend(x, errors * mu, cosine, classes, rate, weights, lengths, updates)
    for place in range(len(classes)):
        k = classes[place]
        adam(by_mask[place], updates[k], rate, masks[k])
    _step_keys(x, weight, which, rate, keys, key_lengths, taken)


@njit(cache=True, nogil=True)
def focal(x: Floats, weight: Floats, by_logit: Floats, places: Integers) -> Floats:
    """Weights of vectors by how far their own gradient is from that of all of them; ``by_logit`` is (classes, n)."""
    found, gradient = np.empty(len(x)), np.empty(x.shape[1])
    for place in range(len(by_logit)):
        gradient[:] = 0
        added = 0.0
        for i in range(len(x)):
            add(weight[i] * by_logit[place, i], x[i], gradient)
            added += weight[i] * abs(by_logit[place, i])
        length = length_of(gradient)
        for i in range(len(x)):
            if places[i] == place:
                cosine = 0.0
                if length > ROUNDING * added:
                    cosine = np.sign(by_logit[place, i]) * dot(x[i], gradient) / (length * length_of(x[i]))
                found[i] = 1 - BALANCE + BALANCE * (1 - cosine) ** FOCUS
    return found


@njit(cache=True, nogil=True)
def _step_keys(
    x: Floats, weight: Floats, which: Integers, rate: float, keys: Floats, lengths: Floats, taken: Integers
) -> None:
    """One step of the keys that were taken, from where all of them stood before it."""
    n = len(keys)
    units = np.empty((n, x.shape[1]))
    for e in range(n):
        units[e] = keys[e, VALUE] / lengths[e]
    gradient, share, between = np.empty(x.shape[1]), np.empty(n), np.empty(n)
    total = weight.sum()
    for e in range(n):
        times, others = taken[e, TIMES] + 1, 0.0
        for f in range(n):
            between[f] = dot(units[e], units[f])
            share[f] = np.exp((1 - between[f]) / times) if f != e else 0.0
            others += share[f]
        gradient[:] = 0
        n_taken = 0
        for i in range(len(x)):
            if which[i] != e:
                continue
            n_taken += 1
            cosine = dot(x[i], units[e])
            own = np.exp((1 - cosine) / times)
            slope = weight[i] / total * own / (own + others) / times
            add(-slope, x[i], gradient)
            add(slope * cosine, units[e], gradient)
            for f in range(n):
                if f != e:
                    add(slope * share[f] / others, units[f], gradient)
                    add(-slope * share[f] / others * between[f], units[e], gradient)
        if n_taken and n > 1:
            for j in range(len(gradient)):
                gradient[j] /= lengths[e]
            taken[e, STEPS] += 1
            adam(gradient, taken[e, STEPS], rate, keys[e])
            lengths[e] = length_of(keys[e, VALUE])
        taken[e, TIMES] += n_taken
