"""Static members of a group: one that comes back finds its partitions, and one that was replaced says so and ends."""

from __future__ import annotations

import re
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from streams.source import TakenOverError
from streams.topics.address import Address
from streams.topics.source import TopicPartitions
from tests.kafka.running import (
    answers,
    command,
    fill,
    left_behind,
    made_events,
    read_counts,
    spread,
    start,
    wait_for,
)

BACKENDS = ("kafka-python", "confluent")
PARTITIONS = 4
HEARTBEAT_S = 2.0


def own_group(backend: str, session_s: int = 6) -> str:
    """Options of a group that no other test has; its members send a heartbeat each third of a session, or 3 s."""
    return f"group=g-{uuid.uuid4().hex[:8]}&session_timeout_ms={session_s}000&backend={backend}"


class Member:
    """One of a group, with every event of its partitions in the order in which it was told of them."""

    def __init__(self, url: str) -> None:
        self._topic = TopicPartitions(url)
        self.held: set[int] = set()
        self.events: list[tuple[str, tuple[int, ...]]] = []

    def poll(self, seconds: float = 0.1) -> None:
        changes = self._topic.poll(seconds, lambda partitions: self._note("revoked", partitions))
        for partition in changes.assigned:
            self._topic.source(partition).begin()
        if changes.assigned:
            self._note("assigned", changes.assigned)
        if changes.lost:
            self._note("lost", changes.lost)

    def _note(self, what: str, partitions: tuple[int, ...] | list[int]) -> None:
        if not partitions:
            return
        self.events.append((what, tuple(partitions)))
        self.held = self.held | set(partitions) if what == "assigned" else self.held - set(partitions)

    def close(self) -> None:
        self._topic.close()


def share_out(members: list[Member]) -> None:
    """Poll until all partitions are held and every member has some."""
    deadline = time.monotonic() + 30
    while any(not one.held for one in members) or sum(len(one.held) for one in members) < PARTITIONS:
        for one in members:
            one.poll()
        assert time.monotonic() < deadline, [one.events for one in members]


