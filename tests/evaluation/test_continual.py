"""Continual evaluation: its metrics by their definitions, at places that no learner is told of."""

from __future__ import annotations

import io
from threading import Event

import numpy as np
import pytest

import ihomer
from ihomer.evaluation.continual import (
    continual_runs,
    evaluate_continual,
    evaluation_places,
    forgetting,
)
from ihomer.evaluation.exposed import ExposedTest, scores, top
from ihomer.evaluation.result import CURVES_CONTINUAL, SHOWN_CONTINUAL, Result, Run
from ihomer.evaluation.seeds import compare_seeds
from learners import GaussianNBClassifier, KNNClassifier, LinearClassifier, MajorityClassifier
from learners.base import Learner
from streams.batch import Prediction, Rows, Schema
from streams.siblurry import SiBlurry
from streams.siblurry.labelled import load_events
from streams.siblurry.source import ArrangedSource
from tests.naive import evaluation_continual as naive


def blobs(n_classes=6, n_each=40, seed=0, noise=0.7):
    random = np.random.default_rng(seed)
    y = random.permutation(np.repeat(np.arange(n_classes), n_each))
    return random.normal(size=(n_classes, 5))[y] + noise * random.normal(size=(len(y), 5)), y


class Recorder(MajorityClassifier):
    """Notes what it is given."""

    def __init__(self):
        super().__init__()
        self.given = []

    def _run(self, batch, learn):
        self.given.append((len(batch), learn, batch.schema.n_labels, len(batch.y.indices), batch.key))
        return super()._run(batch, learn)


@pytest.mark.parametrize("make", [GaussianNBClassifier, LinearClassifier, KNNClassifier, MajorityClassifier])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_metrics_are_those_of_their_definitions(make, seed):
    scenario = SiBlurry(seed=seed, sessions=4)
    data = blobs(seed=seed)
    (run,) = evaluate_continual(data, {"it": make()}, scenario=scenario, seeds=1, batch_size=7).runs
    split = load_events(data).set_aside(0.2, seed)
    source = ArrangedSource(split, scenario)
    ends, points = source.arrangement.ends, evaluation_places(source.n_events)
    found = naive.course(make(), split, source, [*points, *ends])
    assert run.metrics["prequential_accuracy"] == pytest.approx(found["prequential"])
    for key, value in naive.metrics(found["at"], points, ends).items():
        assert run.metrics[key] == pytest.approx(value), key
    for point in run.curve:
        right, n = np.array(list(found["at"][point["event"]].values())).sum(0)
        assert point["cumulative"]["anytime_accuracy"] == pytest.approx(right / n)
        assert point["cumulative"]["n_exposed"] == len(found["at"][point["event"]])
    for entry in run.per_label:
        for end, value in zip(ends, entry["accuracy_by_session"], strict=True):
            right, n = found["at"].get(end, {}).get(entry["label"], (0, 0))
            assert (value is None) == (n == 0)
            assert not n or value == pytest.approx(right / n)


def test_places():
    assert evaluation_places(20_000) == [1000 * turn for turn in range(1, 21)]
    assert evaluation_places(20_999)[-1] == 20_000
    assert evaluation_places(19_999)[-1] == 19_999
    assert len(evaluation_places(19_999)) == 20
    assert evaluation_places(1809)[:3] == [90, 180, 271]
    assert evaluation_places(7) == [1, 2, 3, 4, 5, 6, 7]
    assert evaluation_places(0) == []


def test_a_learner_is_given_events_and_nothing_else():
    recorder = Recorder()
    split = load_events(blobs()).set_aside(0.2, 1)
    list(continual_runs(split, lambda seed: {"it": lambda: recorder}, SiBlurry(), [1], batch_size=64))
    learned = [given for given in recorder.given if given[1]]
    assert sum(n for n, *_ in learned) == len(split.batch)
    # Names of labels come with their events; held-out events come without labels.
    known = [n_labels for _, _, n_labels, _, _ in learned]
    assert known == sorted(known)
    assert known[0] < 6
    assert {n_true for n, learn, _, n_true, _ in recorder.given if not learn} == {0}
    assert {key for *_, key in recorder.given} == {None}


@pytest.mark.parametrize("batch_size", [1, 13, 10_000])
def test_cuts_change_nothing(batch_size):
    learners = {"bayes": GaussianNBClassifier(), "linear": LinearClassifier()}
    one = evaluate_continual(blobs(), learners, seeds=1)
    other = evaluate_continual(blobs(), learners, seeds=1, batch_size=batch_size)
    assert [run.metrics for run in one.runs] == [run.metrics for run in other.runs]
    assert [run.curve for run in one.runs] == [run.curve for run in other.runs]


def test_learning_alone_leaves_the_same_metrics():
    one = evaluate_continual(blobs(), GaussianNBClassifier(), seeds=1).runs[0]
    other = evaluate_continual(blobs(), GaussianNBClassifier(), seeds=1, prequential=False).runs[0]
    assert one.metrics == {**other.metrics, "prequential_accuracy": one.metrics["prequential_accuracy"]}
    assert "prequential_accuracy" not in other.curve[0]["cumulative"]


