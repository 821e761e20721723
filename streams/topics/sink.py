"""A topic as a sink: each message seen once by readers of what is committed, however often the writer dies."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Sequence
from typing import Literal

from streams.source import Position, Source
from streams.topics.address import Address
from streams.topics.client import KafkaUnavailableError, Outgoing, Producer, make_producer

_PACKED_BYTES = 1 << 19
_GIVE_UP_S = 600.0
_BACK_OFF_S = (0.2, 5.0)

Role = Literal["messages", "packed", "dead-letters"]


class KafkaSink:
    """Messages to a topic.

    Parameters
    ----------
    address
        Where to; a URL or an `Address`. ``delivery=exactly-once`` (default) needs a broker with transactions.
    source
        Whose position every transaction carries; None: none.
    partition
        Of the topic, modulo their number; None: the client chooses.
    transactional_id
        Names the writer over all its lives: who takes an id shuts out whoever had it. Default: one made of the topic
        and the source.
    role
        ``packed`` puts many messages into one record, a JSON array of them; ``dead-letters`` writes their raw bytes as
        the value, and what was wrong as headers.
    guard
        Called before a writer that failed takes its id again; raises `TakenOverError` where it is no longer its own.

    Raises
    ------
    KafkaUnavailableError
        No broker answers within 15 s, the topic is not there, or the login is refused.

    Notes
    -----
    A transaction is committed by ``flush`` and ``position``. With it goes, as an offset of a group that has no members,
    how many messages there are by then. After ``resume`` the sink knows from both counts, that of the position and that
    of the last commit, how many messages its reader will hand over again that are there already, and drops them.

    When a transaction fails, as all do while the broker is away, the sink takes its id again, looks whether the commit
    came through, and otherwise sends its messages again, which it keeps until then; it gives up after 10 minutes.

    With ``delivery=at-least-once`` messages of a process that died may come twice; each prediction says in ``source``
    which event it answers.
    """

    def __init__(
        self,
        address: Address | str,
        *,
        source: Source | None = None,
        partition: int | None = None,
        transactional_id: str | None = None,
        role: Role = "messages",
        guard: Callable[[], None] = lambda: None,
    ) -> None:
        self._address = Address.parse(address) if isinstance(address, str) else address
        self._source, self._role, self.guard = source, role, guard
        self._exact = self._address.get("delivery") == "exactly-once"
        written = self._address.options.get("transactional_id")
        chosen = transactional_id or written or f"{self._address.topic}.{source.name if source else 'sink'}"
        self._id = chosen if self._exact else None
        self._producer: Producer | None = make_producer(self._address, self._id)
        n_partitions = self._producer.partitions()
        self._partition = None if partition is None else partition % n_partitions
        self._count = 0
        """Messages committed."""
        self._there = 0
        """Messages that will be handed over again and are in the topic already."""
        self._pending: list[bytes] = []
        """Messages handed over and not committed."""

    @property
    def name(self) -> str:
        """What to call the sink in errors."""
        return str(self._address)

    def write(self, messages: Sequence[bytes]) -> None:
        """Append messages; those that are in the topic already are dropped."""
        dropped = min(self._there, len(messages))
        self._there -= dropped
        self._count += dropped
        self._pending += messages[dropped:]

    def flush(self) -> None:
        """Let readers see what was written so far."""
        if self._pending:
            self._commit()

    def position(self) -> Position:
        """Commit what was written so far and say how many messages that makes."""
        if self._pending or (self._exact and self._count == 0):
            self._commit()
        return {"count": self._count}

    def resume(self, position: Position) -> None:
        """Find out what was committed after ``position`` was taken; it will be handed over again.

        Raises
        ------
        ValueError
            The topic has less than that, so it is not the one that the position belongs to.
        """
        self._pending.clear()
        self._count = int(position["count"])
        if not self._exact:
            return
        assert self._producer is not None
        committed, _ = self._producer.committed()
        if committed < self._count:
            raise ValueError(f"{self.name}: a topic to go on with must have {self._count} messages, found {committed}")
        self._there = committed - self._count

    def close(self) -> None:
        """Let go; what was not flushed was never there."""
        if self._producer is not None:
            self._producer.close()
            self._producer = None

    def _commit(self) -> None:
        deadline, wait = time.monotonic() + _GIVE_UP_S, _BACK_OFF_S[0]
        while True:
            try:
                if self._producer is None:
                    self.guard()
                    self._producer = make_producer(self._address, self._id)
                    if self._exact and self._came_through(self._producer):
                        break
                self._send(self._producer)
                break
            except KafkaUnavailableError:
                self.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(wait)
                wait = min(2 * wait, _BACK_OFF_S[1])
        self._count += len(self._pending)
        self._pending.clear()

    def _send(self, producer: Producer) -> None:
        if self._exact:
            producer.begin()
        for record in self._records():
            producer.send(record)
        if not self._exact:
            producer.flush()
            return
        position = {} if self._source is None else self._source.position()
        producer.commit(self._count + len(self._pending), json.dumps(_place(position)))

    def _came_through(self, producer: Producer) -> bool:
        """Whether the transaction that failed had been committed nevertheless.

        Raises
        ------
        KafkaUnavailableError
            There is another number of messages than this sink can have left.
        """
        committed, _ = producer.committed()
        if committed == self._count + len(self._pending):
            return True
        if committed != self._count:
            raise ValueError(
                f"{self.name}: the topic must have {self._count} messages of {self._id}, found {committed}"
            )
        return False

    def _records(self) -> list[Outgoing]:
        if self._role == "dead-letters":
            return [_dead_letter(message, self._partition) for message in self._pending]
        if self._role == "packed":
            return [
                Outgoing(value, self._partition) for value in _packed(self._pending, self._address.count("pack", 256))
            ]
        return [Outgoing(message, self._partition) for message in self._pending]


def _place(position: Position) -> Position:
    """What of a source's position says where it stands, without the names of columns and what an encoder has seen."""
    return {name: value for name, value in position.items() if name not in ("schema", "extraction")}


def _packed(messages: Sequence[bytes], most: int) -> list[bytes]:
    """JSON arrays of at most so many messages and some half a megabyte."""
    packs: list[list[bytes]] = []
    size = _PACKED_BYTES
    for message in messages:
        if not packs or len(packs[-1]) >= most or size + len(message) > _PACKED_BYTES:
            packs.append([])
            size = 0
        packs[-1].append(message)
        size += len(message)
    return [pack[0] if len(pack) == 1 else b"[" + b",".join(pack) + b"]" for pack in packs]


def _dead_letter(message: bytes, partition: int | None) -> Outgoing:
    letter = json.loads(message)
    raw = base64.b64decode(letter.pop("raw"))
    headers = [(name, str(value).encode()) for name, value in letter.items() if value is not None]
    return Outgoing(raw, partition, None, headers)
