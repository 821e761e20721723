"""Workers of label-parallel iHOMER that are actors of Ray, on this machine or on a cluster."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from time import perf_counter
from typing import Any

from ihomer.label_parallel.columns import LabelColumns
from ihomer.label_parallel.workers import Traffic, WorkerLostError, answer, packed
from ihomer.ray_cluster import ray_cluster
from streams.extraction.ray_connection import load_ray


class _Actor:
    """What works there."""

    def __init__(self) -> None:
        self._columns = LabelColumns()

    def ask(self, told: bytes, own: bytes) -> bytes:
        """Call a method."""
        return answer(self._columns, told, own)


class RayWorkers:
    """Actors of Ray, a processor each, spread over the machines of a cluster as far as these have room.

    Parameters
    ----------
    n_workers
        How many.
    address
        Of a cluster; ``"auto"``: one that this machine belongs to, or else one that is begun here and ends with the
        workers.

    Raises
    ------
    ImportError
        Ray is not installed.
    ConnectionError
        There is no cluster at the address.

    Notes
    -----
    What all are told goes into Ray's object store once and from there to each machine once. Ray neither restarts an
    actor nor repeats a call, since a worker that begins anew knows nothing.
    """

    def __init__(self, n_workers: int, address: str = "auto") -> None:
        load_ray()
        self.traffic = Traffic()
        self._cluster = ExitStack()
        self._ray = self._cluster.enter_context(ray_cluster(address, n_workers))
        options = {"num_cpus": 1, "max_restarts": 0, "max_task_retries": 0, "scheduling_strategy": "SPREAD"}
        actor = self._ray.remote(_Actor).options(**options)
        self._actors = [actor.remote() for _ in range(n_workers)]
        self._closed = False

    def ask(self, what: str, told: Sequence[Any], each: Sequence[Sequence[Any]]) -> list[Any]:
        """Call a method of every worker; they work at the same time."""
        message, owns = packed(what, told, each)
        begun = perf_counter()
        shared = self._ray.put(message)
        calls = [actor.ask.remote(shared, own) for actor, own in zip(self._actors, owns, strict=True)]
        answers = [self._answer(number, call) for number, call in enumerate(calls)]
        sent = len(self._actors) * len(message) + sum(map(len, owns))
        return self.traffic.count(sent, answers, perf_counter() - begun)

    def _answer(self, number: int, call: Any) -> bytes:
        try:
            answered: bytes = self._ray.get(call)
        except self._ray.exceptions.RayActorError as error:
            n_workers, reason = len(self._actors), str(error).strip().partition("\n")[0]
            self.close()
            raise WorkerLostError(number, n_workers, reason) from error
        return answered

    def close(self) -> None:
        """End all actors, and the connection if it was made here."""
        if self._closed:
            return
        self._closed = True
        for actor in self._actors:
            self._ray.kill(actor)
        self._cluster.close()
