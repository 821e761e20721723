"""What label-parallel iHOMER costs on other numbers of labels and machines: a model, and a simulation that checks it.

A chunk of events goes through five steps, one after the other: the coordinator, an exchange with all workers, the
coordinator, an exchange, the coordinator. So an event takes the time of the coordinator, that of the slowest worker,
and that of the network, and nothing overlaps. The constants of the first two are measured: processor seconds of the
coordinator are a line in the cells of an event and in the number of workers, those of a worker a line in the cells that
it has. Bytes are a line in the same numbers. The network is assumed.

The simulation knows no formula for a chunk: it is a queue of messages that leave and arrive one after the other at the
coordinator's port, with service times that vary.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

CHUNK = 64
"""Events of a chunk."""

LATENCY_S, BYTES_S = 100e-6, 1.25e9
"""The network that is assumed: from process to process through an object store, and ten gigabits a second."""

JITTER = 0.2
"""Standard deviation of a service time as a share of its mean."""


@dataclass(frozen=True)
class Costs:
    """Measured constants. Each is the coefficients of a line: processor seconds of the ``coordinator`` an event, in
    (1, cells, workers); of the ``worker``, in (1, cells that it has); ``bytes`` an event, in (cells, workers)."""

    coordinator: NDArray[np.float64]
    worker: NDArray[np.float64]
    bytes: NDArray[np.float64]


@dataclass(frozen=True)
class Forecast:
    """What an event costs: seconds of the coordinator, of the slowest worker, of the network, and bytes on it."""

    coordinator_s: float
    worker_s: float
    network_s: float
    bytes: float

    @property
    def events_s(self) -> float:
        """Events a second."""
        return 1 / (self.coordinator_s + self.worker_s + self.network_s)

    @property
    def share(self) -> float:
        """The coordinator's share of the time."""
        return self.coordinator_s * self.events_s


def fitted(runs: Sequence[Mapping[str, float]]) -> Costs:
    """The constants, from runs that tell ``workers``, and ``cells``, ``coordinator_us``, ``worker_us`` and ``bytes`` an
    event."""
    cells, workers, coordinator, worker, sent = (
        np.array([run[name] for run in runs]) for name in ("cells", "workers", "coordinator_us", "worker_us", "bytes")
    )
    ones = np.ones(len(runs))
    return Costs(
        _line([ones, cells, workers], 1e-6 * coordinator),
        _line([ones, cells / workers], 1e-6 * worker),
        _line([cells, workers], sent),
    )


def _line(columns: Sequence[NDArray[np.float64]], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Least squares of relative errors, with no coefficient below 0."""
    table = np.stack(columns, axis=1) / values[:, None]
    used = list(range(len(columns)))
    while True:
        found, *_ = np.linalg.lstsq(table[:, used], np.ones(len(values)), rcond=None)
        if not len(found) or found.min() >= 0:
            break
        del used[int(np.argmin(found))]
    line = np.zeros(len(columns))
    line[used] = found
    return line


def forecast(
    costs: Costs,
    cells: float,
    n_workers: int,
    *,
    latency_s: float = LATENCY_S,
    bytes_s: float = BYTES_S,
    jitter: float = JITTER,
) -> Forecast:
    """What an event with so many cells costs where there are so many workers."""
    sent = float(costs.bytes @ [cells, n_workers])
    # By so many deviations the largest of n normal numbers is above their mean (Blom, 1958).
    late = 1 + jitter * NormalDist().inv_cdf((n_workers - 0.375) / (n_workers + 0.25))
    return Forecast(
        float(costs.coordinator @ [1, cells, n_workers]),
        float(late * (costs.worker @ [1, cells / n_workers])),
        4 * latency_s / CHUNK + sent / bytes_s,
        sent,
    )


def simulated(
    costs: Costs,
    cells: float,
    n_workers: int,
    *,
    latency_s: float = LATENCY_S,
    bytes_s: float = BYTES_S,
    jitter: float = JITTER,
    n_chunks: int = 200,
    seed: int = 0,
) -> float:
    """Events a second of a coordinator and its workers, message by message.

    Each step of the coordinator has a third of its time and each exchange half of the workers' time and of the bytes,
    half of these in each direction. Service times are log-normal, latencies exponential. The port of the coordinator
    sends one message at a time and receives one at a time.
    """
    random = np.random.default_rng(seed)
    coordinator_s = CHUNK * float(costs.coordinator @ [1, cells, n_workers]) / 3
    worker_s = CHUNK * float(costs.worker @ [1, cells / n_workers]) / 2
    message_s = CHUNK * float(costs.bytes @ [cells, n_workers]) / (4 * n_workers * bytes_s)
    clock = 0.0
    for _ in range(n_chunks):
        for _ in range(2):
            clock += _service(random, coordinator_s, jitter)
            clock = _exchange(random, clock, n_workers, worker_s, message_s, latency_s, jitter)
        clock += _service(random, coordinator_s, jitter)
    return n_chunks * CHUNK / clock


def _exchange(
    random: np.random.Generator,
    clock: float,
    n_workers: int,
    worker_s: float,
    message_s: float,
    latency_s: float,
    jitter: float,
) -> float:
    """When the last answer has arrived of what is told to all workers from ``clock`` on."""
    told, answered, heard = 0, 1, 2
    happened = [(clock, told, worker) for worker in range(n_workers)]
    heapq.heapify(happened)
    sending = receiving = clock
    while happened:
        now, kind, worker = heapq.heappop(happened)
        if kind == told:
            sending = max(sending, now) + message_s
            arrives = sending + random.exponential(latency_s)
            heapq.heappush(happened, (arrives + _service(random, worker_s, jitter), answered, worker))
        elif kind == answered:
            heapq.heappush(happened, (now + random.exponential(latency_s), heard, worker))
        else:
            receiving = max(receiving, now) + message_s
    return receiving


def _service(random: np.random.Generator, mean_s: float, jitter: float) -> float:
    """A service time, log-normal."""
    if jitter == 0:
        return mean_s
    spread = np.sqrt(np.log1p(jitter**2))
    return float(mean_s * random.lognormal(-spread * spread / 2, spread))


def runs_of(result: Mapping[str, Any], mode: str) -> list[dict[str, float]]:
    """What `fitted` needs, of all cells of a mode in a result."""
    return [
        dict(side["quality"])
        for cell in result["cells"]
        for side in cell["contestants"]
        if cell["group"] == f"labels-{mode}" and side["status"] == "ok" and "worker_us" in side["quality"]
    ]
