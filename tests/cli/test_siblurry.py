"""``ihomer siblurry``: its files, what it prints, and how it is stopped and goes on."""

from __future__ import annotations

import json
import signal
from functools import partial

import numpy as np
import pytest

from ihomer.config import command_line, resolve
from ihomer.evaluation.result import Result
from ihomer.plans import SiBlurryPlan
from learners.baselines import MajorityClassifier

LEARNERS = "majority,naive-bayes"


@pytest.fixture
def features(tmp_path):
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(6), 30)
    path = tmp_path / "features.npz"
    np.savez(path, x=(random.normal(size=(6, 4))[y] + random.normal(size=(180, 4))).astype(np.float32), y=y)
    return path


@pytest.fixture
def command(command):
    """Runs ``ihomer siblurry``."""
    return partial(command, "siblurry")


def test_it_leaves_three_files_and_a_table(command, features, tmp_path):
    code, out, err = command("--data", features, "--learner", LEARNERS, "--seeds", 3, "--out", "results")
    assert code == 0
    assert {path.name for path in (tmp_path / "results").iterdir()} == {"result.json", "curves.parquet", "report.html"}
    assert "A_auc ↑" in out
    assert out.count("±") == 2 * 8 + 4
    assert "majority   naive-bayes" in out
    assert "report  results/report.html" in out
    assert "features, seed 3" in err
    runs = Result.load("results/result.json").runs
    assert [(run.learner_name, run.data["order"]) for run in runs] == [
        (name, f"siblurry:{seed}") for seed in (1, 2, 3) for name in ("majority", "naive-bayes")
    ]
    for run in runs:
        assert {"a_auc", "a_avg", "a_last", "a_auc_balanced", "a_last_balanced"} <= run.metrics.keys()
        assert len(run.curve) >= 20
        assert len(run.data["sha256"]) == 64


def test_json_is_one_object_and_quiet_says_nothing(command, features):
    code, out, err = command("--data", features, "--learner", "majority", "--seeds", 1, "--json", "--quiet")
    assert (code, err) == (0, "")
    value = json.loads(out)
    assert value["format"] == "ihomer-result"
    assert value["command"].startswith("ihomer siblurry --data ")
    assert value["runs"][0]["data"]["scenario"]["n"] == 50


def test_flags_override_a_file_and_reach_the_scenario(command, features, tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text(f"data: {features}\nlearner: majority\nn: 0\nm: 30\nseeds: 4\nvarying: false\n")
    code, out, _ = command(
        "--config", file, "--n", 100, "--seed", 8, "--seeds", 1, "--donation", "head", "--json", "-q"
    )
    assert code == 0
    scenario = json.loads(out)["runs"][0]["data"]["scenario"]
    expected = {"n": 100, "m": 30, "sessions": 5, "seed": 8, "donation": "head", "varying": False}
    assert {name: scenario[name] for name in expected} == expected
    assert set(scenario["kind"]) == {"disjoint"}


def test_a_dry_run_prints_the_plan(command, features):
    code, out, _ = command("--data", features, "--learner", "majority", "--fixed", "--dry-run", "--json")
    assert code == 0
    settings = json.loads(out)
    assert settings["varying"] is False
    assert settings["learner"] == ["majority"]


def test_the_command_line_makes_the_same_plan(features):
    plan = resolve(SiBlurryPlan, {"data": str(features), "learner": "majority", "varying": False, "m": 5.0})
    assert command_line(plan) == f"ihomer siblurry --data {features} --learner majority --m 5.0 --no-varying"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "nothing"], "a data set must be a file or a known name, got 'nothing'"),
        (["--data", "FILE", "--n", "101"], "--n: must be from 0 to 100, got 101"),
        (["--data", "FILE", "--test-share", "1"], "--test-share: must be between 0 and 1, got 1"),
        (["--data", "FILE", "--sessions", "0"], "--sessions: must be at least 1, got 0"),
        (["--data", "FILE", "--donation", "tail"], "--donation: must be random or head, got 'tail'"),
        (["--data", "FILE", "--resume"], "--resume: must come with a folder to go on from (out), got none"),
        (["--seeds", "2"], "--data: must be given, here or in a configuration file"),
    ],
)
def test_wrong_usage(command, features, words, message):
    words = [str(features) if word == "FILE" else word for word in words]
    code, _, err = command(*words, "--learner", "majority")
    assert code == 2
    assert message in err


def test_a_learner_that_there_is_not(command, features):
    code, _, err = command("--data", features, "--learner", "nobody")
    assert code == 2
    assert "nobody" in err


def test_it_goes_on_where_it_was_stopped(command, features, monkeypatch):
    original, calls = MajorityClassifier._run, []
    words = ["--data", features, "--learner", LEARNERS, "--seeds", 2, "--out", "results"]

    def count(self, batch, learn):
        calls.append(learn)
        # The first learner's run on the second seed.
        if calls.count(True) == 35:
            signal.raise_signal(signal.SIGINT)
        return original(self, batch, learn)

    before = signal.getsignal(signal.SIGINT)
    with monkeypatch.context() as patch:
        patch.setattr(MajorityClassifier, "_run", count)
        code, _, err = command(*words)
    assert code == 130
    assert signal.getsignal(signal.SIGINT) is before
    kept = Result.load("results/result.json").runs
    assert [run.learner_name for run in kept] == ["majority", "naive-bayes"]
    assert "Stopped; the runs that are done are in results. To go on:" in err
    assert "--resume" in err
    assert command(*words, "--resume")[0] == 0
    runs = Result.load("results/result.json").runs
    assert [run.metrics for run in runs[: len(kept)]] == [run.metrics for run in kept]
    assert len(runs) == 4
    assert command(*words, "--resume", "--n", 20)[0] == 0
    # Another scenario is another run.
    assert len(Result.load("results/result.json").runs) == 8
