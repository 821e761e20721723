"""Learners over several data sets: ranks, tests and the Bayesian comparison, against papers, libraries and twins."""

from __future__ import annotations

import math
import re

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ihomer.evaluation.paired_tests import (
    average_ranks,
    critical_difference,
    friedman_test,
    holm,
    not_different,
    signed_rank,
    wilcoxon_p,
)
from ihomer.evaluation.result import Result, Run
from ihomer.evaluation.significance import Significance, compare_learners, significance
from tests.naive import evaluation_significance as naive
from tests.report.samples import LEARNERS, repeated, sample

DEMSAR = pd.DataFrame(
    {
        "C4.5": [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.0, 0.940, 0.619, 0.972, 0.957],
        "C4.5+m": [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.0, 0.962, 0.666, 0.981, 0.978],
        "C4.5+cf": [0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1.0, 0.965, 0.614, 0.975, 0.946],
        "C4.5+m+cf": [0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1.0, 0.962, 0.669, 0.973, 0.970],
    }
)
"""Scores of four learners on 14 data sets in the manner of Demšar 2006, table 6, not copied from it: at least one was
chosen so that average ranks come out as in the worked example there. What follows from ranks alone is the paper's."""


def test_pairs_with_the_control_alone_are_those_of_all_pairs():
    everyone, few = compare_learners(DEMSAR), compare_learners(DEMSAR, control="C4.5+m", pairs="control")
    assert [pair.b for pair in few.signed_rank] == ["C4.5", "C4.5+cf", "C4.5+m+cf"]
    assert all(pair == everyone.posterior(pair.a, pair.b) for pair in few.signed_rank)


# Ranks, Friedman, Nemenyi.


def test_the_worked_example_of_demsar():
    found = compare_learners(DEMSAR)
    assert found.ranks == pytest.approx([3.143, 2.000, 2.893, 1.964], abs=5e-4)
    assert found.critical_difference == pytest.approx(1.25, abs=0.005)
    assert critical_difference(4, 14, 0.1) == pytest.approx(1.12, abs=0.005)
    # 9.28 and 3.69 in the paper, which does not correct for ties.
    by_hand = 12 * 14 / (4 * 5) * (sum(rank**2 for rank in found.ranks) - 4 * 5**2 / 4)
    assert by_hand == pytest.approx(9.28, abs=0.005)
    assert found.friedman.chi_square == pytest.approx(stats.friedmanchisquare(*DEMSAR.to_numpy().T).statistic)
    assert by_hand < found.friedman.chi_square < 1.15 * by_hand
    # At 0.05 no pair differs: 3.143 - 1.964 = 1.18 is less than 1.25.
    assert found.groups == [["C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"]]
    # At 0.1 the plain learner differs from both with m.
    assert compare_learners(DEMSAR, alpha=0.1).groups == [["C4.5+m+cf", "C4.5+m", "C4.5+cf"], ["C4.5+cf", "C4.5"]]


def test_wilcoxon_is_that_of_the_worked_example():
    # Rank sums 93 and 12, z = -2.54: Demšar 2006, section 3.1.3.
    z = (12 - 14 * 15 / 4) / math.sqrt(14 * 15 * 29 / 24)
    p = wilcoxon_p(DEMSAR["C4.5"], DEMSAR["C4.5+m"])
    assert p == pytest.approx(2 * stats.norm.cdf(z), abs=0.004)
    assert wilcoxon_p(DEMSAR["C4.5+m"], DEMSAR["C4.5"]) == p
    assert wilcoxon_p([0.5, 0.6], [0.5, 0.6]) == 1.0


@pytest.mark.parametrize("digits", [1, 8])
def test_wilcoxon_equals_the_naive_one_and_that_of_scipy_where_nothing_is_tied(digits):
    rng = np.random.default_rng(9)
    for n in (1, 2, 6, 9):
        a, b = rng.random((2, n)).round(digits)
        assert wilcoxon_p(a, b) == pytest.approx(naive.wilcoxon(a.tolist(), b.tolist()))
        if digits == 8:
            assert wilcoxon_p(a, b) == pytest.approx(stats.wilcoxon(a, b, method="exact").pvalue)


