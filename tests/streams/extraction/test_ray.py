"""Actors of Ray give the rows that this process gives, whatever happens to them."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from streams.extraction.backend import WorkerError
from streams.extraction.encoding import EncoderError
from streams.extraction.pool import ExtractionPool
from streams.extraction.ray_connection import connect
from streams.memory import read_all
from streams.opening import open_source
from tests.streams.extraction import toys

ROOT = Path(__file__).parents[3]


def test_without_ray_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"^the backend 'ray' needs the extra 'ray': pip install ihomer\[ray\]"):
        ExtractionPool(toys.numbers, 2, "ray")


@pytest.fixture(scope="module")
def cluster():
    """A cluster on this machine that every pool here joins; it takes its time to begin."""
    ray = pytest.importorskip("ray", reason="needs Ray")
    # GPUs are counted and never looked for, so that their shares can be tested without any.
    ray.init(num_cpus=4, num_gpus=1, include_dashboard=False, log_to_driver=False, configure_logging=False)
    yield ray
    ray.shutdown()


def rows_of(pool, payloads):
    return [None if row is None else row.tolist() for row in pool.map(payloads)]


@pytest.mark.deep
def test_rows_are_those_of_this_process(cluster):
    payloads = [*range(50), "x", -1, *range(50)]
    with ExtractionPool(toys.picky, on_error="skip", batch_size=8) as pool:
        expected = rows_of(pool, payloads)
    for workers in (1, 2):
        with ExtractionPool(toys.picky, workers, "ray", on_error="skip", batch_size=8) as pool:
            assert rows_of(pool, payloads) == expected
            assert pool.metrics()["payloads"] == len(payloads)
    assert cluster.is_initialized(), "a pool ends what it has begun, and nothing else"


@pytest.mark.deep
def test_arrays_come_back_unchanged(cluster):
    rows = np.random.default_rng(0).normal(size=(200, 768)).astype(np.float32)
    with ExtractionPool(np.asarray, 2, "ray") as pool:
        assert np.array_equal(np.array(list(pool.map(rows))), rows)


@pytest.mark.deep
def test_actors_that_die_are_replaced_and_payloads_that_kill_are_found(cluster):
    with ExtractionPool(toys.deadly, 2, "ray", on_error="skip", batch_size=4) as pool:
        found = rows_of(pool, [1, 2, "raise", 4, "die", 6])
    assert [None if row is None else row[0] for row in found] == [1, 2, None, 4, None, 6]


@pytest.mark.deep
def test_sigkill_of_actors_loses_and_doubles_nothing(cluster):
    with ExtractionPool(toys.Devices(), 2, "ray", batch_size=4) as pool:
        pids, done, kills = set(), threading.Event(), 0

        def kill():
            nonlocal kills
            while not done.wait(1.5):
                if pids:
                    try:
                        os.kill(pids.pop(), signal.SIGKILL)
                        kills += 1
                    except ProcessLookupError:
                        pass

        killer = threading.Thread(target=kill)
        killer.start()
        n = 0
        try:
            for row in pool.map(range(1600)):
                pids.add(int(row[1]))
                n += 1
        finally:
            done.set()
            killer.join()
        assert n == 1600
        assert kills > 0
        assert pool.metrics()["payloads"] == 1600
        assert pool.metrics()["deaths"] > 0


@pytest.mark.deep
def test_what_cannot_work_ends_the_run(cluster):
    for encoder, kind, message in (
        (toys.narrow, EncoderError, r"an encoder must give an array of shape \(5, d\), got \(4, 3\)"),
        (toys.Lacking(), EncoderError, r"^ImportError: an encoder of this kind needs the extra 'deep'"),
        (toys.Stillborn(), WorkerError, r"got 5 that died at their start"),
    ):
        with ExtractionPool(encoder, 1, "ray", on_error="skip") as pool, pytest.raises(kind, match=message):
            list(pool.map(range(5)))


@pytest.mark.deep
def test_actors_that_hang_are_replaced_and_the_payload_is_left_out(cluster):
    payloads = [1, 2, "hang", *range(4, 20)]
    with ExtractionPool(toys.hanging, 2, "ray", on_error="skip", batch_size=2, timeout_s=0.5) as pool:
        found = rows_of(pool, payloads)
        told = pool.metrics()
    assert [None if row is None else row[0] for row in found] == [1, 2, None, *range(4, 20)]
    assert told["timeouts"] == told["deaths"] >= 5
    assert told["payloads"] == len(payloads)


@pytest.mark.deep
def test_two_actors_share_a_gpu(cluster):
    with ExtractionPool(toys.Devices(), 2, "ray", batch_size=1, gpus=0.5) as pool:
        seen = {tuple(row) for row in rows_of(pool, range(60))}
        assert cluster.available_resources().get("GPU", 0) == 0
    assert {device for device, _ in seen} == {0}
    assert len({pid for _, pid in seen}) == 2


@pytest.mark.deep
def test_workers_without_room_end_the_run(cluster, monkeypatch):
    monkeypatch.setattr("streams.extraction.pool._START_S", 0.2)
    with (
        ExtractionPool(toys.numbers, 1, "ray", gpus=2, timeout_s=0.2) as pool,
        pytest.raises(WorkerError, match=r"got 5 that died at their start \(timed out after 0\.2 s\)$"),
    ):
        list(pool.map([1]))


@pytest.mark.deep
@pytest.mark.parametrize("kind", ["auto", "address"])
def test_a_command_joins_a_cluster(cluster, tmp_path, monkeypatch, kind):
    address = cluster.get_runtime_context().gcs_address
    if kind == "auto":
        monkeypatch.setenv("RAY_ADDRESS", address)
        address = "auto"
    events = [json.dumps({"payload": f"text {i}", "y": [f"l{i % 3}"]}) for i in range(120)]
    (tmp_path / "events.jsonl").write_text("\n".join(events))
    words = [sys.executable, "-m", "ihomer", "extract", "--source", tmp_path / "events.jsonl", "--quiet", "--json"]
    encoder = ["--encoder", "tests.streams.extraction.toys:lengths", "--workers", "2", "--gpus", "0.5"]
    rows = []
    for name, more in (("here.npz", encoder[:2]), ("there.npz", [*encoder, "--ray", address])):
        done = subprocess.run(
            [*words, *more, "--out", tmp_path / name], check=True, capture_output=True, cwd=ROOT, timeout=120
        )
        assert json.loads(done.stdout)["extraction"]["payloads"] == 120
        rows.append(read_all(open_source(tmp_path / name)).x)
    assert len(json.loads(done.stdout)["extraction"]["workers"]) == 2
    assert np.array_equal(rows[0], rows[1])


@pytest.mark.deep
def test_an_engine_that_is_killed_goes_on_with_new_actors(cluster, tmp_path):
    n, address = 6000, cluster.get_runtime_context().gcs_address
    events = [json.dumps({"payload": f"{'abcdefg'[i % 7]} text {i}", "y": [f"l{i % 7}"]}) for i in range(n)]
    (tmp_path / "events.jsonl").write_text("\n".join(events))

    def words(folder, *more):
        run = [sys.executable, "-m", "ihomer", "run", "--source", tmp_path / "events.jsonl", "--learner", "linear"]
        encoder = ["--encoder", "tests.streams.extraction.toys:slow_lengths", "--quiet", *more]
        kept = [
            "--checkpoint",
            folder / "state",
            "--checkpoint-every",
            "500",
            "--predictions",
            folder / "answers.jsonl",
        ]
        return [*run, *encoder, *kept, "--resume"]

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    subprocess.run(words(whole), check=True, cwd=ROOT, timeout=120, stdout=subprocess.DEVNULL)
    running = subprocess.Popen(words(killed, "--workers", "2", "--ray", address), cwd=ROOT)
    until = time.monotonic() + 60
    while len(list((killed / "state").glob("*.ckpt"))) < 2 and time.monotonic() < until:
        time.sleep(0.005)
    running.kill()
    assert running.wait() == -signal.SIGKILL
    assert len((killed / "answers.jsonl").read_bytes()) < len((whole / "answers.jsonl").read_bytes())
    subprocess.run(
        words(killed, "--workers", "2", "--ray", address), check=True, cwd=ROOT, timeout=120, stdout=subprocess.DEVNULL
    )
    assert (killed / "answers.jsonl").read_bytes() == (whole / "answers.jsonl").read_bytes()


_TWO_MACHINES = """
from ray.cluster_utils import Cluster

