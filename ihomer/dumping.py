"""What `ihomer extract` does with a plan: features of a stream in parts, then the parts in one file."""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from ihomer.checkpoint import CheckpointError
from ihomer.extracting import extracted, open_pool
from ihomer.plans import ExtractPlan
from ihomer.progress import Progress
from ihomer.runs import stopping
from streams.batch import Batch, Schema
from streams.opening import open_sink, open_source
from streams.source import Sink, Source
from streams.whole_file import write_whole
from streams.wire import encode_dead_letter
from streams.writing import extras_of, open_writer, write_events, writer_ending

FORMAT, VERSION = "ihomer-extraction", 1

_PART_EVENTS, _PART_S = 4096, 30.0
"""A part ends with so many events, or after so many seconds: what is lost at most when the process dies."""


def run_extraction(plan: ExtractPlan, progress: Progress) -> dict[str, Any] | None:
    """Extract the features of a source to a file; what was done, or None where Ctrl-C stopped it.

    While it goes on, what is done lies in parts in a folder beside the file; with ``plan.resume`` a later call goes on
    from there, wherever the process died. Beside the file a small one, ``FILE.encoder.json``, tells what encoder its
    features are from.

    Raises
    ------
    CheckpointError
        What is to be gone on with is from another source or encoder.
    ValueError
        The file's ending is that of no format.
    """
    writer_ending(plan.out)
    with ExitStack() as stack:
        stop = stack.enter_context(stopping(signal.SIGINT, signal.SIGTERM))
        opened = open_source(plan.source, labels=plan.labels, on_error=plan.on_error, payload=plan.payload)
        stack.callback(opened.close)
        pool = open_pool(stack, plan, progress)
        assert pool is not None, "a plan of this kind has an encoder"
        source = extracted(opened, pool, plan.on_error)
        sink = None if plan.dead_letters is None else open_sink(plan.dead_letters, role="dead-letters")
        if sink is not None:
            stack.callback(sink.close)
        dump = _Dump(plan.out, source, pool.fingerprint, plan.encoder, sink)
        if plan.resume and dump.resume():
            progress.note(f"{source.name}: going on after {dump.n_read:,} events")
        progress.begin(source.name, source.n_events if plan.max_events is None else plan.max_events)
        try:
            while not dump.ended and not stop.is_set():
                dump.write_part(plan, stop.is_set, lambda: progress.advance(dump.n_read, dict))
        finally:
            progress.end()
        if not dump.ended:
            return None
        dump.finish()
        return {**dump.told(), "out": str(plan.out), "extraction": pool.metrics()}


class _Dump:
    """Parts of a file of features, and how far they go."""

    def __init__(self, path: Path, source: Source, fingerprint: str, encoder: str, sink: Sink | None) -> None:
        self._path, self._source, self._sink = path, source, sink
        self._fingerprint, self._encoder = fingerprint, encoder
        self._folder = path.with_name(f"{path.name}.parts")
        self._n_parts = self._n_events = self._n_dead = 0
        self._extras: set[str] = set()
        self.ended = False

    @property
    def n_read(self) -> int:
        """Events and dead letters so far."""
        return self._n_events + self._n_dead

    def told(self) -> dict[str, Any]:
        """What is written beside the file."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "source": self._source.name,
            "encoder": self._encoder,
            "fingerprint": self._fingerprint,
            "events": self._n_events,
            "dead": self._n_dead,
        }

    def resume(self) -> bool:
        """Go on after the last part that was finished, if there is any."""
        file = self._folder / "state.json"
        if not file.is_file():
            return False
        state = json.loads(file.read_bytes())
        for what, here in (("version", VERSION), ("source", self._source.name), ("fingerprint", self._fingerprint)):
            if state[what] != here:
                raise CheckpointError(f"{file}: {what} must be that of the parts, {state[what]!r}, got {here!r}")
        self._n_parts, self._n_events, self._n_dead = state["parts"], state["events"], state["dead"]
        self._extras, self.ended = set(state["extras"]), state["ended"]
        self._source.schema.extend(Schema.from_json(state["schema"]))
        self._source.resume(state["position"])
        if self._sink is not None and state["sink"] is not None:
            self._sink.resume(state["sink"])
        return True

    def write_part(self, plan: ExtractPlan, stopped: Any, advance: Any) -> None:
        """Extract and keep some events, and then where they end."""
        if self._n_parts == 0:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder.mkdir()
        batches: list[Batch] = []
        until, n_before = time.monotonic() + _PART_S, self.n_read
        while self.n_read - n_before < _PART_EVENTS and time.monotonic() < until and not stopped():
            room = min(plan.batch_size, _PART_EVENTS - (self.n_read - n_before))
            if plan.max_events is not None:
                room = min(room, plan.max_events - self.n_read)
            batch = self._source.next_batch(room, 0.5) if room else None
            if batch is None:
                self.ended = True
                break
            self._n_events += len(batch)
            self._n_dead += len(batch.dead)
            if self._sink is not None:
                self._sink.write([encode_dead_letter(letter) for letter in batch.dead])
            if len(batch):
                batches.append(batch)
            advance()
        if batches:
            part = Batch.concat(batches)
            self._extras.update(extras_of(part))
            write_events(part, self._folder / f"{self._n_parts:06d}.npz")
            self._n_parts += 1
        state = {
            **self.told(),
            "parts": self._n_parts,
            "extras": sorted(self._extras),
            "ended": self.ended,
            "schema": self._source.schema.to_json(),
            "position": self._source.position(),
            "sink": None if self._sink is None else self._sink.position(),
        }
        write_whole(self._folder / "state.json", json.dumps(state).encode())

    def finish(self) -> None:
        """Put the file in its place, tell beside it whose features it has, and remove the parts."""
        writer = open_writer(self._path, self._source.schema, extras=sorted(self._extras))
        try:
            for batch in self._parts():
                writer.write(batch)
            writer.close()
        except BaseException:
            writer.discard()
            raise
        write_whole(encoder_path(self._path), json.dumps(self.told(), indent=2).encode() + b"\n")
        shutil.rmtree(self._folder)

    def _parts(self) -> Iterator[Batch]:
        for number in range(self._n_parts):
            with closing(open_source(self._folder / f"{number:06d}.npz")) as part:
                while (batch := part.next_batch(1024)) is not None:
                    yield batch.aligned(self._source.schema)


def encoder_path(path: Path) -> Path:
    """Where it is told what encoder made the features of a file."""
    return path.with_name(f"{path.name}.encoder.json")
