"""LIBSVM readers over the same uncompressed files: one of words and labels with their true frequencies, one drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.targets import Ratio
from benchmarks.workloads import BATCH_SIZE
from ihomer import open_source
from streams.batch import Batch, Rows
from streams.libsvm import LibsvmSource, LibsvmWriter
from streams.memory import read_all
from streams.schema_file import schema_path

NAMES = ("rows", "feature_sum", "label_sum")

Part = tuple[int, Any, Iterable[int]]
"""What a reader gives of a file: rows, values of features, and numbers of labels to be summed outside the clock."""


def cells() -> list[Cell]:
    """Both against scikit-learn."""
    targets = [Ratio("ihomer", "scikit-learn", at_least=3)]
    workloads = {"bibtex": partial(_real, "bibtex"), "zipf_v1": _zipf}
    return [
        Cell("libsvm-readers", name, partial(_build, events), targets=targets, metrics=NAMES, agreement=1e-6)
        for name, events in workloads.items()
    ]


def _real(name: str, quick: bool) -> Batch:
    return read_all(open_source(name), 2000 if quick else None)


def _zipf(quick: bool) -> Batch:
    """Rows of about 40 of 50,000 features, as rare as words are, with values of five decimals and 3 of 200 labels."""
    chance = np.random.default_rng(1)
    n = 2000 if quick else 20000
    columns = [np.unique(row % 50000) for row in chance.zipf(1.3, (n, 80)) - 1]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in columns])])
    values = chance.integers(1, 100000, indptr[-1]) / 100000
    labels = Rows.from_lists(chance.integers(0, 200, (n, 3)).tolist())
    return Batch.from_arrays(Rows(indptr, np.concatenate(columns).astype(np.int32), values.astype(np.float32)), labels)


def _build(events: Callable[[bool], Batch], setting: Setting) -> Sequence[Contestant]:
    path, batch = setting.folder / "events.svm", events(setting.quick)
    writer = LibsvmWriter(path, batch.schema)
    writer.write(batch)
    writer.close()
    # Both read the text alone.
    schema_path(path).unlink()

    def contestant(name: str, read: Callable[[Path], Iterator[Part]], note: str) -> Contestant:
        quality: dict[str, float] = {}

        def warm() -> None:
            counts = np.array([(rows, float(x.sum(dtype=np.float64)), sum(labels)) for rows, x, labels in read(path)])
            quality.update(zip(NAMES, map(float, counts.sum(0)), strict=True))

        def attempt(clock: Clock) -> Quality:
            with clock:
                for rows, _, _ in read(path):
                    clock.count(rows)
            return quality

        return Contestant(name, attempt, warm, note)

    return [
        contestant("ihomer", _ihomer, "batches of arrays; columns in the order in which features are met"),
        contestant("scikit-learn", _scikit_learn, "`load_svmlight_file`: the whole file in memory, tuples of labels"),
    ]


def _ihomer(path: Path) -> Iterator[Part]:
    source = LibsvmSource(path)
    while (batch := source.next_batch(BATCH_SIZE)) is not None:
        assert isinstance(batch.x, Rows)
        yield len(batch), batch.x.data, (len(batch.y.indices),)
    source.close()


def _scikit_learn(path: Path) -> Iterator[Part]:
    from sklearn.datasets import load_svmlight_file

    x, y = load_svmlight_file(str(path), multilabel=True, dtype=np.float32)
    yield x.shape[0], x.data, map(len, y)
