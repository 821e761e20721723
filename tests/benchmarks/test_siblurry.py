"""The suite of heads in Si-Blurry: its features, a head's way through it, and its tables."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks import features, siblurry
from benchmarks.frame import Clock
from streams.siblurry.labelled import load_events


def test_features_are_made_once_at_unit_length(tmp_path, monkeypatch):
    monkeypatch.setenv("IHOMER_FEATURES", str(tmp_path / "cache"))
    made = []

    def toy():
        made.append(1)
        return np.array([[3.0, 4.0], [0.0, 0.0]]), np.array([1, 0])

    monkeypatch.setitem(features.SETS, "toy", toy)
    path = features.path_of("toy")
    assert path == features.path_of("toy")
    assert len(made) == 1
    with np.load(path) as archive:
        assert archive["x"].dtype == np.float32
        assert archive["x"].tolist() == [[np.float32(0.6), np.float32(0.8)], [0, 0]]
        assert archive["y"].tolist() == [1, 0]
    assert [file.name for file in path.parent.iterdir()] == ["toy_v1.npz"]


def test_responses_are_pooled_over_quarters():
    random = np.random.default_rng(0)
    images = random.uniform(0, 255, size=(2, 32, 32, 3)).astype(np.float32)
    mean, project = random.normal(size=108).astype(np.float32), random.normal(size=(108, 3)).astype(np.float32)
    found = features._responses(images, mean, project)
    cut = images[1, 5:11, 14:20].transpose(2, 0, 1).reshape(1, -1)
    assert found.shape == (2, 12)
    quarter = [
        np.maximum((features._contrast(images[1, y : y + 6, x : x + 6].transpose(2, 0, 1).reshape(1, -1)) - mean)
        @ project - 0.25, 0)
        for y in range(14)
        for x in range(14, 27)
    ]  # fmt: skip
    assert found[1, 3:6] == pytest.approx(np.concatenate(quarter).mean(0), rel=1e-3)
    assert features._contrast(cut).mean() == pytest.approx(0, abs=1e-5)


def test_words_of_html():
    assert features._plain("<p>a &lt; b</p>\n <b>c</b>") == "a < b c"


@pytest.fixture(scope="module")
def events():
    random = np.random.default_rng(1)
    y = np.repeat(np.arange(6), 50)
    x = (random.normal(size=(6, 5))[y] + 0.5 * random.normal(size=(300, 5))).astype(np.float32)
    return load_events((x, y))


def test_a_head_reports_every_seed(events):
    clock = Clock()
    quality = siblurry._attempt(events, "naive-bayes", (1, 2), clock)
    for metric in siblurry.SHOWN:
        values = [quality[f"{metric}@{seed}"] for seed in (1, 2)]
        assert quality[metric] == pytest.approx(np.mean(values))
    assert clock.events == 480
    assert clock.cost > 0


@pytest.mark.parametrize("kind", siblurry.OFFLINE.values())
def test_offline_bounds(events, kind):
    quality = siblurry._offline(events, kind, (1, 2), Clock())
    assert 0.5 < quality["a_last"] <= 1
    assert quality["a_last"] == pytest.approx(quality["a_last_balanced"])


def result(**heads):
    def side(name, values):
        quality = {f"{metric}@{seed}": value for metric in siblurry.SHOWN for seed, value in enumerate(values, 1)}
        quality |= {metric: sum(values) / len(values) for metric in siblurry.SHOWN}
        return {
            "name": name,
            "status": "ok",
            "best": 1e-5,
            "quality": {**quality, "model_bytes": 2e6, "answer_us": 30.0},
        }

    return {"cells": [{"workload": "toy_v1", "contestants": [side(name, values) for name, values in heads.items()]}]}


def test_tables_tell_means_and_pairs():
    found = siblurry.tables(result(**{"auto": [0.8, 0.7, 0.9], "SLDA": [0.7, 0.61, 0.79], "ridge": [0.9, 0.9, 0.9]}))
    deviation = 100 * math.sqrt(0.01)
    assert f"| toy_v1 | auto | 80.0 ± {deviation:.1f} |" in found["sets"]
    assert "* auto, A_auc: **not above all**, -10.0 to ridge." in found["means"]
    assert "| toy_v1 | A_auc | SLDA | +10.0 ± 1.0 | better |" in found["paired"]
    assert "| toy_v1 | A_auc | ridge | -10.0 ± 10.0 | even |" in found["paired"]
    assert "| toy_v1 | auto | 10 | 30 | 2.00 |" in found["costs"]
    assert siblurry.tables({"cells": []}) == {}
