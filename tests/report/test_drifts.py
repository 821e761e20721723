"""Drifts on the page: alarms on the stream itself, and detectors held against drifts that are known."""

from __future__ import annotations

import re

from ihomer.report import drifts, render
from tests.report.samples import repeated, sample
from tests.report.test_report import Page, table

ALARMS = [
    {"event": 900, "kind": "features", "detector": "MMDDrift", "statistic": 5.25, "threshold": 4.75},
    {
        "event": 1000,
        "kind": "label-dependency",
        "detector": "LabelDependencyDrift",
        "statistic": 6.5,
        "threshold": 4.75,
    },
    {"event": 1700, "kind": "features", "detector": "MMDDrift", "statistic": 7.0, "threshold": 4.75},
]


def watched(**settings):
    result = sample(**settings)
    for run in result.runs:
        run.data |= {"watch": ["LabelDependencyDrift", "MMDDrift"], "alarms": ALARMS}
        run.data["drifts"] = [{"event": 800, "width": 1}, {"event": 1600, "width": 200}]
    return result


def test_alarms_are_marked_by_kind_with_a_legend():
    text = render(watched())
    for kind, words in (("features", "features"), ("label-dependency", "dependencies between labels")):
        assert len(re.findall(rf'<path class="alarm {kind}"', text)) == 5 + 1
        assert f'value="alarm {kind}"' in text
        assert f"drift of the stream’s {words}" in text
        assert f'.curves:has(input[value="alarm {kind}"]:not(:checked)) .panel .alarm.{kind}' in text
    assert "alarm labels-prior" not in re.sub(r"<style>.*?</style>", "", text, flags=re.S)
    plain = re.sub(r"<style>.*?</style>", "", render(sample()), flags=re.S)
    assert 'class="alarm' not in plain


def test_alarms_are_told_and_tabled():
    result = watched()
    page = Page(render(result))
    told = next(text for text in page.texts("li") if text.startswith("The stream"))
    assert "1 drift of its dependencies between labels, at event 1,000." in told
    assert "2 drifts of its features, at event 900, 1,700." in told
    rows = [row for row in table(page, "Drifts and structural changes of yeast")[1:] if row[1][0] == "the stream"]
    assert [row[0][0] for row in rows] == ["900", "1,000", "1,700"]
    assert rows[0][3][0] == "detector MMDDrift; statistic 5.25; threshold 4.75"
    for run in result.runs:
        run.data["alarms"] = []
    told = next(text for text in Page(render(result)).texts("li") if text.startswith("The stream"))
    assert told == "The stream: no drift was found by LabelDependencyDrift, MMDDrift."


def test_detectors_are_held_against_the_known_drifts():
    result = watched()
    for run in result.runs:
        run.drifts = [{"event": event, "kind": "loss", "detector": "DDM"} for event in (500, 811, 1601, 1650, 2000)]
    result.runs[0].learner["detector"] = {"class": "drift.ddm:DDM", "params": {}}
    rows = [[cell for cell, *_ in row] for row in table(Page(render(result)), "Detection of known drifts of yeast")]
    assert rows[0] == ["watched", "detector", "detected", "mean delay", "false alarms", "per 10,000 events"]
    # 811 is the 11th event after 800, 1601 the first of the next; 1650 repeats it, 500 and 2000 are false.
    assert rows[1] == ["ihomer", "DDM", "2 of 2", "6", "2", f"{2e4 / 2414:.2f}"]
    assert rows[2][:2] == ["linear", "ADWIN"]
    assert rows[-2:] == [
        ["the stream", "LabelDependencyDrift", "1 of 2", "200", "0", "0.00"],
        ["the stream", "MMDDrift", "2 of 2", "100", "0", "0.00"],
    ]
    assert "Detection of known drifts" not in render(sample())


def test_drifts_behind_the_end_of_a_broken_run_do_not_count():
    result = watched(n_events=1203)
    rows = drifts.scores(result.runs, result.learner_titles(), dict.fromkeys(result.learner_titles(), ""))
    assert rows[-1][3] == ["1 of 1", "100", "0", "0.00"]


def test_repeats_are_counted_together():
    result = repeated(3)
    for run in result.runs:
        run.data["drifts"] = [{"event": 800, "width": 1}]
        run.data |= {"watch": ["MMDDrift"], "alarms": ALARMS[run.data["repeat"] :]}
        run.drifts = [{"event": 810, "kind": "loss", "detector": "ADWIN"}]
    page = Page(render(result))
    rows = [[cell for cell, *_ in row] for row in table(page, "Detection of known drifts of yeast (shuffled:5..7)")]
    assert rows[1][:5] == ["ihomer", "ADWIN", "3 of 3", "10", "0"]
    # At 900 and 1,700, at 1,700, at 1,700: the last of the first repeat is false.
    assert rows[-1][:5] == ["the stream", "MMDDrift", "3 of 3", "633", "1"]
    told = next(text for text in page.texts("li") if text.startswith("The stream"))
    assert told == "The stream: Drifts in each repeat: 3, 2, 1."
