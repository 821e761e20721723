"""Payloads are cut into blocks, each of which a worker encodes at once."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple


class Limits(NamedTuple):
    """What ends a block: so many payloads, so many bytes of them (a larger one stands alone), or so much waiting for
    more of them to come."""

    n_payloads: int = 32
    n_bytes: int = 1 << 24
    wait_s: float = 0.01


def size_of(payload: Any) -> int:
    """Bytes of a payload, as far as they can be told."""
    n_bytes = getattr(payload, "nbytes", None)
    if n_bytes is not None:
        return int(n_bytes)
    return len(payload) if isinstance(payload, (str, bytes, bytearray)) else 0


class Block:
    """Payloads that are collected until a limit is reached."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.payloads: list[Any] = []
        self._n_bytes = 0

    def has_room(self, payload: Any) -> bool:
        """Whether a payload may be added; one always may to an empty block."""
        full = len(self.payloads) >= self._limits.n_payloads
        return not self.payloads or not (full or self._n_bytes + size_of(payload) > self._limits.n_bytes)

    def add(self, payload: Any) -> None:
        """Take in one more."""
        self.payloads.append(payload)
        self._n_bytes += size_of(payload)


def cut(payloads: Iterable[Any], limits: Limits) -> Iterator[list[Any]]:
    """Consecutive payloads in blocks, by count and bytes alone: the same payloads are always the same blocks."""
    block = Block(limits)
    for payload in payloads:
        if not block.has_room(payload):
            yield block.payloads
            block = Block(limits)
        block.add(payload)
    if block.payloads:
        yield block.payloads


class Feed:
    """Blocks of payloads that come when they come, such as events of a live stream.

    Parameters
    ----------
    payloads
        Read by a thread of its own, no further ahead than two blocks.
    changed
        Notified when a payload has come; what waits for other things as well waits on it, and holds it to call `take`.
    limits
        Of a block.
    """

    def __init__(self, payloads: Iterable[Any], changed: threading.Condition, limits: Limits) -> None:
        self._changed, self._limits = changed, limits
        self._came: deque[tuple[float, Any]] = deque()
        self._n_bytes = 0
        self._error: BaseException | None = None
        self._ended = self._closed = False
        threading.Thread(target=self._read, args=(iter(payloads),), name="extraction-feed", daemon=True).start()

    def _read(self, payloads: Iterator[Any]) -> None:
        error: BaseException | None = None
        try:
            for payload in payloads:
                with self._changed:
                    self._came.append((time.monotonic(), payload))
                    self._n_bytes += size_of(payload)
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: self._closed or len(self._came) < 2 * self._limits.n_payloads)
                    if self._closed:
                        return
        except BaseException as raised:
            error = raised
        with self._changed:
            self._error, self._ended = error, True
            self._changed.notify_all()

    @property
    def ended(self) -> bool:
        """Whether no payload will come any more and none is left."""
        return self._ended and not self._came

    @property
    def due_s(self) -> float | None:
        """Seconds until the payloads that came make a block, full or not; None where there are none."""
        if not self._came:
            return None
        full = len(self._came) >= self._limits.n_payloads or self._n_bytes >= self._limits.n_bytes
        return 0.0 if full or self._ended else max(0.0, self._came[0][0] + self._limits.wait_s - time.monotonic())

    def take(self) -> list[Any]:
        """The next block, if one is due; else nothing."""
        block = Block(self._limits)
        if self.due_s == 0.0:
            while self._came and block.has_room(self._came[0][1]):
                payload = self._came.popleft()[1]
                self._n_bytes -= size_of(payload)
                block.add(payload)
            self._changed.notify_all()
        return block.payloads

    def raise_error(self) -> None:
        """Raise what reading the payloads raised, if it did."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Read no further."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()


def is_at_hand(payloads: Iterable[Any]) -> bool:
    """Whether payloads are all there, so that none has to be waited for."""
    return isinstance(payloads, Sequence) or hasattr(payloads, "__array__")
