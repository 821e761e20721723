"""The model of label-parallel iHOMER against made-up runs and against its simulation, and the tables of the suite."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.frame import measure
from benchmarks.scale import labels
from benchmarks.scale.model import Costs, fitted, forecast, simulated

COSTS = Costs(np.array([1e-4, 2e-7, 2e-6]), np.array([4e-5, 5e-7]), np.array([55.0, 400.0]))


def made_up(mode="all", costs=COSTS):
    """A result whose runs cost exactly what the model says."""
    made = []
    for cells in (1000, 5000, 20_000) if mode == "all" else (150, 250, 300):
        sides = []
        for n in (1, 2, 16):
            told = forecast(costs, cells, n, latency_s=0, bytes_s=np.inf, jitter=0)
            found = {"coordinator_us": 1e6 * told.coordinator_s, "worker_us": 1e6 * told.worker_s, "bytes": told.bytes}
            quality = {"same": 1.0, "cells": cells, "workers": n, **found}
            sides.append({"name": f"{n} reckoned", "status": "ok", "best": 1 / told.events_s, "quality": quality})
        made.append({"group": f"labels-{mode}", "workload": f"words_{cells}_v1", "contestants": sides})
    return made


def runs(cells):
    return [side["quality"] for cell in cells for side in cell["contestants"]]


def test_constants_are_found_again():
    found = fitted(runs(made_up()))
    for name in ("coordinator", "worker", "bytes"):
        np.testing.assert_allclose(getattr(found, name), getattr(COSTS, name), rtol=1e-6)


def test_no_constant_is_below_zero():
    cheaper = [{**run, "coordinator_us": run["coordinator_us"] - 0.9 * run["workers"]} for run in runs(made_up())]
    odd = [{**run, "worker_us": 0.1 + run["worker_us"] ** 1.3} for run in cheaper]
    found = fitted(odd)
    assert min(*found.coordinator, *found.worker, *found.bytes) >= 0


@pytest.mark.parametrize("n_workers", [1, 2, 10, 100])
@pytest.mark.parametrize("cells", [250, 20_000, 1_000_000])
def test_model_and_simulation_are_the_same_where_nothing_varies(cells, n_workers):
    said = forecast(COSTS, cells, n_workers, latency_s=0, jitter=0).events_s
    seen = simulated(COSTS, cells, n_workers, latency_s=0, jitter=0, n_chunks=2)
    # Messages leave one after the other while the first to have theirs are at work already.
    assert said <= seen * 1.0001
    assert said == pytest.approx(seen, rel=0.3)
    assert n_workers > 1 or said == pytest.approx(seen)


@pytest.mark.parametrize("n_workers", [2, 10, 100])
def test_the_model_allows_for_what_varies(n_workers):
    said, seen = (of(COSTS, 20_000, n_workers) for of in (forecast, simulated))
    assert said.events_s == pytest.approx(seen, rel=0.12)
    assert simulated(COSTS, 20_000, n_workers) == seen


def test_the_coordinator_has_the_larger_share_the_more_workers_there_are():
    told = [forecast(COSTS, 20_000, n) for n in (1, 4, 16)]
    assert [one.share for one in told] == sorted(one.share for one in told)
    assert [one.events_s for one in told] == sorted(one.events_s for one in told)
    assert told[2].bytes > told[0].bytes


def test_tables_tell_what_was_measured_and_what_the_model_says():
    result = {"cells": made_up() + made_up("short")}
    made = labels.tables(result)
    assert made.keys() == {
        "labels-all", "labels-short", "constants-all", "constants-short", "model-all", "model-short", "simulation",
    }  # fmt: skip
    assert "| `words_1000_v1` | 1 reckoned | 1,000 |" in made["labels-all"]
    assert "Off by 0 % in the median of 9 runs, by 0 % at most." in made["constants-all"]
    assert "| 1,000,000 |" in made["model-all"]
    assert "| any (300 cells) |" in made["model-short"]
    assert labels.pictures(result).keys() == {"labels"}
    assert labels.tables({"cells": []}) == labels.pictures({"cells": []}) == {}


def test_all_labels_are_born_before_the_clock_starts():
    whole, n_before = labels._words("short", 1_000, True)
    assert set(whole.y[:n_before].indices.tolist()) == set(range(1_000))
    assert len(whole) - n_before == 1024


def test_a_cell_finds_the_same_answers_everywhere(monkeypatch):
    few = _few()
    monkeypatch.setattr(labels, "WORKERS", ())
    monkeypatch.setattr(labels, "RECKONED", (1, 3))
    monkeypatch.setattr(labels, "_words", lambda mode, n, quick: few)
    cell = next(cell for cell in labels.cells() if cell.name == "labels-all/words_1000_v1")
    record = measure(cell, quick=True)
    assert record["failures"] == []
    assert [side["quality"]["same"] for side in record["contestants"]] == [1.0] * 3


def _few():
    whole, _ = labels._words("all", 1_000, True)
    return whole[100:190], 40
