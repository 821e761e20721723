"""Uses of the label hierarchy that iHOMER's own answers do not make, each by right clusters or by random ones."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from ihomer import IHOMERClassifier
from ihomer.events import Cells, Events
from ihomer.hierarchy import LabelHierarchy
from ihomer.partition import shuffled
from ihomer.stack import Evidence, Stack
from learners.one_event import OneEvent

_SUPPORTED = 5
"""Occurrences from which on a label says something about others of its cluster."""

_VARIANCE = 0.05
"""Of offsets and of the say of blocks, before the first event."""

_LARGEST, _KEPT = 8, 2000
"""Labels of a block, whose sets are bits of a byte, and the last events whose sets count."""

_TILT, _POSSIBLE, _LEAST, _MOST = 0.5, 0.02, 1e-4, 3.0
"""How strongly evidence tilts frequencies of sets; probability from which a label's block is asked; bounds of
probabilities and of what a block may add to a logit."""


class ClusterUse(IHOMERClassifier):
    """iHOMER with a use of its clusters in its stack, for whole streams only: what that learns is in no checkpoint.

    Parameters
    ----------
    use
        One of `USES`.
    by_chance
        Whether random clusters of the same sizes stand in for those of the hierarchy.
    """

    def __init__(self, use: str = "start", *, by_chance: bool = False) -> None:
        super().__init__()
        self.use, self.by_chance = use, by_chance
        self._stack = USES[use](self._hierarchy, by_chance)

    def _one_event(self) -> OneEvent | None:
        return None


class _ClusterStack(Stack):
    """A stack that knows the clusters as they are after the chunk before."""

    def __init__(self, hierarchy: LabelHierarchy, by_chance: bool) -> None:
        super().__init__()
        self._hierarchy, self._by_chance = hierarchy, by_chance
        self._changes, self._known = 0, [[-1]]
        self._groups: list[list[int]] = []
        self._group = np.zeros(0, np.int64)

    def _look_up(self, n_labels: int) -> bool:
        """Learn which label is in which cluster, -1 for none; whether the clusters are others than before."""
        clusters = self._hierarchy.clusters
        if self._hierarchy.cold:
            clusters.pop()
        have_changed = clusters != self._known
        if have_changed:
            self._known, self._changes = clusters, self._changes + 1
            self._groups = shuffled(clusters, 1, self._changes) if self._by_chance else clusters
        if have_changed or n_labels > len(self._group):
            self._group = np.full(n_labels, -1)
            for number, group in enumerate(self._groups):
                self._group[group] = number
        return have_changed


class StartStack(_ClusterStack):
    """A new label's own weights start from the mean of the cluster with which it came, in place of 0."""

    def run(self, evidence: Evidence, events: Events, cells: Cells) -> NDArray[np.float64]:
        """As of `Stack`; labels born in these events get their start after them."""
        proba = super().run(evidence, events, cells)
        self._look_up(int(events.born[-1]))
        for i in np.flatnonzero(np.diff(events.born)):
            groups = self._group[events.present[events.present_start[i] : events.present_start[i + 1]]]
            if (groups < 0).all():
                continue
            group = self._groups[int(np.bincount(groups[groups >= 0]).argmax())]
            others = [label for label in group if label < events.born[0] and self._positives[label] >= _SUPPORTED]
            if others:
                self._own[events.born[i] : events.born[i + 1]] += self._own[others].mean(axis=0)
        return proba


class OffsetStack(_ClusterStack):
    """A label's logits move by an offset of its cluster and one of its own, both learned and drawn towards 0."""

    def __init__(self, hierarchy: LabelHierarchy, by_chance: bool) -> None:
        super().__init__(hierarchy, by_chance)
        # Offset and variance.
        self._of_label, self._of_group = np.zeros((0, 2)), np.zeros((0, 2))

    def run(self, evidence: Evidence, events: Events, cells: Cells) -> NDArray[np.float64]:
        """As of `Stack`, then with offsets."""
        proba, n = super().run(evidence, events, cells), int(events.born[-1])
        fresh = np.tile([0.0, _VARIANCE], (n - len(self._of_label), 1))
        before, self._of_label = self._group, np.concatenate([self._of_label, fresh])
        if self._look_up(n):
            had = np.tile([0.0, _VARIANCE], (n, 1))
            placed = np.flatnonzero(before >= 0)
            had[placed] = self._of_group[before[placed]]
            self._of_group = np.array([had[group].mean(axis=0) for group in self._groups]).reshape(-1, 2)
        _offset(proba, events, cells, self._group, self._of_label, self._of_group)
        return proba


