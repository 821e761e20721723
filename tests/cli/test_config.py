"""Plans: files, flags over files, and one clear line for every fault."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ihomer import specs
from ihomer.config import ConfigError, command_line, dump, read_file, resolve
from ihomer.plans import EvaluatePlan, RunPlan

TOY = "tests.cli.toys:Toy"


def evaluate_plan(**flags):
    return resolve(EvaluatePlan, {"data": "yeast", **flags})


def test_defaults_are_those_of_the_documentation():
    plan = evaluate_plan()
    assert plan.data == ["yeast"]
    assert plan.learner == ["ihomer"]
    assert (plan.batch_size, plan.window, plan.fading, plan.delay) == (256, 1000, 0.999, 0)
    assert (plan.baselines, plan.on_error, plan.resume) == (True, "fail", False)
    run = resolve(RunPlan, {"source": "yeast"})
    assert (run.learner, run.on_error, run.checkpoint_every, run.metrics_every) == ("ihomer", "skip", 10_000, 1000)


def test_lists_are_split_in_flags_and_files(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text(f"data: yeast, emotions\nlearner: majority,{TOY}:rate=1,depth=2\n")
    plan = resolve(EvaluatePlan, {}, file)
    assert plan.data == ["yeast", "emotions"]
    assert plan.learner == ["majority", f"{TOY}:rate=1,depth=2"]


def test_a_list_in_a_file_is_taken_as_it_is(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text("data: ['a,b.arff', c.arff]\nlearner: [majority, no-change]\n")
    plan = resolve(EvaluatePlan, {}, file)
    assert plan.data == ["a,b.arff", "c.arff"]


def test_a_learner_can_be_given_as_name_and_params(tmp_path):
    file = tmp_path / "plan.yaml"
    params = "{rate: 1e-2, budget: null, warm: true, title: 'a, b', depth: 4}"
    file.write_text(f"source: yeast\nlearner: {{name: '{TOY}', params: {params}}}\n")
    plan = resolve(RunPlan, {}, file)
    assert plan.learner == f'{TOY}:rate=0.01,budget=none,warm=true,title="a, b",depth=4'


def test_a_learner_can_hold_another(tmp_path):
    file = tmp_path / "plan.yaml"
    local = "{name: linear, params: {l1: 0.5, l2: 0.25}}"
    file.write_text(f"source: a\nlearner: {{name: ihomer, params: {{local: {local}}}}}\n")
    plan = resolve(RunPlan, {}, file)
    found = specs.build(plan.learner).local
    assert (found.l1, found.l2) == (0.5, 0.25)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("plan.yaml", "source: yeast\nbatch-size: 10\nwindow: 20\nlearner: majority\n"),
        ("plan.yml", '{"source": "yeast", "batch_size": 10, "window": 20, "learner": "majority"}'),
        ("plan.toml", 'source = "yeast"\nbatch_size = 10\nwindow = 20\nlearner = "majority"\n'),
    ],
)
def test_flags_override_files(tmp_path, name, text):
    file = tmp_path / name
    file.write_text(text)
    plan = resolve(RunPlan, {"batch_size": 30, "window": None, "baselines": False}, file)
    assert (plan.source, plan.batch_size, plan.window, plan.learner) == ("yeast", 30, 20, "majority")
    assert plan.baselines is False


def test_a_flag_can_switch_off_what_a_file_switches_on(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text("source: a\ncheckpoint: state\nresume: true\nquiet: true\n")
    plan = resolve(RunPlan, {"resume": False, "quiet": None}, file)
    assert plan.resume is False
    assert plan.quiet is True


def test_a_sink_is_where_predictions_go(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text("source: a\nlearner: majority\nsink: out.jsonl\n")
    assert resolve(RunPlan, {}, file).predictions == "out.jsonl"
    assert resolve(RunPlan, {"predictions": "-"}, file).predictions == "-"


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "batch_size: must be at least 1, got 0"),
        ({"batch_size": "many"}, "batch_size: must be a whole number, got 'many'"),
        ({"batch_size": 2.5}, "batch_size: must be a whole number, got 2.5"),
        ({"batch_size": True}, "batch_size: must be a whole number, got True"),
        ({"max_events": -1}, "max_events: must be at least 1, got -1"),
        ({"seed": -1}, "seed: must be at least 0, got -1"),
        ({"shuffle": "yes"}, "shuffle: must be a whole number, got 'yes'"),
        ({"delay": -1}, "delay: must be at least 0, got -1"),
        ({"window": 0}, "window: must be at least 1, got 0"),
        ({"fading": 0}, "fading: must be in (0, 1], got 0"),
        ({"fading": 1.5}, "fading: must be in (0, 1], got 1.5"),
        ({"fading": "slow"}, "fading: must be a number, got 'slow'"),
        ({"baselines": 1}, "baselines: must be true or false, got 1"),
        ({"baselines": "no thanks"}, "baselines: must be true or false, got 'no thanks'"),
        ({"on_error": "ignore"}, "on_error: must be fail or skip, got 'ignore'"),
        ({"labels": ""}, "labels: must not be empty, got ''"),
        ({"labels": 6}, "labels: must be text, got 6"),
        ({"out": 5}, "out: must be a path, got 5"),
        ({"predictions": " "}, "predictions: must not be empty, got ' '"),
        ({"data": []}, "data: must have at least 1 entry, got []"),
        ({"data": 3}, "data: must be a list, got 3"),
        ({"data": ["a", 3]}, "data[1]: must be text, got 3"),
        ({"data": ["a", "b", "a"]}, "data: must differ from each other, got 'a' twice"),
        ({"learner": "majority,majority"}, "learner: must differ from each other, got 'majority' twice"),
        ({"learner": ["majority", 5]}, "learner[1]: must be text, got 5"),
        (
            {"learner": [{"nome": "majority"}]},
            "learner[0]: must be a learner as text, or its name and params, got {'nome",
        ),
        ({"learner": "linaer"}, "learner[0]: linaer: learner must be one of "),
        ({"learner": [f"{TOY}:rate=-1"]}, f"learner[0]: {TOY}:rate=-1: rate must be more than 0, got -1.0"),
        (
            {"learner": ["majority", {"name": TOY, "params": {"rate": -1}}]},
            "learner[1].params.rate: must be more than 0, got -1.0",
        ),
        ({"resume": True}, "resume: must come with a folder to go on from (checkpoint or out), got none"),
        (
            {"predictions": "x.jsonl", "dead_letters": "x.jsonl"},
            "dead_letters: must be another place than predictions, got 'x.jsonl' for both",
        ),
        (
            {"predictions": "-", "json": True},
            "json: must be left out where predictions goes to standard output, got true",
        ),
        ({"bacth_size": 3}, "bacth_size: must be a setting of this command; did you mean batch_size?"),
        ({"metrics_every": 3}, "metrics_every: must be a setting of this command"),
        ({"sink": 5}, "predictions: must be text, got 5"),
        ({"out": ""}, "out: must not be empty, got ''"),
        (
            {"learner": {"name": TOY, "params": {"depth": 0.5}}},
            "learner[0].params.depth: must be a whole number, got '0.5'",
        ),
    ],
)
def test_a_fault_names_the_file_the_field_the_rule_and_the_value(tmp_path, wrong, message):
    file = tmp_path / "plan.yaml"
    file.write_text(yaml.safe_dump({"data": ["yeast"], **wrong}))
    with pytest.raises(ConfigError, match="^" + re.escape(f"{file}: {message}")):
        resolve(EvaluatePlan, {}, file)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"batch_size": 0}, "--batch-size: must be at least 1, got 0"),
        ({"on_error": "ignore"}, "--on-error: must be fail or skip, got 'ignore'"),
        ({"learner": f"{TOY}:rate=-1"}, f"--learner: {TOY}:rate=-1: rate must be more than 0, got -1.0"),
        ({"resume": True}, "--resume: must come with a folder to go on from (checkpoint), got none"),
        ({"source": None}, "--source: must be given, here or in a configuration file"),
        ({"metrics_every": 0}, "--metrics-every: must be at least 1, got 0"),
        ({"checkpoint_every": 0}, "--checkpoint-every: must be at least 1, got 0"),
    ],
)
def test_a_fault_of_a_flag_names_the_flag(tmp_path, flags, message):
    file = tmp_path / "plan.yaml"
    file.write_text("learner: majority\n")
    with pytest.raises(ConfigError, match="^" + re.escape(message)):
        resolve(RunPlan, {"source": "yeast", **flags}, file)


def test_every_fault_gets_a_line():
    with pytest.raises(ConfigError) as caught:
        evaluate_plan(batch_size=0, window=0)
    assert str(caught.value).splitlines() == [
        "--batch-size: must be at least 1, got 0",
        "--window: must be at least 1, got 0",
    ]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("plan.yaml", b"data: [a\nwindow: 3\n", ":2: expected ',' or ']', but got"),
        ("plan.yaml", b"window: 1\nwindow: 2\n", ":2: window: must be given once, got it twice"),
        ("plan.yaml", b"batch-size: 1\nbatch_size: 2\n", ": batch_size: must be given once, got it twice"),
        ("plan.yaml", b"sink: a\npredictions: b\n", ": predictions: must be given once, got it twice"),
        ("plan.yaml", b"? [a]\n: b\n", ":1: found unhashable key"),
        ("plan.yaml", b"data: \x01\n", ": unacceptable character #x0001"),
        ("plan.yaml", b"- yeast\n", ": must hold settings as key: value, got list"),
        ("plan.yaml", b"data: \xff\n", ": must be UTF-8, got byte 0xff"),
        ("plan.toml", b"data = \n", ": invalid value (at line 1, column 8)"),
        ("plan.toml", b"a = 1\na = 2\n", ": cannot overwrite a value (at line 2"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path, name, content, message):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(ConfigError, match="^" + re.escape(f"{file}{message}")):
        read_file(file)


def test_a_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: cannot be read: No such file or directory"):
        read_file(tmp_path / "nowhere.yaml")


def test_an_empty_file_says_nothing(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text("# nothing\n")
    assert read_file(file) == {}


plans = st.fixed_dictionaries(
    {"data": st.lists(st.text("abc.", min_size=1), min_size=1, max_size=3, unique=True)},
    optional={
        "learner": st.lists(
            st.sampled_from(["majority", "no-change", f"{TOY}:rate=0.5,title='a, b'"]), min_size=1, unique=True
        ),
        "labels": st.just("last:14"),
        "max_events": st.integers(1, 10**6),
        "seed": st.integers(0, 9),
        "fading": st.sampled_from([0.5, 1e-7, 1.0]),
        "baselines": st.booleans(),
        "out": st.just("results/é"),
        "on_error": st.sampled_from(["fail", "skip"]),
        "quiet": st.booleans(),
    },
)


@settings(deadline=None, max_examples=50)
@given(plans, st.booleans())
def test_a_printed_plan_is_a_file_that_makes_it_again(tmp_path_factory, wanted, as_json):
    plan = resolve(EvaluatePlan, {"learner": ["majority"], **wanted})
    file = tmp_path_factory.getbasetemp() / "again.yaml"
    file.write_text(dump(plan, as_json=as_json), encoding="utf-8")
    assert resolve(EvaluatePlan, {}, file) == plan


def test_a_printed_plan_does_not_ask_for_being_printed():
    plan = resolve(RunPlan, {"source": "a", "learner": "majority", "dry_run": True})
    assert plan.dry_run
    assert "dry_run" not in json.loads(dump(plan, as_json=True))
    assert next(iter(json.loads(dump(plan, as_json=True)))) == "source"


def test_the_command_line_of_a_plan():
    plan = evaluate_plan(
        learner=f"majority,{TOY}:title='a b'", seed=3, baselines=False, resume=True, out=Path("my results"), json=True
    )
    assert shlex.split(command_line(plan)) == [
        *("ihomer", "evaluate", "--data", "yeast", "--learner", f"majority,{TOY}:title='a b'", "--out", "my results"),
        *("--seed", "3", "--no-baselines", "--resume", "--json"),
    ]
    run = resolve(RunPlan, {"source": "-", "learner": "majority", "no_learn": True, "predictions": "-"})
    assert command_line(run) == "ihomer run --source - --learner majority --no-learn --predictions -"
