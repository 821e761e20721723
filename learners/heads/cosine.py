"""Softmax regression on cosines, learned by gradient over the classes of a block alone."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.heads.blocks import (
    BLOCK,
    VALUE,
    BlockHead,
    classes_of,
    cosines,
    descend,
    enter,
    rows_of_event,
    softmax_errors,
)
from learners.heads.head import choose, dot, to_shares
from learners.heads.statistics import FILL, ROWS
from streams.batch import Batch

Floats = NDArray[np.float64]
Labels = NDArray[np.int32]
Integers = NDArray[np.int64]


class CosineSoftmaxClassifier(BlockHead):
    """Softmax regression on the cosines of a vector to one vector a class.

    Parameters
    ----------
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

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    Vectors are brought to length one. When ``block`` of them have come, the weighted mean of their cross-entropies
    takes ``steps`` steps of Adam, in which the softmax goes over the classes that are in the block (batch-class mask)
    and no other is touched: what is not there is not pushed away. A block of one class teaches nothing.

    A class starts with its first vector, not at random as published, and takes part in answers from then on; otherwise
    answers are those of the last block that was full. Adam's means and its count of steps are each class's own and
    stand still while it is absent; published code has one count, and its means go on moving absent classes.

    An event with several labels is one of each of their classes. The order of events matters, and there is no
    `merge`. With B = ``block``, S = ``steps`` and C classes in a block: O(S C d) to learn a vector, O(K d) to answer
    one. Bytes: 24 K d + up to 8 B d. Missing values are 0, nominal columns are not looked at.

    References
    ----------
    .. [1] Pereira et al., "Normalised softmax embeddings", arXiv 2102.03243, section 3, for the loss.
    .. [2] "SinglePrompt", CVPR Findings 2026, arXiv 2604.04420, for temperature, rate and the mask of classes.

    Examples
    --------
    >>> from learners.heads.cosine import CosineSoftmaxClassifier
    >>> head = CosineSoftmaxClassifier()
    >>> head.learn_one({"a": 1.0, "b": 0.1}, {"left": True})
    >>> head.learn_one({"a": 0.1, "b": 1.0}, {"right": True})
    >>> head.predict_one({"a": 0.2, "b": 3.0})
    {'left': False, 'right': True}
    """

    def __init__(
        self,
        rate: float = 0.005,
        steps: int = 3,
        *,
        temperature: float = 0.1,
        block: int = BLOCK,
        normalise: str = "none",
    ) -> None:
        super().__init__(rate, steps, temperature, block, normalise)
        self._start()

    def _walk_block(
        self, x: Floats, weight: Floats, batch: Batch, learn: bool, answer: bool, proba: Floats, chosen: Labels
    ) -> None:
        _walk(
            x,
            weight,
            batch.y.indptr,
            batch.y.indices,
            learn,
            answer,
            self.rate,
            self.steps,
            self.temperature,
            self._counters,
            self._row_of,
            self._labels,
            self._weights,
            self._lengths,
            self._updates,
            self._block,
            self._block_rows,
            self._block_weight,
            proba,
            chosen,
        )


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
    counters: Integers,
    row_of: Labels,
    labels: Labels,
    weights: Floats,
    lengths: Floats,
    updates: Integers,
    block: Floats,
    block_rows: Labels,
    block_weight: Floats,
    proba: Floats,
    chosen: Labels,
) -> None:
    scores = np.empty(len(labels))
    for i in range(len(x)):
        if answer:
            rows = counters[ROWS]
            for k in range(rows):
                scores[k] = dot(x[i], weights[k, VALUE]) / (lengths[k] * temperature)
            to_shares(scores, labels[:rows], proba[i])
            choose(proba[i : i + 1], labels[:rows], chosen[i : i + 1])
        if learn and indptr[i] < indptr[i + 1]:
            present = indices[indptr[i] : indptr[i + 1]]
            for k in rows_of_event(x[i], present, row_of, labels, counters, weights, lengths):
                if enter(x[i], k, weight[i], counters, block, block_rows, block_weight):
                    for _ in range(n_steps):
                        _step(
                            block,
                            block_rows,
                            block_weight,
                            rate,
                            temperature,
                            counters[ROWS],
                            weights,
                            lengths,
                            updates,
                        )
                    counters[FILL] = 0


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
) -> None:
    """One gradient step by the vectors ``x`` of the classes in ``rows``."""
    classes, places = classes_of(rows, n_rows)
    if len(classes) < 2:
        return
    cosine = cosines(x, classes, weights, lengths)
    errors = softmax_errors(cosine / temperature, places)
    factors = errors * (weight / (weight.sum() * temperature))
    descend(x, factors, cosine, classes, rate, weights, lengths, updates)