def test_learners_stay_untrained_and_get_seeds():
    class Seeded(MajorityClassifier):
        def __init__(self, seed=0):
            super().__init__()
            self.seed = seed

    model = Seeded()
    result = evaluate_continual(blobs(), model, scenario=SiBlurry(seed=4), seeds=[4, 9])
    assert [run.learner["seed"] for run in result.runs] == [4, 9]
    assert [run.data["scenario"]["seed"] for run in result.runs] == [4, 9]
    assert model.schema_.n_labels == 0
    assert [run.learner_name for run in result.runs] == ["Seeded", "Seeded"]


def test_of_several_labels_scores_are_f1():
    random = np.random.default_rng(3)
    x = random.normal(size=(300, 4))
    y = np.stack([x[:, 0] > 0, x[:, 1] > 0.5, x[:, 2] > 1, x[:, 0] > 0.3], 1)
    models = {"ihomer": ihomer.IHOMERClassifier(seed=1), "majority": MajorityClassifier()}
    result = evaluate_continual((x, y.astype(int)), models, scenario=SiBlurry(sessions=2), seeds=2)
    for run in result.runs:
        assert set(SHOWN_CONTINUAL) - set(run.metrics) <= {"f_last"}
        assert all(0 <= run.metrics[key] <= 1 for key in ("a_auc", "a_last", "prequential_accuracy"))
        assert run.per_label[-1]["label"] == "(no label)"
        assert run.per_label[-1]["support"] == run.data["n_events"] - sum(e["support"] for e in run.per_label[:-1])
    assert result.runs[0].metrics["a_last"] > result.runs[1].metrics["a_last"]


def schema(*names):
    return Schema([], names)


def test_scores_of_single_labels():
    proba = np.array([[0.2, 0.7, 0.1], [0, 0, 0], [0.5, 0.5, 0.9], [0, 0, 0]], np.float64)
    answers = Prediction(Rows.from_lists([[0], [2], [], []]), proba)
    truth = Rows.from_lists([[1], [2], [0], [0]])
    # The learner numbers labels c, a, b; the stream a, b, c. Row 1 has no probability, so that its label counts.
    mine = schema("a", "b", "c")
    assert scores(answers, truth, ["a", "b", "c"], mine, True).tolist() == [1, 1, 0, 0]
    assert top(answers, answers.labels, np.arange(3)).tolist() == [1, 2, 2, -1]
    # Of the two labels that came, row 2 has equals: the first.
    assert scores(answers, truth, ["a", "b"], mine, True).tolist() == [1, 0, 1, 0]
    turned = schema("c", "a", "b")
    assert scores(answers, Rows.from_lists([[0], [1], [2], [2]]), ["a", "b", "c"], turned, True).tolist() == [
        1,
        1,
        0,
        0,
    ]
    listed = Prediction(answers.labels, Rows.from_dense(proba, values=True))
    assert scores(listed, truth, ["a", "b", "c"], mine, True).tolist() == [1, 1, 0, 0]
    silent = Prediction(answers.labels)
    assert scores(silent, truth, ["a", "b", "c"], mine, True).tolist() == [0, 1, 0, 0]
    unknown = schema("d")
    assert scores(Prediction(Rows.from_lists([[0]]), np.ones((1, 1))), truth[:1], ["a"], unknown, True).tolist() == [0]


def test_scores_of_label_sets():
    answers = Prediction(Rows.from_lists([[0, 1], [2], [], [0]]))
    truth = Rows.from_lists([[0, 2], [2], [], [1]])
    names, mine = ["a", "b", "c"], schema("a", "b", "c")
    assert scores(answers, truth, names, mine, False).tolist() == [0.5, 1, 1, 0]
    # A label that did not come is neither asked for nor an answer.
    assert scores(answers, truth, names[:2], mine, False) == pytest.approx([2 / 3, 1, 1, 0])


def test_forgetting_by_hand():
    nan = np.nan
    matrix = np.array([[0.5, nan, nan, 0.0], [0.9, 0.4, nan, 0.0], [0.6, 0.6, 0.7, 0.3]])
    # Class 0 falls by 0.3, class 1 rises by 0.2, class 2 is new, class 3 had nothing to lose.
    assert forgetting(matrix) == pytest.approx(0.05)
    assert forgetting(matrix[:1]) is None
    assert forgetting(np.full((3, 2), nan)) is None


def test_questions_are_about_classes_that_came():
    split = load_events(blobs()).set_aside(0.25, 5)
    source = ArrangedSource(split, SiBlurry(seed=5))
    test = ExposedTest(split, source)
    assert test.n_exposed(0) == 0
    assert test.n_exposed(source.n_events) == len(split.test)
    for place in (1, 40, 100, 190):
        came = set(source.arrangement.codes[:place].tolist())
        n = test.n_exposed(place)
        assert n == sum(int(label) in came for label in split.test.y.indices)
        assert {test.classes[code] for code in test.codes[:n]} == {split.batch.schema.label_names[c] for c in came}
    assert len(test.batch.y.indices) == 0


