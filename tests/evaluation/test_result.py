"""The result file, its frames and the table for the terminal."""

from __future__ import annotations

import io
import json
import math
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from ihomer.evaluation.result import (
    EVENTS_PER_SECOND,
    METRICS,
    MODEL_BYTES,
    SHOWN,
    Result,
    Run,
    machine_info,
    version_info,
)
from tests.report.samples import sample


def run(learner: str = "linear", *, data: str = "toy", baseline: bool = False, **metrics: float) -> Run:
    return Run({"name": data, "order": "file"}, {"name": learner, "params": {}, "seed": 1}, metrics, baseline=baseline)


def printed(result: Result, **kwargs: object) -> str:
    console = Console(file=io.StringIO(), width=160, **kwargs)  # type: ignore[arg-type]
    console.print(result.table())
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_file_has_the_agreed_shape(tmp_path):
    sample().save(tmp_path / "out.json")
    value = json.loads((tmp_path / "out.json").read_text())
    assert (value["format"], value["version"]) == ("ihomer-result", 1)
    first = value["runs"][0]
    assert set(first["data"]) >= {"name", "sha256", "n_events", "n_features", "n_labels", "order"}
    assert set(first["learner"]) >= {"name", "params", "seed"}
    assert set(first["counts"]) == {"read", "scored", "learned", "unlabelled", "pending", "dead"}
    assert set(SHOWN) <= set(first["metrics"]) <= set(METRICS)
    assert set(first["time"]) == {"wall_s", "cpu_s", "events_per_s"}
    assert set(first) >= {"model_bytes", "drifts", "restructures", "baseline", "per_label", "window", "window_size"}
    assert set(first) >= {"hierarchy", "interrupted"}
    assert "curve" not in first