@pytest.mark.parametrize(("n_learners", "q"), [(2, 1.960), (3, 2.343), (5, 2.728), (7, 2.949), (10, 3.164)])
def test_critical_values_are_those_of_the_table(n_learners, q):
    # Demšar 2006, table 5a.
    assert critical_difference(n_learners, 1) / math.sqrt(n_learners * (n_learners + 1) / 6) == pytest.approx(
        q, abs=2e-3
    )


def test_the_critical_difference_is_where_the_nemenyi_p_value_of_scikit_posthocs_is_alpha():
    # scikit-posthocs 0.17.1: posthoc_nemenyi_friedman(DEMSAR.to_numpy())
    ranks = average_ranks(DEMSAR)
    for (i, j), p in {(0, 1): 0.088673, (0, 3): 0.074185, (1, 2): 0.259228, (2, 3): 0.226697}.items():
        assert critical_difference(4, 14, p) == pytest.approx(abs(ranks[i] - ranks[j]), abs=1e-4)


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_ranks_equal_the_naive_ones(better):
    rng = np.random.default_rng(3)
    for digits in (0, 1, 8):
        table = rng.random((7, 5)).round(digits)
        expected = np.mean([naive.ranks(row, better == "higher") for row in table.tolist()], axis=0)
        np.testing.assert_allclose(average_ranks(table, better), expected)


def test_ties_share_the_mean_of_their_places():
    assert average_ranks([[0.5, 0.5, 0.1], [0.5, 0.5, 0.5]]).tolist() == [1.75, 1.75, 2.5]
    assert average_ranks([[3.0, 1.0, 1.0]], "lower").tolist() == [3.0, 1.5, 1.5]


def test_friedman_equals_the_naive_one_without_ties():
    table = np.random.default_rng(5).random((9, 4))
    found = friedman_test(table)
    chi_square, f = naive.friedman(table.tolist())
    assert (found.chi_square, found.f) == pytest.approx((chi_square, f))
    assert found.chi_square_p == pytest.approx(stats.chi2.sf(chi_square, 3))
    assert found.f_p == pytest.approx(stats.f.sf(f, 3, 24))


@pytest.mark.parametrize("row", [[0.3, 0.2, 0.1], [0.3, 0.2, 0.2], [0.5, 0.4, 0.4, 0.1]])
def test_where_all_sets_agree_the_p_value_is_exact(row):
    found = friedman_test([row] * 3)
    assert found.f is None
    assert found.chi_square == pytest.approx(3 * (len(row) - 1))
    assert found.f_p == pytest.approx(naive.chance_of_agreement(row, 3))


def test_where_all_are_tied_nothing_differs():
    found = compare_learners(np.ones((4, 3)))
    assert (found.friedman.chi_square, found.friedman.chi_square_p, found.friedman.f_p) == (0.0, 1.0, 1.0)
    assert found.groups == [["0", "1", "2"]]
    assert all((pair.a_better, pair.equivalent, pair.b_better) == (0.0, 1.0, 0.0) for pair in found.signed_rank)


def test_groups_are_the_largest_sets_within_the_difference():
    rng = np.random.default_rng(8)
    for _ in range(40):
        ranks = np.sort(rng.uniform(1, 6, 6)).round(1).tolist()
        found = {frozenset(range(first, last + 1)) for first, last in not_different(ranks, 1.3)}
        assert found == naive.groups(ranks, 1.3), ranks


def test_holm_equals_that_of_r():
    # p.adjust(c(0.01, 0.02, 0.03, 0.04, 0.05), "holm")
    assert holm([0.01, 0.02, 0.03, 0.04, 0.05]) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09])
    assert holm([0.04, 0.6, 0.7]) == pytest.approx([0.12, 1.0, 1.0])
    assert holm([]) == []


# The Bayesian signed-rank test.


@pytest.mark.parametrize(
    ("a", "b", "rope", "expected"),
    [
        # baycomp 1.0.3, SignedRankTest.probs(b, a, rope, nsamples=400000, random_state=1), reversed.
        ("C4.5+m", "C4.5", 0.01, (0.6714, 0.3287, 0.0000)),
        ("C4.5+m+cf", "C4.5+m", 0.01, (0.2696, 0.7278, 0.0026)),
        ("C4.5+cf", "C4.5", 0.01, (0.1883, 0.6945, 0.1172)),
        ("C4.5+cf", "C4.5", 0.0, (0.5798, 0.0, 0.4202)),
    ],
)
def test_the_posterior_is_that_of_baycomp(a, b, rope, expected):
    assert signed_rank(DEMSAR[a], DEMSAR[b], rope) == pytest.approx(expected, abs=0.015)


