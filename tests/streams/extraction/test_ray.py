"""Actors of Ray give the rows that this process gives, whatever happens to them."""

import os
import signal
import sys
import threading

import numpy as np
import pytest

from streams.extraction.backend import WorkerError
from streams.extraction.encoding import EncoderError
from streams.extraction.pool import ExtractionPool
from tests.streams.extraction import toys


def test_without_ray_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"^the backend 'ray' needs the extra 'ray': pip install ihomer\[ray\]"):
        ExtractionPool(toys.numbers, 2, "ray")


@pytest.fixture(scope="module")
def cluster():
    """A cluster on this machine that every pool here joins; it takes its time to begin."""
    ray = pytest.importorskip("ray", reason="needs Ray")
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, configure_logging=False)
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
