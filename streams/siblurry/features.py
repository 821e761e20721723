"""Labelled events with the features that an encoder makes of their payloads, made once for every stream of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from streams.batch import Batch
from streams.extraction.pool import ExtractionPool
from streams.extraction.source import ExtractedSource
from streams.memory import BatchSource
from streams.siblurry.labelled import LabelledEvents
from streams.siblurry.source import content_of


def with_features(
    events: LabelledEvents, pool: ExtractionPool, advance: Callable[[int], bool] = lambda n: True
) -> LabelledEvents | None:
    """The same events, those set aside too, with features in place of their payloads.

    Parameters
    ----------
    events
        With payloads. Features that they have beside these are kept.
    pool
        What encodes; left open.
    advance
        Told now and then how many events are done; False gives up.

    Returns
    -------
    LabelledEvents or None
        All features are in memory. None where it was given up.

    Raises
    ------
    ValueError
        There are no payloads, or the encoder's rows depend on those before them, as words weighed by how rare they
        have been do: here events come in another order with every seed.
    DecodeError
        A payload cannot be encoded.
    """
    step = getattr(pool.encoder, "in_order", None)
    if step is not None and step() is not None:
        raise ValueError(f"an encoder must make a row of its payload alone here, got {pool.fingerprint}")
    done = 0
    parts: list[Batch] = []
    for batch in [events.batch] if events.test is None else [events.batch, events.test]:
        source = ExtractedSource(_Contents(batch, events.name), pool)
        found: list[Batch] = []
        while (part := source.next_batch(256)) is not None:
            found.append(part)
            if not advance(done := done + len(part)):
                return None
        parts.append(Batch.concat(found) if found else batch.aligned(parts[0].schema, grow=False))
    test = None if events.test is None else parts[1].aligned(parts[0].schema, grow=False)
    return replace(events, batch=parts[0], test=test)


class _Contents(BatchSource):
    """A batch as a source that reads files when their turn comes."""

    def next_batch(self, max_events: int = 256, timeout: float | None = None) -> Batch | None:
        part = super().next_batch(max_events, timeout)
        if part is not None and part.payload is not None:
            part.payload = [content_of(payload) for payload in part.payload]
        return part
