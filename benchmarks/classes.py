"""Streams of one class an event, seeded or real, and the text file that MOA reads."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.workloads import cut, read_all
from streams.batch import Batch, Rows

_BLOCK = 500
_GRID = 4096.0
"""Values are multiples of 1 / 4096, so that float32, float64 and text all hold the same."""

_DEPTH, _NOISE = 5, 0.1
_CENTRES = 50


@dataclass(frozen=True)
class Classes:
    """A stream of one class an event, in memory.

    Parameters
    ----------
    name
        With its version.
    x
        float64 of shape (n, d), of values that float32 holds exactly.
    y
        The class of each event, from 0, int64 of shape (n,).
    """

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice) -> Classes:
        return Classes(self.name, self.x[rows], self.y[rows])

    def batches(self) -> list[Batch]:
        """The events as an engine would hand them over: each class is a label, and each event has one."""
        return cut(Batch.from_arrays(self.x, Rows(np.arange(len(self) + 1), self.y.astype(np.int32))))

    def to_river(self) -> list[tuple[dict[str, float], int]]:
        """The events as river takes them: a dictionary and a class."""
        names = [f"x{j}" for j in range(self.x.shape[1])]
        return [(dict(zip(names, x, strict=True)), y) for x, y in zip(self.x.tolist(), self.y.tolist(), strict=True)]

    def write_arff(self, path: Path) -> None:
        """A dense ARFF file with the class last."""
        names = ",".join(map(str, range(int(self.y.max(initial=0)) + 1)))
        with path.open("w") as file:
            file.write(f"@relation {self.name}\n\n")
            file.writelines(f"@attribute x{j} numeric\n" for j in range(self.x.shape[1]))
            file.write(f"@attribute class {{{names}}}\n\n@data\n")
            for x, y in zip(self.x.tolist(), self.y.tolist(), strict=True):
                file.write(f"{','.join(map(repr, x))},{y}\n")


def random_tree(n_classes: int, n_features: int, n_events: int) -> Classes:
    """``tree_KxD_v1``: uniform features, and the class that a random decision tree of depth 5 gives.

    Each node halves what is left of a feature drawn by lot, somewhere in its middle half; the leaves share the classes
    out evenly, and a tenth of the events have a class drawn by lot. A shorter stream is the beginning of a longer one.
    """
    random = np.random.default_rng([6, n_classes, n_features])
    n_nodes = 2**_DEPTH - 1
    feature, at = random.integers(n_features, size=n_nodes), random.uniform(0.25, 0.75, n_nodes)
    low, high = np.zeros((2 * n_nodes + 1, n_features)), np.ones((2 * n_nodes + 1, n_features))
    for node, j in enumerate(feature):
        at[node] = low[node, j] + at[node] * (high[node, j] - low[node, j])
        for child in (2 * node + 1, 2 * node + 2):
            low[child], high[child] = low[node], high[node]
        high[2 * node + 1, j] = low[2 * node + 2, j] = at[node]
    class_of = random.permutation(np.arange(n_nodes + 1) % n_classes)
    x, y = [], []
    for drawn in _blocks([7, n_classes, n_features], n_events):
        values = _on_grid(drawn.random((_BLOCK, n_features)))
        nodes = np.zeros(_BLOCK, np.int64)
        for _ in range(_DEPTH):
            nodes = 2 * nodes + np.where(values[np.arange(_BLOCK), feature[nodes]] <= at[nodes], 1, 2)
        by_lot = drawn.random(_BLOCK) < _NOISE
        x.append(values)
        y.append(np.where(by_lot, drawn.integers(n_classes, size=_BLOCK), class_of[nodes - n_nodes]))
    return Classes(f"tree_{n_classes}x{n_features}_v1", np.concatenate(x)[:n_events], np.concatenate(y)[:n_events])


def radial(n_classes: int, n_features: int, n_events: int) -> Classes:
    """``radial_KxD_v1``: events around 50 centres in the unit cube, each of which has a weight, a spread and a class.

    An event lies in a direction drawn by lot, at a distance that is normal. A shorter stream is the beginning of a
    longer one.
    """
    random = np.random.default_rng([8, n_classes, n_features])
    centre, weight, spread = random.random((_CENTRES, n_features)), random.random(_CENTRES), random.random(_CENTRES)
    class_of = random.permutation(np.arange(_CENTRES) % n_classes)
    x, y = [], []
    for drawn in _blocks([9, n_classes, n_features], n_events):
        picked = drawn.choice(_CENTRES, _BLOCK, p=weight / weight.sum())
        direction = drawn.normal(size=(_BLOCK, n_features))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        distance = drawn.normal(size=_BLOCK) * spread[picked]
        x.append(_on_grid(centre[picked] + direction * distance[:, np.newaxis]))
        y.append(class_of[picked])
    return Classes(f"radial_{n_classes}x{n_features}_v1", np.concatenate(x)[:n_events], np.concatenate(y)[:n_events])


def electricity(n_events: int) -> Classes:
    """The first events of the 45,312 half hours in which a price rose or fell, in the order of time."""
    whole = read_all("electricity")[:n_events]
    assert isinstance(whole.x, np.ndarray), "its rows are dense"
    return Classes("electricity", whole.x.astype(np.float64), whole.y.to_dense(1)[:, 0].astype(np.int64))


@dataclass(frozen=True)
class Stream:
    """A workload, how to make a beginning of it, and how many events there are and slow contestants can see."""

    name: str
    make: Callable[[int], Classes]
    n_events: int
    n_slow: int


def stream(
    make: Callable[[int, int, int], Classes], n_classes: int, n_features: int, n_events: int, n_slow: int
) -> Stream:
    """A stream of `random_tree` or of `radial`."""

    def of_length(n: int) -> Classes:
        return make(n_classes, n_features, n)

    return Stream(of_length(1).name, of_length, n_events, n_slow)


def accuracy(truth: NDArray[np.int64], answers: NDArray[np.int64]) -> float:
    """Share of the events whose class was answered; -1 is no answer."""
    if truth.shape != answers.shape:
        raise ValueError(f"answers must have shape {truth.shape}, got {answers.shape}")
    return float((truth == answers).mean())


def _blocks(key: list[int], n_events: int) -> list[np.random.Generator]:
    """Random numbers for each block of events."""
    return [np.random.default_rng([*key, block]) for block in range(-(-n_events // _BLOCK))]


def _on_grid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    rounded: NDArray[np.float64] = np.round(x * _GRID) / _GRID
    return rounded