def poll_for(seconds: float, *members: Member) -> None:
    """Poll so long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for one in members:
            one.poll()


@pytest.mark.parametrize("backend", ["kafka-python", pytest.param("confluent", marks=pytest.mark.slow)])
def test_a_member_that_joins_takes_its_share_and_leaves_the_rest_in_place(
    new_topic: Callable[..., str], backend: str
) -> None:
    url = f"{new_topic(PARTITIONS)}?{own_group(backend, 30)}"
    first = Member(url)
    share_out([first])
    second = Member(url)
    try:
        share_out([first, second])
        assert len(first.held) == len(second.held) == PARTITIONS // 2
        assert [what for what, _ in first.events] == ["assigned", "revoked"]
        assert set(first.events[1][1]) == second.held
        second.close()
        share_out([first])
        assert first.held == set(range(PARTITIONS))
    finally:
        first.close()
        second.close()


@pytest.mark.parametrize(
    ("backend", "leader"),
    [
        ("kafka-python", False),
        ("confluent", True),
        pytest.param("kafka-python", True, marks=pytest.mark.slow),
        pytest.param("confluent", False, marks=pytest.mark.slow),
    ],
)
def test_an_instance_that_comes_back_finds_its_partitions_and_the_other_notices_nothing(
    new_topic: Callable[..., str], backend: str, leader: bool
) -> None:
    url = f"{new_topic(PARTITIONS)}?{own_group(backend)}"
    members = [Member(f"{url}&instance=a")]
    share_out(members)
    members.append(Member(f"{url}&instance=b"))
    share_out(members)
    name, stays = ("a", members[1]) if leader else ("b", members[0])
    leaves = members[0 if leader else 1]
    before, told = set(leaves.held), list(stays.events)
    leaves.close()
    poll_for(1, stays)
    back = Member(f"{url}&instance={name}")
    try:
        share_out([stays, back])
        # A heartbeat later a member that is to join anew has been told so.
        poll_for(1.5 * HEARTBEAT_S, stays, back)
        assert back.held == before
        assert back.events == [("assigned", tuple(sorted(before)))]
        assert stays.events == told
    finally:
        stays.close()
        back.close()


@pytest.mark.parametrize("backend", BACKENDS)
def test_an_instance_that_was_replaced_says_so(new_topic: Callable[..., str], backend: str) -> None:
    url = f"{new_topic(PARTITIONS)}?{own_group(backend)}&instance=a"
    first = Member(url)
    share_out([first])
    second = Member(url)
    try:
        share_out([second])
        with pytest.raises(TakenOverError, match=r"instance 'a' of group '.*' must be this process's"):
            poll_for(10, first)
        second.poll()
        assert second.held == set(range(PARTITIONS))
    finally:
        first.close()
        second.close()


def test_a_member_that_asks_in_short_moments_takes_new_partitions_on(new_topic: Callable[..., str]) -> None:
    from kafka.admin import KafkaAdminClient, NewPartitions

    url = new_topic(PARTITIONS)
    address = Address.parse(url)
    one = Member(f"{url}?{own_group('kafka-python')}")
    admin = KafkaAdminClient(bootstrap_servers=list(address.servers))
    try:
        share_out([one])
        admin.create_partitions({address.topic: NewPartitions(2 * PARTITIONS)})
        one._topic._consumer._consumer._client.cluster.request_update()  # what happens every five minutes
        # Joining anew takes longer than such a moment.
        for _ in range(500):
            one.poll(0.002)
        poll_for(8, one)
        assert one.held == set(range(2 * PARTITIONS))
    finally:
        one.close()
        admin.close()


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_pipeline_of_two_instances_goes_on_over_a_restart_of_one(
    new_topic: Callable[..., str], tmp_path: Path, backend: str
) -> None:
    source, sink, events = new_topic(PARTITIONS), new_topic(PARTITIONS), made_events(4000)
    fill(source, spread(events[:2000], PARTITIONS))
    state, whole, group = tmp_path / "state", tmp_path / "whole", own_group(backend, 20)

    def member(name: str) -> list[str]:
        words = command(f"{source}?{group}&instance={name}", state, "--sink", sink, "--checkpoint-seconds", "1")
        return [word for word in words if word != "--quiet"]

    logs = {name: tmp_path / f"{name}.log" for name in "ab"}
    running = {name: start(member(name), logs[name]) for name in "ab"}
    try:
        wait_for(lambda: all("is ours" in logs[name].read_text() for name in "ab"), 60, "both to have partitions")
        wait_for(lambda: read_counts(state) == 2000, 60, "half of the events")
        told = logs["a"].read_text()
        running["b"].terminate()
        assert running["b"].wait(60) == 130, logs["b"].read_text()
        fill(source, spread(events[2000:], PARTITIONS))
        running["b"] = start(member("b"), logs["b"])
        wait_for(lambda: read_counts(state) == 4000, 60, "the other half")
        assert ours(logs["a"].read_text()) == ours(told)
        twin = start(member("b"), tmp_path / "twin.log")
        running["twin"] = twin
        assert running["b"].wait(30) == 1
        assert re.search("instance 'b' of group '.*' must be this process's, another one has it", logs["b"].read_text())
        for name in ("a", "twin"):
            running[name].terminate()
            assert running[name].wait(60) == 130
    finally:
        for process in running.values():
            process.kill()
            process.wait()
    alone = start(command(source, whole, "--until-end"), tmp_path / "whole.log")
    assert alone.wait(60) == 0
    assert left_behind(state) == left_behind(whole)
    assert sum(map(len, answers(sink).values())) == 4000


def ours(log: str) -> list[str]:
    """What a member said of its partitions."""
    return [line for line in log.splitlines() if "partition" in line]
