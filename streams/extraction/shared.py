"""Messages of any size between two processes of a machine, through shared memory."""

from __future__ import annotations

import pickle
import sys
import weakref
from multiprocessing import resource_tracker
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np

SMALLEST = 1 << 18
"""Bytes of a box when it is made."""


class Box:
    """Room for one message at a time, which its owner makes larger where one does not fit.

    The owner says, through another channel, what the box is called and how long the message is. Whoever else opens it
    never removes it: that is done with the owner's end, however it comes, by the resource tracker of the standard
    library at the latest.
    """

    def __init__(self, n_bytes: int = SMALLEST) -> None:
        self._memory = SharedMemory(create=True, size=n_bytes)
        self._remove = weakref.finalize(self, _remove, self._memory)

    @property
    def name(self) -> str:
        """What others open it by."""
        return self._memory.name

    def make_room(self, n_bytes: int) -> None:
        """Have room for so many bytes, in a box of another name if need be; what was in this one is lost."""
        if n_bytes > self._memory.size:
            self._remove()
            size = max(n_bytes, 2 * self._memory.size)
            self._memory = SharedMemory(create=True, size=size)
            self._remove = weakref.finalize(self, _remove, self._memory)

    def put(self, message: bytes) -> None:
        """Leave a message, for which there is made room."""
        self.make_room(len(message))
        _view(self._memory)[: len(message)] = message

    def get(self, n_bytes: int) -> Any:
        """The object whose pickle is the message."""
        return _loaded(self._memory, n_bytes)

    def close(self) -> None:
        """Remove the box; may be called twice."""
        self._remove()


class OpenBoxes:
    """Boxes of another process, opened by name; as long as a name stays the same, nothing is opened again."""

    def __init__(self) -> None:
        self._open: dict[str, SharedMemory] = {}

    def _opened(self, role: str, name: str) -> SharedMemory:
        memory = self._open.get(role)
        if memory is None or memory.name != name:
            if memory is not None:
                memory.close()
            memory = self._open[role] = _opened(name)
        return memory

    def get(self, name: str, n_bytes: int) -> Any:
        """The object whose pickle is in a box."""
        return _loaded(self._opened("in", name), n_bytes)

    def put(self, name: str, message: bytes) -> bool:
        """Leave a message in a box; whether it fits."""
        memory = self._opened("out", name)
        if len(message) > memory.size:
            return False
        _view(memory)[: len(message)] = message
        return True


def packed(payloads: list[Any]) -> bytes:
    """A block as a message; arrays that are alike go as one, which is ten times as fast."""
    first = payloads[0]
    if isinstance(first, np.ndarray) and all(
        type(payload) is np.ndarray and payload.shape == first.shape and payload.dtype == first.dtype
        for payload in payloads
    ):
        return pickle.dumps(np.stack(payloads), 5)
    return pickle.dumps(payloads, 5)


def unpacked(block: Any) -> list[Any]:
    """The payloads of a block that was ``packed``."""
    return list(block)


def _opened(name: str) -> SharedMemory:
    """A box of another process, which this one must not remove when it ends.

    Before Python 3.13 whoever opens one is noted as its owner with the resource tracker. That is harmless as long as
    both have one tracker; but where it has been killed, a new one, of the process that opened the box, would remove it.
    """
    if sys.version_info >= (3, 13):
        return SharedMemory(name, track=False)
    register = resource_tracker.register
    resource_tracker.register = lambda name, rtype: None  # type: ignore[assignment,unused-ignore]
    try:
        return SharedMemory(name)
    finally:
        resource_tracker.register = register


def _loaded(memory: SharedMemory, n_bytes: int) -> Any:
    # Arrays are copied by unpickling, so that the box is free for the next message.
    return pickle.loads(_view(memory)[:n_bytes])


def _view(memory: SharedMemory) -> memoryview:
    assert memory.buf is not None, "it is open"
    return memory.buf


def _remove(memory: SharedMemory) -> None:
    memory.close()
    memory.unlink()
