"""Killed at any moment and resumed, a run ends as one that never died: SIGKILL on the real command."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ihomer.checkpoint import CheckpointStore

N_EVENTS = 12_000
EVERY = 500


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """JSON Lines with broken lines and unlabelled events among them."""
    rng = np.random.default_rng(7)
    weights = rng.normal(size=(8, 6))
    path = tmp_path_factory.mktemp("stream") / "events.jsonl"
    with open(path, "w", encoding="utf-8") as file:
        for i in range(N_EVENTS):
            x = rng.normal(size=8)
            labels = [f"l{j}" for j in np.flatnonzero(x @ weights + rng.normal(size=6) > 1)]
            event: dict[str, Any] = {"id": str(i), "x": {f"f{j}": round(v, 4) for j, v in enumerate(x.tolist())}}
            if i % 11:
                event["y"] = labels
            file.write("{broken\n" if i % 97 == 5 else json.dumps(event) + "\n")
    return path


def command(stream: Path, folder: Path) -> list[str]:
    return [
        *(sys.executable, "-m", "ihomer", "run", "--source", str(stream), "--learner", "ihomer", "--quiet"),
        *("--checkpoint", str(folder / "checkpoints"), "--checkpoint-every", str(EVERY), "--resume"),
        *("--predictions", str(folder / "predictions.jsonl.gz"), "--dead-letters", str(folder / "dead.jsonl")),
        *("--events-sink", str(folder / "events.jsonl"), "--result", str(folder / "result.json")),
    ]


def outcome(folder: Path) -> dict[str, Any]:
    """All that a run leaves, times excluded."""
    runs = json.loads((folder / "result.json").read_text())["runs"]
    for run in runs:
        del run["time"]
    found = CheckpointStore(folder / "checkpoints").latest()
    assert found is not None
    _, manifest, arrays = found
    logs = {
        name: json.loads(array.tobytes())
        for name, array in arrays.items()
        if name.count("/") == 1 and name.endswith("/log")
    }
    for log in logs.values():
        del log["wall_s"], log["cpu_s"]
    state = {name: array.tobytes() for name, array in arrays.items() if name not in logs}
    import gzip

    return {
        "runs": runs,
        "counts": manifest["counts"],
        "logs": logs,
        "state": state,
        "predictions": gzip.decompress((folder / "predictions.jsonl.gz").read_bytes()),
        "dead": (folder / "dead.jsonl").read_bytes(),
        "events": (folder / "events.jsonl").read_bytes(),
    }


@pytest.mark.parametrize("n_kills", [3, pytest.param(15, marks=pytest.mark.slow)])
def test_sigkill_and_resume_equals_never_killed(stream: Path, tmp_path: Path, n_kills: int) -> None:
    whole = tmp_path / "whole"
    whole.mkdir()
    subprocess.run(command(stream, whole), check=True)
    expected = outcome(whole)
    assert expected["counts"]["read"] == N_EVENTS
    assert expected["counts"]["dead"] == len(range(5, N_EVENTS, 97))
    assert expected["predictions"].count(b"\n") == N_EVENTS - expected["counts"]["dead"]

    killed = tmp_path / "killed"
    killed.mkdir()
    seed = random.randrange(10**6)
    print("seed", seed)
    moments = random.Random(seed)
    store = CheckpointStore(killed / "checkpoints")
    kills = 0
    for threshold in sorted(moments.sample(range(N_EVENTS // EVERY - 4), n_kills)):
        process = subprocess.Popen(command(stream, killed))
        while process.poll() is None and not _reached(store, threshold * EVERY):
            time.sleep(0.002)
        time.sleep(moments.random() * 0.05)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills >= n_kills - 1, "the run was too quick to be killed"
    subprocess.run(command(stream, killed), check=True)
    assert outcome(killed) == expected


def _reached(store: CheckpointStore, event: int) -> bool:
    names = sorted(path.name for path in store.directory.glob("checkpoint-*.ckpt"))
    return bool(names) and int(names[-1][len("checkpoint-") : -len(".ckpt")]) >= event
