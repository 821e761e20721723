"""Two results side by side."""

from __future__ import annotations

import copy
import io
import json

import pytest
from rich.console import Console

from ihomer.evaluation.compare import Comparison, compare
from tests.report.samples import LEARNERS, sample


def verdicts(comparison: Comparison, pair: int = 0) -> dict[str, str]:
    return {difference.metric: difference.verdict for difference in comparison.pairs[pair].differences}


def printed(comparison: Comparison) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(comparison.table())
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_a_result_equals_itself():
    comparison = compare(sample(2), sample(2))
    assert len(comparison.pairs) == 8
    assert set(comparison.verdicts) == {"better", "worse", "equal", "new", "gone", "not comparable"}
    assert {verdict for verdict, count in comparison.verdicts.items() if count} == {"equal"}
    assert not comparison.worse
    assert (comparison.only_a, comparison.only_b, comparison.warnings) == ([], [], [])
    assert all(not pair.warnings for pair in comparison.pairs)


def test_the_verdict_follows_the_direction_of_the_metric():
    a, b = sample(), sample()
    b.runs[0].metrics |= {"micro_f1": a.runs[0].metrics["micro_f1"] + 0.05}
    b.runs[0].metrics |= {"hamming_loss": a.runs[0].metrics["hamming_loss"] + 0.05}
    b.runs[0].metrics |= {"macro_f1": a.runs[0].metrics["macro_f1"] + 0.0009}
    b.runs[0].metrics |= {"log_loss": a.runs[0].metrics["log_loss"] - 0.05}
    found = verdicts(compare(a, b))
    assert (found["micro_f1"], found["hamming_loss"], found["macro_f1"], found["log_loss"]) == (
        "better",
        "worse",
        "equal",
        "better",
    )
    assert verdicts(compare(a, b, tolerance=0.0001))["macro_f1"] == "better"
    back = verdicts(compare(b, a))
    assert (back["micro_f1"], back["hamming_loss"]) == ("worse", "better")
    change = next(item for item in compare(a, b).pairs[0].differences if item.metric == "micro_f1")
    assert change.change == pytest.approx(0.05)


def test_a_number_that_vanished_counts_as_worse():
    a, b = sample(), sample()
    del b.runs[1].metrics["brier"]
    assert verdicts(compare(a, b), 1)["brier"] == "gone"
    assert compare(a, b).worse
    assert verdicts(compare(b, a), 1)["brier"] == "new"
    assert not compare(b, a).worse


def test_speed_and_size_are_judged_by_share():
    a, b = sample(), sample()
    b.runs[0].time["events_per_s"] = a.runs[0].time["events_per_s"] * 1.05
    b.runs[1].time["events_per_s"] = a.runs[1].time["events_per_s"] * 0.8
    b.runs[1].model_bytes = a.runs[1].model_bytes // 2
    comparison = compare(a, b)
    assert verdicts(comparison)["events_per_s"] == "equal"
    assert (verdicts(comparison, 1)["events_per_s"], verdicts(comparison, 1)["model_bytes"]) == ("worse", "better")


def test_speeds_of_two_machines_are_not_judged():
    a, b = sample(), sample()
    b.machine = {"cpu": "Another"}
    comparison = compare(a, b)
    assert {verdicts(comparison, pair)["events_per_s"] for pair in range(4)} == {"not comparable"}
    assert comparison.warnings == ["the results come from different machines: speeds are not compared"]


def test_versions_that_differ_are_named():
    b = sample()
    b.versions["numpy"] = "9"
    assert compare(sample(), b).warnings == ["numpy differs: 2.0.0 and 9"]


def test_runs_of_one_result_only_are_listed():
    a, b = sample(2), sample(1, ("ihomer", "forest"))
    a.runs[0].data["name"] = "yeast"
    comparison = compare(a, b)
    assert [(pair.data, pair.learner) for pair in comparison.pairs] == [("yeast", "ihomer")]
    assert len(comparison.only_a) == 7
    assert comparison.only_b == [
        {"data": "yeast", "order": "file", "learner": name} for name in ("forest", "no-change", "majority")
    ]
    assert comparison.worse
    text = printed(comparison)
    assert "only in the first: flags, file, linear; " in text.replace("\n", " ")
    assert "only in the second: yeast, file, forest; yeast, file, no-change; yeast, file, majority" in text


def test_runs_of_one_name_are_matched_by_their_settings_first():
    a = sample(1, ("ihomer",))
    a.runs = [copy.deepcopy(a.runs[0]) for _ in range(2)]
    a.runs[0].learner["seed"], a.runs[1].learner["seed"] = 1, 2
    a.runs[0].metrics["micro_f1"], a.runs[1].metrics["micro_f1"] = 0.1, 0.9
    b = copy.deepcopy(a)
    b.runs.reverse()
    comparison = compare(a, b)
    assert comparison.verdicts["equal"] == sum(comparison.verdicts.values())
    b.runs[0].learner["seed"] = 3
    assert [pair.warnings for pair in compare(a, b).pairs] == [[], ["the learner's parameters or seed differ"]]


def test_what_makes_two_runs_unlike_is_said():
    a, b = sample(), sample(interrupted=True)
    b.runs[0].counts |= {"read": 2000, "scored": 1997}
    b.runs[0].data |= {"sha256": "1" * 64, "n_labels": 15}
    assert compare(a, b).pairs[0].warnings == [
        "events read differ: 2,417 and 2,000",
        "events scored differ: 2,414 and 1,997",
        "numbers of labels differ: 14 and 15",
        "the data differ: the files have other checksums",
        "the second was interrupted",
    ]
    assert "yeast, file, ihomer: events scored differ: 2,414 and 1,997" in printed(compare(a, b))


def test_a_metric_without_a_known_direction_is_not_judged():
    a, b = sample(), sample()
    a.runs[0].metrics["a_later"], b.runs[0].metrics["a_later"] = 0.4, 0.6
    assert verdicts(compare(a, b))["a_later"] == "not comparable"


def test_table_and_json_tell_the_same():
    a, b = sample(1, LEARNERS), sample(1, LEARNERS)
    b.runs[2].metrics["micro_f1"] = a.runs[2].metrics["micro_f1"] - 0.1
    comparison = compare(a, b)
    value = json.loads(json.dumps(comparison.to_json()))
    assert value["worse"] is True
    assert value["verdicts"]["worse"] == 1
    worse = [
        (pair["learner"], difference["metric"])
        for pair in value["pairs"]
        for difference in pair["differences"]
        if difference["verdict"] == "worse"
    ]
    assert worse == [("mlhat", "micro_f1")]
    text = printed(comparison)
    assert text.count("worse") == 2, "once in the row and once in the sum"
    assert "-0.1000" in text
    assert "equal: within 0.001, speed and bytes within 10%" in text


@pytest.mark.parametrize("name", ["tolerance", "speed_tolerance"])
def test_tolerances_below_zero_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 0, got -1"):
        compare(sample(), sample(), **{name: -1})
