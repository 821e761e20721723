"""Workers that are actors of Ray, on this machine or on a cluster."""

from __future__ import annotations

import pickle
import threading
from collections import deque
from typing import Any

from streams.extraction.backend import Report
from streams.extraction.encoding import Encoder, EncoderError, timed, warm_up
from streams.extraction.ray_connection import connect, load_ray
from streams.extraction.shared import packed, unpacked


class _Actor:
    """What works there."""

    def load(self, encoder: bytes) -> None:
        """Load the encoder."""
        self._encoder: Encoder = pickle.loads(encoder)
        warm_up(self._encoder)

    def encode(self, block: bytes) -> tuple[bytes, float, float]:
        """The rows of a block, and the seconds that `timed` tells."""
        encoded, seconds, device_s = timed(self._encoder, unpacked(pickle.loads(block)))
        return pickle.dumps(encoded, 5), seconds, device_s


class RayBackend:
    """Actors of Ray, spread over the machines of a cluster as far as these have room.

    Parameters
    ----------
    encoder
        Must be picklable, and importable where the actors work.
    n_workers
        How many actors.
    address
        Of a cluster; ``auto``: one that this machine belongs to, or else one that is begun here and ends with the pool.
    gpus
        GPUs an actor, of which a fraction will do: with 0.5 two share one.

    Raises
    ------
    ImportError
        Ray is not installed.
    ConnectionError
        There is no cluster at the address.

    Notes
    -----
    An actor that died, or whose machine did, is begun anew by the pool, on whatever machine has room; Ray itself
    neither restarts actors nor repeats calls, so that a block is encoded by one actor at a time.
    """

    def __init__(self, encoder: Encoder, n_workers: int, *, address: str = "auto", gpus: float = 0.0) -> None:
        ray = self._ray = load_ray()
        try:
            self._encoder = pickle.dumps(encoder, 5)
        except Exception as error:
            raise EncoderError(f"an encoder must be picklable to go to other processes, got {error}") from error
        self.n_workers = n_workers
        self._ours = not ray.is_initialized()
        if self._ours:
            connect(ray, address, n_workers)
        options = {"num_cpus": 1, "num_gpus": gpus, "max_restarts": 0, "max_task_retries": 0}
        self._class = ray.remote(_Actor).options(scheduling_strategy="SPREAD", **options)
        self._actors: list[Any] = [None] * n_workers
        self._calls: dict[Any, tuple[int, str]] = {}
        self._came: deque[Any] = deque()
        self._woken = False
        self._changed = threading.Condition()
        self._closed = False

    def start(self, worker: int) -> None:
        """Begin an actor; what is left of the one before is cleared away."""
        if self._actors[worker] is not None:
            self._ray.kill(self._actors[worker])
        actor = self._actors[worker] = self._class.remote()
        self._call(worker, "ready", actor.load.remote(self._encoder))

    def give(self, worker: int, payloads: list[Any]) -> None:
        """Call the actor with a block."""
        self._call(worker, "done", self._actors[worker].encode.remote(packed(payloads)))

    def _call(self, worker: int, kind: str, reference: Any) -> None:
        with self._changed:
            self._calls[reference] = worker, kind
        reference.future().add_done_callback(lambda _: self._note(reference))

    def _note(self, reference: Any) -> None:
        with self._changed:
            self._came.append(reference)
            self._changed.notify_all()

    def kill(self, worker: int) -> None:
        """Kill the actor; what becomes of its call is not heard."""
        with self._changed:
            self._calls = {call: told for call, told in self._calls.items() if told[0] != worker}
        self._ray.kill(self._actors[worker])
        self._actors[worker] = None

    def wait(self, timeout: float | None = None) -> list[Report]:
        """What actors have to tell, their deaths among it."""
        with self._changed:
            self._changed.wait_for(lambda: self._came or self._woken, timeout)
            self._woken = False
            found = [(call, *self._calls.pop(call)) for call in self._came if call in self._calls]
            self._came.clear()
        return [self._heard(*call) for call in found]

    def _heard(self, reference: Any, worker: int, kind: str) -> Report:
        errors = self._ray.exceptions
        try:
            value = self._ray.get(reference)
        except errors.RayTaskError as error:
            return Report(worker, "failed", reason=f"{type(error.cause).__name__}: {error.cause}")
        except errors.RayError as error:
            return Report(worker, "died", reason=str(error).partition("\n")[0])
        if kind == "ready":
            return Report(worker, "ready")
        encoded, *seconds = value
        return Report(worker, "done", pickle.loads(encoded), *seconds)

    def wake(self) -> None:
        """Let ``wait`` return."""
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def close(self) -> None:
        """End all actors, and the connection if it was made here."""
        if self._closed:
            return
        self._closed = True
        for actor in self._actors:
            if actor is not None:
                self._ray.kill(actor)
        if self._ours:
            self._ray.shutdown()
