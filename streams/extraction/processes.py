"""Workers that are processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from streams.extraction.backend import Report
from streams.extraction.encoding import Encoder, EncoderError
from streams.extraction.shared import Box, packed
from streams.extraction.worker import serve

_THREADS = ("OMP_NUM", "OPENBLAS_NUM", "MKL_NUM", "VECLIB_MAXIMUM", "NUMEXPR_NUM")
"""With ``_THREADS``, variables that tell numerical libraries how many to have; they look when they are loaded."""

_DRIVER = Path("/proc/driver/nvidia/gpus")
_PATIENCE_S = 5.0
"""How long a worker may take to end before it is killed."""

_environment = threading.Lock()


@dataclass(slots=True)
class _Worker:
    process: SpawnProcess
    connection: Connection


class ProcessBackend:
    """Processes that are spawned, each with one thread for numerical work.

    Parameters
    ----------
    encoder
        Must be picklable.
    n_workers
        How many processes.

    Raises
    ------
    EncoderError
        The encoder cannot be pickled.

    Notes
    -----
    Blocks and rows go through shared memory; names and lengths through a pipe, whose end is how the death of a process
    is known. Processes end by themselves when this one has died. Where the machine has several NVIDIA GPUs, or
    ``CUDA_VISIBLE_DEVICES`` names several, each process sees one of them, in turn.
    """

    def __init__(self, encoder: Encoder, n_workers: int) -> None:
        try:
            self._encoder = pickle.dumps(encoder, 5)
        except Exception as error:
            raise EncoderError(f"an encoder must be picklable to go to other processes, got {error}") from error
        self.n_workers = n_workers
        self._context = multiprocessing.get_context("spawn")
        self._workers: list[_Worker | None] = [None] * n_workers
        self._inboxes = [Box() for _ in range(n_workers)]
        self._outboxes = [Box() for _ in range(n_workers)]
        self._bell, self._button = self._context.Pipe(duplex=False)
        self._rung = threading.Lock()
        self._devices = gpus()
        self._closed = False

    def start(self, worker: int) -> None:
        """Spawn a process; what is left of the one before is cleared away."""
        self._end(worker)
        ours, theirs = self._context.Pipe()
        name = f"extraction-worker-{worker}"
        process = self._context.Process(target=serve, args=(theirs, self._encoder), name=name, daemon=True)
        settings = {f"{library}_THREADS": "1" for library in _THREADS}
        if len(self._devices) > 1:
            settings["CUDA_VISIBLE_DEVICES"] = self._devices[worker % len(self._devices)]
        with _set(settings):
            process.start()
        theirs.close()
        self._workers[worker] = _Worker(process, ours)

    def give(self, worker: int, payloads: list[Any]) -> None:
        """Leave the block in the worker's box and tell it so."""
        inbox, there = self._inboxes[worker], self._workers[worker]
        message = packed(payloads)
        inbox.put(message)
        if there is not None:  # else it has died, which `wait` is about to tell
            with suppress(OSError):
                there.connection.send((inbox.name, len(message), self._outboxes[worker].name))

    def kill(self, worker: int) -> None:
        """Kill the process; what it may have said is not heard."""
        there, self._workers[worker] = self._workers[worker], None
        if there is not None:
            there.process.kill()
            there.connection.close()
            there.process.join(_PATIENCE_S)

    def wait(self, timeout: float | None = None) -> list[Report]:
        """What workers have to tell, their deaths among it."""
        there = {worker.connection: number for number, worker in enumerate(self._workers) if worker is not None}
        reports = []
        for ready in wait([*there, self._bell], timeout):
            if ready is self._bell:
                self._bell.recv_bytes()
                self._rung.release()
            else:
                assert isinstance(ready, Connection)
                reports.append(self._heard(there[ready], ready))
        return reports

    def _heard(self, number: int, connection: Connection) -> Report:
        try:
            kind, *rest = connection.recv()
        except (EOFError, OSError):
            worker = self._workers[number]
            assert worker is not None
            self._workers[number] = None
            connection.close()
            worker.process.join(_PATIENCE_S)
            return Report(number, "died", reason=_cause(worker.process.exitcode))
        if kind == "ready":
            return Report(number, "ready")
        if kind == "failed":
            return Report(number, "failed", reason=rest[0])
        message, *seconds = rest
        outbox = self._outboxes[number]
        if kind == "done":
            return Report(number, "done", outbox.get(message), *seconds)
        outbox.make_room(2 * len(message))
        return Report(number, "done", pickle.loads(message), *seconds)

    def wake(self) -> None:
        """Ring once, however often it is called before ``wait`` has heard it."""
        if self._rung.acquire(blocking=False):
            self._button.send_bytes(b"!")

    def close(self) -> None:
        """End all processes, by force where they do not end by themselves."""
        if self._closed:
            return
        self._closed = True
        for worker in self._workers:
            if worker is not None:
                worker.connection.close()
                worker.process.terminate()
        for number in range(self.n_workers):
            self._end(number)
        for box in (*self._inboxes, *self._outboxes):
            box.close()
        self._bell.close()
        self._button.close()

    def _end(self, number: int) -> None:
        worker, self._workers[number] = self._workers[number], None
        if worker is not None:
            worker.connection.close()
            worker.process.join(_PATIENCE_S)
            if worker.process.exitcode is None:
                worker.process.kill()
                worker.process.join()


def gpus(environment: Mapping[str, str] = os.environ, driver: Path = _DRIVER) -> list[str]:
    """What the NVIDIA GPUs are called that a process may use, as ``CUDA_VISIBLE_DEVICES`` has them."""
    told = environment.get("CUDA_VISIBLE_DEVICES")
    if told is not None:
        return [device.strip() for device in told.split(",") if device.strip()]
    return [str(number) for number in range(len(list(driver.iterdir())))] if driver.is_dir() else []


def _cause(code: int | None) -> str:
    """Of what a process died."""
    if code is None:
        return "its connection broke"
    if code < 0:
        try:
            return f"killed by {signal.Signals(-code).name}"
        except ValueError:
            return f"killed by signal {-code}"
    return f"left with exit code {code}"


@contextmanager
def _set(settings: Mapping[str, str]) -> Iterator[None]:
    """Variables of the environment that a process is to inherit, set as long as the block lasts."""
    with _environment:
        before = {name: os.environ.get(name) for name in settings}
        os.environ.update(settings)
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value
