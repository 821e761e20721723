"""What commands do with an encoder: they open a pool, and read the source through it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

from ihomer import encoders
from ihomer.plans import Extraction, OnError
from ihomer.progress import Progress
from streams.extraction.pool import ExtractionPool
from streams.extraction.source import ExtractedSource
from streams.source import Source


def open_pool(closing: ExitStack, plan: Extraction, progress: Progress) -> ExtractionPool | None:
    """The pool that a plan asks for, if it asks for one; closed, with a word on what it did, at the end."""
    if plan.encoder is None:
        return None
    pool = ExtractionPool(
        encoders.build(plan.encoder),
        plan.workers,
        None if plan.ray is None else "ray",
        address=plan.ray or "auto",
        gpus=plan.gpus,
        batch_size=plan.encoder_batch,
        timeout_s=plan.encoder_timeout or None,
    )
    closing.callback(pool.close)
    closing.callback(lambda: progress.note(told(pool.metrics())))
    progress.beside(lambda: at_work(pool.metrics()))
    return pool


def extracted(source: Source, pool: ExtractionPool | None, on_error: OnError) -> Source:
    """``source`` with the features that the pool extracts, where there is a pool."""
    return source if pool is None else ExtractedSource(source, pool, on_error=on_error)


def at_work(metrics: dict[str, Any]) -> str:
    """How a pool gets on, in a few words."""
    waiting = f", {metrics['queue']} blocks wait" if metrics["queue"] else ""
    return f"encoders {metrics['busy_share']:.0%} busy{waiting}"


def told(metrics: dict[str, Any]) -> str:
    """What a pool did, in a line."""
    deaths = f", {metrics['deaths']} that died" if metrics["deaths"] else ""
    n = len(metrics["workers"])
    # Where no device works by itself, an encoder at work is what is busy.
    device = "" if metrics["device_share"] == metrics["busy_share"] else f", devices {metrics['device_share']:.0%}"
    return (
        f"extraction: {metrics['payloads']:,} payloads in blocks of {metrics['block_size']:.1f}, "
        f"{n} encoder{'' if n == 1 else 's'}{deaths}, busy {metrics['busy_share']:.0%} of the time{device}"
    )
