"""A topic without a server: a folder with a file of JSON lines for each partition, which writers append to."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import BinaryIO

import msgspec

from streams.files import whole_length
from streams.source import DecodeError
from streams.topics.address import Address
from streams.topics.client import LostPositionError, Record
from streams.wire import Milliseconds

_BLOCK = 1 << 20
_LOOK_S = 0.05
"""How often a reader that waits looks whether a file has grown."""


_NAME = re.compile(r"partition-(\d{4}|[1-9]\d{4,})\.jsonl")


class _Time(msgspec.Struct):
    ts: Milliseconds | None = None


_time_of = msgspec.json.Decoder(_Time).decode


def partition_path(directory: Path, partition: int) -> Path:
    """The file of a partition."""
    return directory / f"partition-{partition:04d}.jsonl"


def partitions_of(directory: Path) -> list[int]:
    """Numbers of the partitions of a folder, in order."""
    found = (_NAME.fullmatch(path.name) for path in directory.iterdir())
    return sorted(int(match[1]) for match in found if match)


class LogConsumer:
    """Reads the files of a folder as they grow; see `streams.topics.client.Consumer`.

    An offset is the byte at which a line begins. A line without its end is not there yet, nor is what follows in a file
    that was cut back, as a writer does which goes on from its checkpoint: the same lines come again. Lines that hold
    nothing but white space are passed over. The time of a record is the ``ts`` of its event.
    """

    def __init__(self, address: Address) -> None:
        assert address.directory is not None
        if not address.directory.is_dir():
            raise FileNotFoundError(f"{address}: the folder of a topic must be there, found none")
        if address.get("format") != "json":
            raise ValueError(f"{address}: format must be json in a folder, got {address.get('format')!r}")
        self._address, self._directory = address, address.directory
        self._positions: dict[int, int] = {}
        self._ends: dict[int, int] = {}
        self._paused: set[int] = set()

    def partitions(self) -> list[int]:
        """Numbers of all partitions."""
        found = partitions_of(self._directory)
        if not found:
            raise DecodeError(str(self._address), "a topic must have files partition-0000.jsonl, …, found none")
        return found

    def join(
        self,
        assigned: Callable[[list[int]], None],
        revoked: Callable[[list[int]], None],
        lost: Callable[[list[int]], None],
    ) -> None:
        """Refuse: there is nobody to share partitions out."""
        raise ValueError(f"{self._address}: group must be left out, since no broker shares a folder out")

    def assign(self, partitions: list[int]) -> None:
        """Read these partitions."""
        self._positions = dict.fromkeys(partitions, 0)
        self._paused = set(partitions)

    def seek(self, partition: int, offset: int) -> None:
        """Read a partition from here on.

        Raises
        ------
        LostPositionError
            No line begins there.
        """
        with open(partition_path(self._directory, partition), "rb") as file:
            _go_to(file, offset)
        self._positions[partition] = offset
        self._paused.discard(partition)

    def poll(self, timeout: float, most: int) -> Mapping[int, list[Record]]:
        """Lines that have come, waiting so many seconds for the first."""
        deadline = time.monotonic() + timeout
        while True:
            found = {partition: self._read(partition, most) for partition in self._positions.keys() - self._paused}
            if any(found.values()) or time.monotonic() >= deadline:
                return {partition: found[partition] for partition in sorted(found) if found[partition]}
            time.sleep(min(_LOOK_S, max(0.0, deadline - time.monotonic())))

    def _read(self, partition: int, most: int) -> list[Record]:
        records: list[Record] = []
        with open(partition_path(self._directory, partition), "rb") as file:
            offset = self._positions[partition]
            self._ends[partition] = length = os.fstat(file.fileno()).st_size
            if length <= offset:
                return []
            _go_to(file, offset)
            n_bytes = 0
            while len(records) < most and n_bytes < _BLOCK:
                line = file.readline()
                if not line.endswith(b"\n"):
                    self._ends[partition] = offset
                    break
                behind = offset + len(line)
                if line.strip():
                    records.append(Record(offset, behind, _time(line), None, line.rstrip(b"\r\n"), ()))
                offset, n_bytes = behind, n_bytes + len(line)
            self._positions[partition] = offset
        return records

    def position(self, partition: int) -> int:
        """Offset that is read next."""
        return self._positions[partition]

    def pause(self, partition: int) -> None:
        """Read nothing of a partition for now."""
        self._paused.add(partition)

    def resume(self, partition: int) -> None:
        """Read again."""
        self._paused.discard(partition)

    def bounds(self, partition: int) -> tuple[int, int]:
        """0, and the byte behind the last line that is whole."""
        return 0, whole_length(partition_path(self._directory, partition))

    def known_end(self, partition: int) -> int | None:
        """Length of the file as of the last poll, without a torn line that was met."""
        return self._ends.get(partition)

    def commit(self, offsets: Mapping[int, int]) -> None:
        """Nobody to tell."""

    def close(self) -> None:
        """Nothing to let go of."""


def _go_to(file: BinaryIO, offset: int) -> None:
    """Go to where a line begins."""
    file.seek(max(0, offset - 1))
    if offset and file.read(1) != b"\n":
        raise LostPositionError(f"{file.name}: an offset must be where a line begins, got {offset}")


def _time(line: bytes) -> int | None:
    """The ``ts`` of an event; None where it has none or cannot be read."""
    try:
        return _time_of(line).ts
    except (ValueError, RecursionError):
        return None