@pytest.mark.parametrize("rope", [0.0, 0.05])
def test_the_posterior_equals_the_naive_one(rope):
    rng = np.random.default_rng(4)
    a, b = rng.random(6).tolist(), rng.random(6).tolist()
    assert signed_rank(a, b, rope) == pytest.approx(naive.signed_rank(a, b, rope, 4000, 2), abs=0.03)


def test_one_difference_has_an_exact_posterior():
    # The pseudo-observation has the weight w ~ Beta(1/2, 1); the rope wins where w**2 > 1/2.
    expected = stats.beta.cdf(math.sqrt(0.5), 0.5, 1)
    found = signed_rank([0.9], [0.5], 0.01, n_samples=400_000)
    assert found == pytest.approx((expected, 1 - expected, 0.0), abs=3e-3)


@pytest.mark.parametrize("rope", [0.0, 0.01, 0.2])
def test_the_posterior_is_symmetric(rope):
    rng = np.random.default_rng(6)
    a, b = rng.random(9), rng.random(9)
    assert signed_rank(a, b, rope) == signed_rank(b, a, rope)[::-1]
    assert sum(signed_rank(a, b, rope)) == pytest.approx(1)
    assert signed_rank(a, a, 0.0) == (0.5, 0.0, 0.5)


def test_a_wider_rope_makes_more_equivalent():
    a, b = np.random.default_rng(1).random((2, 8))
    shares = [signed_rank(a, b, rope)[1] for rope in (0.0, 0.05, 0.2, 1.0)]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)


# Tables.


def parts(found: Significance) -> tuple[bool, bool, bool]:
    return found.friedman is not None, bool(found.signed_rank), bool(found.wilcoxon)


@pytest.mark.parametrize(
    ("n_sets", "n_learners", "expected"),
    [
        (2, 3, (False, False, False)),
        (3, 3, (True, True, False)),
        (5, 3, (True, True, False)),
        (6, 3, (True, True, True)),
        (6, 2, (False, True, True)),
    ],
)
def test_what_is_computed_depends_on_how_much_there_is(n_sets, n_learners, expected):
    found = compare_learners(np.random.default_rng(2).random((n_sets, n_learners)))
    assert parts(found) == expected
    assert (found.critical_difference is not None) == expected[0]
    assert len(found.ranks) == n_learners
    notes = " ".join(found.notes)
    assert ("average ranks only" in notes) == (n_sets == 2)
    assert ("Wilcoxon’s test needs at least 6" in notes) == (n_sets in (3, 5))
    assert ("need at least 3 learners" in notes) == (n_learners == 2)


def test_more_than_ten_sets_and_five_learners_need_no_word_of_caution():
    assert compare_learners(np.random.default_rng(2).random((11, 6))).notes == []


def test_the_control_is_the_first_unless_named():
    found = compare_learners(DEMSAR)
    assert [test.learner for test in found.wilcoxon] == ["C4.5+m", "C4.5+cf", "C4.5+m+cf"]
    assert [test.p_holm for test in found.wilcoxon] == pytest.approx(holm([test.p for test in found.wilcoxon]))
    other = compare_learners(DEMSAR, control="C4.5+m")
    assert [test.learner for test in other.wilcoxon] == ["C4.5", "C4.5+cf", "C4.5+m+cf"]
    assert other.wilcoxon[0].p == found.wilcoxon[0].p


def test_the_direction_turns_everything_around():
    up, down = compare_learners(DEMSAR), compare_learners(1 - DEMSAR, better="lower")
    assert up.ranks == down.ranks
    for mine, theirs in zip(up.signed_rank, down.signed_rank, strict=True):
        assert (mine.a_better, mine.b_better) == pytest.approx((theirs.a_better, theirs.b_better), abs=1e-3)


def test_a_set_with_a_gap_is_left_out_and_named():
    table = DEMSAR.copy()
    table.index = [f"set{number}" for number in range(14)]
    table.loc["set3", "C4.5"] = math.nan
    found = compare_learners(table)
    assert len(found.data) == 13
    assert "Left out, because a learner has no number there: set3." in found.notes
    assert found.ranks == compare_learners(DEMSAR.drop(3)).ranks


