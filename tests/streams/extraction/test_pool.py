"""The pool: every payload once, in order, whoever encodes it and whatever happens to them."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections import deque
from multiprocessing import resource_tracker
from pathlib import Path

import numpy as np
import pytest
from threadpoolctl import threadpool_limits

import ihomer
from streams.extraction.backend import Report, WorkerError
from streams.extraction.encoding import Encoded, EncoderError, encode, fingerprint
from streams.extraction.pool import ExtractionPool
from streams.extraction.processes import gpus
from streams.source import DecodeError
from tests.streams.extraction import toys

ROOT = Path(__file__).parents[3]


def rows_of(pool, payloads):
    return [None if row is None else row.tolist() for row in pool.map(payloads)]


def naive(encoder, payloads):
    """One after the other, alone."""
    rows = []
    for payload in payloads:
        try:
            row = np.asarray(encoder([payload]), np.float32)[0]
            rows.append(row.tolist() if np.isfinite(row).all() else None)
        except (TypeError, ValueError):
            rows.append(None)
    return rows


class ListSink:
    """A sink in memory."""

    name = "list"

    def __init__(self):
        self.messages = []

    def write(self, messages):
        self.messages += messages


class Doubtful:
    """A backend in this process whose workers die when they are told to; see `streams.extraction.backend.Backend`.

    ``dies`` tells, by the payloads of a block and how many blocks were given before, whether its worker dies of it; one
    whose payloads have "hang" among them is never heard of again.
    """

    def __init__(self, n_workers, dies=lambda payloads, n_before: False):
        self.n_workers, self._dies = n_workers, dies
        self.given, self.starts, self.killed = [], 0, []
        self._reports = deque()
        self._came = threading.Condition()

    def start(self, worker):
        self.starts += 1
        self._tell(Report(worker, "ready"))

    def give(self, worker, payloads):
        n_before = len(self.given)
        self.given.append(payloads)
        if "hang" in payloads:
            return
        if self._dies(payloads, n_before):
            self._tell(Report(worker, "died", reason="told to"))
        else:
            self._tell(Report(worker, "done", encode(toys.numbers, payloads), 0.001))

    def _tell(self, report):
        with self._came:
            self._reports.append(report)
            self._came.notify()

    def kill(self, worker):
        self.killed.append(worker)

    def wait(self, timeout=None):
        with self._came:
            if not self._reports:
                self._came.wait(0.05 if timeout is None else min(timeout, 0.05))
            # The last one first, so that blocks are never done in their order.
            return [self._reports.pop() for _ in range(len(self._reports))]

    def wake(self):
        with self._came:
            self._came.notify()

    def close(self):
        pass


# Order, and equality of backends.


@pytest.fixture(scope="module")
def pools():
    """A pool a number of workers, of one encoder."""
    made = {n: ExtractionPool(toys.picky, n, on_error="skip", batch_size=5) for n in (0, 1, 2)}
    yield made
    for pool in made.values():
        pool.close()


@pytest.mark.parametrize("workers", [0, 1, 2])
@pytest.mark.parametrize("kind", ["list", "array", "generator"])
def test_rows_are_those_of_one_payload_at_a_time_in_order(pools, workers, kind):
    numbers = [float(number) for number in range(-3, 100)]
    given = {"list": numbers, "array": np.array(numbers), "generator": (number for number in numbers)}[kind]
    found = rows_of(pools[workers], given)
    assert found == naive(toys.picky, numbers)
    assert [number for number, row in zip(numbers, found, strict=True) if row is None] == [-2, -1]


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_nothing_in_nothing_out(pools, workers):
    assert rows_of(pools[workers], []) == []
    assert rows_of(pools[workers], iter([])) == []


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_poison_is_skipped_and_nothing_beside_it(pools, workers):
    random.seed(3)
    payloads = [random.choice([1.0, 2.0, -1, -2, "x", None]) for _ in range(200)]
    assert rows_of(pools[workers], payloads) == naive(toys.picky, payloads)


def test_blocks_of_any_size_give_the_same_rows():
    payloads = [*range(50), "x", *range(50)]
    expected = naive(toys.picky, payloads)
    for size in (1, 2, 7, 1000):
        with ExtractionPool(toys.picky, on_error="skip", batch_size=size) as pool:
            assert rows_of(pool, payloads) == expected


def test_one_pool_serves_many_maps_at_once(pools):
    one, two = pools[2].map(range(0, 90)), pools[2].map(range(100, 190))
    taken = [(next(one)[0], next(two)[0]) for _ in range(90)]
    assert taken == [(number, number + 100) for number in range(90)]


def test_a_map_that_is_left_early_leaves_the_pool_usable(pools):
    for workers in (0, 2):
        for kind in (list, iter):
            rows = pools[workers].map(kind(range(500)))
            next(rows)
            rows.close()
        assert len(rows_of(pools[workers], [1.0, 2.0])) == 2


def test_without_workers_and_inline_this_process_encodes():
    for settings in ({"backend": "process"}, {"backend": "ray"}, {"backend": "inline", "workers": 2}):
        with ExtractionPool(lambda payloads: [[os.getpid()] for _ in payloads], **settings) as pool:
            assert rows_of(pool, [1]) == [[np.float32(os.getpid())]]


@pytest.mark.parametrize("workers", [0, 1])
def test_numerical_libraries_have_one_thread_while_rows_are_made_and_as_many_as_before_afterwards(workers):
    with threadpool_limits(2):
        before = toys.threads()
        with ExtractionPool(toys.most_threads, workers) as pool:
            assert {int(row[0]) for row in rows_of(pool, [1, 2, 3])} == {1}
        assert toys.threads() == before
    assert before


def test_it_is_at_the_front_door():
    assert ihomer.ExtractionPool is ExtractionPool


# Payloads that cannot be encoded.


@pytest.mark.parametrize("workers", [0, 1])
def test_failing_comes_behind_the_rows_before(workers):
    with ExtractionPool(toys.picky, workers, batch_size=4) as pool:
        rows = pool.map([1, 2, 3, 4, 5, "x", 6])
        assert [next(rows)[0] for _ in range(5)] == [1, 2, 3, 4, 5]
        with pytest.raises(DecodeError, match=r"^payloads:5: ValueError: could not convert string to float: 'x'$"):
            next(rows)


def test_dead_letters_say_which_and_why():
    sink = ListSink()
    with ExtractionPool(toys.picky, on_error="skip", batch_size=3, dead_letters=sink) as pool:
        list(pool.map([1, 2, "x", 4, -1]))
    letters = [json.loads(message) for message in sink.messages]
    assert [letter["offset"] for letter in letters] == [2, 4]
    assert letters[0]["raw"] == "eA=="
    assert letters[1]["reason"] == "features must be finite, got NaN or infinity"


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (toys.narrow, r"an encoder must give an array of shape \(3, d\), got \(2, 3\)$"),
        (str, "an encoder must give numbers, got str"),
    ],
)
@pytest.mark.parametrize("workers", [0, 1])
def test_an_encoder_that_breaks_its_contract_ends_the_run(workers, encoder, message):
    with ExtractionPool(encoder, workers, on_error="skip") as pool, pytest.raises(EncoderError, match=message):
        list(pool.map([1, 2, 3]))


def test_rows_have_one_width():
    with ExtractionPool(toys.uneven, batch_size=2) as pool:
        pool.wait(job := pool.submit([1, 2, 3, 4]))
        with pytest.raises(EncoderError, match=r"^rows of an encoder must have one width, got \[2, 4\]$"):
            job.result()


def test_what_is_missing_is_said_before_anything_is_encoded():
    with pytest.raises(ImportError, match="needs the extra 'deep'"):
        ExtractionPool(toys.Lacking())
    with (
        ExtractionPool(toys.Lacking(), 1) as pool,
        pytest.raises(EncoderError, match=r"^ImportError: an encoder of this kind needs the extra 'deep'"),
    ):
        list(pool.map([1]))


def test_sparse_rows_come_dense():
    for workers in (0, 1):
        with ExtractionPool(toys.Sparse(), workers, batch_size=2) as pool:
            assert rows_of(pool, [1, 2, 3]) == [[1, 0, 1, 0], [0, 0, 2, 0], [1, 0, 3, 0]]


# Workers that die.


def test_a_block_whose_worker_died_is_encoded_again():
    for n_workers in (1, 2, 3):
        backend = Doubtful(n_workers, lambda payloads, n_before: n_before % 3 == 1)
        with ExtractionPool(toys.numbers, backend=backend, batch_size=3) as pool:
            assert rows_of(pool, range(40)) == naive(toys.numbers, range(40))
            assert pool.metrics()["deaths"] == backend.starts - n_workers > 5


def test_a_payload_that_kills_is_found_by_halving():
    for n_workers in (1, 2):
        backend = Doubtful(n_workers, lambda payloads, n_before: 13 in payloads)
        with ExtractionPool(toys.numbers, backend=backend, batch_size=32, on_error="skip") as pool:
            expected = naive(toys.numbers, range(64))
            expected[13] = None
            assert rows_of(pool, range(64)) == expected
        # The block twice, then 16, 8, 4 and 2 of it, and the payload three times.
        assert pool.metrics()["deaths"] == 9
        assert pool.metrics()["queue"] == 0


@pytest.mark.parametrize("place", [0, 4095])
def test_halving_finds_it_in_the_largest_block_before_the_pool_gives_up(place):
    backend = Doubtful(1, lambda payloads, n_before: place in payloads)
    with ExtractionPool(toys.numbers, backend=backend, batch_size=4096, on_error="skip") as pool:
        assert [number for number, row in enumerate(pool.map(range(4096))) if row is None] == [place]


def test_workers_that_die_of_everything_end_the_run():
    backend = Doubtful(2, lambda payloads, n_before: True)
    with (
        ExtractionPool(toys.numbers, backend=backend, on_error="skip") as pool,
        pytest.raises(
            WorkerError, match=r"^workers must get a block done, got 20 that died of one in a row \(told to\)$"
        ),
    ):
        list(pool.map(range(100)))


def test_a_process_that_is_killed_by_a_payload_is_replaced():
    with ExtractionPool(toys.deadly, 1, on_error="skip", batch_size=4) as pool:
        found = rows_of(pool, [1, 2, "raise", 4, "die", 6])
        assert [None if row is None else row[0] for row in found] == [1, 2, None, 4, None, 6]
        assert pool.metrics()["faults"] == 2
    with (
        ExtractionPool(toys.deadly, 1) as pool,
        pytest.raises(DecodeError, match=r"the encoder's process died of it \(killed by SIGKILL\)$"),
    ):
        list(pool.map(["die"]))


def test_processes_that_die_at_their_start_end_the_run():
    with (
        ExtractionPool(toys.Stillborn(), 1) as pool,
        pytest.raises(WorkerError, match=r"got 5 that died at their start \(left with exit code 4\)"),
    ):
        list(pool.map([1, 2]))


@pytest.mark.slow
def test_processes_that_die_of_every_block_end_the_run():
    with (
        ExtractionPool(toys.hopeless, 2, on_error="skip") as pool,
        pytest.raises(WorkerError, match=r"got 20 that died of one in a row \(left with exit code 3\)"),
    ):
        list(pool.map(range(100)))


@pytest.mark.parametrize(
    ("n", "every_s"),
    [pytest.param(4000, 0.6, id="short"), pytest.param(50_000, 1.0, id="50000", marks=pytest.mark.slow)],
)
@pytest.mark.timeout(600)
def test_sigkill_of_workers_loses_and_doubles_nothing(n, every_s):
    seed = random.randrange(10**6)
    print("seed", seed)
    moments = random.Random(seed)
    with ExtractionPool(toys.slow_numbers, 2) as pool:
        done, kills = threading.Event(), 0

        def kill():
            nonlocal kills
            while not done.wait(every_s * moments.uniform(0.5, 1.5)):
                worker = moments.choice([worker for worker in pool._backend._workers if worker is not None])
                os.kill(worker.process.pid, signal.SIGKILL)
                kills += 1

        killer = threading.Thread(target=kill)
        killer.start()
        try:
            found = np.array(list(pool.map(range(n))))
        finally:
            done.set()
            killer.join()
        assert np.array_equal(found, toys.numbers(range(n)))
        assert kills > 2
        assert pool.metrics()["deaths"] >= kills - 2


def test_whoever_else_is_killed_boxes_stay():
    with ExtractionPool(toys.numbers, 1) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = rows_of(pool, range(50))
        for _ in range(2):
            os.kill(resource_tracker._resource_tracker._pid, signal.SIGKILL)
            os.kill(pool._backend._workers[0].process.pid, signal.SIGKILL)
            assert rows_of(pool, range(50)) == expected


def test_nothing_is_left_of_a_pool_whose_process_was_killed(tmp_path):
    script = tmp_path / "pool.py"
    script.write_text(
        "from streams.extraction.pool import ExtractionPool\n"
        "from tests.streams.extraction import toys\n"
        "if __name__ == '__main__':\n"
        "    pool = ExtractionPool(toys.slow_numbers, 2)\n"
        "    list(pool.map(range(100)))\n"
        "    boxes = [box.name for box in (*pool._backend._inboxes, *pool._backend._outboxes)]\n"
        "    print(*[worker.process.pid for worker in pool._backend._workers], *boxes, flush=True)\n"
        "    list(pool.map(range(10**6)))\n"
    )
    process = subprocess.Popen(
        [sys.executable, script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    told = process.stdout.readline().split()
    process.kill()
    process.wait()
    process.stdout.close()

    def left():
        there = [pid for pid in told[:2] if Path(f"/proc/{pid}").exists() and _state(pid) != "Z"]
        return there + [box for box in told[2:] if Path("/dev/shm", box.lstrip("/")).exists()]

    until = time.monotonic() + 20
    while left() and time.monotonic() < until:
        time.sleep(0.05)
    assert left() == []


def _state(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


# Workers that hang.


@pytest.mark.parametrize("n_workers", [1, 3])
def test_a_payload_that_hangs_is_found_by_halving(n_workers):
    backend = Doubtful(n_workers)
    payloads = [*range(40), "hang", *range(41, 64)]
    with ExtractionPool(toys.numbers, backend=backend, batch_size=32, on_error="skip", timeout_s=0.05) as pool:
        found = rows_of(pool, payloads)
        told = pool.metrics()
    assert found == [None if payload == "hang" else toys.numbers([payload])[0].tolist() for payload in payloads]
    # The block twice, then 16, 8, 4 and 2 of it, and the payload three times.
    assert len(backend.killed) == told["timeouts"] == told["deaths"] == 9
    assert (told["queue"], told["in_flight"]) == (0, 0)


def test_what_a_late_worker_says_in_the_end_is_not_heard():
    class Slow(Doubtful):
        def kill(self, worker):
            super().kill(worker)
            self._reports.clear()

        def give(self, worker, payloads):
            if not self.given:
                threading.Timer(0.3, super().give, (worker, payloads)).start()
                self.given.append(payloads)
            else:
                super().give(worker, payloads)

    with ExtractionPool(toys.numbers, backend=Slow(2), timeout_s=0.1, batch_size=2) as pool:
        assert rows_of(pool, range(4)) == naive(toys.numbers, range(4))
        assert pool.metrics()["timeouts"] == 1


def test_a_process_that_hangs_is_killed_and_its_payload_is_a_dead_letter():
    sink = ListSink()
    settings = {"on_error": "skip", "batch_size": 4, "timeout_s": 0.8, "dead_letters": sink}
    with ExtractionPool(toys.hanging, 2, **settings) as pool:
        warm = rows_of(pool, [1])
        begun = time.monotonic()
        found = rows_of(pool, [1, 2, "hang", 4, *range(5, 40)])
        seconds = time.monotonic() - begun
        told = pool.metrics()
    assert warm == naive(toys.numbers, [1])
    assert found == [
        None if payload == "hang" else row
        for payload, row in zip(
            [1, 2, "hang", 4, *range(5, 40)], naive(toys.numbers, [1, 2, 0, 4, *range(5, 40)]), strict=True
        )
    ]
    assert [json.loads(message)["reason"] for message in sink.messages] == ["timed out after 0.8 s"]
    # The block twice, its half, and the payload three times; more where the machine is too busy for the others.
    assert told["timeouts"] == told["deaths"] >= 6
    assert told["faults"] == 1
    assert seconds < 30


def test_a_run_fails_at_a_payload_that_hangs_and_leaves_no_process():
    pool = ExtractionPool(toys.hanging, 1, timeout_s=0.8)
    with pool, pytest.raises(DecodeError, match=r"^payloads:0: timed out after 0\.8 s$"):
        list(pool.map(["hang"]))
    with ExtractionPool(toys.hanging, 1, timeout_s=None) as pool:
        job = pool.submit(["hang"])
        assert not pool.wait(job, 1.0)
        process = pool._backend._workers[0].process
    assert process.exitcode == -signal.SIGTERM


def test_processes_that_are_never_ready_end_the_run(monkeypatch):
    monkeypatch.setattr("streams.extraction.pool._START_S", 0.1)
    with (
        ExtractionPool(toys.Asleep(), 1, timeout_s=0.2) as pool,
        pytest.raises(WorkerError, match=r"got 5 that died at their start \(timed out after 0\.2 s\)"),
    ):
        list(pool.map([1]))


# Live payloads.


@pytest.mark.parametrize("workers", [0, 1])
def test_rows_come_while_the_next_payload_is_waited_for(workers):
    gate = threading.Event()

    def payloads():
        yield from (1, 2, 3)
        assert gate.wait(60)
        yield 4

    with ExtractionPool(toys.numbers, workers, batch_size=100) as pool:
        rows = pool.map(payloads())
        assert [next(rows)[0] for _ in range(3)] == [1, 2, 3]
        gate.set()
        assert [row[0] for row in rows] == [4]


def test_a_block_waits_so_long_for_more_payloads():
    def payloads():
        for number in range(6):
            yield number
            time.sleep(0.02)

    def sizes(wait):
        with ExtractionPool(toys.Marked(), batch_size=100, batch_wait=wait) as pool:
            return [row[1] for row in pool.map(payloads())]

    assert sizes(30.0) == [6] * 6
    assert len(set(sizes(0.0)) - {6}) > 0


def test_what_reading_payloads_raises_comes_behind_the_rows_before():
    def payloads():
        yield from range(10)
        raise LookupError("no more")

    for workers in (0, 1):
        with ExtractionPool(toys.numbers, workers, batch_size=4) as pool:
            found = []
            with pytest.raises(LookupError, match="no more"):
                found += [row[0] for row in pool.map(payloads()) if not found.append(row[0])]
            assert found == list(range(10))


def test_a_live_stream_is_read_no_further_than_what_is_in_flight():
    n_read = 0

    def payloads():
        nonlocal n_read
        for number in range(100_000):
            n_read += 1
            yield number

    with ExtractionPool(toys.numbers, 1, batch_size=10) as pool:
        rows = pool.map(payloads())
        for _ in range(50):
            next(rows)
        time.sleep(0.2)
        assert n_read <= 50 + 10 * pool.max_in_flight + 3 * 10
        rows.close()


# Blocks, settings, figures.


def test_a_block_ends_with_so_many_bytes():
    payloads = ["a" * 40, "b" * 70, "c" * 30, "d" * 500, "e", "f"]
    with ExtractionPool(toys.Marked(), batch_bytes=100, batch_size=3) as pool:
        assert [row[1] for row in pool.map(payloads)] == [1, 2, 2, 1, 2, 2]
    arrays = list(np.zeros((4, 10), np.float64))
    with ExtractionPool(toys.Marked(), batch_bytes=160) as pool:
        assert [row[1] for row in pool.map(arrays)] == [2, 2, 2, 2]


def test_arrays_go_to_workers_and_back_unchanged():
    rng = np.random.default_rng(0)
    alike = list(rng.normal(size=(70, 40)).astype(np.float32))
    wide = list(rng.normal(size=(3, 300_000)).astype(np.float32))
    with ExtractionPool(np.asarray, 1) as pool:
        for payloads in (alike, wide, wide):
            assert np.array_equal(list(pool.map(payloads)), payloads)
    with ExtractionPool(toys.Marked(), 1, batch_size=4) as pool:
        assert len(list(pool.map([*alike[:3], alike[3][:5], "text", None]))) == 6


def test_an_encoder_is_warmed_up_once_where_it_works():
    for workers in (0, 1):
        with ExtractionPool(toys.Marked(), workers, batch_size=1) as pool:
            assert {row[0] for row in pool.map(range(5))} == {1.0}


def test_workers_have_one_thread_each():
    before = {name: os.environ.get(name) for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    with ExtractionPool(toys.Threads(), 1) as pool:
        assert rows_of(pool, [1]) == [[1, 1]]
    assert {name: os.environ.get(name) for name in before} == before


def test_every_worker_sees_a_gpu_of_its_own(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3, 5")
    with ExtractionPool(toys.Devices(), 2, batch_size=1) as pool:
        seen = {tuple(row) for row in rows_of(pool, range(40))}
    assert {device for device, _ in seen} == {3, 5}
    assert len(seen) == 2
    (tmp_path / "0000:01").mkdir()
    (tmp_path / "0000:02").mkdir()
    assert gpus({}, tmp_path) == ["0", "1"]
    assert gpus({}, tmp_path / "none") == []
    assert gpus({"CUDA_VISIBLE_DEVICES": ""}, tmp_path) == []


def test_figures_tell_of_every_worker_and_of_all():
    with ExtractionPool(toys.slow_numbers, 2, batch_size=10) as pool:
        list(pool.map(range(200)))
        told = pool.metrics()
    assert told["payloads"] == sum(worker["payloads"] for worker in told["workers"]) == 200
    assert told["blocks"] == 20
    assert told["block_size"] == 10
    assert told["queue"] == 0
    assert 2 < told["queue_max"] <= 8
    assert 0.02 <= told["latency_p50_s"] <= told["latency_p99_s"]
    assert told["busy_share"] == pytest.approx(sum(worker["busy_share"] for worker in told["workers"]) / 2)
    assert sum(worker["busy_s"] for worker in told["workers"]) >= 0.4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": -1}, "^workers must be at least 0, got -1$"),
        ({"batch_size": 0}, "^batch_size must be at least 1, got 0$"),
        ({"batch_bytes": 0}, "^batch_bytes must be at least 1, got 0$"),
        ({"timeout_s": 0}, "^timeout_s must be positive or None, got 0$"),
        ({"on_error": "stop"}, "^on_error must be 'fail' or 'skip', got 'stop'$"),
        ({"backend": "thread"}, "^backend must be 'inline', 'process' or 'ray', got 'thread'$"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ExtractionPool(toys.numbers, **settings)


def test_an_encoder_must_be_picklable_to_go_to_workers():
    with pytest.raises(EncoderError, match=r"^an encoder must be picklable to go to other processes, got"):
        ExtractionPool(lambda payloads: payloads, 1)


def test_a_closed_pool_refuses_payloads():
    for workers in (0, 1):
        pool = ExtractionPool(toys.numbers, workers)
        pool.close()
        pool.close()
        with pytest.raises(ValueError, match=r"^a pool must be open to be used, got one that is closed$"):
            list(pool.map([1]))


def test_a_fingerprint_tells_encoders_apart():
    told = [fingerprint(thing) for thing in (toys.numbers, toys.picky, toys.Marked(), toys.Sparse(), len)]
    assert len(set(told)) == 5
    assert told[0] == fingerprint(toys.numbers)
    assert told[0].startswith("tests.streams.extraction.toys:numbers#")
    assert told[4] == "builtins:len"


def test_parts_join_in_order_and_keep_their_faults():
    parts = [(0, Encoded(np.float32([[1]]), {1: "a"})), (2, Encoded(None, {0: "b"})), (3, Encoded(np.float32([[2]])))]
    whole = Encoded.joined(parts)
    assert whole.rows.tolist() == [[1], [2]]
    assert whole.faults == {1: "a", 2: "b"}
    assert Encoded.joined([]).rows is None
