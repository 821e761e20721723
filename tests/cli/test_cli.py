"""The commands: what they print and where, what they say about wrong usage, and the codes that they leave with."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.main import get_command
from typer.testing import CliRunner

import ihomer
from ihomer.checkpoint import CheckpointStore, nested, write
from ihomer.cli import app
from ihomer.config import resolve
from ihomer.evaluation.result import Result, Run
from ihomer.plans import EvaluatePlan, RunPlan
from ihomer.specs import LEARNERS
from streams.batch import Schema

TOY = "tests.cli.toys:Toy"

UNSAID = {"--quiet", "--json", "--dry-run", "--no-learn", "--significance", "--until-end"}
"""Switches, whose default goes without saying."""


def in_a_process(*words, **options):
    return subprocess.run([sys.executable, "-m", "ihomer", *words], capture_output=True, text=True, **options)


# Help.


def test_help_is_quick_and_imports_nothing_heavy():
    code = (
        "import sys; from ihomer.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "print(sorted({'numba', 'pandas', 'pyarrow', 'matplotlib', 'river', 'pydantic', 'yaml'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    for name in ("evaluate", "run", "compare", "data", "learners", "detectors", "show"):
        assert re.search(rf"^│ {name} +[A-Z]", done.stdout, re.M), name


@pytest.mark.parametrize(
    "words",
    [
        *(["evaluate"], ["run"], ["compare"], ["show"], ["data", "list"], ["data", "info"], ["data", "get"]),
        *(["learners", "list"], ["learners", "info"], ["detectors", "list"], ["detectors", "info"]),
    ],
)
def test_every_command_has_help(words):
    shown = CliRunner().invoke(app, [*words, "--help"])
    assert shown.exit_code == 0
    assert f"{' '.join(words)} [OPTIONS]" in shown.stdout
    assert "--json" in shown.stdout


@pytest.mark.parametrize(("name", "plan"), [("evaluate", EvaluatePlan), ("run", RunPlan)])
def test_help_tells_the_defaults_that_plans_have(name, plan):
    options = {flag: option for option in get_command(app).commands[name].params for flag in option.opts}
    said = {"--baselines": "baselines", "--further-metrics": "further-metrics", "--resume": "no-resume"}
    said |= {"--learner": "ihomer", "--watch": "nothing", "--trust-pickle": "no-trust-pickle"}
    for field, info in plan.model_fields.items():
        flag = f"--{(info.alias or field).replace('_', '-')}"
        assert flag in options
        if info.is_required() or info.default is None or flag in UNSAID:
            continue
        assert f"default: {said.get(flag, info.default)}]" in options[flag].help, flag
    assert set(options) - {
        f"--{(info.alias or field).replace('_', '-')}" for field, info in plan.model_fields.items()
    } <= {
        *("--config", "--help", "--sink", "-q"),
    }


@pytest.mark.parametrize(
    "words", [[], ["data"], ["learners"], ["detectors"], ["evaluate"], ["run"], ["compare"], ["show"]]
)
def test_a_command_without_anything_shows_its_help(command, words):
    code, out, _ = command(*words)
    assert code == 2
    assert "Usage: " in out


def test_version(command):
    assert command("--version") == (0, f"ihomer {ihomer.__version__}\n", "")


# Wrong usage.


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["evaluat"], "No such command 'evaluat'"),
        (["evaluate", "--dta", "x"], "No such option: --dta"),
        (["evaluate", "--data", "x", "--batch-size", "many"], "Invalid value for '--batch-size': "),
        (["evaluate", "--data", "x", "--batch-size", "0"], "--batch-size: must be at least 1, got 0"),
        (["evaluate", "--data", "x", "--max-events", "0"], "--max-events: must be at least 1, got 0"),
        (["evaluate", "--data", "x", "--delay", "-1"], "--delay: must be at least 0, got -1"),
        (["evaluate", "--data", "x", "--seed", "-1"], "--seed: must be at least 0, got -1"),
        (["evaluate", "--data", "x", "--shuffle", "-1"], "--shuffle: must be at least 0, got -1"),
        (["evaluate", "--data", "x", "--window", "0"], "--window: must be at least 1, got 0"),
        (["evaluate", "--data", "x", "--fading", "2"], "--fading: must be in (0, 1], got 2"),
        (["evaluate", "--data", "x", "--on-error", "hide"], "--on-error: must be fail or skip, got 'hide'"),
        (["evaluate", "--data", "x", "--labels", ""], "--labels: must not be empty, got ''"),
        (
            ["evaluate", "--data", "x", "--resume"],
            "--resume: must come with a folder to go on from (checkpoint or out)",
        ),
        (["evaluate", "--data", "x", "--repeats", "0"], "--repeats: must be at least 1, got 0"),
        (["evaluate", "--data", "-", "--repeats", "2"], "--repeats: must be 1 for standard input, which is read once"),
        (["evaluate", "--data", "x,y", "--rope", "-1"], "--rope: must be at least 0, got -1"),
        (["evaluate", "--data", "x,y", "--rope", "nan"], "--rope: must be at least 0, got nan"),
        (
            ["evaluate", "--data", "x", "--significance"],
            "--significance: must come with at least 2 data sets, got 1",
        ),
        (
            ["evaluate", "--data", "x,y", "--learner", "linear", "--no-baselines", "--significance"],
            "--significance: must come with at least 2 learners, got 1 and no baselines",
        ),
        (["evaluate", "--data", "x,x"], "--data: must differ from each other, got 'x' twice"),
        (["evaluate", "--quiet"], "--data: must be given, here or in a configuration file"),
        (
            ["evaluate", "--data", "x", "--learner", "linaer"],
            "--learner: linaer: learner must be one of ",
        ),
        (
            ["evaluate", "--data", "x", "--learner", f"{TOY}:rate=0"],
            f"--learner: {TOY}:rate=0: rate must be more than 0",
        ),
        (["evaluate", "--data", "x", "--config", "no.yaml"], "no.yaml: cannot be read: No such file or directory"),
        (["run", "--quiet"], "--source: must be given, here or in a configuration file"),
        (["run", "--source", "x", "--metrics-every", "0"], "--metrics-every: must be at least 1, got 0"),
        (["run", "--source", "x", "--checkpoint-every", "0"], "--checkpoint-every: must be at least 1, got 0"),
        (
            ["run", "--source", "x", "--sink", "-", "--json"],
            "--json: must be left out where predictions goes to standard output",
        ),
        (
            ["run", "--source", "x", "--sink", "a", "--events-sink", "a"],
            "--events-sink: must be another place than predictions",
        ),
        (
            ["learners", "info", "linaer"],
            "linaer: learner must be one of ",
        ),
        (["compare", "nowhere.json", "nowhere.json"], "nowhere.json: no such file or directory"),
        (["show", "nowhere.ckpt"], "nowhere.ckpt: no such file or directory"),
        (["show", "."], ".: must be a checkpoint or a folder with one, got a folder without"),
    ],
)
def test_wrong_usage_is_told_in_one_line(command, words, message):
    code, out, err = command(*words)
    assert code == 2
    assert out == ""
    assert len(err.splitlines()) == 1
    assert err.startswith(f"ihomer: {message}")


def test_a_wrong_option_says_where_help_is(command):
    assert command("data", "list", "--jsn")[2].endswith("(see ihomer data list --help)\n")


def test_a_traceback_comes_only_when_asked_for(command):
    words = ["show", "nowhere.ckpt"]
    assert "Traceback" not in command(*words)[2]
    for place in range(3):
        code, _, err = command(*words[:place], "--debug", *words[place:])
        assert code == 2
        assert "Traceback" in err
        assert err.endswith("ihomer: nowhere.ckpt: no such file or directory\n")


def test_a_file_that_is_no_checkpoint_fails(command, tmp_path):
    (tmp_path / "a.ckpt").write_text("nothing")
    code, _, err = command("show", "a.ckpt")
    assert code == 1
    assert err.startswith("ihomer: a.ckpt: must be a whole checkpoint file, got ")


def test_an_error_that_nobody_expected_says_its_kind(command, monkeypatch):
    def broken(plan, progress):
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("ihomer.runs.run_stream", broken)
    code, _, err = command("run", "--source", "yeast", "--learner", "majority")
    assert (code, err) == (1, "ihomer: ZeroDivisionError: division by zero (--debug shows where)\n")


# Plans.


def test_a_dry_run_prints_a_configuration_file_and_touches_nothing(command, tmp_path):
    words = ["--data", "nowhere.arff", "--data", "b", "--learner", "majority", "--learner", f"{TOY}:depth=2,title=x"]
    flags = [*words, "--seed", "3", "--no-baselines", "--fading", "1e-2", "--out", "results"]
    code, first, _ = command("evaluate", *flags, "--dry-run")
    assert code == 0
    assert not (tmp_path / "results").exists()
    (tmp_path / "plan.yaml").write_text(first)
    plan = resolve(EvaluatePlan, {}, tmp_path / "plan.yaml")
    assert plan.data == ["nowhere.arff", "b"]
    assert plan.learner == ["majority", f"{TOY}:depth=2,title=x"]
    assert (plan.seed, plan.baselines, plan.fading, str(plan.out)) == (3, False, 0.01, "results")
    assert command("evaluate", "--config", "plan.yaml", "--dry-run") == (0, first, "")
    overridden = json.loads(command("evaluate", "--config", "plan.yaml", "--seed", "4", "--dry-run", "--json")[1])
    assert overridden["seed"] == 4
    assert overridden["data"] == plan.data


def test_a_fault_in_a_file_names_file_and_field(command, tmp_path):
    learner = {"name": TOY, "params": {"rate": -1}}
    (tmp_path / "plan.yaml").write_text(json.dumps({"data": ["yeast"], "learner": ["majority", learner]}))
    code, _, err = command("evaluate", "--config", "plan.yaml")
    assert (code, err) == (2, "ihomer: plan.yaml: learner[1].params.rate: must be more than 0, got -1.0\n")


# Learners.


def test_learners_list(command):
    code, out, _ = command("learners", "list", "--json")
    assert code == 0
    assert [learner["name"] for learner in json.loads(out)] == list(LEARNERS)
    code, out, _ = command("learners", "list")
    assert code == 0
    assert all(re.search(rf"^ *{name} ", out, re.M) for name in LEARNERS)


def test_learners_info(command):
    code, out, _ = command("learners", "info", TOY, "--json")
    assert code == 0
    assert [parameter["name"] for parameter in json.loads(out)["parameters"]][:2] == ["rate", "depth"]
    code, out, _ = command("learners", "info", TOY)
    assert code == 0
    assert re.search(r"^ *rate +0\.1 +float +How fast it learns, e\.g\. 0\.5; more than 0\. *$", out, re.M)
    assert re.search(r"^ *budget +none +int \| None +Bytes, or None for any number\. *$", out, re.M)
    assert f"--learner {TOY}:rate=0.1" in out
    assert "It has no parameters." in command("learners", "info", "majority")[1]


def test_a_learner_of_the_working_directory_is_found(command, tmp_path):
    (tmp_path / "my_learners.py").write_text("from learners.baselines import MajorityClassifier as Mine\n")
    assert command("learners", "info", "my_learners:Mine")[0] == 0


# Data.


@pytest.fixture
def toy_file(tmp_path):
    """A stream of 40 events with two features and two labels."""
    lines = [{"x": {"f": turn % 2, "g": turn}, "y": ["a"] if turn % 2 else ["a", "b"]} for turn in range(40)]
    (tmp_path / "toy.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return "toy.jsonl"


def test_data_list(command):
    code, out, _ = command("data", "list", "--json")
    assert code == 0
    yeast = next(entry for entry in json.loads(out) if entry["name"] == "yeast")
    assert (yeast["n_events"], yeast["n_features"], yeast["n_labels"]) == (2417, 103, 14)
    code, out, _ = command("data", "list")
    assert code == 0
    assert re.search(r"^ *yeast +2,417 +103 +14 +4\.237 ", out, re.M)


def test_data_info_counts_a_known_set(command):
    code, out, _ = command("data", "info", "yeast", "--json")
    found = json.loads(out)
    assert code == 0
    assert (found["n_events"], found["n_features"], found["n_labels"]) == (2417, 103, 14)
    assert found["cardinality"] == pytest.approx(4.2371, abs=5e-5)


def test_data_info_counts_a_file(command, toy_file):
    code, out, _ = command("data", "info", toy_file)
    assert code == 0
    assert re.search(r"events +40 *\n *features +2 *\n *labels +2 *\n *cardinality +1\.5000", out)


def test_data_that_are_not_here_are_described_by_the_table(command, monkeypatch, tmp_path):
    monkeypatch.setattr("streams.registry.folders", lambda: [tmp_path])
    found = json.loads(command("data", "info", "emotions", "--json")[1])
    assert (found["n_events"], found["where"], found["path"]) == (593, "to be fetched", None)


def test_data_get_prints_where_the_file_is(command, monkeypatch, tmp_path):
    (tmp_path / "emotions.arff").write_text("@relation emotions\n")
    monkeypatch.setattr("streams.registry.folders", lambda: [tmp_path])
    assert command("data", "get", "emotions") == (0, f"{tmp_path / 'emotions.arff'}\n", "")
    path = json.loads(command("data", "get", "emotions", "--json")[1])["path"]
    assert path == str(tmp_path / "emotions.arff")


def test_a_data_set_that_cannot_be_had_fails(command, monkeypatch):
    def unreachable(name, progress):
        raise FileNotFoundError("data set 'emotions' must be in one of the folders a, b, found neither")

    monkeypatch.setattr("streams.registry.fetch", unreachable)
    code, _, err = command("data", "get", "emotions")
    assert (code, err) == (1, "ihomer: data set 'emotions' must be in one of the folders a, b, found neither\n")


@pytest.mark.parametrize(
    "words", [["data", "info", "yeest"], ["data", "get", "yeest"], ["evaluate", "--data", "yeest"]]
)
def test_an_unknown_data_set_is_refused_with_one_like_it(command, words):
    code, out, err = command(*words, *(["--learner", "majority"] if words[0] == "evaluate" else []))
    assert (code, out) == (2, "")
    assert err == "ihomer: a data set must be a file or a known name, got 'yeest'; did you mean yeast?\n"


def test_the_last_source_is_looked_at_before_the_first_is_worked_on(command, fake, toy_file):
    engine = fake()
    code, _, err = command("evaluate", "--data", f"{toy_file},nowhere.arff", "--learner", "majority")
    assert (code, engine.plan) == (2, None)
    assert "found none called 'nowhere.arff'" in err


def test_a_broken_file_fails(command, tmp_path):
    (tmp_path / "a.arff").write_text("@relation a\n@attribute b sometimes\n@data\n")
    code, _, err = command("run", "--source", "a.arff", "--learner", "majority")
    assert code == 1
    assert err.startswith("ihomer: a.arff:2: ")


# Results.


def a_run(micro_f1):
    return Run({"name": "toy", "order": "file"}, {"name": "linear"}, {"micro_f1": micro_f1}, {"scored": 10})


def test_compare(command, tmp_path):
    (tmp_path / "before").mkdir()
    Result([a_run(0.5)]).save(tmp_path / "before" / "result.json")
    Result([a_run(0.4)]).save(tmp_path / "after.json")
    code, out, _ = command("compare", "before", "after.json")
    assert code == 0
    assert re.search(r"micro-F1.*0\.5000.*0\.4000.*worse", out)
    assert json.loads(command("compare", "before", "after.json", "--json")[1])["worse"] is True
    assert command("compare", "before", "after.json", "--strict")[0] == 1
    assert command("compare", "before", "after.json", "--strict", "--tolerance", "0.2")[0] == 0
    code, _, err = command("compare", "before", "after.json", "--tolerance", "-1")
    assert (code, err) == (1, "ihomer: tolerance must be at least 0, got -1.0\n")


class FakeRun:
    """Stands in for the engine: notes the plan, shows progress, gives a result."""

    def __init__(self, *, interrupted=False):
        self.interrupted = interrupted
        self.plan = None

    def __call__(self, plan, progress):
        self.plan = plan
        progress.begin("toy", 10)
        progress.advance(5 if self.interrupted else 10, lambda: {"linear": {"micro_f1": 0.5}})
        progress.end()
        run = a_run(0.5)
        run.interrupted = self.interrupted
        return Result([run])


@pytest.fixture
def fake(monkeypatch):
    def put(**options):
        engine = FakeRun(**options)
        monkeypatch.setattr("ihomer.runs.run_evaluation", engine)
        monkeypatch.setattr("ihomer.runs.run_stream", engine)
        return engine

    return put


def test_evaluate_prints_a_table_and_where_files_are(command, fake):
    engine = fake()
    code, out, err = command("evaluate", "--data", "yeast", "--learner", "majority", "--out", "results")
    assert code == 0
    assert engine.plan.data == ["yeast"]
    assert re.search(r"toy.*linear.*10.*0\.5000", out)
    assert "report  results/report.html" in out
    assert "result  results/result.json" in out
    assert err == "done toy  10 events in 0.0 s  micro-F1 linear 0.500\n"


def test_quiet_shows_no_progress(command, fake):
    fake()
    code, out, err = command("run", "--source", "yeast", "--learner", "majority", "--quiet", "--report", "a.html")
    assert (code, err) == (0, "")
    assert "report  a.html" in out


def test_json_is_all_that_standard_output_gets(command, fake):
    fake()
    code, out, err = command("evaluate", "--data", "yeast", "--learner", "majority", "--out", "results", "--json")
    assert code == 0
    assert json.loads(out)["runs"][0]["metrics"] == {"micro_f1": 0.5}
    assert err.startswith("done toy")


def test_a_sink_on_standard_output_has_it_for_itself(command, fake):
    fake()
    code, out, err = command("run", "--source", "yeast", "--learner", "majority", "--sink", "-", "--quiet")
    assert (code, out) == (0, "")
    assert "0.5000" in err


@pytest.mark.parametrize(
    ("words", "again"),
    [
        (
            ["evaluate", "--data", "yeast", "--out", "my results"],
            "ihomer evaluate --data yeast --learner majority --out 'my results' --resume --quiet",
        ),
        (
            ["run", "--source", "yeast", "--checkpoint", "state"],
            "ihomer run --source yeast --learner majority --checkpoint state --resume --quiet",
        ),
    ],
)
def test_a_stopped_run_says_how_to_go_on(command, fake, words, again):
    fake(interrupted=True)
    code, out, err = command(*words, "--learner", "majority", "--quiet")
    assert code == 130
    assert "0.5000" in out
    folder = "my results" if "--out" in words else "state"
    assert err == f"Stopped; what there is so far is in {folder}. To go on:\n{again}\n"


def test_a_stopped_run_without_a_folder_says_that_nothing_was_kept(command, fake):
    fake(interrupted=True)
    code, _, err = command("run", "--source", "yeast", "--learner", "majority", "--quiet")
    assert (code, err) == (130, "Stopped; no checkpoint was kept, because no folder was given for one.\n")


def test_a_run_that_is_broken_off_says_how_to_go_on(command, monkeypatch):
    def broken(plan, progress):
        raise KeyboardInterrupt

    monkeypatch.setattr("ihomer.runs.run_evaluation", broken)
    code, out, err = command("evaluate", "--data", "yeast", "--learner", "majority", "--out", "results")
    assert (code, out) == (130, "")
    assert err.endswith("To go on:\nihomer evaluate --data yeast --learner majority --out results --resume\n")


def test_a_command_that_is_broken_off_leaves_with_130(command, monkeypatch):
    def broken(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("ihomer.evaluation.result.Result.load", broken)
    assert command("compare", "a", "b") == (130, "", "ihomer: stopped\n")


def test_a_reader_that_goes_away_gets_no_traceback():
    started = subprocess.Popen(
        [sys.executable, "-m", "ihomer", "learners", "list", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert started.stdout is not None
    started.stdout.close()
    assert started.stderr is not None
    assert started.stderr.read() == b""
    started.stderr.close()
    assert started.wait() == 1


def test_colours_can_be_switched_off():
    environment = {**os.environ, "FORCE_COLOR": "1"}
    assert "\x1b[" in in_a_process("learners", "info", "majority", env=environment).stdout
    done = in_a_process("learners", "info", "majority", env={**environment, "NO_COLOR": "1"})
    assert done.returncode == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", done.stdout)


# With the engine.


def test_evaluate_leaves_three_files_and_resume_finds_them(command, toy_file, tmp_path):
    words = ["evaluate", "--data", toy_file, "--learner", "majority", "--out", "results", "--quiet", "--json"]
    code, out, err = command(*words)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert [run["learner"]["name"] for run in found["runs"]] == ["majority", "no-change"]
    assert all(run["counts"]["scored"] == 40 for run in found["runs"])
    assert json.loads((tmp_path / "results" / "result.json").read_text())["runs"] == found["runs"]
    assert (tmp_path / "results" / "curves.parquet").stat().st_size > 0
    assert (tmp_path / "results" / "report.html").stat().st_size > 0
    assert json.loads(command(*words, "--resume")[1])["runs"] == found["runs"]


def test_evaluate_compares_learners_over_data_sets(command, toy_file, tmp_path):
    lines = (tmp_path / toy_file).read_text().splitlines(keepends=True)
    others = [f"toy{number}.jsonl" for number in (1, 2)]
    for number, name in enumerate(others):
        (tmp_path / name).write_text("".join(lines[::-1] if number else lines[::2]))
    words = ["evaluate", "--data", ",".join([toy_file, *others]), "--learner", "linear", "--significance", "--quiet"]
    code, out, _ = command(*words, "--rope", "0.1", "--out", "results", "--repeats", "2", "--seed", "4")
    assert code == 0
    assert "average ranks over 3 data sets, 1 is best" in out
    assert "probability that linear is better / equivalent within 0.1 / worse" in out
    assert re.search(r"^ *Iman–Davenport F ", out, re.M)
    assert "Wilcoxon’s test needs at least 6 data sets, there are 3" in out
    found = json.loads((tmp_path / "results" / "result.json").read_text())
    assert found["significance"]["micro_f1"]["learners"] == ["linear", "no-change", "majority"]
    assert found["significance"]["micro_f1"]["rope"] == 0.1
    assert len(found["runs"]) == 3 * 2 * 3
    assert "<svg" in (tmp_path / "results" / "report.html").read_text().partition('id="significance"')[2]
    assert json.loads(command(*words, "--json")[1])["significance"]["micro_f1"]["rope"] == 0.01


def test_repeats_differ_in_order_and_are_shown_with_their_deviation(command, toy_file):
    words = ["evaluate", "--data", toy_file, "--learner", f"linear,{TOY}", "--repeats", "3", "--quiet"]
    code, out, _ = command(*words, "--shuffle", "5")
    assert code == 0
    assert re.search(r"toy \(shuffled:5\.\.7\) .*linear.* 0\.\d{4} ± 0\.\d{4}", out)
    runs = json.loads(command(*words, "--shuffle", "5", "--json")[1])["runs"]
    toys = [run for run in runs if run["learner"]["name"] == TOY]
    assert [run["data"]["order"] for run in toys] == ["shuffled:5", "shuffled:6", "shuffled:7"]
    assert [run["data"]["repeat"] for run in toys] == [0, 1, 2]
    assert [run["learner"]["seed"] for run in toys] == [0, 1, 2]
    runs = json.loads(command(*words, "--seed", "9", "--json")[1])["runs"]
    assert {run["data"]["order"] for run in runs} == {"file"}
    assert [run["learner"]["seed"] for run in runs if run["learner"]["name"] == TOY] == [9, 10, 11]
    runs = json.loads(command(*words, "--json")[1])["runs"]
    assert {run["data"]["order"] for run in runs} == {"shuffled:0", "shuffled:1", "shuffled:2"}


def test_a_payload_is_a_field_of_the_events(command, tmp_path):
    lines = [{"x": {"text": f"word{turn}", "f": turn}, "y": ["a"]} for turn in range(5)]
    (tmp_path / "texts.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    for words in (["evaluate", "--data"], ["run", "--source"]):
        words += ["texts.jsonl", "--learner", "majority", "--quiet", "--json"]
        assert json.loads(command(*words)[1])["runs"][0]["data"]["n_features"] == 2
        assert json.loads(command(*words, "--payload", "text")[1])["runs"][0]["data"]["n_features"] == 1


def test_run_writes_predictions_to_standard_output(command, toy_file):
    code, out, err = command("run", "--source", toy_file, "--learner", "majority", "--sink", "-", "--max-events", "7")
    assert code == 0
    assert [json.loads(line)["model"] for line in out.splitlines()] == ["majority"] * 7
    assert "done toy  7 events" in err


def test_sigterm_stops_a_run_with_a_checkpoint(tmp_path):
    words = ["run", "--source", "-", "--learner", "majority", "--no-baselines", "--sink", "out.jsonl"]
    words += ["--checkpoint", "state", "--batch-size", "10", "--quiet"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    run = subprocess.Popen([sys.executable, "-m", "ihomer", *words], cwd=tmp_path, text=True, **pipes)
    event = json.dumps({"x": {"f": 1}, "y": ["a"]}) + "\n"
    run.stdin.write(event * 100)
    run.stdin.flush()
    sink, waited = tmp_path / "out.jsonl", 0.0
    while waited < 60 and not (sink.exists() and sink.stat().st_size):
        time.sleep(0.05)
        waited += 0.05
    run.send_signal(signal.SIGTERM)
    out, err = run.communicate(event, timeout=300)
    assert run.returncode == 130
    assert "majority (interrupted)" in out
    again = "ihomer run --source - --learner majority --batch-size 10 --predictions out.jsonl --no-baselines"
    assert err == (
        f"Stopped; what there is so far is in state. To go on:\n{again} --checkpoint state --resume --quiet\n"
    )
    # One from before the first event, and the one that it left.
    assert len(list((tmp_path / "state").glob("checkpoint-*.ckpt"))) == 2


# Checkpoints.


@pytest.fixture
def checkpoint(tmp_path):
    """A folder with the checkpoint of a run, as the engine writes it, and a key from a later version."""
    schema = Schema(["f1", "f2", "colour"], [f"label{number}" for number in range(14)])
    schema.make_nominal(2, ["red", "green"])
    manifest = {
        "kind": "run",
        "learners": [
            {"name": "mine", "baseline": False, "class": "elsewhere:Mine", "params": {"rate": 0.5, "title": "x"}},
            {"name": "majority", "baseline": True, "class": "learners.baselines:MajorityClassifier", "params": {}},
        ],
        "source": {"name": "toy", "position": {"offset": 1234}},
        "sinks": {"predictions": {"bytes": 99}},
        "counts": {"read": 1234, "scored": 1200, "learned": 1200, "unlabelled": 34, "pending": 0, "dead": 0},
        "mood": {"good": True},
    }
    from learners.baselines import MajorityClassifier

    arrays = {
        "schema": schema.to_array(),
        **nested("0/model", {"weights": np.zeros((100, 10))}),
        **nested("1/model", MajorityClassifier().get_state()),
    }
    CheckpointStore(tmp_path / "state").save(1234, manifest, arrays)
    return tmp_path / "state"


def test_show_tells_everything(command, checkpoint):
    code, out, _ = command("show", checkpoint)
    assert code == 0
    for text in (
        "checkpoint-000000001234.ckpt",
        "3 features (1 nominal, dense), 14 labels",
        "label0, label1, ",
        "label11 and 2 more",
        "1,234 read, 1,200 scored, 1,200 learned, 34 unlabelled",
        'toy at {"offset": 1234}',
        'predictions at {"bytes": 99}',
        '{"good": true}',
        "mine  8.0 KB  elsewhere:Mine",
        "rate=0.5, title=x",
    ):
        assert text in out, text
    assert re.search(r"^majority  .*  baseline$", out, re.M)


def test_show_as_json(command, checkpoint):
    file = next(checkpoint.iterdir())
    code, out, _ = command("show", file, "--json")
    found = json.loads(out)
    assert code == 0
    assert found["bytes"] == file.stat().st_size
    assert found["counts"]["unlabelled"] == 34
    assert found["source"]["position"] == {"offset": 1234}
    assert found["mood"] == {"good": True}
    assert found["schema"]["n_features"] == 3
    assert found["schema"]["labels"][-1] == "label13"
    assert found["learners"][0]["bytes"] == 8000
    assert found["learners"][0]["hierarchy"] is None
    assert found["arrays"]["0/model/weights"] == {"dtype": "float64", "shape": [100, 10], "bytes": 8000}


def test_show_draws_the_label_clusters_of_a_model(command, tmp_path):
    model = ihomer.IHOMERClassifier(seed=1)
    for turn in range(600):
        model.learn_one({"f": float(turn % 2)}, {"a": turn % 2 == 0, "b": turn % 2 == 0, "c": turn % 2 == 1})
    ihomer.save(model, tmp_path / "m.ckpt")
    code, out, _ = command("show", "m.ckpt")
    assert code == 0
    drawn = out[out.index("ihomer.classifier:IHOMERClassifier") :]
    assert all(re.search(rf"\b{label}\b", drawn) for label in "abc")
    assert "events" in drawn
    tree = json.loads(command("show", "m.ckpt", "--json")[1])["learners"][0]["hierarchy"]
    assert sorted(tree["labels"]) == ["a", "b", "c"]


def test_show_refuses_another_version(command, tmp_path):
    write(tmp_path / "m.ckpt", {"kind": "model", "version": 99, "learners": []}, {})
    code, _, err = command("show", "m.ckpt")
    assert (code, err) == (1, "ihomer: m.ckpt: version must be 1, got 99\n")
