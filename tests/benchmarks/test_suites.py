"""The workloads and tables of the suites."""

from __future__ import annotations

import gzip
from importlib import import_module
from itertools import pairwise

import numpy as np
import pytest

from benchmarks import SUITES, accuracy
from benchmarks.workloads import Events, dense, f1, plain_copy
from ihomer import open_source
from ihomer.evaluation.result import METRICS, SHOWN
from streams.batch import Batch


@pytest.mark.parametrize("suite", sorted(SUITES))
def test_cells_have_names_of_their_own(suite):
    names = [cell.name for cell in import_module(SUITES[suite]).cells()]
    assert names
    assert len(set(names)) == len(names)


def read(path):
    source = open_source(str(path))
    return Batch.concat(list(iter(source.next_batch, None)))


def test_a_shorter_stream_is_the_beginning_of_a_longer_one():
    short, long = dense(6, 5, 400, 1.9), dense(6, 5, 1200, 1.9)
    assert (short.x == long.x[:400]).all()
    assert (short.y == long.y[:400]).all()
    assert 1.4 < long.y.sum(1).mean() < 2.4
    assert not np.array_equal(long.x[:500], long.x[500:1000])


def test_files_hold_the_events_of_memory(tmp_path):
    events = dense(3, 4, 50, 1.0)
    events.write_arff(tmp_path / "events.arff")
    batch, memory = read(tmp_path / "events.arff"), Batch.concat(events.batches())
    assert (batch.x == memory.x).all()
    assert (batch.y.indptr == memory.y.indptr).all()
    assert (batch.y.indices == memory.y.indices).all()
    events.write_vowpal_wabbit(tmp_path / "events.vw")
    for line, x, y in zip((tmp_path / "events.vw").read_text().splitlines(), events.x, events.y, strict=True):
        labels, values = line.split("|")
        assert [int(label) for label in labels.strip().split(",") if label] == list(np.flatnonzero(y))
        assert [float(cell.split(":")[1]) for cell in values.split()] == list(x)
        assert [int(cell.split(":")[0]) for cell in values.split()] == list(range(len(x)))
    x, y = events.to_river()[7]
    assert list(x.values()) == list(events.x[7])
    assert [y[f"y{j}"] for j in range(3)] == list(events.y[7])


def test_a_copy_of_a_file_repeats_its_rows(tmp_path):
    text = "@relation 'a: -C -1'\n@attribute x numeric\n@attribute y {0,1}\n@DATA\n1,0\n2,1"
    (tmp_path / "a.arff.gz").write_bytes(gzip.compress(text.encode()))
    plain_copy(tmp_path / "a.arff.gz", tmp_path / "b.arff", times=3)
    assert read(tmp_path / "b.arff").x[:, 0].tolist() == [1, 2] * 3


def test_f1_by_hand():
    truth = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0]], bool)
    # Label 0: two hits. Label 1: one miss. Label 2: one false alarm.
    assert f1(truth, [[0], [], [0, 2]]) == {"micro_f1": 4 / 6, "macro_f1": 1 / 3}
    assert f1(truth[:0], []) == {"micro_f1": 0.0, "macro_f1": 0.0}
    with pytest.raises(ValueError, match="predicted must have a row for each of the 3 events, got 1"):
        f1(truth, [[0]])


def test_events_can_be_cut():
    events = Events("a_v1", np.arange(1200.0).reshape(600, 2), np.ones((600, 1), bool))
    assert [len(batch) for batch in events.batches()] == [256, 256, 88]
    assert len(events[:7]) == 7


# Published figures. Golden: the means that a study of these files states for the same thirteen sets.


@pytest.mark.parametrize(
    ("metric", "reference", "best"),
    [
        ("subset_accuracy", 0.316, 0.355),
        ("micro_f1", 0.536, 0.582),
        ("macro_f1", 0.411, 0.443),
        ("hamming_loss", 0.103, 0.080),
        ("example_f1", 0.537, 0.581),
    ],
)
def test_published_figures(metric, reference, best):
    figures = accuracy.published(metric)
    assert len(figures) == 13
    assert all(len(methods.keys() - {accuracy.PAPER}) == 17 for methods in figures.values())
    assert figures.keys() <= set(accuracy.SETS)
    assert round(np.mean([methods[accuracy.REFERENCE] for methods in figures.values()]), 3) == reference
    assert round(np.mean([accuracy._best(METRICS[metric], m)[0] for m in figures.values()]), 3) == best


