"""Killed, shared out anew, cut off from its broker: a pipeline ends as one that was left alone."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

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

PARTITIONS = 4
GROUP = "group=g&session_timeout_ms=6000"


class Members:
    """Processes that share a topic, each of which is started again when it is killed."""

    def __init__(self, words: list[str], folder: Path) -> None:
        self._words, self._folder = words, folder
        self._running: list[subprocess.Popen[bytes]] = []

    def add(self) -> subprocess.Popen[bytes]:
        self._running.append(start(self._words, self._folder / "members.log"))
        return self._running[-1]

    def kill(self, one: subprocess.Popen[bytes]) -> None:
        one.send_signal(signal.SIGKILL)
        assert one.wait() == -signal.SIGKILL
        self._running.remove(one)

    def leave(self, one: subprocess.Popen[bytes]) -> None:
        one.send_signal(signal.SIGTERM)
        # The second, where it had not got so far as to listen to the signal.
        assert one.wait(60) in (130, -signal.SIGTERM), (self._folder / "members.log").read_text()[-3000:]
        self._running.remove(one)

    def any_of(self, chance: random.Random) -> subprocess.Popen[bytes]:
        return chance.choice(self._running)

    def check(self) -> None:
        for one in self._running:
            assert one.poll() is None, (self._folder / "members.log").read_text()[-3000:]

    def end(self) -> None:
        for one in list(self._running):
            self.leave(one)

    def __enter__(self) -> Members:
        return self

    def __exit__(self, *exc: object) -> None:
        for one in self._running:
            one.kill()
            one.wait()


@pytest.fixture(scope="module")
def undisturbed(bootstrap: str, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], dict[str, Any]]:
    """Topics of so many events, and what one process makes of them that nothing happens to."""
    import uuid

    from tests.kafka.running import create_topic

    made: dict[int, dict[str, Any]] = {}

    def of(n_events: int) -> dict[str, Any]:
        if n_events not in made:
            name = uuid.uuid4().hex[:10]
            for topic in (f"events-{name}", f"whole-{name}"):
                create_topic(bootstrap, topic, PARTITIONS)
            events, whole = f"kafka://{bootstrap}/events-{name}", f"kafka://{bootstrap}/whole-{name}"
            fill(events, spread(made_events(n_events), PARTITIONS))
            folder = tmp_path_factory.mktemp("whole")
            subprocess.run(command(events, folder, "--sink", whole, "--until-end"), check=True, capture_output=True)
            found = {"url": events, "left": left_behind(folder), "answers": answers(whole)}
            assert sum(map(len, found["answers"].values())) == n_events
            made[n_events] = found
        return made[n_events]

    return of


def members(
    undisturbed: dict[str, Any], sink: str, folder: Path, *, backend: str = "kafka-python"
) -> tuple[Members, Path]:
    state = folder / "state"
    words = command(f"{undisturbed['url']}?{GROUP}&backend={backend}", state, "--sink", f"{sink}?backend={backend}")
    return Members(words, folder), state


@pytest.mark.parametrize(
    ("n_events", "n_kills", "backend"),
    [
        (20_000, 3, "kafka-python"),
        pytest.param(20_000, 3, "confluent", marks=pytest.mark.slow),
        pytest.param(200_000, 20, "kafka-python", marks=pytest.mark.slow),
    ],
)
@pytest.mark.timeout(1800)
def test_killed_members_lose_and_double_nothing(
    undisturbed: Callable[[int], dict[str, Any]],
    new_topic: Callable[..., str],
    tmp_path: Path,
    n_events: int,
    n_kills: int,
    backend: str,
) -> None:
    expected, sink = undisturbed(n_events), new_topic(PARTITIONS)
    seed = random.randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)
    running, state = members(expected, sink, tmp_path, backend=backend)
    moments = sorted(chance.sample(range(n_events // 20, n_events * 9 // 10), n_kills))
    with running:
        for _ in range(2):
            running.add()
        for moment in moments:
            wait_for(lambda moment=moment: read_counts(state) >= moment, 300, f"event {moment}", running.check)
            time.sleep(chance.random() * 0.3)
            running.kill(running.any_of(chance))
            running.add()
        wait_for(lambda: read_counts(state) == n_events, 800, "the end", running.check)
        running.end()
    assert left_behind(state) == expected["left"]
    assert answers(sink) == expected["answers"]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_members_that_come_and_go_lose_and_double_nothing(
    undisturbed: Callable[[int], dict[str, Any]],
    new_topic: Callable[..., str],
    tmp_path: Path,
) -> None:
    n_events, seconds = 200_000, 120
    expected, sink = undisturbed(n_events), new_topic(PARTITIONS)
    chance = random.Random(3)
    running, state = members(expected, sink, tmp_path)
    with running:
        running.add()
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            running.add()
            time.sleep(2 + 2 * chance.random())
            running.check()
            running.leave(running.any_of(chance))
        wait_for(lambda: read_counts(state) == n_events, 800, "the end", running.check)
        running.end()
    assert left_behind(state) == expected["left"]
    assert answers(sink) == expected["answers"]
