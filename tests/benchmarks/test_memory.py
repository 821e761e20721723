"""Bytes against events: what an attempt tells, and what a reader sees of it."""

from __future__ import annotations

from functools import partial

import numpy as np

from benchmarks import memory
from benchmarks.frame import Cell, Clock, Contestant, measure
from benchmarks.targets import Below


def run(spec: str, n_events: int = 20_000) -> tuple[dict[str, float], Clock]:
    clock = Clock()
    return dict(memory._run(spec, n_events, clock)), clock


def test_a_learner_of_fixed_size_is_flat() -> None:
    quality, clock = run("linear")
    sizes = [quality[f"bytes_{point:02}"] for point in range(1, 11)]
    assert quality["growth"] == 1.0
    assert len(set(sizes)) == 1
    assert clock.cost == sizes[0]
    assert clock.events == 20_000
    assert quality["micro_f1"] > 0.5


def test_a_learner_that_grows_is_seen_to() -> None:
    quality, clock = run("mlhat:grace_period=50")
    sizes = [quality[f"bytes_{point:02}"] for point in range(1, 11)]
    assert quality["growth"] == max(sizes) / sizes[0] > 1.2
    assert clock.cost == max(sizes)


def test_the_stream_is_the_same_every_time_and_its_world_changes() -> None:
    first, again = memory._block(1000), memory._block(1000)
    assert np.array_equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    x, y = memory._block(0)
    assert x.shape == (1000, 20)
    assert 0.05 < y.mean() < 0.5
    # Era 1 asks other features: its rule, applied to era 0, gives other labels.
    chosen = [np.random.default_rng([1, era]).integers(20, size=(3, 8)) for era in (0, 1)]
    assert not np.array_equal(*chosen)


def test_table_and_picture_show_every_learner() -> None:
    sides = [Contestant(name, partial(memory._run, name, 20_000)) for name in ("linear", "knn")]
    cell = Cell("events", "w", lambda setting: sides, unit="bytes", targets=[Below("linear", 1e6)], repeats=1)
    record = measure(cell)
    assert not record["failures"]
    assert record["targets"][0]["verdict"] == "reached"
    result = {"cells": [record]}
    text = memory.tables(result)["events"]
    assert "| linear | 20,000 |" in text
    assert "| knn | 20,000 |" in text
    (drawn,) = memory.pictures(result).values()
    assert [line.get_label() for line in drawn.axes[0].lines] == ["linear", "knn", "budget"]


def test_nothing_measured_is_no_table() -> None:
    assert memory.tables({"cells": []}) == {}
    assert memory.pictures({"cells": []}) == {}