def test_the_input_is_not_changed():
    table = DEMSAR.copy()
    compare_learners(table)
    pd.testing.assert_frame_equal(table, DEMSAR)


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        (np.ones((4, 1)), {}, "score: learners must be at least 2, got 0"),
        (np.ones((1, 3)), {}, "score: data sets with a number of every learner must be at least 2, got 0"),
        (np.full((3, 3), np.nan), {}, "must be at least 2, got none"),
        (np.ones((3, 3)), {"alpha": 1.0}, "alpha must be in (0, 1), got 1.0"),
        (np.ones((3, 3)), {"rope": -0.1}, "rope must be at least 0, got -0.1"),
        (np.ones((3, 3)), {"control": "linear"}, "control must be one of 0, 1, 2, got 'linear'"),
        (pd.DataFrame(np.ones((3, 2)), columns=["a", "a"]), {}, "learners must have different names, got a, a"),
    ],
)
def test_what_cannot_be_compared_is_refused(table, options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        compare_learners(table, **options)


# Results.


def test_a_result_is_compared_in_every_metric_of_its_tables():
    result = sample(6, LEARNERS)
    found = significance(result)
    assert list(found) == ["micro_f1", "macro_f1", "example_f1", "subset_accuracy", "hamming_loss"]
    assert found["hamming_loss"].better == "lower"
    assert found["micro_f1"].learners == [*LEARNERS, "no-change", "majority"]
    table = pd.DataFrame(
        {
            name: [round(run.metrics["hamming_loss"], 4) for run in result.runs if run.learner_name == name]
            for name in found["micro_f1"].learners
        }
    )
    assert found["hamming_loss"].ranks == compare_learners(table, better="lower").ranks
    assert list(significance(sample(3, single=True))) == ["accuracy", "kappa", "kappa_temporal", "kappa_m"]
    assert list(significance(result, ["brier"])) == ["brier"]


def test_numbers_that_print_alike_are_ties():
    def run(data, learner, score):
        return Run({"name": data}, {"name": learner}, {"micro_f1": score})

    scores = {"a": 0.50001, "b": 0.50002, "c": 0.4}
    result = Result([run(data, name, score) for data in ("x", "y") for name, score in scores.items()])
    assert significance(result, ["micro_f1"])["micro_f1"].ranks == [1.5, 1.5, 3.0]


def test_interrupted_runs_are_left_out():
    result = sample(4, LEARNERS)
    result.runs[0].interrupted = True
    found = significance(result, ["micro_f1"])["micro_f1"]
    assert found.data == ["emotions", "birds", "yeast"]
    assert "Left out, because it was interrupted: ihomer on flags." in found.notes
    for run in result.runs:
        run.interrupted = True
    with pytest.raises(ValueError, match="must have numbers of micro_f1 from runs that were not interrupted"):
        significance(result, ["micro_f1"])


def test_one_stream_cannot_be_compared_over():
    with pytest.raises(ValueError, match="data sets with a number of every learner must be at least 2, got yeast"):
        significance(sample())
    with pytest.raises(ValueError, match=r"metrics must be among micro_f1, .*, got 'f1'"):
        significance(sample(3), ["f1"])


def test_repeats_count_once_by_their_mean():
    result = repeated(3, n_streams=3)
    found = significance(result, ["micro_f1"])["micro_f1"]
    assert len(found.data) == 3
    table = pd.DataFrame(
        [
            {
                name: round(
                    np.mean(
                        [
                            run.metrics["micro_f1"]
                            for run in result.runs
                            if (run.data["name"], run.learner_name) == (stream, name)
                        ]
                    ),
                    4,
                )
                for name in found.learners
            }
            for stream in ("flags", "emotions", "birds")
        ]
    )
    assert found.ranks == compare_learners(table).ranks


def test_a_result_file_keeps_the_comparison(tmp_path):
    result = sample(6, compared=True)
    again = Result.load(result.save(tmp_path / "result.json"))
    assert again.significance == result.significance
    value = again.to_json()["significance"]["micro_f1"]
    assert value["groups"] == result.significance["micro_f1"].groups
    assert value["friedman"]["chi_square"] == result.significance["micro_f1"].friedman.chi_square
    text = (tmp_path / "result.json").read_text().replace('"alpha": 0.05', '"alpha": "much"')
    (tmp_path / "result.json").write_text(text)
    with pytest.raises(ValueError, match="significance must be a comparison by metric, got "):
        Result.load(tmp_path / "result.json")
