"""A batch and the answers to it as the plain arrays that counting kernels take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.batch import PARTIAL, Batch, Prediction, Rows

NO_PROBA, DENSE_PROBA, LISTED_PROBA = 0, 1, 2
"""How an event's probabilities come: not at all, one a label, or listed."""

_NO_ROWS = Rows.empty(0)
_NO_MATRIX = np.zeros((0, 0), np.float32)
_NO_VALUES = np.zeros(0, np.float32)


@dataclass(slots=True)
class Arguments:
    """Each part of a batch and its answers as consecutive arguments of a kernel.

    Parameters
    ----------
    n
        Number of events.
    state
        How much is known of each event's labels, uint8.
    true, known, predicted
        Row limits and label numbers; ``known`` has no rows where no event is partly labelled.
    probabilities
        Kind, matrix, row limits, label numbers and values: one signature for every kind.
    """

    n: int
    state: NDArray[np.uint8]
    true: tuple[Any, ...]
    known: tuple[Any, ...]
    predicted: tuple[Any, ...]
    probabilities: tuple[Any, ...]

    @classmethod
    def of(cls, batch: Batch, prediction: Prediction) -> Arguments:
        """The answers to the events of ``batch``, both numbering labels alike.

        Raises
        ------
        ValueError
            The numbers of events and answers differ, or a part of ``batch`` or ``prediction`` is missing.
        """
        n = len(batch)
        if len(prediction) != n:
            raise ValueError(f"prediction must answer each of the {n} events, got {len(prediction)} answers")
        state = np.ascontiguousarray(batch.label_state, np.uint8)
        known = batch.known
        if known is None:
            if (state == PARTIAL).any():
                raise ValueError("known must be given where an event is partly labelled, got None")
            known = _NO_ROWS
        y, z = batch.y, prediction.labels
        return cls(
            n,
            state,
            (y.indptr, y.indices),
            (known.indptr, known.indices),
            (z.indptr, z.indices),
            _flat(prediction.proba, n),
        )

    def __getitem__(self, rows: slice) -> Arguments:
        """Some consecutive events, as views."""
        start, stop, _ = rows.indices(self.n)
        limits = slice(start, stop + 1)
        kind, dense, listed_indptr, *listed = self.probabilities
        return Arguments(
            stop - start,
            self.state[rows],
            (self.true[0][limits], self.true[1]),
            (self.known[0][limits], self.known[1]),
            (self.predicted[0][limits], self.predicted[1]),
            (kind, dense[rows], listed_indptr[limits], *listed),
        )

    def refuse_wrong_probabilities(self) -> None:
        """Raise ValueError where a number is no probability."""
        kind, dense, indptr, _, values = self.probabilities
        if kind == NO_PROBA:
            return
        given = dense if kind == DENSE_PROBA else values
        fine = (given >= 0) & (given <= 1)
        if not fine.all():
            cell = int(np.flatnonzero(~fine)[0])
            is_dense = kind == DENSE_PROBA
            raise wrong_probability(
                cell // dense.shape[1] if is_dense else int(np.searchsorted(indptr, cell, "right")) - 1
            )


def _flat(proba: NDArray[np.float32] | Rows | None, n: int) -> tuple[Any, ...]:
    """Probabilities of ``n`` events, whatever they come as."""
    kind, dense, listed, values = NO_PROBA, _NO_MATRIX, _NO_ROWS, _NO_VALUES
    if isinstance(proba, Rows):
        if proba.data is None:
            raise ValueError("proba must have values where it is listed, got column numbers alone")
        kind, listed, values = LISTED_PROBA, proba, proba.data
    elif proba is not None:
        kind, dense = DENSE_PROBA, np.ascontiguousarray(proba, np.float32)
    if proba is not None and len(proba) != n:
        raise ValueError(f"proba must have a row for each of the {n} events, got {len(proba)}")
    return kind, dense, listed.indptr, listed.indices, values


def wrong_probability(row: int) -> ValueError:
    """What to raise where a kernel has met a number that is no probability."""
    return ValueError(f"proba must be in [0, 1], got another value in row {row}")
