"""Detectors by name: what specifications make, what plans say of them, and the commands that list them."""

from __future__ import annotations

import json

import numpy as np
import pytest

from drift import ADWIN, DDM, FHDDM, CardinalityDrift
from ihomer import detectors
from ihomer.config import command_line, dump, resolve
from ihomer.evaluation.result import Result
from ihomer.plans import EvaluatePlan, RunPlan
from ihomer.specs import SpecError


@pytest.mark.parametrize("name", sorted(detectors.DETECTORS))
def test_every_name_makes_a_detector_with_its_defaults(name):
    detector = detectors.build(name)
    assert isinstance(detector, detectors.AnyDetector)
    assert detectors.parameters(detector) == detectors.parameters(type(detector)())
    assert json.loads(json.dumps(detectors.parameters(detector)))["class"] == detectors.DETECTORS[name]
    assert detectors.kind_of(detector) == detectors.EVENT_KINDS.get(name, "loss")
    found = detectors.describe(name)
    assert found["summary"].endswith(".")
    assert all(parameter["meaning"] for parameter in found["parameters"])
    assert set(detectors.evidence(detector)) in ({"statistic", "threshold"}, set())


def test_parameters_are_those_of_the_constructor():
    assert detectors.build("adwin:delta=0.5,clock=1").delta == 0.5
    nested = detectors.build("cardinality:detector='ddm:warm_start=7,drift_threshold=2.5'")
    assert isinstance(nested.detector, DDM)
    assert (nested.detector.warm_start, nested.detector.drift_threshold) == (7, 2.5)
    assert isinstance(detectors.build("cardinality:detector=none").detector, ADWIN)
    assert detectors.parameters(CardinalityDrift())["params"]["detector"]["class"] == "drift.adwin:ADWIN"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("adwni", "adwni: detector must be one of adwin, .*; did you mean adwin?"),
        ("adwin:dleta=0.1", "adwin:dleta=0.1: parameter must be one of delta, .*, got 'dleta'; did you mean delta?"),
        ("adwin:delta=2", r"adwin:delta=2: delta must be in \(0, 1\), got 2.0"),
        ("kswin:window_size=big", "kswin:window_size=big: window_size must be a whole number, got 'big'"),
        ("cardinality:detector=mmd", "mmd: detector must be one of adwin, cusum"),
    ],
)
def test_refused(text, message):
    with pytest.raises(SpecError, match=message):
        detectors.build(text)


def test_words_stand_for_detectors():
    assert detectors.watched("labels") == ["prior-shift", "cardinality", "label-dependency"]
    assert detectors.watched("features, mmd:seed=3") == ["kolmogorov-smirnov", "mmd:seed=3"]
    assert detectors.watched("") == detectors.watched(()) == []
    mine = CardinalityDrift()
    assert detectors.watched([mine, "features"]) == [mine, "kolmogorov-smirnov"]
    with pytest.raises(SpecError, match="cardinality: a detector must be given once, got it twice"):
        detectors.watched("cardinality,labels")


def test_right_answers_for_those_that_count_them():
    losses = np.array([0.0, 0.25, 1.0])
    assert detectors.of_losses(FHDDM(), losses).tolist() == [1.0, 0.75, 0.0]
    assert detectors.of_losses(DDM(), losses).tolist() == losses.tolist()


# Plans.


@pytest.mark.parametrize("kind", [EvaluatePlan, RunPlan])
def test_plans_have_the_detectors(kind, tmp_path):
    where = {"data": "yeast"} if kind is EvaluatePlan else {"source": "yeast"}
    plan = resolve(kind, where)
    assert (plan.detector, plan.watch) == ("adwin", [])
    assert "--detector" not in command_line(plan)
    assert "--watch" not in command_line(plan)
    plan = resolve(kind, {**where, "detector": "ddm:warm_start=9", "watch": "labels,mmd:seed=3,clock=50"})
    assert plan.watch == ["labels", "mmd:seed=3,clock=50"]
    assert "--detector ddm:warm_start=9" in command_line(plan)
    assert "--watch labels,mmd:seed=3,clock=50" in command_line(plan)
    file = tmp_path / "plan.yaml"
    file.write_text(dump(plan))
    assert resolve(kind, {}, file) == plan
    file.write_text("watch: [{name: mmd, params: {seed: 4}}]\ndetector: {name: ddm}\n")
    plan = resolve(kind, where, file)
    assert (plan.watch, plan.detector) == (["mmd:seed=4"], "ddm")


# Commands.


def test_detectors_are_listed_and_described(command):
    code, out, _ = command("detectors", "list", "--json")
    assert code == 0
    listed = json.loads(out)
    assert [entry["name"] for entry in listed] == list(detectors.DETECTORS)
    assert {entry["watches"] for entry in listed} == {"loss", "labels", "features"}
    code, out, _ = command("detectors", "list")
    assert code == 0
    assert all(name in out for name in detectors.DETECTORS)
    code, out, _ = command("detectors", "info", "page-hinkley")
    assert code == 0
    assert "--detector page-hinkley:min_instances=30,…" in out
    assert "--watch mmd:delta=1e-06,…" in command("detectors", "info", "mmd")[1]
    assert json.loads(command("detectors", "info", "mmd", "--json")[1])["watches"] == "features"
    code, _, err = command("detectors", "info", "adwni")
    assert code == 2
    assert "did you mean adwin?" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--detector", "mmd"], "--detector: mmd: detector must be one of adwin, "),
        (["--watch", "labels,adwin"], "--watch: adwin: detector must be one of cardinality, "),
        (["--watch", "labels,labels"], "--watch: prior-shift: a detector must be given once, got it twice"),
    ],
)
def test_wrong_usage(command, words, message):
    code, _, err = command("evaluate", "--data", "yeast", *words)
    assert code == 2
    assert message in err


def test_alarms_come_with_result_report_and_events(command, tmp_path):
    rng = np.random.default_rng(0)
    lines = []
    for event in range(6000):
        late = event >= 4000
        x = rng.normal() + 3 * late
        label = "b" if rng.random() < (0.7 if late else 0.1) else "a"
        lines.append(json.dumps({"x": {"u": round(x, 3)}, "y": [label]}))
    (tmp_path / "events.jsonl").write_text("\n".join(lines) + "\n")
    code, _, err = command(
        *("run", "--source", "events.jsonl", "--learner", "majority", "--detector", "hddm-w"),
        *("--watch", "labels", "--watch", "features", "--no-baselines"),
        *("--events-sink", "events.out.jsonl", "--result", "result.json", "--report", "report.html"),
    )
    assert code == 0, err
    assert "events: labels-prior drift at event 4," in err
    (run,) = Result.load(tmp_path / "result.json").runs
    assert {alarm["kind"] for alarm in run.data["alarms"]} >= {"labels-prior", "features"}
    written = [json.loads(line) for line in (tmp_path / "events.out.jsonl").read_text().splitlines()]
    assert [
        {key: value for key, value in event.items() if key != "model"} for event in written if not event["model"]
    ] == (run.data["alarms"])
    losses = [event for event in written if event["model"] == "majority"]
    assert losses
    assert {event["detector"] for event in losses} == {"HDDM_W"}
    assert 'value="alarm labels-prior"' in (tmp_path / "report.html").read_text()
