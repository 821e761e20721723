"""A pool of workers that encode payloads: every one once, in order, whatever happens to the workers."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from streams.batch import DeadLetter
from streams.extraction.backend import Backend, InlineBackend, Report, WorkerError
from streams.extraction.blocks import Feed, Limits, cut, is_at_hand
from streams.extraction.encoding import Encoded, Encoder, EncoderError, dense, fingerprint, raw
from streams.extraction.load import PoolLoad
from streams.extraction.weighing import in_order
from streams.source import DecodeError, Sink
from streams.text_source import OnError
from streams.wire import encode_dead_letter

BackendName = Literal["inline", "process", "ray"]

_IN_FLIGHT = 4
"""Blocks a worker that are encoded or wait for it, at most, before no more payloads are read."""

_STARTS = 5
"""How often in a row workers may die before they are ready."""

_DEATHS = 20
"""How often in a row workers may die with a block before one is finished. Halving a block of 4,096 takes 16."""

_START_S = 300.0
"""Seconds that a worker has to be ready, at least: to load a model takes longer than to use it."""

_BLOCK_DEATHS, _LONE_DEATHS = 2, 3
"""Workers that must have died of a block before it is halved, and of a payload that they had alone for it to be at
fault: more than one, for workers die for reasons of their own, and halves of what killed twice at once."""


@dataclass(slots=True)
class _Task:
    """A block, or what was cut from it, on its way through a worker."""

    job: Job
    start: int
    payloads: list[Any]
    handed_over: float
    n_deaths: int = 0


class Job:
    """Payloads that were handed to a pool, and what becomes of them."""

    def __init__(self, n: int) -> None:
        self.n = n
        self._n_done = 0
        self._parts: list[tuple[int, Encoded]] = []

    @property
    def done(self) -> bool:
        """Whether all of them have been encoded."""
        return self._n_done == self.n

    @property
    def has_faults(self) -> bool:
        """Whether some of them could not be encoded."""
        return any(part.faults for _, part in self._parts)

    def take_in(self, start: int, n: int, encoded: Encoded) -> None:
        """``n`` of them, from this number on, have been encoded."""
        self._parts.append((start, encoded))
        self._n_done += n

    def result(self) -> Encoded:
        """All rows and faults of a job that is done."""
        self._parts.sort(key=lambda part: part[0])
        return Encoded.joined(self._parts)


class ExtractionPool:
    """Encodes payloads by workers; a context manager.

    Parameters
    ----------
    encoder
        A picklable callable that makes a list of payloads into float32 rows of features, one a payload.
    workers
        How many. 0: this process encodes, when a row is asked for, whatever the backend.
    backend
        ``inline``: this process, whatever ``workers`` says. ``process``: processes of this machine. ``ray``: actors of
        Ray, extra ``ray``. Or an object that is a `Backend`. None: ``inline`` without workers, else ``process``.
    on_error
        What a payload that cannot be encoded does: ``fail`` raises `DecodeError` behind the rows of those before it,
        ``skip`` gives None in the place of its row.
    batch_size, batch_bytes, batch_wait
        A block, which is encoded at once, ends with so many payloads, bytes of them, or seconds that its first one has
        waited for more. Payloads that are all there, in a list say, are cut by the first two alone, so that the same
        list is always cut the same way.
    dead_letters
        Where payloads that cannot be encoded go, with their number and the reason.
    address
        With ``ray``: of a cluster that is there, or ``auto`` for one on this machine, begun where none is found.
    gpus
        With ``ray``: GPUs a worker, of which a fraction will do.
    timeout_s
        A worker that has had a block for so many seconds is killed, and one that has not been ready for as long, or for
        300 s where that is less. None: workers are waited for. This process cannot interrupt itself, so that
        ``inline`` always waits.

    Raises
    ------
    ValueError
        An argument is wrong.
    WorkerError
        Workers die at once, each time.

    Notes
    -----
    A worker has one block at a time. If it dies, another one takes its place and the block is encoded again; a block
    whose workers died twice is halved, until what they die of stands alone: a payload that three workers died of,
    having it alone, cannot be encoded. Nor can one with which the encoder raises, which is found by halving, too, or
    for which it gives NaN or infinity. Every payload is answered once.

    A worker that is killed because it hangs has died like any other: its block is encoded again, then halved, and a
    payload that three of them hung at, having it alone, timed out.

    At most four blocks a worker are in flight, so memory does not grow with the stream.

    Rows are the same for any number of workers if the encoder makes the same row of a payload whatever stands beside
    it. Networks do so up to rounding; lists are cut in the same way each time, so that with them nothing changes.

    Workers are spawned: a script that starts a pool must be importable, its work standing under
    ``if __name__ == "__main__":``.

    Examples
    --------
    >>> def lengths(texts):
    ...     return [[len(text), text.count(" ")] for text in texts]
    >>> with ExtractionPool(lengths) as pool:
    ...     [row.tolist() for row in pool.map(["a b c", "hello"])]
    [[5.0, 2.0], [5.0, 0.0]]
    """

    def __init__(
        self,
        encoder: Encoder,
        workers: int = 0,
        backend: BackendName | Backend | None = None,
        on_error: OnError = "fail",
        *,
        batch_size: int = 32,
        batch_bytes: int = 1 << 24,
        batch_wait: float = 0.01,
        dead_letters: Sink | None = None,
        address: str = "auto",
        gpus: float = 0.0,
        timeout_s: float | None = 300.0,
    ) -> None:
        if on_error not in ("fail", "skip"):
            raise ValueError(f"on_error must be 'fail' or 'skip', got {on_error!r}")
        for what, value, least in (
            ("workers", workers, 0),
            ("batch_size", batch_size, 1),
            ("batch_bytes", batch_bytes, 1),
        ):
            if value < least:
                raise ValueError(f"{what} must be at least {least}, got {value}")
        if timeout_s is not None and not timeout_s > 0:
            raise ValueError(f"timeout_s must be positive or None, got {timeout_s:g}")
        self.encoder, self.on_error = encoder, on_error
        self.fingerprint = fingerprint(encoder)
        self.limits = Limits(batch_size, batch_bytes, batch_wait)
        self._dead_letters = dead_letters
        self._backend = _backend(encoder, workers, backend, address, gpus)
        self.n_workers = self._backend.n_workers
        self.load = PoolLoad(self.n_workers)
        self._changed = threading.Condition()
        self._waiting: deque[_Task] = deque()
        self._in_hand: list[_Task | None] = [None] * self.n_workers
        self._timeout_s = None if self.is_inline else timeout_s
        self._due = [math.inf] * self.n_workers
        self._idle: set[int] = set()
        self._ready: set[int] = set()
        self._n_failed_starts = self._n_failed_blocks = 0
        self._error: BaseException | None = None
        self._closed = False
        self._thread: threading.Thread | None = None
        try:
            for worker in range(self.n_workers):
                self._start(worker)
        except BaseException:
            self._backend.close()
            raise
        if not self.is_inline:
            self._thread = threading.Thread(target=self._run, name="extraction-pool", daemon=True)
            self._thread.start()

    @property
    def is_inline(self) -> bool:
        """Whether this process encodes, and only while it waits for a row."""
        return isinstance(self._backend, InlineBackend)

    @property
    def max_in_flight(self) -> int:
        """How many blocks may be in flight before it is time to wait for one."""
        return _IN_FLIGHT * self.n_workers

    @property
    def n_in_flight(self) -> int:
        """Blocks that were handed over and not encoded yet."""
        return self.load.n_waiting

    def map(self, payloads: Iterable[Any]) -> Iterator[NDArray[np.float32] | None]:
        """One float32 row a payload, in order; None for one that was skipped.

        Parameters
        ----------
        payloads
            A sequence, or anything that gives them one after the other: the latter is read by a thread of its own, so
            that rows come while the next payload is waited for.

        Raises
        ------
        DecodeError
            A payload cannot be encoded and is not to be skipped.
        WorkerError, EncoderError
            The pool cannot go on.
        """
        finish = in_order(self.encoder)
        given: deque[tuple[Job, list[Any]]] = deque()
        n_told = 0

        def next_rows() -> Iterator[NDArray[np.float32] | None]:
            nonlocal n_told
            job, block = given.popleft()
            self.wait(job)
            yield from self._rows(job, block, n_told, finish)
            n_told += job.n

        for block in self._blocks(payloads, given):
            if block:
                given.append((self.submit(block), block))
            while given and (given[0][0].done or self.is_inline or len(given) >= self.max_in_flight):
                yield from next_rows()
        while given:
            yield from next_rows()

    def submit(self, payloads: Sequence[Any]) -> Job:
        """Hand payloads over, cut into blocks by count and bytes; does not wait."""
        job = Job(len(payloads))
        now, start = time.monotonic(), 0
        tasks = []
        for block in cut(payloads, self.limits):
            tasks.append(_Task(job, start, block, now))
            start += len(block)
        with self._changed:
            self._look()
            self._waiting.extend(tasks)
            self.load.handed_over(len(tasks))
            self._hand_out()
        return job

    def wait(self, job: Job, timeout: float | None = None) -> bool:
        """Whether a job is done; waits so many seconds for that, or for as long as it takes.

        Raises
        ------
        WorkerError, EncoderError, ImportError
            The pool cannot go on.
        """
        if self._thread is None:
            until = None if timeout is None else time.monotonic() + timeout
            while not job.done:
                self._look()
                try:
                    self._turn()
                except BaseException as error:
                    self._error = error
                    raise
                if until is not None and time.monotonic() >= until:
                    break
            return job.done
        with self._changed:
            self._changed.wait_for(lambda: job.done or self._error is not None or self._closed, timeout)
            if not job.done:
                self._look()
            return job.done

    def metrics(self) -> dict[str, Any]:
        """How many payloads, how long their blocks took and waited, and how busy each worker has been."""
        with self._changed:
            return self.load.as_dict(n_queued=len(self._waiting))

    def close(self) -> None:
        """End the workers; what is still in flight is given up. May be called twice."""
        with self._changed:
            if self._closed:
                return
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._backend.wake()
            self._thread.join()
        self._backend.close()

    def __enter__(self) -> ExtractionPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What happens to rows.

    def _blocks(self, payloads: Iterable[Any], given: deque[tuple[Job, list[Any]]]) -> Iterator[list[Any]]:
        """Blocks to hand over; an empty one where the first of the jobs in flight is done."""
        if is_at_hand(payloads):
            yield from cut(payloads, self.limits)
            return
        feed = Feed(payloads, self._changed, self.limits)
        try:
            while not (feed.ended and not given):
                with self._changed:
                    while not ((given and given[0][0].done) or (feed.ended and not given) or feed.due_s == 0.0):
                        self._look()
                        self._changed.wait(feed.due_s)
                    block = feed.take()
                yield block
            feed.raise_error()
        finally:
            feed.close()

    def _rows(self, job: Job, block: list[Any], n_told: int, finish: Any) -> Iterator[NDArray[np.float32] | None]:
        found = job.result()
        rows = None if found.rows is None else dense(finish(found.rows), self.encoder)
        row = 0
        for number, payload in enumerate(block):
            reason = found.faults.get(number)
            if reason is None:
                assert rows is not None, "a payload without a fault has a row"
                yield rows[row]
                row += 1
                continue
            if self._dead_letters is not None:
                letter = DeadLetter("payloads", n_told + number, reason, raw(payload))
                self._dead_letters.write([encode_dead_letter(letter)])
            if self.on_error == "fail":
                raise DecodeError("payloads", reason, offset=n_told + number)
            yield None

    # What happens to workers.

    def _look(self) -> None:
        if self._error is not None:
            raise self._error
        if self._closed:
            raise ValueError("a pool must be open to be used, got one that is closed")

    def _run(self) -> None:
        try:
            while not self._closed:
                self._turn()
        except BaseException as error:
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _turn(self) -> None:
        """Wait for what workers have to tell, act on it, and give blocks to those that are idle now."""
        reports = self._backend.wait(self._patience_s())
        with self._changed:
            for report in reports:
                self._take_in(report)
            late = self._late()
            for worker in late:
                self._backend.kill(worker)
                self._bury(worker, f"timed out after {self._allowed_s(worker):g} s", hung=True)
            if reports or late:
                self._hand_out()
                self._changed.notify_all()

    def _patience_s(self) -> float | None:
        """Seconds until the first worker is late; one that begins something in the meantime will not be so earlier."""
        if self._timeout_s is None:
            return None
        now = time.monotonic()
        return max(0.0, min(min(self._due) - now, self._timeout_s))

    def _late(self) -> list[int]:
        """Workers that should have told something by now."""
        now = time.monotonic()
        return [worker for worker, due in enumerate(self._due) if due <= now]

    def _start(self, worker: int) -> None:
        self._expect(worker)
        self._backend.start(worker)

    def _expect(self, worker: int) -> None:
        """From now on a worker has so long to tell something."""
        self._due[worker] = time.monotonic() + self._allowed_s(worker)

    def _allowed_s(self, worker: int) -> float:
        if self._timeout_s is None:
            return math.inf
        return self._timeout_s if worker in self._ready else max(self._timeout_s, _START_S)

    def _hand_out(self) -> None:
        while self._idle and self._waiting:
            worker = min(self._idle)
            self._idle.discard(worker)
            task = self._in_hand[worker] = self._waiting.popleft()
            self._expect(worker)
            self.load.given()
            self._backend.give(worker, task.payloads)
        self.load.queued(len(self._waiting))

    def _take_in(self, report: Report) -> None:
        worker = report.worker
        if report.kind == "failed":
            raise EncoderError(report.reason)
        if report.kind == "died":
            self._bury(worker, report.reason)
            return
        task, self._in_hand[worker] = self._in_hand[worker], None
        self._idle.add(worker)
        self._due[worker] = math.inf
        if report.kind == "ready":
            self._ready.add(worker)
            self._n_failed_starts = 0
            return
        assert task is not None, "a worker is done with a block that it was given"
        assert report.encoded is not None, "it has encoded the block"
        self._n_failed_blocks = 0
        self._finish(task, worker, report.encoded, report.seconds, report.device_s)

    def _finish(self, task: _Task, worker: int, encoded: Encoded, seconds: float = 0.0, device_s: float = 0.0) -> None:
        n = len(task.payloads)
        task.job.take_in(task.start, n, encoded)
        latency_s = time.monotonic() - task.handed_over
        self.load.done(worker, n, len(encoded.faults), seconds, device_s, latency_s)

    def _bury(self, worker: int, reason: str, *, hung: bool = False) -> None:
        """A worker has died: another one takes its place, and what it had is encoded again."""
        self.load.workers[worker].n_deaths += 1
        self.load.workers[worker].n_timeouts += hung
        self._idle.discard(worker)
        task, self._in_hand[worker] = self._in_hand[worker], None
        if worker not in self._ready:
            self._n_failed_starts += 1
            if self._n_failed_starts >= _STARTS:
                raise WorkerError(f"workers must live to be of use, got {_STARTS} that died at their start ({reason})")
        self._ready.discard(worker)
        if task is not None:
            self._n_failed_blocks += 1
            if self._n_failed_blocks >= _DEATHS:
                raise WorkerError(f"workers must get a block done, got {_DEATHS} that died of one in a row ({reason})")
            self._again(task, worker, reason if hung else f"the encoder's process died of it ({reason})")
        self._start(worker)

    def _again(self, task: _Task, worker: int, fault: str) -> None:
        task.n_deaths += 1
        n = len(task.payloads)
        if task.n_deaths < (_LONE_DEATHS if n == 1 else _BLOCK_DEATHS):
            self._waiting.appendleft(task)
        elif n == 1:
            self._finish(task, worker, Encoded(None, {0: fault}))
        else:
            half = n // 2
            for start, part in ((half, task.payloads[half:]), (0, task.payloads[:half])):
                n_deaths = 0 if len(part) == 1 else _BLOCK_DEATHS - 1
                self._waiting.appendleft(_Task(task.job, task.start + start, part, task.handed_over, n_deaths))
            self.load.handed_over(1)


def _backend(encoder: Encoder, workers: int, backend: str | Backend | None, address: str, gpus: float) -> Backend:
    if backend is None:
        backend = "process" if workers else "inline"
    if not isinstance(backend, str):
        return backend
    if backend not in ("inline", "process", "ray"):
        raise ValueError(f"backend must be 'inline', 'process' or 'ray', got {backend!r}")
    if backend == "inline" or not workers:
        return InlineBackend(encoder)
    if backend == "process":
        from streams.extraction.processes import ProcessBackend

        return ProcessBackend(encoder, workers)
    from streams.extraction.ray_actors import RayBackend

    return RayBackend(encoder, workers, address=address, gpus=gpus)