def test_one_class_and_one_session():
    (run,) = evaluate_continual((np.zeros((30, 2)), np.zeros(30, int)), MajorityClassifier(), seeds=1).runs
    assert run.metrics["a_last"] == run.metrics["a_auc"] == 1
    (run,) = evaluate_continual(blobs(), MajorityClassifier(), scenario=SiBlurry(sessions=1), seeds=1).runs
    assert "f_last" not in run.metrics


def test_a_run_that_is_stopped_is_lost():
    stop = Event()
    split = load_events(blobs())

    class Stopper(MajorityClassifier):
        def _run(self, batch, learn):
            if self.schema_.n_labels > 3:
                stop.set()
            return super()._run(batch, learn)

    makers = {"whole": MajorityClassifier, "half": Stopper, "never": MajorityClassifier}
    runs = list(continual_runs(split, lambda seed: makers, SiBlurry(), [1, 2], stop=stop))
    assert [run.learner_name for run in runs] == ["whole"]
    done = continual_runs(split, lambda seed: makers, SiBlurry(), [1, 2], is_done=lambda name, seed: name != "whole")
    assert [run.data["order"] for run in done] == ["siblurry:1", "siblurry:2"]


def test_wrong_settings_are_refused():
    with pytest.raises(ValueError, match="learners must name at least one, got none"):
        evaluate_continual(blobs(), {})
    with pytest.raises(ValueError, match="seeds must be at least one, got 0"):
        evaluate_continual(blobs(), MajorityClassifier(), seeds=0)
    with pytest.raises(ValueError, match="share must be between 0 and 1, got 2"):
        evaluate_continual(blobs(), MajorityClassifier(), test_share=2)


# Results.


@pytest.fixture(scope="module")
def result():
    learners: dict[str, Learner] = {"bayes": GaussianNBClassifier(), "majority": MajorityClassifier()}
    return evaluate_continual(blobs(), learners, seeds=3)


def test_a_result_is_saved_and_read_again(result, tmp_path):
    result.save_all(tmp_path)
    again = Result.load(tmp_path / "result.json")
    assert [run.metrics for run in again.runs] == [run.metrics for run in result.runs]
    assert [run.curve for run in again.runs] == [run.curve for run in result.runs]
    assert again.runs[0].data["scenario"]["ends"][-1] == 192
    frame = result.curves_frame()
    assert set(CURVES_CONTINUAL) <= set(frame.columns)
    assert set(frame["run"]) == set(range(6))


def test_a_table_has_a_row_a_learner(result):
    from rich.console import Console

    console = Console(width=250, record=True, file=io.StringIO())
    console.print(result.table())
    text = console.export_text()
    assert "siblurry:1..3" in text
    assert "A_auc" in text
    assert text.count("±") == 2 * (len(SHOWN_CONTINUAL) + 1)


def test_a_report_shows_sessions_and_classes(result):
    from ihomer.report import render

    page = render(result)
    assert "Sessions and classes, seed 1" in page
    assert "in Si-Blurry order, seeds 1 to 3" in page
    assert page.count('class="heat"') == 3
    ends = result.runs[0].data["scenario"]["ends"]
    assert page.count('<path class="known"') == len(ends) - 1
    assert "drift of its loss" not in page
    assert render(result) == page


def test_seeds_are_compared_in_pairs(result):
    found = compare_seeds(result, ["a_auc", "f_last"])
    assert [(pair.a, pair.b, pair.n_seeds) for pair in found] == [("bayes", "majority", 3)] * 2
    gaps = [a.metrics["a_auc"] - b.metrics["a_auc"] for a, b in zip(result.runs[::2], result.runs[1::2], strict=True)]
    from scipy.stats import ttest_1samp

    assert found[0].difference == pytest.approx(np.mean(gaps))
    assert found[0].deviation == pytest.approx(np.std(gaps, ddof=1))
    assert found[0].p == pytest.approx(ttest_1samp(gaps, 0).pvalue)
    assert found[0].verdict == "better"
    assert compare_seeds(result, ["a_auc"], control="majority")[0].verdict == "worse"


def test_seeds_that_agree_or_lack_a_partner():
    def run(name, seed, value):
        return Run({"name": "toy", "order": f"siblurry:{seed}", "repeat": seed}, {"name": name}, {"a_auc": value})

    same = Result([run(name, seed, 0.5) for name in "ab" for seed in (1, 2)])
    assert [(pair.p, pair.verdict) for pair in compare_seeds(same, ["a_auc"])] == [(1.0, "even")]
    always = Result([run("a", 1, 0.75), run("a", 2, 0.75), run("b", 1, 0.5), run("b", 2, 0.5)])
    assert [(pair.p, pair.verdict) for pair in compare_seeds(always, ["a_auc"])] == [(0.0, "better")]
    assert compare_seeds(Result([run("a", 1, 0.5), run("b", 2, 0.5)]), ["a_auc"]) == []
