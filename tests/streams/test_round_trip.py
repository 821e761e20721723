"""The multi-label sets through every format: the same events, and the same scores from them."""

import json

import numpy as np
import pytest

import ihomer
from streams import open_source, write_events
from streams.batch import Rows
from streams.datasets import DATASETS
from streams.memory import read_all
from tests.streams.places import assert_same_batch, data_folder

SMALL = ("flags", "emotions", "birds", "cal500", "slashdot", "medical")
LARGE = tuple(info.name for info in DATASETS if info.name not in (*SMALL, "electricity"))
ENDINGS = (".parquet", ".jsonl", ".csv", ".svm")

NAMES = [*SMALL, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)]


def has_missing(batch):
    return bool(np.isnan(batch.x.data if isinstance(batch.x, Rows) else batch.x).any())


def scores(source):
    (run,) = ihomer.evaluate(source, {"linear": ihomer.LinearClassifier()}, baselines=False).runs
    # As text, in which NaN equals itself.
    return json.dumps([run.metrics, run.window, run.counts, run.per_label])


def test_all_sixteen_are_here():
    assert len(SMALL) + len(LARGE) == 16


@pytest.mark.parametrize("name", NAMES)
def test_events_and_scores_are_the_same_in_every_format(tmp_path, name):
    data_folder()
    batch = read_all(open_source(name))
    expected = scores(open_source(batch))
    for ending in ENDINGS:
        path = tmp_path / (name + ending)
        if ending == ".svm" and has_missing(batch):
            with pytest.raises(ValueError, match=rf"{path.name}: row [0-9]+: feature .* must have a value"):
                write_events(open_source(name), path)
            assert not path.exists()
            continue
        assert write_events(open_source(name), path) == len(batch)
        again = read_all(open_source(path))
        assert_same_batch(again, batch)
        assert scores(open_source(path)) == expected
        path.unlink()


@pytest.mark.parametrize("name", ["yeast.jsonl", "yeast.csv", "yeast.parquet"])
def test_partial_labels_make_the_same_scores(tmp_path, name):
    data_folder()
    batch = read_all(open_source("yeast"), 600)
    chance = np.random.default_rng(1)
    batch.label_state = chance.choice([0, 1, 2], 600).astype(np.uint8)
    known = chance.random((600, 14)) < 0.5
    known[:, 0], known[:, 1] = False, True
    known[batch.label_state != 1] = False
    y = batch.y.to_dense(14)
    y[(batch.label_state == 1)[:, np.newaxis] & ~known] = 0
    y[batch.label_state == 0] = 0
    batch.y, batch.known = Rows.from_dense(y), Rows.from_dense(known)
    write_events(batch, tmp_path / name)
    assert_same_batch(read_all(open_source(tmp_path / name)), batch)
    assert scores(open_source(tmp_path / name)) == scores(open_source(batch))
    with pytest.raises(ValueError, match=r"yeast.svm: row [0-9]+: labels must be known"):
        write_events(batch, tmp_path / "yeast.svm")