def test_what_is_saved_is_what_is_loaded(tmp_path):
    result = sample()
    result.save_all(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["curves.parquet", "report.html", "result.json"]
    assert Result.load(tmp_path / "result.json") == result


def test_saving_twice_gives_the_same_bytes(tmp_path):
    for folder in ("a", "b"):
        sample().save_all(tmp_path / folder)
    for name in ("result.json", "report.html"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_report_can_be_left_for_later(tmp_path):
    sample().save_all(tmp_path, report=False)
    assert not (tmp_path / "report.html").exists()


def test_plain_save_leaves_the_curves_of_others_alone(tmp_path):
    sample().save_all(tmp_path)
    sample(2).save(tmp_path / "other.json")
    assert all(not loaded.curve for loaded in Result.load(tmp_path / "other.json").runs)


def test_result_without_its_curves_can_be_loaded(tmp_path):
    sample().save_all(tmp_path)
    (tmp_path / "curves.parquet").unlink()
    assert Result.load(tmp_path / "result.json").runs[0].metrics == sample().runs[0].metrics


def test_curves_of_another_result_are_refused(tmp_path):
    sample().save_all(tmp_path / "a")
    sample(2).save_all(tmp_path / "b")
    shutil.copy(tmp_path / "b" / "curves.parquet", tmp_path / "a" / "curves.parquet")
    with pytest.raises(ValueError, match=r"curves\.parquet: sha256 must be [0-9a-f]{64}, got [0-9a-f]{64}: these are"):
        Result.load(tmp_path / "a" / "result.json")


def test_numbers_that_are_not_finite_are_never_written(tmp_path):
    one = run(micro_f1=0.5, log_loss=math.nan, brier=math.inf)
    one.window = {"micro_f1": math.nan}
    one.drifts = [{"event": 3, "kind": "loss", "before": math.nan, "after": 0.5}]
    one.per_label = [{"label": "a", "f1": np.float32("nan"), "support": np.int64(3)}]
    Result([one]).save(tmp_path / "out.json")
    text = (tmp_path / "out.json").read_text()
    assert "NaN" not in text
    assert "Infinity" not in text
    value = json.loads(text)["runs"][0]
    assert value["metrics"] == {"micro_f1": 0.5}
    assert value["window"] == {}
    assert value["drifts"] == [{"event": 3, "kind": "loss", "before": None, "after": 0.5}]
    assert value["per_label"] == [{"label": "a", "f1": None, "support": 3}]


def test_names_of_every_kind_come_back(tmp_path):
    names = ["ä & <b>", "日本", 3, 2.5, True, "\ud800", ""]
    one = run(micro_f1=0.5)
    one.per_label = [{"label": name} for name in names]
    Result([one]).save(tmp_path / "out.json")
    assert [entry["label"] for entry in Result.load(tmp_path / "out.json").runs[0].per_label] == names


def test_a_deep_tree_of_labels_can_be_saved(tmp_path):
    tree = {"id": 0, "labels": ["a"], "children": []}
    for depth in range(1, 200):
        tree = {"id": depth, "labels": ["a"], "children": [tree]}
    one = run(micro_f1=0.5)
    one.hierarchy = tree
    Result([one]).save(tmp_path / "out.json")
    assert Result.load(tmp_path / "out.json").runs[0].hierarchy == tree


def test_things_that_json_cannot_hold_are_refused(tmp_path):
    one = run(micro_f1=0.5)
    one.learner["params"] = {"model": object()}
    with pytest.raises(TypeError, match="a result must hold numbers, text, lists and dictionaries, got <object"):
        Result([one]).save(tmp_path / "out.json")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_save_leaves_the_old_file(tmp_path, monkeypatch):
    result = sample()
    path = result.save(tmp_path / "out.json")
    before = path.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        sample(2).save(path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", r"out\.json: must be JSON, got "),
        ("[]", r"out\.json: format must be 'ihomer-result', got 'list'"),
        ('{"format": "other"}', r"out\.json: format must be 'ihomer-result', got 'other'"),
        ('{"format": "ihomer-result", "version": 2}', r"out\.json: version must be 1, got 2"),
        ('{"format": "ihomer-result", "version": 1}', r"out\.json: runs must be a list, got NoneType"),
        ('{"format": "ihomer-result", "version": 1, "runs": [3]}', r"runs\[0\] must be a run, got Expected `object`"),
        (
            '{"format": "ihomer-result", "version": 1, "runs": [{"data": {}, "learner": {}, "metrics": {"f1": ""}}]}',
            r"runs\[0\] must be a run, got Expected `float`, got `str` - at `\$\.metrics",
        ),
    ],
)
def test_what_is_no_result_is_refused(tmp_path, text, message):
    path = tmp_path / "out.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        Result.load(path)


def test_a_field_of_a_later_release_does_no_harm(tmp_path):
    value = Result([run(micro_f1=0.5)]).to_json()
    value["runs"][0]["colour"] = "red"
    (tmp_path / "out.json").write_text(json.dumps(value))
    assert Result.load(tmp_path / "out.json").runs == [run(micro_f1=0.5)]


def test_frame_has_a_row_a_run():
    result = sample(2)
    frame = result.to_frame()
    assert len(frame) == len(result.runs)
    assert list(frame["data"].unique()) == ["flags", "emotions"]
    assert frame["micro_f1"].tolist() == [run.metrics["micro_f1"] for run in result.runs]
    assert frame["window_micro_f1"].tolist() == [run.window["micro_f1"] for run in result.runs]
    assert frame["baseline"].tolist() == [False, False, True, True] * 2
    assert (frame["read"] == frame["scored"] + frame["unlabelled"] + frame["pending"] + frame["dead"]).all()


def test_curves_have_a_row_a_point_and_scope():
    result = sample(n_points=5)
    frame = result.curves_frame()
    assert list(frame.columns[:5]) == ["run", "data", "learner", "event", "scope"]
    assert len(frame) == len(result.runs) * 5 * 2
    last = frame[(frame["run"] == 1) & (frame["scope"] == "cumulative")].iloc[-1]
    assert (last["learner"], last["event"], last["micro_f1"]) == ("linear", 2417, result.runs[1].metrics["micro_f1"])


def test_a_result_without_runs_or_curves_is_legal(tmp_path):
    for result in (Result([]), Result([run()])):
        assert isinstance(result.curves_frame(), pd.DataFrame)
        result.save_all(tmp_path)
        assert Result.load(tmp_path / "result.json") == result
        assert "toy" in printed(result) or not result.runs


def test_best_goes_by_the_direction_and_by_what_is_printed():
    result = Result([run("a", micro_f1=0.50004, hamming_loss=0.3), run("b", micro_f1=0.50001, hamming_loss=0.2)])
    result.runs.append(run("c", baseline=True, micro_f1=0.1, hamming_loss=0.2))
    numbers = [0, 1, 2]
    assert result.best(METRICS["micro_f1"], numbers) == {0, 1}
    assert result.best(METRICS["hamming_loss"], numbers) == {1, 2}
    assert result.best(METRICS["brier"], numbers) == set()
    assert result.best(METRICS["micro_f1"], [0, 1]) == set(), "where all are equal nobody leads"


def test_baselines_compete_in_quality_but_not_in_speed_and_size():
    result = Result([run("a"), run("b"), run("no-change", baseline=True)])
    for number, (speed, size) in enumerate([(10.0, 100), (20.0, 200), (9e9, 1)]):
        result.runs[number].time["events_per_s"] = speed
        result.runs[number].model_bytes = size
    assert result.best(EVENTS_PER_SECOND, [0, 1, 2]) == {1}
    assert result.best(MODEL_BYTES, [0, 1, 2]) == {0}


def test_table_marks_the_best_and_puts_baselines_last():
    result = Result([run("no-change", baseline=True, micro_f1=0.3), run("a", micro_f1=0.61), run("b", micro_f1=0.4)])
    text = printed(result, force_terminal=True, color_system="standard")
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in text.splitlines()]
    order = [name for line in lines for name in re.findall(r"(?<= )(a|b|no-change)(?= )", line)]
    assert order == ["a", "b", "no-change"]
    assert re.search(r"\x1b\[1m0\.6100", text)
    assert not re.search(r"\x1b\[1m0\.[34]000", text)
    dimmed = next(line for line in text.splitlines() if "no-change" in line)
    assert "\x1b[2m" in dimmed


