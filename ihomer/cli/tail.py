"""``ihomer tail``: the messages of a topic or a file of lines, for reading."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from ihomer.cli.terminal import UsageError, console

_SHOWN_LABELS, _SHOWN_CHARACTERS = 5, 200
_STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def tail(
    where: Annotated[str, typer.Argument(metavar="S", help="A topic (kafka://…, log:DIR) or a file of JSON lines.")],
    last: Annotated[int, typer.Option("--last", "-n", min=0, metavar="N", help="How many of the last messages.")] = 10,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as messages come, until Ctrl-C.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print each message as it is, one a line.")] = False,
) -> None:
    """Print the last messages of a topic, log or file: events, predictions, labels, drifts, metrics, dead letters.

    [bold]Examples[/]
      ihomer tail kafka://localhost:9092/answers --follow
      ihomer tail log:events -n 3
      ihomer tail predictions.jsonl
    """
    from streams.topics.address import is_topic

    if is_topic(where):
        found = _of_topic(where, last, follow)
    elif Path(where).is_file():
        if follow:
            raise UsageError(f"--follow must be left out for a file that is no topic, got {where!r}")
        found = _of_file(Path(where), last)
    else:
        raise UsageError(f"S must be a topic or a file, got {where!r}")
    screen = console()
    for place, value in found:
        line = value.decode("utf-8", "replace") if as_json else f"{place}  {_readable(value)}"
        screen.print(_printable(line), markup=False, highlight=False, soft_wrap=True)


def _of_file(path: Path, last: int) -> Iterator[tuple[str, bytes]]:
    from streams.text import TextReader

    reader = TextReader(path)
    lines: deque[tuple[str, bytes]] = deque(maxlen=last)
    number = 0
    try:
        while reader.whole_lines > reader.start or reader.fill() or reader.start < reader.stop:
            end = reader.find_line_end(reader.whole_lines if reader.whole_lines > reader.start else reader.stop)
            line = reader.buffer[reader.start : end].tobytes()
            reader.advance(end - reader.start, 1)
            number += 1
            lines += [(str(number), message) for message in _messages(line.rstrip(b"\r\n"))]
    finally:
        reader.close()
    yield from lines


def _of_topic(where: str, last: int, follow: bool) -> Iterator[tuple[str, bytes]]:
    from streams.topics.address import Address
    from streams.topics.client import Record, make_consumer

    address = Address.parse(where).alone()
    consumer = make_consumer(address)
    try:
        partitions = consumer.partitions()
        consumer.assign(partitions)
        ends = {}
        for partition in partitions:
            first, ends[partition] = consumer.bounds(partition)
            # Offsets of a folder are bytes, so that all of it is read to find its last lines.
            consumer.seek(partition, first if address.directory is not None else max(first, ends[partition] - last))
        held: dict[int, deque[Record]] = {partition: deque(maxlen=last) for partition in partitions}
        pending = True
        while pending or follow:
            for partition, records in consumer.poll(0.2, 1000).items():
                for record in records:
                    if pending and record.offset < ends[partition]:
                        held[partition].append(record)
                    else:
                        yield from _told(partition, record)
            if pending and all(consumer.position(partition) >= end for partition, end in ends.items()):
                pending = False
                latest = [(partition, record) for partition, records in held.items() for record in records]
                latest.sort(key=lambda entry: (entry[1].timestamp or 0, entry[0], entry[1].offset))
                told = [message for partition, record in latest for message in _told(partition, record)]
                yield from told[max(0, len(told) - last) :]
    finally:
        consumer.close()


def _told(partition: int, record: Any) -> list[tuple[str, bytes]]:
    return [(f"{partition}/{record.offset}", message) for message in _messages(_value(record))]


def _messages(value: bytes) -> list[bytes]:
    """The messages of a record that holds an array of them, else the one that it is."""
    import msgspec

    if not value.startswith(b"["):
        return [value]
    try:
        return [bytes(message) for message in msgspec.json.decode(value, type=list[msgspec.Raw])]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return [value]


def _value(record: Any) -> bytes:
    import msgspec

    if record.headers and any(name == "reason" for name, _ in record.headers):
        head = {name: value.decode("utf-8", "replace") for name, value in record.headers}
        return msgspec.json.encode({**head, "bytes": len(record.value or b"")})
    if record.value is None:
        return msgspec.json.encode({"id": (record.key or b"").decode("utf-8", "replace"), "dropped": True})
    value: bytes = record.value
    return value


def _readable(value: bytes) -> str:
    import msgspec

    try:
        message = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return f"{len(value)} bytes {value[:60]!r}"
    try:
        return _line(message)
    except (AttributeError, KeyError, OSError, TypeError, ValueError):
        # It is none of ours, whatever its fields are called.
        return str(message)[:_SHOWN_CHARACTERS]


def _printable(line: str) -> str:
    """The line with what would steer a terminal written as escapes."""
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", line)


def _line(message: dict[str, Any]) -> str:
    """One message in words."""
    head = [str(message[name]) for name in ("id",) if message.get(name) is not None]
    if isinstance(message.get("ts"), int):
        head.append(datetime.fromtimestamp(message["ts"] / 1000, UTC).isoformat(" ", "milliseconds")[:-6])
    return "  ".join([*head, _body(message)])


def _body(message: dict[str, Any]) -> str:
    if message.get("dropped"):
        return "dropped"
    if "reason" in message and "kind" not in message:
        return f"dead letter at {message.get('source')}/{message.get('partition')}/{message.get('offset')}: " + str(
            message["reason"]
        )
    if "labels" in message and "model" in message and "source" in message:
        return f"{message['model']} answers {_probabilities(message)}"
    if "learners" in message:
        scores = [
            f"{name} micro-F1 {metrics['micro_f1']:.3f}"
            for name, metrics in message["learners"].items()
            if metrics.get("micro_f1") is not None
        ]
        return f"after {message.get('event'):,} events: {', '.join(scores)}"
    if "kind" in message:
        rest = {key: value for key, value in message.items() if key not in ("kind", "event", "model")}
        return f"{message.get('model') or 'stream'}: {message['kind']} at event {message.get('event'):,} {rest}"
    if "x" in message or "payload" in message:
        what = f"{len(message['x'])} features" if "x" in message else "payload"
        return f"event of {what}, labels {_names(message.get('y'))}"
    return f"labels {_names(message.get('y'))}" if "y" in message else str(message)[:_SHOWN_CHARACTERS]


def _probabilities(message: dict[str, Any]) -> str:
    proba = message.get("proba") or {}
    words = [f"{label} {proba[str(label)]:.2f}" if str(label) in proba else str(label) for label in message["labels"]]
    more = f" and {len(words) - _SHOWN_LABELS} more" if len(words) > _SHOWN_LABELS else ""
    return (", ".join(words[:_SHOWN_LABELS]) or "no label") + more


def _names(y: Any) -> str:
    if y is None:
        return "not known"
    if isinstance(y, dict):
        return ", ".join(f"{name} {'yes' if value else 'no'}" for name, value in y.items()) or "none"
    return ", ".join(map(str, y)) or "none"