class BlockStack(_ClusterStack):
    """What a joint of each cluster's labels says of them is added to their logits, times a weight that is learned."""

    def __init__(self, hierarchy: LabelHierarchy, by_chance: bool) -> None:
        super().__init__(hierarchy, by_chance)
        self._sets: list[NDArray[np.int32]] = []
        self._members = np.zeros((0, _LARGEST), np.int64)
        self._counts = np.zeros((0, 1 << _LARGEST))
        self._say = np.array([0.0, _VARIANCE])

    def run(self, evidence: Evidence, events: Events, cells: Cells) -> NDArray[np.float64]:
        """As of `Stack`, then with the blocks, which take in the events after all are answered."""
        proba = super().run(evidence, events, cells)
        group = np.full(int(events.born[-1]), -1)
        group[: len(self._group)] = self._group
        prior = np.ascontiguousarray(evidence.past[:, 0], np.float64)
        _add_blocks(proba, prior, events, cells, group, self._members, self._counts, self._say)
        sets = [
            events.present[low:high]
            for low, high in zip(events.present_start[:-1], events.present_start[1:], strict=True)
        ]
        self._sets = (self._sets + sets)[-_KEPT:]
        if self._look_up(len(group)):
            self._members = np.full((len(self._groups), _LARGEST), -1)
            for number, labels in enumerate(self._groups):
                self._members[number, : len(labels)] = labels[:_LARGEST]
            self._counts, sets = np.zeros((len(self._groups), 1 << _LARGEST)), self._sets
        for labels in sets:
            _count_blocks(labels, self._group, self._members, self._counts)
        return proba


USES = {"start": StartStack, "offsets": OffsetStack, "blocks": BlockStack}
"""What clusters may be used for."""


@njit(cache=True)
def _logit(p):
    p = min(max(p, _LEAST), 1.0 - _LEAST)
    return np.log(p / (1.0 - p))


@njit(cache=True)
def _step(offset, z, p, y):
    """A recursive step for a weight and its variance, by an error of the probability ``p``."""
    sharp = max(p * (1.0 - p), 0.003)
    gain = offset[1] * z / (1.0 + sharp * offset[1] * z * z)
    offset[0] += gain * (y - p)
    offset[1] -= sharp * z * offset[1] * gain


@njit(cache=True)
def _offset(proba, events, cells, group, of_label, of_group):
    for i in range(len(events.taught)):
        for cell in range(cells.start[i], cells.start[i + 1]):
            label = cells.label[cell]
            logit = _logit(proba[cell]) + of_label[label, 0]
            if group[label] >= 0:
                logit += of_group[group[label], 0]
            proba[cell] = 1.0 / (1.0 + np.exp(-logit))
        for cell in range(cells.start[i], cells.start[i + 1]):
            label, y = cells.label[cell], np.float64(cells.target[cell])
            if events.taught[i] and not np.isnan(y) and label < events.born[i]:
                _step(of_label[label], 1.0, proba[cell], y)
                if group[label] >= 0:
                    _step(of_group[group[label]], 1.0, proba[cell], y)


@njit(cache=True)
def _count_blocks(labels, group, members, counts):
    """Count what an event has of each block; blocks of which it has nothing are counted as empty."""
    counts[:, 0] += 1.0
    for label in labels:
        number = group[label]
        if number < 0:
            continue
        mask, is_first = 0, True
        for bit in range(members.shape[1]):
            for other in labels:
                if members[number, bit] == other:
                    mask |= 1 << bit
                    is_first &= other >= label
        if is_first and mask:
            counts[number, 0] -= 1.0
            counts[number, mask] += 1.0


@njit(cache=True)
def _marginal(label, labels, counts, logits):
    """Tilted frequencies of a block's sets with a label, and of all of them; labels that are not asked are in none."""
    with_it, total = 0.0, 0.0
    for mask in range(len(counts)):
        if counts[mask] <= 0.0:
            continue
        shift, holds = 0.0, False
        for bit in range(len(labels)):
            if (mask >> bit) & 1:
                shift += logits[labels[bit]]
                holds |= labels[bit] == label
        mass = counts[mask] * np.exp(min(_TILT * shift, 50.0))
        total += mass
        with_it += mass if holds else 0.0
    return with_it, total


@njit(cache=True)
def _add_blocks(proba, prior, events, cells, group, members, counts, say):
    logits, added = np.full(len(group), -np.inf), np.zeros(len(proba))
    for i in range(len(events.taught)):
        low, high = cells.start[i], cells.start[i + 1]
        for cell in range(low, high):
            if cells.asked[cell]:
                logits[cells.label[cell]] = _logit(proba[cell]) - prior[cell]
        for cell in range(low, high):
            label = cells.label[cell]
            if cells.asked[cell] and proba[cell] >= _POSSIBLE and group[label] >= 0:
                with_it, total = _marginal(label, members[group[label]], counts[group[label]], logits)
                share = (with_it + 0.5 * proba[cell]) / (total + 0.5)
                added[cell] = min(max(_logit(share) - _logit(proba[cell]), -_MOST), _MOST)
        for cell in range(low, high):
            logits[cells.label[cell]] = -np.inf
            if added[cell] != 0.0:
                proba[cell] = 1.0 / (1.0 + np.exp(-_logit(proba[cell]) - say[0] * added[cell]))
        for cell in range(low, high):
            y = np.float64(cells.target[cell])
            if added[cell] != 0.0 and events.taught[i] and not np.isnan(y) and cells.label[cell] < events.born[i]:
                _step(say, added[cell], proba[cell], y)
