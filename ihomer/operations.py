"""What operators look at while a long run goes on: ``/metrics`` for Prometheus, ``/healthz`` and ``/readyz``."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from ihomer.evaluation.result import SHOWN
from streams.extraction.load import LATENCY_BOUNDS_S

if TYPE_CHECKING:
    from contextlib import ExitStack

    from ihomer.engine import Engine
    from ihomer.progress import Progress
    from streams.extraction.pool import ExtractionPool

_COUNTS = {
    "read": "Events read, dead letters included.",
    "scored": "Events whose answer was scored.",
    "learned": "Events learned from.",
    "unlabelled": "Events that came without labels and will not get any.",
    "dead": "Events that could not be read.",
}

_POOL = {
    "queue_blocks": ("queue", "Blocks of payloads that wait for a worker."),
    "in_flight_blocks": ("in_flight", "Blocks of payloads that workers have in hand."),
}

_WORKER_COUNTS = {
    "payloads": ("payloads", "Payloads done with, poisoned ones included."),
    "blocks": ("blocks", "Blocks of payloads done with."),
    "poisoned_payloads": ("faults", "Payloads that could not be encoded."),
    "restarts": ("deaths", "Workers that died and were begun anew."),
    "timeouts": ("timeouts", "Those of them that were killed because they hung."),
    "busy_seconds": ("busy_s", "Time inside the encoder."),
    "device_seconds": ("device_s", "Time for which the encoder's device computed."),
}

_WORKER_GAUGES = {
    "block_size": ("block_size", "Payloads of a block, on average."),
    "busy_share": ("busy_share", "Share of the time so far that was spent inside the encoder."),
    "device_share": ("device_share", "Share of the time so far for which the encoder's device computed."),
}

_PLAIN = ("Content-Type", "text/plain; charset=utf-8")


class Operations:
    """A small web server that tells how the engines of a process get on.

    Parameters
    ----------
    engines
        Gives the engines by partition, as they are when asked; a source that has none is partition 0.
    lag
        Gives the events of a partition that wait to be read, or None.
    port
        To listen on; 0: any free one.
    host
        Address to listen on. The default is reached from this machine alone.
    stale_s
        ``/healthz`` fails when the loop has not been round for so many seconds.
    pool
        Whose workers extract features, where some do.

    Notes
    -----
    ``/healthz`` is 200 while the loop goes round, ``/readyz`` once a partition is in hand; each says why where it is
    503. Reading a count while the engine changes it gives the one before or after.
    """

    def __init__(
        self,
        engines: Callable[[], Mapping[int, Engine]],
        lag: Callable[[int], int | None],
        *,
        port: int,
        host: str = "127.0.0.1",
        stale_s: float = 60.0,
        pool: ExtractionPool | None = None,
    ) -> None:
        self._engines, self._lag, self._pool, self.stale_s = engines, lag, pool, stale_s
        self._beat = time.monotonic()
        registry = CollectorRegistry()
        registry.register(self)  # type: ignore[arg-type]
        self._metrics_page = make_wsgi_app(registry)
        self._server = make_server(host, port, self._page, server_class=_Server, handler_class=_Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, name="operations", daemon=True)
        self._thread.start()

    def beat(self) -> None:
        """The loop has been round."""
        self._beat = time.monotonic()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def collect(self) -> Iterator[Any]:
        """Everything that ``/metrics`` tells, read from the engines now."""
        engines = dict(self._engines())
        for name, meaning in _COUNTS.items():
            family = CounterMetricFamily(f"ihomer_events_{name}", meaning, labels=["partition"])
            for partition, engine in engines.items():
                family.add_metric([str(partition)], getattr(engine.counts, name))
            yield family
        yield self._gauge("pending", "Answered events whose labels have not come.", lambda _, e: e.counts.pending)
        yield self._gauge("lag_events", "Events that have come and were not read.", lambda p, _: self._lag(p))
        yield self._gauge(
            "event_time_delay_seconds",
            "How long before now the time of the last event was.",
            lambda _, e: None if e.last_time is None else time.time() - e.last_time / 1000,
        )
        yield self._gauge(
            "checkpoint_age_seconds",
            "Time since the last checkpoint.",
            lambda _, e: None if e.store is None else time.monotonic() - e.checkpointed,
        )
        yield from self._of_learners(engines)
        if self._pool is not None:
            yield from _of_workers(self._pool.metrics())

    def _gauge(self, name: str, meaning: str, value: Callable[[int, Engine], float | None]) -> GaugeMetricFamily:
        family = GaugeMetricFamily(f"ihomer_{name}", meaning, labels=["partition"])
        for partition, engine in dict(self._engines()).items():
            number = value(partition, engine)
            if number is not None:
                family.add_metric([str(partition)], number)
        return family

    def _of_learners(self, engines: Mapping[int, Engine]) -> Iterator[Any]:
        labels = ["partition", "learner"]
        drifts = CounterMetricFamily("ihomer_drifts", "Alarms of the detector on a learner's loss.", labels=labels)
        changes = CounterMetricFamily("ihomer_structure_changes", "Changes of a learner's structure.", labels=labels)
        score = GaugeMetricFamily("ihomer_window_metric", "Metrics over the last events.", labels=[*labels, "metric"])
        for partition, engine in engines.items():
            for track in engine.tracks:
                who = [str(partition), track.name]
                drifts.add_metric(who, len(track.drifts))
                changes.add_metric(who, len(track.model.events_))
                for metric in SHOWN if track.curve else ():
                    score.add_metric([*who, metric], track.curve[-1]["window"][metric])
        yield from (drifts, changes, score)

    def _page(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "/")
        if path == "/metrics":
            return cast("Iterable[bytes]", self._metrics_page(environ, start_response))
        silent = time.monotonic() - self._beat
        if path == "/healthz":
            wrong = f"the loop has not been round for {silent:.0f} s" if silent > self.stale_s else ""
        elif path == "/readyz":
            wrong = "" if self._engines() else "no partition is in hand yet"
        else:
            start_response("404 Not Found", [_PLAIN])
            return [b"/metrics, /healthz or /readyz\n"]
        start_response("503 Service Unavailable" if wrong else "200 OK", [_PLAIN])
        return [f"{wrong or 'ok'}\n".encode()]


def tell_operators(
    closing: ExitStack,
    progress: Progress,
    port: int,
    engines: Callable[[], Mapping[int, Engine]],
    on_round: list[Callable[[], None]],
    *,
    lag: Callable[[int], int | None] = lambda partition: None,
    pool: ExtractionPool | None = None,
) -> None:
    """Have `Operations` until ``closing`` closes; the loop calls ``on_round`` each time that it has been round."""
    operations = Operations(engines, lag, port=port, pool=pool)
    closing.callback(operations.close)
    on_round.append(operations.beat)
    progress.note(f"metrics at http://127.0.0.1:{operations.port}/metrics")


def _of_workers(told: Mapping[str, Any]) -> Iterator[Any]:
    """What a pool tells of itself and of its workers."""
    for name, (key, meaning) in _POOL.items():
        yield GaugeMetricFamily(f"ihomer_extraction_{name}", meaning, value=told[key])
    workers = list(enumerate(told["workers"]))
    for kind, metrics in ((CounterMetricFamily, _WORKER_COUNTS), (GaugeMetricFamily, _WORKER_GAUGES)):
        for name, (key, meaning) in metrics.items():
            family = kind(f"ihomer_extraction_{name}", meaning, labels=["worker"])
            for number, worker in workers:
                family.add_metric([str(number)], worker[key])
            yield family
    meaning = "Time from a block's coming to the pool until it was encoded."
    latency = HistogramMetricFamily("ihomer_extraction_latency_seconds", meaning, labels=["worker"])
    bounds = [*map(str, LATENCY_BOUNDS_S), "+Inf"]
    for number, worker in workers:
        latency.add_metric([str(number)], list(zip(bounds, worker["latencies"], strict=True)), worker["latency_s"])
    yield latency


class _Server(WSGIServer):
    daemon_threads = True


class _Handler(WSGIRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing about each request."""
