"""What learns the weights of logistic models, for all labels side by side: products, probabilities, optimizer steps."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners import threshold as thresholding

Floats = NDArray[np.float32]

SGD, ADAGRAD, FTRL = 0, 1, 2
OPTIMIZERS = {"sgd": SGD, "adagrad": ADAGRAD, "ftrl": FTRL}
TABLES = ("weights", "squares", "duals")
"""Tables of shape (inputs, labels); an optimizer has as many as its number says, and one."""

LANES = 8
"""Labels are handled in groups of this many, the float32 lanes of a 256-bit register; spare ones hold zeros."""

ADAGRAD_START = np.float32(0.1)
"""What the sum of squared gradients starts from, so that the first gradients of a rare label cannot take full steps."""

FTRL_BETA = np.float32(1.0)

HORIZON = 100.0
"""A label born later than after this many events starts as if born then, or it could hardly rise."""

EVENTS, NORM, F1 = 0, 1, 2
"""Places in ``_totals``: events learned, mean squared length of their inputs, and from ``F1`` on what the threshold
counts."""

LEARNING_RATE, L1, L2, THRESHOLD = 0, 1, 2, 3
"""Places in the settings."""


def settings_of(
    optimizer: str, learning_rate: float, l1: float, l2: float, threshold: float | str
) -> NDArray[np.float64]:
    """The numbers among the parameters of a linear model, as kernels take them.

    Raises
    ------
    ValueError
        A parameter is outside its range.
    """
    if optimizer not in OPTIMIZERS:
        raise ValueError(f"optimizer must be one of {', '.join(OPTIMIZERS)}, got {optimizer!r}")
    if not 0 < learning_rate < np.inf:
        raise ValueError(f"learning_rate must be above 0 and finite, got {learning_rate}")
    for name, value in (("l1", l1), ("l2", l2)):
        if not 0 <= value < np.inf:
            raise ValueError(f"{name} must be at least 0 and finite, got {value}")
    return np.array([learning_rate, l1, l2, thresholding.fixed(threshold)])


@njit(cache=True, nogil=True)
def multiply(weights: Floats, used: NDArray[np.int32], values: Floats, m: int, margins: NDArray[np.float64]) -> None:
    """Sum of value times weight over the inputs of an event, for every label; four inputs a turn.

    The sum is float64, or the order of the features would show in the sixth digit of a probability.
    """
    margins[:] = 0
    k = 0
    while k + 4 <= m:
        a, b = np.float64(values[k]), np.float64(values[k + 1])
        c, d = np.float64(values[k + 2]), np.float64(values[k + 3])
        u, v, w, x = weights[used[k]], weights[used[k + 1]], weights[used[k + 2]], weights[used[k + 3]]
        for label in range(len(margins)):
            margins[label] = (((margins[label] + a * u[label]) + b * v[label]) + c * w[label]) + d * x[label]
        k += 4
    while k < m:
        a, u = np.float64(values[k]), weights[used[k]]
        for label in range(len(margins)):
            margins[label] += a * u[label]
        k += 1


@njit(cache=True, nogil=True, error_model="numpy")
def sigmoid(margins: NDArray[np.float64], born: Floats, p: Floats) -> None:
    """1 / (1 + exp(-margin)) for born labels, 0 for others.

    exp(-x) is the 64th power of the Taylor polynomial of exp(-x / 64), x being at most 40: relative error below 1e-6,
    and unlike the library's exp the loop is compiled to vector instructions.
    """
    for label in range(len(margins)):
        x = margins[label]
        r = -min(abs(x), 40.0) / 64
        e = 1 + r / 8 * (1 + r / 9)
        e = 1 + r * (1 + r / 2 * (1 + r / 3 * (1 + r / 4 * (1 + r / 5 * (1 + r / 6 * (1 + r / 7 * e))))))
        e = e * e
        e = e * e
        e = e * e
        e = e * e
        e = e * e
        e = e * e
        p[label] = born[label] * ((1.0 if x > 0 else e) / (1 + e))


@njit(cache=True, nogil=True, error_model="numpy")
def next_rate(
    values: Floats, m: int, optimizer: int, settings: NDArray[np.float64], totals: NDArray[np.float64]
) -> np.float32:
    """Count an event and its length; return the step size for it."""
    length = 0.0
    for k in range(m):
        length += np.float64(values[k]) * values[k]
    totals[EVENTS] += 1
    totals[NORM] += (length - totals[NORM]) / totals[EVENTS]
    if optimizer == SGD:
        return np.float32(settings[LEARNING_RATE] / max(totals[NORM], length))
    return np.float32(settings[LEARNING_RATE] / np.sqrt(totals[NORM]))


@njit(cache=True, nogil=True, error_model="numpy")
def start(
    lane: int, optimizer: int, rate: np.float32, totals: NDArray[np.float64], weights: Floats, duals: Floats
) -> float:
    """Set the intercept of a label that is born with the event just counted; return the probability that it gives."""
    prior = 0.5 / (1 + min(totals[EVENTS] - 1, HORIZON))
    weights[0, lane] = np.log(prior / (1 - prior))
    if optimizer == FTRL:
        duals[0, lane] = -weights[0, lane] * FTRL_BETA / rate
    return float(prior)


@njit(cache=True, nogil=True)
def step(
    weights: Floats,
    squares: Floats,
    duals: Floats,
    used: NDArray[np.int32],
    values: Floats,
    m: int,
    free: int,
    error: Floats,
    live: Floats,
    rate: np.float32,
    optimizer: int,
    settings: NDArray[np.float64],
) -> None:
    """One step of the optimizer for every input of an event and every label; the first ``free`` inputs go unpenalised.

    ``error`` is the derivative of the loss by the margin, times the weight of the event, which ``live`` has alone; both
    are 0 where nothing is to be learned.
    """
    if optimizer == SGD:
        _sgd(weights, used, values, m, error, rate)
    elif optimizer == ADAGRAD:
        _adagrad(weights, squares, used, values, m, error, rate)
    else:
        _ftrl(weights, squares, duals, used, values, m, free, error, live, rate, settings)
    if optimizer != FTRL and settings[L1] + settings[L2] > 0:
        _penalise(weights, squares, optimizer == ADAGRAD, used, m, free, live, rate, settings)


@njit(cache=True, nogil=True)
def _sgd(weights: Floats, used: NDArray[np.int32], values: Floats, m: int, error: Floats, rate: np.float32) -> None:
    for k in range(m):
        step, weight = rate * values[k], weights[used[k]]
        for label in range(len(error)):
            weight[label] -= step * error[label]


@njit(cache=True, nogil=True, error_model="numpy")
def _adagrad(
    weights: Floats,
    squares: Floats,
    used: NDArray[np.int32],
    values: Floats,
    m: int,
    error: Floats,
    rate: np.float32,
) -> None:
    for k in range(m):
        value, weight, square = values[k], weights[used[k]], squares[used[k]]
        for label in range(len(error)):
            gradient = value * error[label]
            total = square[label] + gradient * gradient
            square[label] = total
            weight[label] -= rate * gradient / np.sqrt(ADAGRAD_START + total)


@njit(cache=True, nogil=True, error_model="numpy")
def _penalise(
    weights: Floats,
    squares: Floats,
    adagrad: bool,
    used: NDArray[np.int32],
    m: int,
    free: int,
    live: Floats,
    rate: np.float32,
    settings: NDArray[np.float64],
) -> None:
    """The proximal step for both penalties, after that for the loss."""
    zero, one, l1, l2 = np.float32(0), np.float32(1), np.float32(settings[L1]), np.float32(settings[L2])
    for k in range(free, m):
        weight = weights[used[k]]
        for label in range(len(live)):
            step = rate * live[label]
            if adagrad:
                step /= np.sqrt(ADAGRAD_START + squares[used[k], label])
            w = weight[label]
            weight[label] = (max(w - step * l1, zero) + min(w + step * l1, zero)) / (one + step * l2)


@njit(cache=True, nogil=True, error_model="numpy")
def _ftrl(
    weights: Floats,
    squares: Floats,
    duals: Floats,
    used: NDArray[np.int32],
    values: Floats,
    m: int,
    free: int,
    error: Floats,
    live: Floats,
    rate: np.float32,
    settings: NDArray[np.float64],
) -> None:
    zero = np.float32(0)
    for k in range(m):
        l1, l2 = np.float32(settings[L1]), np.float32(settings[L2])
        if k < free:
            l1 = l2 = zero
        value, weight, square, dual = values[k], weights[used[k]], squares[used[k]], duals[used[k]]
        for label in range(len(error)):
            gradient = value * error[label]
            total = square[label] + gradient * gradient
            root = np.sqrt(total)
            z = dual[label] + gradient - (root - np.sqrt(square[label])) / rate * weight[label]
            square[label] = total
            dual[label] = z
            w = -(max(z - l1, zero) + min(z + l1, zero)) / ((FTRL_BETA + root) / rate + l2)
            weight[label] = w if live[label] > 0 else weight[label]