def result(names, quality, **failed):
    sides = {
        name: {"name": name, "status": "ok", "events": 10, "best": 0.1, "quality": quality} for name in accuracy.RUN
    }
    sides |= {
        name: {"name": name, "status": "failed", "reason": reason, "events": 0} for name, reason in failed.items()
    }
    return {"cells": [{"group": "sets", "workload": name, "contestants": list(sides.values())} for name in names]}


QUALITY = dict.fromkeys(SHOWN, 0.5) | {"hamming_loss": 0.05}


def test_means_need_all_published_sets_and_stand_in_order():
    thirteen = list(accuracy.published("micro_f1"))
    assert "means" not in accuracy.tables(result(thirteen[1:], QUALITY))
    rows = accuracy.tables(result([*thirteen, "genbase"], QUALITY))["means"].splitlines()[4:]
    assert rows[0].startswith("| best of the 17, chosen per set and metric | 0.5820 |")
    assert "| MLHAT | 0.5360 | 0.4106 | 0.5372 | 0.3163 | 0.1032 |" in rows
    assert len(rows) == 1 + 17 + len(accuracy.RUN)
    micro = [float(row.split("|")[2]) for row in rows]
    assert all(one >= other for one, other in pairwise(micro))


def test_ranks_are_of_all_methods_and_those_that_print_alike_share_them():
    thirteen = list(accuracy.published("micro_f1"))
    made = accuracy.tables(result(thirteen, QUALITY))
    ranks = {row.split("|")[1].strip(): row.split("|")[2] for row in made["ranks"].splitlines()[4:]}
    assert len(ranks) == 17 + len(accuracy.RUN)
    assert sum(map(float, ranks.values())) == pytest.approx(sum(range(1, len(ranks) + 1)), abs=0.1)
    assert len({ranks[f"**{name}**"] for name in accuracy.LEARNERS} | {ranks[name] for name in accuracy.RIVER}) == 1
    assert "| **linear** | 0.00 / 1.00 / 0.00 |" in made["against"]
    assert "| **ihomer** |" not in made["against"]
    assert accuracy.pictures(result(thirteen, QUALITY)).keys() == {"means", "ranks"}


def test_a_learner_that_failed_somewhere_has_no_rank():
    thirteen = list(accuracy.published("micro_f1"))
    made = accuracy.tables(result(thirteen, QUALITY, linear="IndexError: oh"))
    assert "**linear**" not in made["ranks"]
    assert "**chain**" in made["ranks"]


def test_the_best_of_a_row_is_marked_whoever_it_is():
    made = accuracy.tables(result(["yeast", "cal500"], QUALITY))
    assert "| 0.5000 | 0.5976 | **0.6127** (MLBELS) | 0.6080 |" in made["micro_f1"]
    assert "| cal500 | **0.5000** |" in made["micro_f1"]
    assert "| yeast | **0.0500** |" in made["hamming_loss"]


def test_ends_of_streams_stand_beside_the_published_figures():
    found = result(["yeast"], QUALITY)
    side = {"name": accuracy.PAPER, "status": "ok", "events": 567, "quality": QUALITY}
    failed = {"name": accuracy.PAPER, "status": "failed", "reason": "oh", "events": 0}
    found["cells"] += [
        {"group": "ends", "workload": "flags", "contestants": [side]},
        {"group": "ends", "workload": "yeast", "contestants": [failed]},
    ]
    rows = accuracy.tables(found)["ends"].splitlines()[-2:]
    assert rows[0] == "| flags | 567 | 0.5000 / 0.6419 | 0.5000 / 0.5273 | 0.5000 / 0.0694 | 0.0500 / 0.3343 |"
    assert rows[1].startswith("| yeast | 0 | – / 0.6080 |")
    assert "ends" not in accuracy.tables(result(["yeast"], QUALITY))


def test_a_learner_that_failed_is_named_with_its_reason():
    made = accuracy.tables(result(["yeast"], QUALITY, ihomer="IndexError: oh"))
    assert made["micro_f1"].endswith("**yeast, ihomer: IndexError: oh**")
    assert "| yeast | – |" in made["micro_f1"]
    assert accuracy.tables({"cells": []}) == {}
