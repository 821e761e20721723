"""Features extracted from the texts of a topic: an engine that is killed with all its workers goes on where it was."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streams.topics.client import Outgoing
from tests.kafka.running import answers, command, fill, left_behind, read_counts, start, wait_for

N, PARTITIONS = 12_000, 2
ENCODER = ("--encoder", "hashing:dim=256,idf=true", "--workers", "2")


def texts(n: int) -> list[Outgoing]:
    """Texts whose words tell their labels, in turn over the partitions; some cannot be encoded, some are broken."""
    chance = random.Random(7)
    words = [f"w{i}" for i in range(60)]
    found = []
    for i in range(n):
        chosen = chance.sample(words, 8)
        payload: Any = {"base64": "/w=="} if i % 401 == 7 else " ".join(chosen)
        labels = sorted({f"l{int(word[1:]) % 7}" for word in chosen[:3]})
        event = {"id": f"e{i}", "ts": 1_700_000_000_000 + i, "payload": payload, "y": labels}
        value = b"{broken" if i % 503 == 11 else json.dumps(event).encode()
        found.append(Outgoing(value, i % PARTITIONS, f"e{i}".encode(), (), 1_700_000_000_000 + i))
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_an_engine_that_is_killed_with_its_workers_loses_and_doubles_nothing(
    new_topic: Callable[..., str], tmp_path: Path
) -> None:
    events, whole, sink = new_topic(PARTITIONS), new_topic(PARTITIONS), new_topic(PARTITIONS)
    fill(events, texts(N))
    subprocess.run(command(events, tmp_path / "whole", "--sink", whole, "--until-end", *ENCODER), check=True)
    expected = left_behind(tmp_path / "whole")
    assert sum(partition["counts"]["read"] for partition in expected.values()) == N
    n_dead = len({*range(7, N, 401), *range(11, N, 503)})
    assert sum(partition["counts"]["dead"] for partition in expected.values()) == n_dead

    seed = random.randrange(10**6)
    print("seed", seed)
    chance = random.Random(seed)
    words = command(events, tmp_path / "state", "--sink", sink, "--until-end", *ENCODER)
    kills = 0
    for moment in sorted(chance.sample(range(N // 20, N * 9 // 10), 4)):
        running = start(words, tmp_path / "log")
        wait_for(
            lambda moment=moment, running=running: (
                read_counts(tmp_path / "state") >= moment or running.poll() is not None
            ),
            120,
            f"event {moment}",
        )
        time.sleep(chance.random() * 0.3)
        running.send_signal(signal.SIGKILL)
        kills += running.wait() == -signal.SIGKILL
    assert kills >= 2, "the run was too quick to be killed"
    subprocess.run(words, check=True)
    assert left_behind(tmp_path / "state") == expected
    found = answers(sink)
    assert found == answers(whole)
    assert sum(map(len, found.values())) == N - n_dead
