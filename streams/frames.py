"""A pandas frame as a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from streams.batch import Batch

if TYPE_CHECKING:
    import pandas as pd


def frame_batch(frame: pd.DataFrame, labels: str | Sequence[str] | None) -> Batch:
    """The rows of a frame as events.

    Parameters
    ----------
    frame
        Numeric columns and truth values become numeric features, strings and categories nominal ones; NaN and None are
        missing.
    labels
        The columns that are labels, of 0 and 1 or truth values (NaN: unknown): ``first:6``, ``last:14``, names parted
        by commas, or a sequence of names.

    Raises
    ------
    ValueError
        There are no labels, or one is no column or holds something else, or a number is infinite.
    """
    columns = list(frame.columns)
    if len(set(columns)) < len(columns):
        raise ValueError("columns of a frame must differ, got one name twice")
    chosen = _chosen(columns, labels)
    features = [column for column in columns if column not in chosen]
    for column in chosen:
        if not frame[column].dropna().isin([0, 1]).all():
            raise ValueError(f"label {column!r} must be 0, 1 or missing, got other values")
    batch = Batch.from_dicts(_records(frame[features]), _records(frame[chosen].astype("Float64")))
    return batch


def _chosen(columns: list[Any], labels: str | Sequence[str] | None) -> list[Any]:
    if labels is None:
        raise ValueError("labels of a frame must be named, got None")
    if isinstance(labels, str):
        side, _, count = labels.partition(":")
        if side in ("first", "last") and count.isdigit():
            if not 1 <= int(count) <= len(columns):
                raise ValueError(f"labels must name 1 to {len(columns)} columns, got {labels!r}")
            return columns[: int(count)] if side == "first" else columns[-int(count) :]
        labels = [name.strip() for name in labels.split(",")]
    for name in labels:
        if name not in columns:
            raise ValueError(f"a label must be a column of the frame, got {name!r}")
    return [column for column in columns if column in labels]


def _records(frame: pd.DataFrame) -> list[dict[Any, Any]]:
    """One dictionary a row, None where something is missing."""
    names = list(frame.columns)
    kept = frame.astype(object).where(frame.notna(), None)
    return [dict(zip(names, row, strict=True)) for row in kept.itertuples(index=False, name=None)]
