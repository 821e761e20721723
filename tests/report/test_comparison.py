"""Comparisons, probabilities and repeats on the page."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from ihomer.evaluation.repeats import averaged
from ihomer.evaluation.result import Result, Run
from ihomer.evaluation.significance import compare_learners
from ihomer.report import render
from ihomer.report.ranks import WIDTH, drawing, figure
from tests.report.samples import LEARNERS, repeated, sample
from tests.report.test_report import Page, table


@pytest.fixture(scope="module")
def compared() -> tuple[Result, Page, str]:
    result = sample(6, LEARNERS, compared=True)
    text = render(result)
    return result, Page(text), text


def test_every_metric_has_a_diagram_that_says_its_ranks(compared):
    result, page, _ = compared
    described = [
        attributes["aria-label"]
        for tag, attributes, _ in page.elements
        if tag == "svg" and str(attributes.get("aria-label")).startswith("Average ranks over 6 data sets")
    ]
    assert len(described) == len(result.significance) == 5
    for text, found in zip(described, result.significance.values(), strict=True):
        assert ", ".join(f"{name} {rank:.2f}" for name, rank in found.by_rank) in text
        assert f"Critical difference {found.critical_difference:.2f}." in text


def test_the_control_stands_against_each_other_learner(compared):
    result, page, _ = compared
    found = result.significance["micro_f1"]
    head, *rows = table(page, "ihomer against each other learner in micro-F1")
    assert [cell for cell, _ in head] == [
        *("ihomer against", "rank", "better", "equivalent", "worse", "", "Wilcoxon’s p"),
    ]
    assert [row[0][0] for row in rows] == [name for name, _ in found.by_rank if name != "ihomer"]
    for row in rows:
        pair = found.posterior("ihomer", row[0][0])
        assert [cell for cell, _ in row[2:5]] == [
            f"{share:.3f}" for share in (pair.a_better, pair.equivalent, pair.b_better)
        ]
    p_holm = {test.learner: test.p_holm for test in found.wilcoxon}
    assert [row[6][0] for row in rows] == [f"{p_holm[row[0][0]]:.4f}" for row in rows]


def test_every_pair_is_in_a_table(compared):
    result, page, _ = compared
    found = result.significance["hamming_loss"]
    head, *rows = table(page, "Every pair in Hamming loss")
    names = [cell for cell, _ in head[1:]]
    assert names == [name for name, _ in found.by_rank]
    for row in rows:
        expected = ["" if name == row[0][0] else f"{found.posterior(row[0][0], name).a_better:.3f}" for name in names]
        assert [cell for cell, _ in row[1:]] == expected


def test_what_was_left_out_is_said_once(compared):
    _, page, _ = compared
    notes = page.texts("p", "small")
    assert sum("Friedman’s p-values are rough for 6 data sets" in note for note in notes) == 1


def test_sentences_say_what_the_tests_came_to():
    def said(table):
        result = sample(2)
        result.significance = {"micro_f1": compare_learners(table, metric="micro_f1")}
        return " ".join(Page(render(result)).texts("p"))

    rng = np.random.default_rng(1)
    clear = np.array([0.9, 0.5, 0.1]) + rng.uniform(-0.1, 0.1, (9, 3))
    assert (
        "The 3 learners differ over 9 data sets by Friedman’s test (p < 0.0001); by Nemenyi’s, 0 ranks above 2"
        in said(clear)
    )
    assert re.search(
        r"Friedman’s test finds no difference between the 3 learners over 9 .* \(p = 1\.0000\)",
        said(np.array([[1, 2, 3], [2, 3, 1], [3, 1, 2]] * 3) / 10),
    )
    assert "Average ranks over 2 data sets." in said(clear[:2])


def test_a_result_that_was_not_compared_has_no_such_section():
    assert 'id="significance"' not in render(sample(3))


@pytest.mark.parametrize("n_learners", [2, 3, 9, 22])
def test_the_diagram_fits_any_number_of_learners(n_learners):
    names = [f"learner with quite a long name {number}" for number in range(n_learners)]
    found = compare_learners(pd.DataFrame(np.random.default_rng(1).random((7, n_learners)), columns=names))
    text = drawing(found, {names[0]: "s0 d0"})
    assert 'class="name s0 d0"' in text
    assert len(re.findall(r'class="name', text)) == n_learners
    assert ("CD = " in text) == (n_learners > 2)
    places = [float(x) for x in re.findall(r'<text[^>]* x="([\d.]+)"', text)]
    assert 0 < min(places) < max(places) < WIDTH
    assert "learner with quite a long…" in text


def test_a_ruler_longer_than_the_axis_says_so():
    assert "longer than the axis" in drawing(compare_learners([[1, 2, 3], [1, 3, 2], [3, 2, 1]], alpha=0.01), {})


def test_the_figure_can_be_saved_by_itself(tmp_path):
    figure(compare_learners(np.random.default_rng(1).random((7, 4)))).savefig(tmp_path / "ranks.png")
    assert (tmp_path / "ranks.png").stat().st_size > 1000


# Probabilities.


def test_reliability_cut_offs_and_rankings_are_shown():
    result = sample(n_labels=60)
    page = Page(render(result))
    rows = table(page, "Calibration errors on yeast")
    assert [row[0][0] for row in rows[1:]] == ["ihomer", "linear"]
    assert rows[1][2][0] == f"{result.runs[0].calibration['ece']:.4f}"
    assert rows[1][1][0] == f"{result.runs[0].calibration['n_cells']:,}"
    rows = table(page, "Cut-offs of ihomer on yeast")
    assert len(rows) == 31
    assert "The 30 most frequent of 60 labels; more are in the result file." in " ".join(page.texts("p"))
    entries = sorted(result.runs[0].per_label, key=lambda entry: -entry["support"])
    first = entries[0]
    assert [cell for cell, _ in rows[1]] == [
        first["label"],
        f"{first['support']:,}",
        *(f"{first[key]:.3f}" for key in ("f1", "f1_at_half", "threshold", "f1_at_threshold")),
    ]
    never = next((row for row, entry in zip(rows[1:], entries, strict=False) if entry["support"] == 0), None)
    assert never is None or [cell for cell, _ in never[-2:]] == ["–", "–"]
    rows = table(page, "Ranking of labels on yeast")
    assert [cell for cell, _ in rows[0]][1:4] == ["precision@1", "precision@3", "precision@5"]
    assert rows[1][1][0] == f"{result.runs[0].metrics['precision_at_1']:.4f}"
    assert "The k most probable labels of 2,408 events; 6 without a label are left out." in page.texts("p")


def test_a_dot_stands_for_each_bin_that_is_not_empty():
    result = sample()
    text = render(result)
    n = sum(len(run.calibration["n"]) for run in result.runs if run.calibration)
    assert len(re.findall(r'<path class="bin ', text)) == n


def test_without_probabilities_there_are_no_such_sections():
    page = render(Result([Run({"name": "toy"}, {"name": "a"}, {"micro_f1": 0.5})]))
    for heading in ("Reliability", "Cut-offs", "Ranking of labels"):
        assert heading not in page


def test_streams_of_one_class_an_event_show_their_own_metrics():
    page = Page(render(sample(single=True)))
    head = [cell for cell, _ in table(page, "Summary of yeast")[0]]
    assert head[:5] == ["learner", "accuracy ↑", "kappa ↑", "kappa-temporal ↑", "kappa-M ↑"]
    assert "kappa-M ↑" in page.texts("figcaption")


def test_known_drifts_are_marked():
    result = sample()
    for run in result.runs:
        run.data["drifts"] = [{"event": 800}, {"event": 1600}]
    text = render(result)
    assert len(re.findall(r'<path class="known"', text)) == 2 * 5 + 1


# Repeats.


def test_repeats_are_one_row_with_their_deviation():
    result = repeated(3)
    mean = averaged(result).runs[0]
    page = Page(render(result))
    rows = table(page, "Summary of yeast (shuffled:5..7)")
    assert [row[0][0] for row in rows[1:]] == ["ihomer", "linear", "no-change", "majority"]
    assert rows[1][1][0] == f"{mean.metrics['micro_f1']:.4f}± {mean.deviation['micro_f1']:.4f}"
    assert "in random order, seeds 5 to 7, mean of 3 repeats" in page.texts("span")
    assert any("Numbers are means of 3 repeats" in text for text in page.texts("p", "lede"))
    assert any("Drifts of its loss in each repeat: 3, 3, 3." in text for text in page.texts("li"))
