"""Repeats: what differs between them, what they come to, and that stopping among them changes nothing."""

from __future__ import annotations

import io
import json
import os
import signal

import numpy as np
import pytest
from rich.console import Console

from ihomer.config import resolve
from ihomer.evaluation.compare import compare
from ihomer.evaluation.repeats import MeanRun, averaged, evaluate_repeats
from ihomer.evaluation.result import METRICS, Result, Run
from ihomer.plans import EvaluatePlan
from ihomer.progress import NoProgress
from ihomer.runs import run_evaluation
from streams.opening import open_source
from tests.cli.toys import Toy
from tests.report.samples import repeated, sample


@pytest.mark.parametrize(
    ("flags", "orders", "seeds"),
    [
        ({}, [0, 1, 2], [0, 1, 2]),
        ({"shuffle": 5}, [5, 6, 7], [0, 1, 2]),
        ({"seed": 4}, [None] * 3, [4, 5, 6]),
        ({"shuffle": 5, "seed": 4}, [5, 6, 7], [4, 5, 6]),
    ],
)
def test_what_differs_between_repeats(flags, orders, seeds):
    plan = resolve(EvaluatePlan, {"data": "x", "learner": "linear", "repeats": 3, **flags})
    assert [(turn.shuffle, turn.seed) for turn in plan.each_repeat()] == list(zip(orders, seeds, strict=True))
    once = resolve(EvaluatePlan, {"data": "x", "learner": "linear", **flags})
    assert once.each_repeat() == [once]


def test_means_and_deviations_are_those_of_numpy():
    result = repeated(4)
    means = averaged(result)
    assert [run.learner_name for run in means.runs] == ["ihomer", "linear", "no-change", "majority"]
    for mean in means.runs:
        assert isinstance(mean, MeanRun)
        runs = [run for run in result.runs if run.learner_name == mean.learner_name]
        assert mean.repeats == runs
        for key in METRICS.keys() & runs[0].metrics.keys():
            values = [run.metrics[key] for run in runs]
            assert mean.metrics[key] == pytest.approx(np.mean(values))
            assert mean.deviation[key] == pytest.approx(np.std(values, ddof=1))
        assert mean.stream == ("yeast", "shuffled:5..8")
        assert mean.learner["seed"] == "0..3"
        assert mean.counts == runs[0].counts
        assert [entry["label"] for entry in mean.per_label] == [entry["label"] for entry in runs[0].per_label]
        assert len(mean.curve) == len(runs[0].curve)
        if runs[0].calibration is not None:
            assert mean.calibration["n_cells"] == 4 * runs[0].calibration["n_cells"]
            for key in ("low", "high", "mean_probability", "share_present"):
                assert mean.calibration[key] == pytest.approx(runs[0].calibration[key])
    assert averaged(means).runs == means.runs


def test_a_result_without_repeats_is_itself():
    result = sample(2)
    assert averaged(result) is result


def test_bins_of_repeats_are_poured_together():
    def run(turn, n, share):
        bins = {"low": [0.0], "high": [0.1], "n": [n], "mean_probability": [0.05], "share_present": [share]}
        return Run({"name": "x", "repeat": turn}, {"name": "a"}, {}, calibration={"n_cells": n, "ece": share, **bins})

    found = averaged(Result([run(0, 10, 0.1), run(1, 30, 0.5)])).runs[0].calibration
    assert (found["n"], found["share_present"], found["n_cells"]) == ([40], pytest.approx([0.4]), 40)


def test_interrupted_repeats_do_not_count_where_others_came_to_their_end():
    result = repeated(3)
    last = [run for run in result.runs if run.learner_name == "linear"][-1]
    last.interrupted, last.metrics = True, {"micro_f1": 0.0}
    mean = averaged(result).runs[1]
    values = [run.metrics["micro_f1"] for run in mean.repeats[:2]]
    assert mean.interrupted
    assert mean.metrics["micro_f1"] == pytest.approx(np.mean(values))
    assert mean.deviation["micro_f1"] == pytest.approx(np.std(values, ddof=1))


def test_learners_of_other_parameters_are_no_repeats():
    def run(turn, rate):
        return Run(
            {"name": "x", "repeat": turn}, {"name": "a", "params": {"rate": rate, "seed": turn}}, {"brier": rate}
        )

    means = averaged(Result([run(0, 0.1), run(0, 0.2), run(1, 0.1), run(1, 0.2)]))
    assert [mean.metrics["brier"] for mean in means.runs] == pytest.approx([0.1, 0.2])
    assert means.learner_titles() == ["a:rate=0.1", "a:rate=0.2"]


