"""Prototype calibration: the mean of a class of few events leans towards those of well-known ones that it is like."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from learners.heads.head import SolvedHead, Weights
from learners.heads.normalising import to_unit_length
from learners.heads.statistics import BLOCK, Moments
from streams.batch import Batch

Floats = NDArray[np.float64]
Labels = NDArray[np.int32]

SHARPNESS = 16.0
"""Factor of cosines in both published softmaxes, of classes and of events."""


class TEENClassifier(SolvedHead):
    """The nearest class mean by angle, with means that are calibrated while their class has few events.

    Parameters
    ----------
    strength
        Share of the calibration in the mean of a class without events, in [0, 1] (alpha of the paper).
    fade
        Events after which this share has fallen to a half, above 0.
    normalise
        What is done to a vector first, as in `Normaliser`.
    refresh
        The means lag at most this many vectors behind, as in `SolvedHead`; at least 1.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    Vectors are brought to length one before they are averaged, and means, calibrated as in `calibrate`, when they are
    compared. The paper has base classes, whose means stay as they are, and new ones with a constant share; in a stream
    every class is new at first, so that the share fades with its count n as ``fade`` / (``fade`` + n), and a class
    counts as base by as much as it has events. Probabilities are the softmax of 16 times the cosine, as published.

    An event with several labels is one of each of their classes. The order of events leaves no trace beyond rounding
    and `merge` is exact. O(d) to learn an event, O(K d) to answer one, O(K^2 d) to calibrate; 16 bytes per class
    and column. Missing values are 0, nominal columns are not looked at. Nothing is forgotten.

    References
    ----------
    .. [1] Wang et al., "Few-shot class-incremental learning via training-free prototype calibration", NeurIPS 2023,
       arXiv 2312.05229, equations (4) to (6).

    Examples
    --------
    >>> from learners.heads.teen import TEENClassifier
    >>> head = TEENClassifier()
    >>> head.learn_one({"a": 1.0, "b": 0.1}, {"left": True})
    >>> head.learn_one({"a": 0.1, "b": 1.0}, {"right": True})
    >>> head.predict_one({"a": 0.2, "b": 3.0})
    {'left': False, 'right': True}
    """

    def __init__(
        self, strength: float = 0.3, fade: float = 20.0, *, normalise: str = "none", refresh: int = BLOCK
    ) -> None:
        if not 0 <= strength <= 1:
            raise ValueError(f"strength must be in [0, 1], got {strength}")
        if not 0 < fade < np.inf:
            raise ValueError(f"fade must be above 0 and finite, got {fade}")
        super().__init__(normalise, refresh, scatter="spherical")
        self.strength = strength
        self.fade = fade

    def _walk(self, x: Floats, batch: Batch, learn: bool, answer: bool, proba: Floats, chosen: Labels) -> None:
        to_unit_length(x)
        super()._walk(x, batch, learn, answer, proba, chosen)

    def _solve(self, moments: Moments) -> Weights:
        vectors = calibrate(unit(moments.means), moments.n, self.strength, self.fade)
        return Weights(moments.labels, vectors * SHARPNESS, np.zeros(len(moments.n)))


def calibrate(prototypes: Floats, n: Floats, strength: float, fade: float) -> Floats:
    """Prototypes of length one, of which those of few events are moved towards others that they are like.

    Parameters
    ----------
    prototypes
        Of length one, (K, d).
    n
        Weight of each class.
    strength, fade
        As of `TEENClassifier`.

    Notes
    -----
    With a_k = strength fade / (fade + n_k) and shares b_kj in proportion to n_j exp(16 cos_kj), the new prototype is
    (1 - a_k) p_k + a_k sum_j b_kj p_j, brought to length one.
    """
    scores = SHARPNESS * (prototypes @ prototypes.T)
    shares = n * np.exp(scores - scores.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    lean = (strength * fade / (fade + n))[:, None]
    return unit((1 - lean) * prototypes + lean * (shares @ prototypes))


def unit(vectors: Floats) -> Floats:
    """Rows brought to length one; those of zeros stay."""
    length = np.sqrt(np.einsum("kj,kj->k", vectors, vectors))[:, None]
    directions: Floats = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return directions
