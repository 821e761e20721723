"""How a tree adapts: the losses of its nodes, ADWIN over them, and the background trees that may replace a branch."""

from __future__ import annotations

import math

import numpy as np
from numba import njit
from numpy.typing import NDArray

from drift.adwin_window import feed_windows
from learners.trees.nodes import (
    CLOCK,
    DROPPED,
    ROOT,
    STARTED,
    SWITCHED,
    Settings,
    Tree,
    bytes_used,
    free_subtree,
    inner,
    new_leaf,
    note,
)

MIN_WINDOW_LENGTH, GRACE_PERIOD = 5, 10
"""The defaults of ADWIN."""

NOTHING, WARNING, IMPROVEMENT = 0, 1, 2


@njit(cache=True, nogil=True, error_model="numpy")
def switch_bound(loss: float, weight: float, background_weight: float, delta: float) -> float:
    """How far apart two mean losses may be by chance, but with probability ``delta``."""
    return math.sqrt(2 * loss * (1 - loss) * math.log(2 / delta) * (1 / weight + 1 / background_weight))


@inner
def take_loss(tree: Tree, node: int, loss: float, weight: float) -> None:
    """Take the loss of an event into the means of a node."""
    record = tree.nodes[node]
    record["loss_weight"] += weight
    record["loss"] += weight * (loss - record["loss"]) / record["loss_weight"]
    if record["background"] >= 0:
        record["rival_weight"] += weight
        record["rival_loss"] += weight * (loss - record["rival_loss"]) / record["rival_weight"]


@inner
def monitor(tree: Tree, node: int, loss: float, settings: Settings) -> int:
    """Give a loss to the two ADWIN windows of a node, the less sensitive one first; tell what they say."""
    record = tree.nodes[node]
    tree.pending[node, record["n_pending"]] = loss
    record["n_pending"] += 1
    if record["n_pending"] < CLOCK:
        return NOTHING
    record["n_pending"] = 0
    values = np.zeros((CLOCK, 1))
    values[:, 0] = tree.pending[node]
    verdict = NOTHING
    for which in range(2):
        w = 2 * node + which
        window = tree.adwin[w]
        before = window["total"] / max(window["width"], 1)
        alarms = np.zeros((CLOCK, 1), np.bool_)
        delta = settings.drift_delta if which == 0 else settings.warning_delta
        feed_windows(
            tree.adwin[w : w + 1], tree.n_buckets[w : w + 1], tree.buckets[w : w + 1], values, alarms,
            delta, CLOCK, MIN_WINDOW_LENGTH, GRACE_PERIOD, True,
        )  # fmt: skip
        if alarms[CLOCK - 1, 0]:
            worse = window["total"] / window["width"] > before
            if worse:
                verdict = WARNING
            elif which == 0:
                verdict = IMPROVEMENT
    return verdict


@inner
def start_background(tree: Tree, node: int, settings: Settings) -> None:
    """Let a new leaf learn beside a live node, from now on."""
    if bytes_used(tree, settings) + settings.node_bytes > settings.max_bytes:
        return
    background = new_leaf(tree, -1, 0, node, tree.nodes[node]["depth"])
    record = tree.nodes[node]
    record["background"] = background
    record["rival_loss"] = record["rival_weight"] = 0.0
    note(tree, STARTED, node, record["loss_weight"])


@inner
def settle(tree: Tree, node: int, settings: Settings) -> int:
    """Compare a live node with its background tree over the events that both have answered.

    The better one stays if it is better by more than chance allows. Returns the node that lives in the slot now.
    """
    record = tree.nodes[node]
    background = record["background"]
    rival = tree.nodes[background]
    weight, other_weight = record["rival_weight"], rival["loss_weight"]
    if not (weight > settings.background_weight and other_weight > settings.background_weight):
        return node
    bound = switch_bound(record["rival_loss"], weight, other_weight, settings.switch_delta)
    if rival["loss"] - record["rival_loss"] > bound:
        note(tree, DROPPED, node, other_weight)
        free_subtree(tree, background)
        record["background"] = -1
        return node
    if not record["rival_loss"] - rival["loss"] > bound:
        return node
    note(tree, SWITCHED, node, other_weight)
    parent, side = record["parent"], record["side"]
    record["background"] = -1
    free_subtree(tree, node)
    rival["host"], rival["parent"], rival["side"] = -1, parent, side
    if parent < 0:
        tree.totals[ROOT] = background
    elif side == 0:
        tree.nodes[parent]["left"] = background
    else:
        tree.nodes[parent]["right"] = background
    return int(background)


@njit(cache=True, nogil=True)
def hamming(
    proba: NDArray[np.float64], truth: NDArray[np.uint8], live: NDArray[np.float64], seen: NDArray[np.uint8], at: float
) -> float:
    """Share of the known labels that are answered wrongly."""
    wrong, n = 0, 0
    for label in range(len(proba)):
        if live[label] > 0 and (seen[label] or truth[label]):
            n += 1
            wrong += (proba[label] > at) != (truth[label] == 1)
    return wrong / n if n > 0 else 0.0