def test_the_table_has_one_row_for_all_repeats():
    result = repeated(3)
    console = Console(file=io.StringIO(), width=200)
    console.print(result.table())
    text = console.file.getvalue()
    mean = averaged(result).runs[0]
    assert f"{mean.metrics['micro_f1']:.4f} ± {mean.deviation['micro_f1']:.4f}" in text
    assert text.count("ihomer") == 1


def test_comparisons_are_of_means():
    a, b = repeated(3), repeated(3)
    for run in b.runs:
        run.metrics["micro_f1"] += 0.05
    comparison = compare(a, b)
    assert len(comparison.pairs) == 4
    found = comparison.pairs[0].differences[0]
    assert (found.metric, found.change, found.verdict) == ("micro_f1", pytest.approx(0.05), "better")


# With the engine.


def test_repeats_from_python_are_those_of_the_command_line(tmp_path):
    toy = Toy(seed=3)
    result = evaluate_repeats("flags", {"toy": toy}, 2, shuffle=5, seed=4, baselines=False)
    assert [run.data["order"] for run in result.runs] == ["shuffled:5", "shuffled:6"]
    assert [run.learner["seed"] for run in result.runs] == [4, 5]
    assert [run.data["repeat"] for run in result.runs] == [0, 1]
    assert toy.seed == 3
    flags = {
        "data": "flags",
        "learner": "tests.cli.toys:Toy",
        "repeats": 2,
        "shuffle": 5,
        "seed": 4,
        "baselines": False,
    }
    other = run_evaluation(resolve(EvaluatePlan, flags), NoProgress())
    assert [run.metrics for run in other.runs] == [run.metrics for run in result.runs]
    in_order = evaluate_repeats("flags", {"toy": toy}, 2, shuffle=None, baselines=False)
    assert in_order.runs[0].metrics == in_order.runs[1].metrics


def test_what_cannot_be_repeated_is_refused():
    with pytest.raises(ValueError, match="repeats must be at least 1, got 0"):
        evaluate_repeats("flags", {"toy": Toy()}, 0)
    with pytest.raises(TypeError, match="stream must be something that can be opened again, got the source 'flags'"):
        evaluate_repeats(open_source("flags"), {"toy": Toy()}, 2)


class StopAfter(NoProgress):
    """Presses Ctrl-C when so many batches have been read."""

    def __init__(self, batches: int) -> None:
        self.left = batches

    def advance(self, n_events, metrics):
        self.left -= 1
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGINT)


def without_times(folder):
    runs = json.loads((folder / "result.json").read_text())["runs"]
    for run in runs:
        del run["time"]
    return runs


@pytest.mark.parametrize("batches", [1, 5, 6, 8, 14, 22])
def test_stopped_among_repeats_and_resumed_ends_as_if_never_stopped(batches, tmp_path):
    rng = np.random.default_rng(2)
    for name in ("one", "two"):
        rows = rng.integers(0, 5, (50, 3)).tolist()
        lines = [{"x": {"f": f, "g": g}, "y": ["a"] * (f > g) + ["b"] * (h > 2)} for f, g, h in rows]
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))

    def plan(folder, **flags):
        settings = {
            "data": f"{tmp_path / 'one.jsonl'},{tmp_path / 'two.jsonl'}",
            "learner": "linear,majority",
            "repeats": 2,
            "batch_size": 10,
            "out": str(tmp_path / folder),
            "predictions": str(tmp_path / f"{folder}.jsonl"),
        }
        return resolve(EvaluatePlan, settings | flags)

    run_evaluation(plan("whole"), NoProgress())
    stopped = run_evaluation(plan("parts"), StopAfter(batches))
    finished = 2 * 2 * 5
    assert stopped.interrupted == (batches <= finished)
    resumed = run_evaluation(plan("parts", resume=True), NoProgress())
    assert not resumed.interrupted
    assert without_times(tmp_path / "parts") == without_times(tmp_path / "whole")
    assert (tmp_path / "parts.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert [(run.data["name"], run.data["repeat"]) for run in resumed.runs[::3]] == [
        ("one", 0),
        ("one", 1),
        ("two", 0),
        ("two", 1),
    ]
