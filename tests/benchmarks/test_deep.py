"""The suite of deep learners: its streams, what an attempt reports, and what tables tell."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks import deep
from benchmarks.frame import Clock
from ihomer.specs import parse
from streams.siblurry.labelled import load_events


def test_every_contestant_has_the_same_blocks():
    specs = [
        parse(deep._with(spec, f"model=m,{common}")) for spec in deep.DEEP.values() for common in deep.COMMON.values()
    ]
    assert len({(spec.params["block"], spec.params["steps"], spec.params["device"]) for spec in specs}) == 2
    assert {spec.params["model"] for spec in specs} == {"m"}
    assert {deep.MVP, *deep.BELOW} <= deep.DEEP.keys()
    assert deep.OURS in deep.HEADS


@pytest.fixture
def events():
    random = np.random.default_rng(1)
    y = np.repeat(np.arange(6), 50)
    return load_events(((random.normal(size=(6, 5))[y] + 0.5 * random.normal(size=(300, 5))).astype(np.float32), y))


def test_ranks_are_within_classes(events):
    part = deep._of_ranks(events, 10, 12)
    assert part.y.indices.tolist() == [0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert (part.x[:2] == events.batch.x[10:12]).all()


def test_an_attempt_reports_every_seed(events):
    clock = Clock()
    quality = deep._attempt(events, "naive-bayes", (1, 2), 0.5, clock)
    for metric in deep.SHOWN:
        assert quality[metric] == pytest.approx(np.mean([quality[f"{metric}@{seed}"] for seed in (1, 2)]))
    assert clock.events == 480
    assert quality["s_with_encoding"] == pytest.approx(clock.cost + 0.5)


def result(cost=1e-2, **means):
    def side(name, value):
        quality = {f"{metric}@{seed}": value + (seed - 2) / 10 for metric in deep.SHOWN for seed in (1, 2, 3)}
        quality |= dict.fromkeys(deep.SHOWN, value)
        best = 1e-5 if name in deep.HEADS else cost
        return {
            "name": name,
            "status": "ok",
            "best": best,
            "note": "a note",
            "quality": {**quality, "s_with_encoding": best + (1e-3 if name in deep.HEADS else 0)},
        }

    sides = [side(name.replace("_", " "), value) for name, value in means.items()]
    return {"cells": [{"group": "images", "workload": "toy_v1", "contestants": sides}]}


def test_tables_tell_the_order_whatever_it_is():
    page = deep.tables(result(auto=0.8, MVP=0.5, L2P=0.4, DualPrompt=0.6))["images"]
    assert f"| MVP | 50.0 ± {100 * math.sqrt(0.01):.1f} |" in page
    assert "* MVP is above L2P in A_auc: +10.0 points" in page
    assert "* MVP is **not above** DualPrompt in A_auc: -10.0 points" in page
    assert "* auto is above MVP in A_last: +30.0 points" in page
    assert "auto learns 1,000 x as many events a second as MVP (at least 100 x: reached); 9.9 x with" in page
    page = deep.tables(result(cost=5e-4, auto=0.8, MVP=0.5))["images"]
    assert "auto learns 50 x as many events a second as MVP (at least 100 x: **missed by 50 %**)" in page


def test_a_contestant_that_is_missing_is_named():
    cell = {"group": "images", "contestants": [{"name": "MVP", "status": "missing", "reason": "peer not available"}]}
    found = deep.tables(
        {"cells": [{**cell, "contestants": cell["contestants"] + result(auto=0.8)["cells"][0]["contestants"]}]}
    )
    assert "| MVP | **peer not available** |" in found["images"]
    assert deep.tables({"cells": [cell]}) == {}


def test_encoders_are_told_by_their_probe():
    side = {"name": "views", "status": "ok", "best": 61.3, "note": "how", "quality": {"probe_accuracy": 0.512}}
    failed = {"name": "luck", "status": "failed", "reason": "oh"}
    page = deep.tables({"cells": [{"group": "encoder", "contestants": [side, failed]}]})["encoder"]
    assert "| views | 61 | 51.2 |" in page
    assert "| luck | oh | – |" in page
    assert page.endswith("* how")
