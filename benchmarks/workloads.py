"""Seeded streams and real sets as the suites use them, and the text files that peers read."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ihomer import open_source
from streams.batch import Batch, Rows

BATCH_SIZE = 256
_BLOCK = 500


@dataclass(frozen=True)
class Events:
    """A stream with all labels known, in memory.

    Parameters
    ----------
    name
        With its version.
    x
        float64 of shape (n, d), values of six decimals: the same from memory and from text.
    y
        bool of shape (n, L).
    """

    name: str
    x: NDArray[np.float64]
    y: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: slice) -> Events:
        return Events(self.name, self.x[rows], self.y[rows])

    def batches(self) -> list[Batch]:
        """The events as an engine would hand them over."""
        return cut(Batch.from_arrays(self.x, self.y))

    def to_river(self) -> list[tuple[dict[str, float], dict[str, bool]]]:
        """The events as river takes them: pairs of dictionaries."""
        features, labels = (f"x{j}" for j in range(self.x.shape[1])), [f"y{j}" for j in range(self.y.shape[1])]
        names = list(features)
        return [
            (dict(zip(names, x, strict=True)), dict(zip(labels, y, strict=True)))
            for x, y in zip(self.x.tolist(), self.y.tolist(), strict=True)
        ]

    def write_arff(self, path: Path) -> None:
        """A dense ARFF file with the labels last, its header in MEKA's form."""
        n_features, n_labels = self.x.shape[1], self.y.shape[1]
        row = ",".join(["%.6f"] * n_features + ["%d"] * n_labels) + "\n"
        with path.open("w") as file:
            file.write(f"@relation '{self.name}: -C -{n_labels}'\n\n")
            file.writelines(f"@attribute x{j} numeric\n" for j in range(n_features))
            file.writelines(f"@attribute y{j} {{0,1}}\n" for j in range(n_labels))
            file.write("\n@data\n")
            file.writelines(row % (*x, *y) for x, y in zip(self.x.tolist(), self.y.tolist(), strict=True))

    def write_vowpal_wabbit(self, path: Path) -> None:
        """Vowpal Wabbit's text format for ``multilabel_oaa``; features are numbers, which it does not hash."""
        row = " ".join(f"{j}:%.6f" for j in range(self.x.shape[1])) + "\n"
        with path.open("w") as file:
            for x, y in zip(self.x.tolist(), self.y, strict=True):
                file.write(",".join(map(str, np.flatnonzero(y))) + " | " + row % tuple(x))


def cut(whole: Batch) -> list[Batch]:
    """Pieces of the size in which the engine hands events to learners."""
    return [whole[start : start + BATCH_SIZE] for start in range(0, len(whole), BATCH_SIZE)]


def dense(n_labels: int, n_features: int, n_events: int, cardinality: float) -> Events:
    """``dense_LxD_v1``: ten hidden causes, seen through noisy features and noisy labels.

    A feature is a mixture of the causes and noise; a label is present where another mixture of them, with noise, is
    above its threshold. Label frequencies fall like a power of their rank, from at most 0.6, and add up to about
    ``cardinality`` labels an event. A shorter stream is the beginning of a longer one.
    """
    random = np.random.default_rng([1, n_labels, n_features])
    to_features = random.normal(size=(_CAUSES, n_features)) / np.sqrt(_CAUSES)
    to_labels = random.normal(size=(_CAUSES, n_labels))
    to_labels /= np.linalg.norm(to_labels, axis=0)
    frequency = (1.0 + np.arange(n_labels)) ** -0.7
    frequency = np.minimum(0.6, frequency * cardinality / frequency.sum())
    sample = np.sort(random.normal(size=20_000) * np.sqrt(1 + _NOISE**2))
    threshold = sample[(len(sample) * (1 - frequency)).astype(int)]
    blocks = [
        np.random.default_rng([2, n_labels, n_features, block]).normal(size=(_BLOCK, _CAUSES + n_features + n_labels))
        for block in range(-(-n_events // _BLOCK))
    ]
    drawn = np.concatenate(blocks)[:n_events]
    causes, at_features, at_labels = np.split(drawn, [_CAUSES, _CAUSES + n_features], axis=1)
    x = np.round(causes @ to_features + at_features, 6)
    y = causes @ to_labels + _NOISE * at_labels > threshold
    return Events(f"dense_{n_labels}x{n_features}_v1", x, y)


_CAUSES, _NOISE = 10, 0.3


@dataclass(frozen=True)
class Shape:
    """A workload, how to make it, and how many events there are and river can see."""

    name: str
    make: Callable[[int], Events]
    n_events: int
    n_river: int


def dense_shape(n_labels: int, n_features: int, cardinality: float, n_events: int, n_river: int) -> Shape:
    """The shape of a stream of `dense`."""

    def make(n: int) -> Events:
        return dense(n_labels, n_features, n, cardinality)

    return Shape(f"dense_{n_labels}x{n_features}_v1", make, n_events, n_river)


def yeast() -> Events:
    """The 2,417 events of yeast, as river's wheel carries them."""
    whole = read_all("yeast")
    assert isinstance(whole.x, np.ndarray)
    labels = whole.y.to_dense(whole.schema.n_labels).astype(bool)
    return Events("yeast", np.asarray(whole.x, np.float64).round(6), labels)


def read_all(name: str) -> Batch:
    """All events of a known set or of a file."""
    source = open_source(name)
    batches = []
    while (batch := source.next_batch(BATCH_SIZE)) is not None:
        batches.append(batch)
    source.close()
    return Batch.concat(batches)


def plain_copy(path: Path, target: Path, times: int = 1) -> None:
    """An ARFF file without compression, its data section written ``times`` times."""
    text = (gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()).decode()
    at = text.index("\n", text.lower().index("\n@data") + 1) + 1
    rows = text[at:] if text.endswith("\n") else text[at:] + "\n"
    with target.open("w") as file:
        file.write(text[:at])
        for _ in range(times):
            file.write(rows)


def f1(truth: NDArray[np.bool_], predicted: Rows | Sequence[Iterable[int]]) -> dict[str, float]:
    """Micro- and macro-F1 of predicted label sets, counted here and by nobody's code under test."""
    rows = predicted if isinstance(predicted, Rows) else Rows.from_lists(predicted)
    if len(rows) != len(truth):
        raise ValueError(f"predicted must have a row for each of the {len(truth)} events, got {len(rows)}")
    answers = np.zeros(truth.shape, bool)
    answers[np.repeat(np.arange(len(rows)), np.diff(rows.indptr)), rows.indices] = True
    hits, either = (truth & answers).sum(0), truth.sum(0) + answers.sum(0)
    per_label = np.divide(2.0 * hits, either, out=np.zeros(len(hits)), where=either > 0)
    return {"micro_f1": float(2 * hits.sum() / max(1, either.sum())), "macro_f1": float(per_label.mean())}
