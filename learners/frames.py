"""Frames of pandas and polars and arrays as dictionaries, and answers in the kind that was asked in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def records(frame: Any) -> list[dict[Any, Any]]:
    """One dictionary a row, None where a cell is missing or NaN.

    Parameters
    ----------
    frame
        Of pandas or polars, or an array of shape (n, k), whose columns are named 0 to k - 1.

    Raises
    ------
    TypeError, ValueError
        It is of another kind or shape.
    """
    rows: Iterable[Sequence[Any]]
    if isinstance(frame, np.ndarray):
        if frame.ndim != 2:
            raise ValueError(f"an array of events must have shape (n, k), got {frame.shape}")
        names: list[Any] = list(range(frame.shape[1]))
        rows = frame.tolist()
    elif _library(frame) == "pandas" and hasattr(frame, "columns"):
        names, rows = list(frame.columns), frame.astype(object).where(frame.notna(), None).to_numpy().tolist()
    elif _library(frame) == "polars" and hasattr(frame, "rows"):
        names, rows = list(frame.columns), frame.rows()
    else:
        raise TypeError(f"events must be a frame of pandas or polars or an array, got {type(frame).__name__}")
    return [{name: value if value == value else None for name, value in zip(names, row, strict=True)} for row in rows]


def like(asked: Any, answers: NDArray[Any], names: Sequence[Any]) -> Any:
    """``answers``, a row for each of ``asked`` and a column for each of ``names``, in the kind of ``asked``."""
    if isinstance(asked, np.ndarray):
        return answers
    if _library(asked) == "polars":
        import polars

        return polars.DataFrame(dict(zip(map(str, names), answers.T, strict=True)))
    import pandas

    return pandas.DataFrame(answers, index=asked.index, columns=list(names))


def _library(frame: Any) -> str:
    return type(frame).__module__.partition(".")[0]
