"""Where the tests find the data sets, and files made for them."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import zstandard

from streams.batch import Rows
from streams.memory import read_all


def data_folder():
    chosen = os.environ.get("IHOMER_DATA")
    folder = Path(chosen) if chosen else Path(__file__).resolve().parents[2].parent / "shared" / "data"
    if not (folder / "yeast.arff").is_file():
        pytest.skip(f"data sets must be in IHOMER_DATA or ../shared/data, found none in {folder}")
    return folder


def written(folder, name, text):
    """A file of this name with this text, compressed as its ending says."""
    raw = text if isinstance(text, bytes) else text.encode()
    if name.endswith(".gz"):
        raw = gzip.compress(raw)
    elif name.endswith(".zst"):
        raw = zstandard.compress(raw)
    path = folder / name
    path.write_bytes(raw)
    return path


def drained(source, sizes=(256,)):
    """Everything that a source has, read in batches of these sizes, in turn."""
    batches, i = [], 0
    while (batch := source.next_batch(sizes[i % len(sizes)])) is not None:
        batches.append(batch)
        i += 1
    if len(batches) == 1:
        return batches[0]
    return type(batches[0]).concat(batches) if batches else read_all(source)


def assert_same_rows(one, other):
    assert (one is None) == (other is None)
    if one is not None:
        assert np.array_equal(one.indptr, other.indptr)
        assert np.array_equal(one.indices, other.indices)
        assert np.array_equal(one.data, other.data, equal_nan=True) if one.data is not None else other.data is None


def assert_same_batch(one, other):
    """Bit by bit, dead letters too."""
    assert one.schema.to_json() == other.schema.to_json()
    if isinstance(one.x, Rows):
        assert_same_rows(one.x, other.x)
    else:
        width = max(one.x.shape[1], other.x.shape[1])
        wide = [np.pad(x, ((0, 0), (0, width - x.shape[1])), constant_values=np.nan) for x in (one.x, other.x)]
        assert np.array_equal(*wide, equal_nan=True)
    assert_same_rows(one.y, other.y)
    assert_same_rows(one.known, other.known)
    for what in ("label_state", "offset", "weight", "time"):
        assert np.array_equal(getattr(one, what), getattr(other, what)), what
    for what in ("key", "payload", "source", "dead"):
        assert getattr(one, what) == getattr(other, what), what
