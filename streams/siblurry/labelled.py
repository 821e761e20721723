"""Labelled samples of any kind, in memory: what there is to put in order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.batch import UNLABELLED, Batch, Rows, Schema
from streams.memory import read_all
from streams.opening import open_source
from streams.source import Source

NO_LABEL = -1
"""Class of an event that has none of the labels."""


@dataclass(frozen=True, eq=False)
class LabelledEvents:
    """Events whose labels are known, and those set aside for testing where the data say so.

    Parameters
    ----------
    name
        What to call the data.
    batch, test
        The events, of one schema; ``test`` is None where the data do not say.
    path
        The file they came from, or None.
    """

    name: str
    batch: Batch
    test: Batch | None = None
    path: Path | None = None

    @property
    def has_payloads(self) -> bool:
        """Whether there is anything to extract features from."""
        return any(payload is not None for payload in self.batch.payload or ())

    @property
    def is_single_label(self) -> bool:
        """Whether every event has exactly one label."""
        parts = [self.batch] if self.test is None else [self.batch, self.test]
        return all((np.diff(part.y.indptr) == 1).all() for part in parts)

    def classes(self, batch: Batch) -> NDArray[np.int64]:
        """The class of each event of ``batch``, as a label's column: its rarest label.

        Rarest counts over ``self.batch``, and of equally rare labels it is the first column. An event without labels
        has the class `NO_LABEL`.
        """
        n_labels = self.batch.schema.n_labels
        frequency = np.bincount(self.batch.y.indices, minlength=n_labels)
        rank = np.empty(n_labels, np.int64)
        rank[np.argsort(frequency, kind="stable")] = np.arange(n_labels)
        found = np.full(len(batch), NO_LABEL, np.int64)
        filled = np.flatnonzero(np.diff(batch.y.indptr) > 0)
        if len(filled):
            starts = batch.y.indptr[filled]
            lowest = np.minimum.reduceat(rank[batch.y.indices], starts)
            found[filled] = np.argsort(frequency, kind="stable")[lowest]
        return found

    def set_aside(self, share: float, seed: int) -> LabelledEvents:
        """The same events with a share of every class set aside for testing, at random.

        A class gives the whole part of ``share`` times its size, but at least one event if it has two.
        """
        if not 0 < share < 1:
            raise ValueError(f"share must be between 0 and 1, got {share}")
        random = np.random.default_rng([seed, 1])
        codes = self.classes(self.batch)
        is_test = np.zeros(len(codes), bool)
        for code in np.unique(codes):
            mine = np.flatnonzero(codes == code)
            n_test = max(int(share * len(mine)), min(1, len(mine) - 1))
            is_test[random.permutation(mine)[:n_test]] = True
        kept, aside = np.flatnonzero(~is_test), np.flatnonzero(is_test)
        return replace(self, batch=self.batch.take(kept), test=self.batch.take(aside))


def load_events(
    data: Any, *, labels: str | Sequence[str] | None = None, payload: str | None = None, images: bool = False
) -> LabelledEvents:
    """All events of labelled data.

    Parameters
    ----------
    data
        A pair of arrays, features of shape (n, d) and the class of each event (n,) or 0/1 (n, L); a folder with a
        folder of files for each class, see `images.read_folder`, or a tar archive of one; or what `open_source` opens:
        an archive with ``x_test`` and ``y_test`` has these set aside.
    labels, payload
        As of `open_source`.
    images
        Whether images that an archive holds as arrays are payloads; else their pixels are features.

    Raises
    ------
    ValueError
        There are no events, or labels of some are not known.
    """
    if isinstance(data, LabelledEvents):
        return data
    if isinstance(data, (str, os.PathLike)) and (found := _of_payloads(data, images)) is not None:
        return found
    if isinstance(data, tuple):
        x, y = data
        return checked(LabelledEvents("arrays", _of_arrays(x, np.asarray(y))))
    source = data if isinstance(data, Source) else open_source(data, labels=labels, payload=payload)
    try:
        batch, path = read_all(source), getattr(source, "path", None)
        return checked(LabelledEvents(source.name, batch, _test_part(path, batch.schema), path))
    finally:
        source.close()


def _of_payloads(data: str | os.PathLike[str], images: bool) -> LabelledEvents | None:
    """The events of a folder, a tar archive or, if wanted, an archive of images; None of anything else."""
    from streams.registry import dataset_path
    from streams.siblurry.images import find_tar, read_folder, read_images, read_tar

    if Path(data).is_dir():
        return read_folder(Path(data))
    if (tar := find_tar(data)) is not None:
        return read_tar(tar)
    path = Path(data) if Path(data).is_file() else dataset_path(os.fspath(data))
    return read_images(path) if images and path is not None and path.suffix == ".npz" else None


def checked(events: LabelledEvents) -> LabelledEvents:
    """The events, if there are any and all are labelled.

    Raises
    ------
    ValueError
        There are none, or labels of some are not known.
    """
    if not len(events.batch):
        raise ValueError(f"{events.name}: data must hold at least one event, got none")
    for part in (events.batch, events.test):
        unknown = 0 if part is None else int((part.label_state == UNLABELLED).sum())
        if unknown:
            raise ValueError(f"{events.name}: labels of every event must be known, got {unknown} events without")
    return events


def _of_arrays(x: Any, y: NDArray[Any]) -> Batch:
    if y.ndim != 1:
        return Batch.from_arrays(x, y)
    classes, codes = np.unique(y, return_inverse=True)
    batch = Batch.from_arrays(x, Rows(np.arange(len(y) + 1), codes.astype(np.int32)))
    schema = Schema(batch.schema.feature_names, classes.tolist(), sparse=batch.schema.sparse)
    schema.kinds[:] = batch.schema.kinds
    batch.schema = schema
    return batch


def _test_part(path: Path | None, schema: Schema) -> Batch | None:
    """The events that an archive has set aside, under the columns of the others."""
    if path is None or Path(path).suffix != ".npz":
        return None
    from streams.numpy_archive import NumpySource

    with np.load(path) as archive:
        if not {"x_test", "X_test"} & set(archive.files):
            return None
    source = NumpySource(path, part="test")
    try:
        return read_all(source).aligned(schema, grow=False)
    finally:
        source.close()
