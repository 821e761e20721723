"""What the engine needs of a stream: where events come from (`Source`) and where messages go (`Sink`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from streams.batch import Batch, Schema

Position = dict[str, Any]
"""Where a source or sink stands, as a JSON object that only it can read."""


class DecodeError(ValueError):
    """An event could not be read.

    Attributes
    ----------
    source, line, offset
        Where it stood: name of the source, line of a text file from 1 (None elsewhere), record from 0.
    reason
        What was found, the rule and the value.
    """

    def __init__(self, source: str, reason: str, *, offset: int = 0, line: int | None = None) -> None:
        super().__init__(f"{source}:{offset if line is None else line}: {reason}")
        self.source, self.reason, self.offset, self.line = source, reason, offset, line


class TakenOverError(RuntimeError):
    """Another process has taken over what this one was about to write."""


@runtime_checkable
class Source(Protocol):
    """Events in order, with a position to come back to."""

    @property
    def name(self) -> str:
        """What to call the source in results and errors."""

    @property
    def schema(self) -> Schema:
        """Names of the columns; grows as events bring new ones."""

    @property
    def n_events(self) -> int | None:
        """How many events there will be in all, where that is known beforehand."""

    def next_batch(self, max_events: int = 256, timeout: float | None = None) -> Batch | None:
        """The next events, at most ``max_events`` of them, or None at the end of the stream.

        An empty batch means that none came within ``timeout`` seconds, or that all were dead letters (``Batch.dead``).

        Raises
        ------
        DecodeError
            An event could not be read and the source was told to fail on that.
        """

    def position(self) -> Position:
        """Where the next event will be read."""

    def resume(self, position: Position) -> None:
        """Go to where ``position`` was taken, in this or in an earlier process."""

    def close(self) -> None:
        """Let go of files and connections; may be called twice."""


@runtime_checkable
class Topic(Protocol):
    """A stream in partitions, of which some are this process's to read, and these may change.

    Who gets a partition reads it from a position that it knows itself, such as that in its latest checkpoint.
    """

    @property
    def name(self) -> str:
        """What to call the topic in results and errors."""

    @property
    def partitions(self) -> Sequence[int]:
        """Numbers of all of its partitions, whosever they are."""

    def poll(self, timeout: float, release: Callable[[list[int]], None]) -> Changes:
        """Fetch what has come, waiting up to so many seconds for the first of it, and tell whose partitions changed.

        ``release`` is called, before others get them, with partitions that this process is about to give up: the last
        chance to make durable what was read from them.
        """

    def source(self, partition: int) -> Source:
        """The events of one of this process's partitions; its ``next_batch`` does not wait."""

    def commit(self, positions: Mapping[int, Position]) -> None:
        """Tell the broker, where there is one, what is done with, for tools that show how far readers lag."""

    def lag(self, partition: int) -> int | None:
        """Events of a partition that have come and were not read, where that is known."""

    def close(self) -> None:
        """Leave; may be called twice."""


@dataclass(frozen=True)
class Changes:
    """Partitions that are this process's since the last ``Topic.poll``, and those that it lost without notice."""

    assigned: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()


@runtime_checkable
class Sink(Protocol):
    """A place for messages, each a line of text or a record of a topic."""

    @property
    def name(self) -> str:
        """What to call the sink in errors."""

    def write(self, messages: Sequence[bytes]) -> None:
        """Append messages, each without a line end."""

    def flush(self) -> None:
        """Let readers see what was written so far, as far as the sink can without making it durable."""

    def position(self) -> Position:
        """Make everything written so far durable and say where it ends."""

    def resume(self, position: Position) -> None:
        """Forget whatever was written after ``position`` was taken."""

    def close(self) -> None:
        """Make everything durable and let go; may be called twice."""
