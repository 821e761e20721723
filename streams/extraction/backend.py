"""Where encoders run: the protocol of a backend, and the one that runs in this process."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from threadpoolctl import ThreadpoolController

from streams.extraction.encoding import Encoded, Encoder, timed, warm_up


class WorkerError(RuntimeError):
    """Workers cannot be started, or die without ever finishing anything."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker has to tell.

    ``ready``: it waits for its first block. ``done``: with a block, whose rows are ``encoded``; it took ``seconds``,
    and for ``device_s`` of them its device computed. ``died``: whatever it had is lost. ``failed``: no worker will ever
    do better, for ``reason``.
    """

    worker: int
    kind: Literal["ready", "done", "died", "failed"]
    encoded: Encoded | None = None
    seconds: float = 0.0
    device_s: float = 0.0
    reason: str = ""


class Backend(Protocol):
    """Workers, numbered from 0, each of which encodes a block of payloads at a time.

    A backend knows nothing of order, of repeats or of what is to be done with a block whose worker has died. One thread
    waits; others may give and wake meanwhile.
    """

    @property
    def n_workers(self) -> int:
        """How many there are."""

    def start(self, worker: int) -> None:
        """Let a worker begin, for the first time or in the place of one that died; it reports when it is ready."""

    def give(self, worker: int, payloads: list[Any]) -> None:
        """Hand a block to a worker that is ready or done with the one before."""

    def kill(self, worker: int) -> None:
        """End a worker that hangs, by force; nothing that it had to tell is told any more. Called by who waits."""

    def wait(self, timeout: float | None = None) -> list[Report]:
        """What workers have to tell; waits until there is something, for so many seconds, or until `wake` is called."""

    def wake(self) -> None:
        """Let ``wait`` return, from any thread."""

    def close(self) -> None:
        """End all workers and let go of what they used; may be called twice."""


class InlineBackend:
    """One worker that is this process: a block is encoded when its report is waited for, however long that takes.

    Numerical libraries have one thread meanwhile, as in workers of their own: with more, sums differ in the last bit.
    """

    n_workers = 1

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self._reports: deque[Report] = deque()
        self._block: list[Any] | None = None

    def start(self, worker: int) -> None:
        """Load what the encoder needs."""
        warm_up(self._encoder)
        # Those are known that have been loaded by now.
        self._libraries = ThreadpoolController()
        self._reports.append(Report(worker, "ready"))

    def give(self, worker: int, payloads: list[Any]) -> None:
        """Keep the block for ``wait``."""
        self._block = payloads

    def kill(self, worker: int) -> None:
        """Nothing: who would call this is who hangs."""

    def wait(self, timeout: float | None = None) -> list[Report]:
        """Encode the block, if there is one."""
        if self._block is not None:
            block, self._block = self._block, None
            with self._libraries.limit(limits=1):
                self._reports.append(Report(0, "done", *timed(self._encoder, block)))
        reports = list(self._reports)
        self._reports.clear()
        return reports

    def wake(self) -> None:
        """Nothing ever waits."""

    def close(self) -> None:
        """Nothing to end."""
