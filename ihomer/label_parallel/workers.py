"""Where the workers of label-parallel iHOMER run: the protocol, and workers in this process and in others beside it."""

from __future__ import annotations

import multiprocessing
import pickle
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from time import perf_counter, thread_time
from typing import Any, Protocol

from ihomer.label_parallel.columns import LabelColumns

_PATIENCE_S = 5.0
"""How long a process may take to end before it is killed."""

_SECONDS = struct.Struct("<d")


class WorkerLostError(RuntimeError):
    """A worker is gone, and with it what was learned about its labels."""

    def __init__(self, worker: int, n_workers: int, reason: str) -> None:
        super().__init__(
            f"label worker {worker + 1} of {n_workers} must live as long as the learner, got {reason}; what it had "
            "learned is lost: go on from the last checkpoint, with --resume or by set_state"
        )


@dataclass
class Traffic:
    """What went to and fro between a coordinator and its workers.

    ``calls``; bytes ``sent`` to all workers and ``received`` from them; seconds for which the coordinator waited,
    ``waited_s``; seconds of processor time that all workers together took, ``spent_s``, and that the one took which had
    most to do in each call, ``longest_s``.
    """

    calls: int = 0
    sent: int = 0
    received: int = 0
    waited_s: float = 0.0
    spent_s: float = 0.0
    longest_s: float = 0.0

    def count(self, sent: int, answers: Sequence[bytes], waited_s: float) -> list[Any]:
        """Count a call of all workers; what they answered."""
        seconds = [_SECONDS.unpack_from(answer)[0] for answer in answers]
        self.calls += 1
        self.sent += sent
        self.received += sum(map(len, answers))
        self.waited_s += waited_s
        self.spent_s += sum(seconds)
        self.longest_s += max(seconds)
        return [pickle.loads(memoryview(answer)[_SECONDS.size :]) for answer in answers]


class Workers(Protocol):
    """Some `LabelColumns`, each with a process of its own or not."""

    traffic: Traffic

    def ask(self, what: str, told: Sequence[Any], each: Sequence[Sequence[Any]]) -> list[Any]:
        """Call a method of every worker, with what all are ``told`` and then what ``each`` alone is.

        Raises
        ------
        WorkerLostError
            A worker is gone.
        """

    def close(self) -> None:
        """End all workers; may be called twice."""


def packed(what: str, told: Sequence[Any], each: Sequence[Sequence[Any]]) -> tuple[bytes, list[bytes]]:
    """A call as it goes to the workers: what all are told, and each alone."""
    return pickle.dumps((what, tuple(told)), 5), [pickle.dumps(tuple(own), 5) for own in each]


def answer(columns: LabelColumns, told: bytes, own: bytes) -> bytes:
    """What a worker answers to a call, and before it the seconds that it took."""
    begun = thread_time()
    what, shared = pickle.loads(told)
    answered = pickle.dumps(getattr(columns, what)(*shared, *pickle.loads(own)), 5)
    return _SECONDS.pack(thread_time() - begun) + answered


class InlineWorkers:
    """Workers in this process, one after the other, to which everything goes as it would to others."""

    def __init__(self, n_workers: int) -> None:
        self._workers = [LabelColumns() for _ in range(n_workers)]
        self.traffic = Traffic()

    def ask(self, what: str, told: Sequence[Any], each: Sequence[Sequence[Any]]) -> list[Any]:
        """Call a method of every worker."""
        shared, owns = packed(what, told, each)
        begun = perf_counter()
        answers = [answer(worker, shared, own) for worker, own in zip(self._workers, owns, strict=True)]
        sent = len(self._workers) * len(shared) + sum(map(len, owns))
        return self.traffic.count(sent, answers, perf_counter() - begun)

    def close(self) -> None:
        """Nothing is to be done."""


class ProcessWorkers:
    """Workers that are processes of this machine, spawned, with a pipe to each. They end when this process has died.

    Parameters
    ----------
    n_workers
        How many.
    """

    def __init__(self, n_workers: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.traffic = Traffic()
        self._pipes: list[Connection] = []
        self._processes = []
        for number in range(n_workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs,), name=f"label-worker-{number}", daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)

    def ask(self, what: str, told: Sequence[Any], each: Sequence[Sequence[Any]]) -> list[Any]:
        """Call a method of every worker; they work at the same time."""
        shared, owns = packed(what, told, each)
        for number, (pipe, own) in enumerate(zip(self._pipes, owns, strict=True)):
            with self._watching(number):
                pipe.send_bytes(shared)
                pipe.send_bytes(own)
        begun, answers = perf_counter(), []
        for number, pipe in enumerate(self._pipes):
            with self._watching(number):
                answers.append(pipe.recv_bytes())
        sent = len(self._pipes) * len(shared) + sum(map(len, owns))
        return self.traffic.count(sent, answers, perf_counter() - begun)

    @contextmanager
    def _watching(self, number: int) -> Iterator[None]:
        try:
            yield
        except (EOFError, OSError) as error:
            process = self._processes[number]
            process.join(_PATIENCE_S)
            reason = f"exit code {process.exitcode}" if process.exitcode is not None else str(error)
            self.close()
            raise WorkerLostError(number, len(self._processes), reason) from error

    def close(self) -> None:
        """End all processes, by force where they do not end by themselves."""
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            process.join(_PATIENCE_S)
            if process.exitcode is None:
                process.kill()
                process.join()


def serve(pipe: Connection) -> None:
    """Be a worker until the pipe is closed."""
    columns = LabelColumns()
    with suppress(EOFError, OSError):
        while True:
            pipe.send_bytes(answer(columns, pipe.recv_bytes(), pipe.recv_bytes()))