from streams.extraction.pool import ExtractionPool
from tests.streams.extraction import toys

if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = cluster.add_node(num_cpus=1)
    with ExtractionPool(toys.Places(), 2, "ray", address=cluster.address, batch_size=1) as pool:
        found = []
        for number, (payload, place) in enumerate(pool.map(range(400))):
            assert payload == number
            found.append(place)
            if number == 100:
                print(len(set(found)), flush=True)
                cluster.remove_node(second)
                cluster.add_node(num_cpus=1)
        print(number + 1, len(set(found[-50:])), len(set(found)), flush=True)
    cluster.shutdown()
"""


@pytest.mark.deep
def test_actors_are_spread_over_machines_and_outlive_one(tmp_path):
    pytest.importorskip("ray", reason="needs Ray")
    script = tmp_path / "two_machines.py"
    script.write_text(_TWO_MACHINES)
    done = subprocess.run(
        [sys.executable, script],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=120,
    )
    before, after = done.stdout.splitlines()
    assert before == "2"
    assert after == "400 2 3"


class Ray:
    """Of Ray, what joins or begins a cluster."""

    def __init__(self):
        self.begun = []

    def init(self, **settings):
        self.begun.append(settings)


@pytest.fixture
def answering():
    """The address of something that answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def silent():
    """An address at which nothing is."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def note(monkeypatch, tmp_path):
    """Where `ray start` notes the address of its cluster; there is none."""
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    (tmp_path / "ray").mkdir()
    return tmp_path / "ray" / "ray_current_cluster"


def test_where_there_is_no_cluster_one_is_begun_with_room_for_all(note):
    ray = Ray()
    connect(ray, "auto", 100)
    connect(ray, "local", 100)
    assert [(settings["address"], settings["num_cpus"]) for settings in ray.begun] == [("local", 100)] * 2


def test_the_cluster_of_this_machine_is_joined_if_it_lives(note, answering, silent, monkeypatch):
    ray = Ray()
    for noted in (answering, silent):
        note.write_text(f"{noted}\n")
        connect(ray, "auto", 1)
    monkeypatch.setenv("RAY_ADDRESS", answering)
    connect(ray, "auto", 1)
    assert [settings["address"] for settings in ray.begun] == [answering, "local", answering]


def test_a_cluster_that_is_named_must_answer(note, answering, silent, monkeypatch):
    ray = Ray()
    connect(ray, answering, 1)
    connect(ray, f"ray://{answering}", 1)
    assert [settings["address"] for settings in ray.begun] == [answering, f"ray://{answering}"]
    for address in (silent, "127.0.0.1:many"):
        with pytest.raises(ConnectionError, match=f"must answer within 5 s, got nothing at '{address}'"):
            connect(ray, address, 1)
    monkeypatch.setenv("RAY_ADDRESS", silent)
    with pytest.raises(ConnectionError, match=f"got nothing at '{silent}'"):
        connect(ray, "auto", 1)
