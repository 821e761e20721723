"""What a pool counts: how many payloads, in what blocks, how long they took, how busy workers and devices were."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections import deque
from itertools import accumulate
from typing import Any

import numpy as np

_REMEMBERED = 1024
"""Latencies of so many blocks are kept, for the percentiles."""

LATENCY_BOUNDS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Up to where the latencies reach that are counted together; the last count is of those beyond."""


class WorkerLoad:
    """What one worker has done."""

    def __init__(self) -> None:
        self.n_blocks = self.n_payloads = self.n_faults = self.n_deaths = self.n_timeouts = 0
        self.busy_s = self.device_s = self.latency_s = 0.0
        self.latencies = [0] * (len(LATENCY_BOUNDS_S) + 1)

    def as_dict(self, elapsed_s: float) -> dict[str, Any]:
        """Everything, as a JSON object."""
        return {
            "payloads": self.n_payloads,
            "blocks": self.n_blocks,
            "block_size": self.n_payloads / self.n_blocks if self.n_blocks else 0.0,
            "faults": self.n_faults,
            "busy_s": self.busy_s,
            "busy_share": self.busy_s / elapsed_s,
            "device_s": self.device_s,
            "device_share": self.device_s / elapsed_s,
            "latency_s": self.latency_s,
            "latencies": list(accumulate(self.latencies)),
            "deaths": self.n_deaths,
            "timeouts": self.n_timeouts,
        }


class PoolLoad:
    """What all workers have done, and what waits for them.

    ``busy_s`` is time inside the encoder, as the worker has measured it, and ``device_s`` that part of it for which the
    device computed; shares are those of the time since a worker was given the first block, of one worker or of all.
    Latency is from the moment that a block was handed to the pool until it had been encoded; ``latencies`` of a worker
    are how many were at most as long as each of `LATENCY_BOUNDS_S`, and how many there were.
    """

    def __init__(self, n_workers: int) -> None:
        self.workers = [WorkerLoad() for _ in range(n_workers)]
        self.n_waiting = 0
        """Blocks handed to the pool and not encoded yet."""
        self._most_queued = 0
        self._latencies: deque[float] = deque(maxlen=_REMEMBERED)
        self._begun: float | None = None

    def handed_over(self, n_blocks: int) -> None:
        """So many blocks more are waited for."""
        self.n_waiting += n_blocks

    def given(self) -> None:
        """A worker was given a block."""
        if self._begun is None:
            self._begun = time.monotonic()

    def queued(self, n_blocks: int) -> None:
        """So many blocks wait for a worker."""
        self._most_queued = max(self._most_queued, n_blocks)

    def done(
        self, worker: int, n_payloads: int, n_faults: int, busy_s: float, device_s: float, latency_s: float
    ) -> None:
        """A worker is done with a block."""
        load = self.workers[worker]
        load.n_blocks += 1
        load.n_payloads += n_payloads
        load.n_faults += n_faults
        load.busy_s += busy_s
        load.device_s += device_s
        load.latency_s += latency_s
        load.latencies[bisect_left(LATENCY_BOUNDS_S, latency_s)] += 1
        self.n_waiting -= 1
        self._latencies.append(latency_s)

    def as_dict(self, n_queued: int = 0) -> dict[str, Any]:
        """Everything, as a JSON object; so many of the blocks that are waited for have no worker yet."""
        now = time.monotonic()
        elapsed_s = max(now - (now if self._begun is None else self._begun), 1e-9)
        workers = [load.as_dict(elapsed_s) for load in self.workers]
        total = {key: sum(worker[key] for worker in workers) for key in ("payloads", "blocks", "faults")}
        latencies = np.array(self._latencies or [0.0])
        return {
            **total,
            "block_size": total["payloads"] / total["blocks"] if total["blocks"] else 0.0,
            "queue": n_queued,
            "queue_max": self._most_queued,
            "in_flight": self.n_waiting - n_queued,
            "latency_p50_s": float(np.percentile(latencies, 50)),
            "latency_p99_s": float(np.percentile(latencies, 99)),
            "busy_share": sum(worker["busy_share"] for worker in workers) / len(workers),
            "device_share": sum(worker["device_share"] for worker in workers) / len(workers),
            "deaths": sum(worker["deaths"] for worker in workers),
            "timeouts": sum(worker["timeouts"] for worker in workers),
            "workers": workers,
        }
