"""What an encoder is, and how a payload that cannot be encoded is told from those beside it."""

from __future__ import annotations

import hashlib
import inspect
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.rows import Rows

Features = NDArray[np.float32] | Rows
"""Rows of features: float32 of shape (n, d), or `Rows` with values where absent means 0."""

Encoder = Callable[[list[Any]], Any]
"""Payloads to rows of features, one a payload: an array of shape (n, d), or `Rows` with values.

It must be picklable to go to workers, and a row must depend on its payload alone, or else it depends on which payloads
stood beside it. What it may have beside: ``sparse`` and ``n_features``, True and the number of columns, where it gives
`Rows`; ``fingerprint``, a text that another model or setting changes; ``warm_up()``, called once where it will work;
``device_s``, for how many seconds a device has computed for it so far, where one works beside the processor; and
``in_order()``, for what has to see the rows in their order (see `streams.extraction.weighing`).
"""


class EncoderError(RuntimeError):
    """An encoder cannot be loaded, or gives something else than a row of features for each payload."""


@dataclass(slots=True)
class Encoded:
    """What an encoder made of some payloads.

    Parameters
    ----------
    rows
        A row for each payload that could be encoded, in order; None where none could.
    faults
        Why the others could not, by their number among the payloads.
    """

    rows: Features | None
    faults: dict[int, str] = field(default_factory=dict)

    @classmethod
    def joined(cls, parts: Sequence[tuple[int, Encoded]]) -> Encoded:
        """The whole of parts that begin at these numbers, in order.

        Raises
        ------
        EncoderError
            Their rows have different widths.
        """
        rows = [part.rows for _, part in parts if part.rows is not None]
        faults = {start + row: reason for start, part in parts for row, reason in part.faults.items()}
        if not rows:
            return cls(None, faults)
        if len(rows) == 1:
            return cls(rows[0], faults)
        if isinstance(rows[0], Rows):
            return cls(Rows.concat([part for part in rows if isinstance(part, Rows)]), faults)
        dense = [part for part in rows if not isinstance(part, Rows)]
        widths = {part.shape[1] for part in dense}
        if len(widths) > 1 or len(dense) < len(rows):
            raise EncoderError(f"rows of an encoder must have one width, got {sorted(widths)}")
        return cls(np.concatenate(dense), faults)


def encode(encoder: Encoder, payloads: list[Any]) -> Encoded:
    """The rows of payloads; those that make the encoder raise are found by halving and left out.

    Raises
    ------
    EncoderError
        The encoder breaks its contract.
    ImportError
        Something is missing that the encoder needs.
    """
    return Encoded.joined(list(_pieces(encoder, payloads, 0)))


def timed(encoder: Encoder, payloads: list[Any]) -> tuple[Encoded, float, float]:
    """What `encode` gives, the seconds that it took, and for how many of them the device computed.

    An encoder that tells nothing of a device computes on the processor, and does so all the time.
    """
    begun, computed = time.perf_counter(), getattr(encoder, "device_s", None)
    encoded = encode(encoder, payloads)
    seconds = time.perf_counter() - begun
    return encoded, seconds, seconds if computed is None else getattr(encoder, "device_s", computed) - computed


def _pieces(encoder: Encoder, payloads: list[Any], start: int) -> list[tuple[int, Encoded]]:
    if not payloads:
        return []
    try:
        found = encoder(payloads)
    except (ImportError, EncoderError):
        raise
    except Exception as error:
        if len(payloads) == 1:
            return [(start, Encoded(None, {0: f"{type(error).__name__}: {error}"}))]
        half = len(payloads) // 2
        return [
            *_pieces(encoder, payloads[:half], start),
            *_pieces(encoder, payloads[half:], start + half),
        ]
    return [(start, checked(found, len(payloads)))]


def checked(found: Any, n: int) -> Encoded:
    """What an encoder gave for ``n`` payloads; a row that is not finite is a fault of its payload.

    Raises
    ------
    EncoderError
        It is no row of numbers for each payload.
    """
    if isinstance(found, Rows):
        if len(found) != n or found.data is None:
            raise EncoderError(f"an encoder must give a row with values for each of {n} payloads, got {len(found)}")
        bad = np.flatnonzero(~np.isfinite(found.data))
        wrong = np.unique(np.searchsorted(found.indptr, bad, "right") - 1)
        rows: Features = found
    else:
        try:
            rows = np.ascontiguousarray(found, np.float32)
        except (TypeError, ValueError) as error:
            raise EncoderError(f"an encoder must give numbers, got {type(found).__name__}: {error}") from None
        if rows.ndim != 2 or len(rows) != n:
            raise EncoderError(f"an encoder must give an array of shape ({n}, d), got {rows.shape}")
        wrong = np.flatnonzero(~np.isfinite(rows).all(1))
    if not len(wrong):
        return Encoded(rows)
    kept = np.setdiff1d(np.arange(n), wrong)
    chosen = rows.take(kept) if isinstance(rows, Rows) else rows[kept]
    faults = {int(row): "features must be finite, got NaN or infinity" for row in wrong}
    return Encoded(chosen if len(kept) else None, faults)


def warm_up(encoder: Encoder) -> None:
    """Let an encoder load what it needs, if it has anything to load."""
    prepare = getattr(encoder, "warm_up", None)
    if prepare is not None:
        prepare()


def fingerprint(encoder: Encoder) -> str:
    """A text that is another one where an encoder would give other rows, as far as can be told.

    The encoder's own ``fingerprint``, or else its name and the hash of its source text.
    """
    told = getattr(encoder, "fingerprint", None)
    if told is not None:
        return str(told)
    thing: Any = encoder if inspect.isroutine(encoder) else type(encoder)
    name = f"{thing.__module__}:{thing.__qualname__}"
    try:
        source = inspect.getsource(thing)
    except (OSError, TypeError):
        return name
    return f"{name}#{hashlib.sha256(source.encode()).hexdigest()[:16]}"


def n_columns(rows: Features, encoder: Encoder) -> int:
    """How many columns the rows of an encoder have.

    Raises
    ------
    EncoderError
        The rows are sparse and the encoder does not tell.
    """
    if not isinstance(rows, Rows):
        return int(rows.shape[1])
    told = getattr(encoder, "n_features", None)
    if told is None:
        raise EncoderError("an encoder of sparse rows must have n_features, got one without")
    return int(told)


def dense(rows: Features, encoder: Encoder) -> NDArray[np.float32]:
    """Rows of an encoder as an array."""
    return rows.to_dense(n_columns(rows, encoder)) if isinstance(rows, Rows) else rows


def raw(payload: Any) -> bytes:
    """The bytes of a payload, for those who look into why it could not be encoded."""
    if isinstance(payload, str):
        return payload.encode("utf-8", "surrogatepass")
    if isinstance(payload, (bytes, bytearray, memoryview)):
        return bytes(payload)
    return payload.tobytes() if isinstance(payload, np.ndarray) else repr(payload).encode()