def test_table_shows_names_that_look_like_markup():
    assert "[bold]x[/bold]" in printed(Result([run("[bold]x[/bold]", micro_f1=0.5)]))


def test_table_says_that_a_run_was_interrupted():
    text = printed(sample(interrupted=True))
    assert "interrupted: numbers hold for the events scored" in text
    assert "ihomer (interrupted)" in text


def test_unknown_metrics_are_refused_by_the_table():
    with pytest.raises(ValueError, match=r"metrics must be among micro_f1, macro_f1, .*, got 'f2'"):
        sample().table(["f2"])


def test_learners_of_one_name_are_told_apart():
    runs = [run(), run(), run(), run("other"), run(data="elsewhere")]
    runs[1].learner["seed"] = 2
    runs[2].learner["params"] = {"rate": 0.5}
    assert Result(runs).learner_titles() == [
        "linear:seed=1",
        "linear:seed=2",
        "linear:rate=0.5,seed=1",
        "other",
        "linear",
    ]
    assert Result([run(), run()]).learner_titles() == ["linear:#1", "linear:#2"]


def test_streams_in_another_order_are_other_streams():
    shuffled = run()
    shuffled.data["order"] = "shuffled:3"
    result = Result([run(), shuffled])
    assert list(result.stream_titles().values()) == ["toy", "toy (shuffled:3)"]


def test_merging_puts_the_runs_one_after_the_other():
    first, second = sample(), sample(2)
    second.started, second.command = "2024-12-31T00:00:00+00:00", "another"
    merged = Result.merge([first, second])
    assert merged.runs == first.runs + second.runs
    assert merged.started == "2024-12-31T00:00:00+00:00"
    assert merged.command == f"{first.command}\nanother"


def test_results_of_other_machines_or_versions_are_not_merged():
    other = sample()
    other.machine = {"cpu": "Another"}
    with pytest.raises(ValueError, match=r"machine must be the same in all results, got \{.*Example CPU.*Another"):
        Result.merge([sample(), other])
    other = sample()
    other.versions["numpy"] = "9"
    with pytest.raises(ValueError, match="versions must be the same in all results, got"):
        Result.merge([sample(), other])
    with pytest.raises(ValueError, match="results must hold at least one result, got none"):
        Result.merge([])


def test_machine_and_versions_name_no_host_and_no_path():
    machine, versions = machine_info(), version_info()
    assert set(machine) <= {"cpu", "cores", "memory_bytes", "system", "architecture"}
    assert machine["cores"] >= 1
    assert set(versions) >= {"python", "ihomer", "numpy", "numba", "river"}
    assert "/" not in json.dumps(machine | versions)
