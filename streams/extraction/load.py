"""What a pool counts: how many payloads, in what blocks, how long they took, how busy the workers were."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

import numpy as np

_REMEMBERED = 1024
"""Latencies of so many blocks are kept, for the percentiles."""


class WorkerLoad:
    """What one worker has done."""

    def __init__(self) -> None:
        self.n_blocks = self.n_payloads = self.n_deaths = 0
        self.busy_s = 0.0


class PoolLoad:
    """What all workers have done, and what waits for them.

    ``busy_s`` is time inside the encoder, as the worker has measured it; the busy share is that of the time since the
    pool began, of one worker or of all of them together. Latency is from the moment that a block was handed to the pool
    until it had been encoded.
    """

    def __init__(self, n_workers: int) -> None:
        self.workers = [WorkerLoad() for _ in range(n_workers)]
        self.n_faults = 0
        self.n_waiting = self.most_waiting = 0
        """Blocks handed to the pool and not encoded yet, now and at most."""
        self._latencies: deque[float] = deque(maxlen=_REMEMBERED)
        self._begun = time.monotonic()

    def handed_over(self, n_blocks: int) -> None:
        """So many blocks more are waited for."""
        self.n_waiting += n_blocks
        self.most_waiting = max(self.most_waiting, self.n_waiting)

    def done(self, worker: int, n_payloads: int, n_faults: int, busy_s: float, latency_s: float) -> None:
        """A worker is done with a block."""
        load = self.workers[worker]
        load.n_blocks += 1
        load.n_payloads += n_payloads
        load.busy_s += busy_s
        self.n_faults += n_faults
        self.n_waiting -= 1
        self._latencies.append(latency_s)

    def as_dict(self) -> dict[str, Any]:
        """Everything, as a JSON object."""
        elapsed = max(time.monotonic() - self._begun, 1e-9)
        n_blocks = sum(load.n_blocks for load in self.workers)
        n_payloads = sum(load.n_payloads for load in self.workers)
        latencies = np.array(self._latencies or [0.0])
        return {
            "payloads": n_payloads,
            "faults": self.n_faults,
            "blocks": n_blocks,
            "block_size": n_payloads / n_blocks if n_blocks else 0.0,
            "queue": self.n_waiting,
            "queue_max": self.most_waiting,
            "latency_p50_s": float(np.percentile(latencies, 50)),
            "latency_p99_s": float(np.percentile(latencies, 99)),
            "busy_share": sum(load.busy_s for load in self.workers) / (elapsed * len(self.workers)),
            "deaths": sum(load.n_deaths for load in self.workers),
            "workers": [
                {
                    "payloads": load.n_payloads,
                    "blocks": load.n_blocks,
                    "block_size": load.n_payloads / load.n_blocks if load.n_blocks else 0.0,
                    "busy_s": load.busy_s,
                    "busy_share": load.busy_s / elapsed,
                    "deaths": load.n_deaths,
                }
                for load in self.workers
            ],
        }
