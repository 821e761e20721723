"""`SingleLabel` where river wants a classifier: metrics, ensembles, model selection, sampling, wrappers."""

from __future__ import annotations

import pickle

import numpy as np
import pandas as pd
import pytest
from river import (
    bandit,
    datasets,
    ensemble,
    evaluate,
    feature_selection,
    imblearn,
    metrics,
    model_selection,
    multiclass,
    multioutput,
    preprocessing,
    stats,
)

from ihomer import GaussianNBClassifier, KNNClassifier, LinearClassifier, NoChangeClassifier, SingleLabel, river_metric
from tests.contracts import assert_same_state
from tests.river.events import few_learners, numeric_events


def linear(**settings):
    return SingleLabel(LinearClassifier(**settings))


def scored(model, metric=None, data=None, n=150):
    data = datasets.ImageSegments() if data is None else data
    return evaluate.progressive_val_score(data.take(n), model, metric or metrics.Accuracy()).get()


@few_learners
def test_scores_of_classes_and_of_probabilities(make):
    accuracy = metrics.Accuracy() + metrics.MacroF1() + metrics.CohenKappa() + metrics.ClassificationReport()
    evaluate.progressive_val_score(datasets.ImageSegments().take(150), SingleLabel(make()), accuracy)
    assert accuracy[0].get() > 0.5
    assert accuracy[1].get() > 0.4
    probabilities = metrics.CrossEntropy()
    assert 0 < scored(SingleLabel(make()), probabilities) < 20.0


@few_learners
def test_two_classes(make):
    assert scored(SingleLabel(make()), metrics.ROCAUC(), datasets.Phishing()) > 0.7
    assert scored(SingleLabel(make()), metrics.LogLoss(), datasets.Phishing()) < 3.0


@pytest.mark.parametrize(
    "cls",
    [
        ensemble.BaggingClassifier,
        ensemble.ADWINBaggingClassifier,
        ensemble.LeveragingBaggingClassifier,
        ensemble.AdaBoostClassifier,
        ensemble.ADWINBoostingClassifier,
    ],
)
def test_ensembles(cls):
    models = [cls(linear(), n_models=3, seed=seed) for seed in (1, 1)]
    scores = [scored(model, n=100) for model in models]
    assert scores[0] == scores[1] > 0.4
    for one, other in zip(models[0], models[1], strict=True):
        assert_same_state(one.model, other.model)
    states = [model.model.get_state() for model in models[0]]
    assert len({b"".join(array.tobytes() for array in state.values()) for state in states}) > 1


def test_random_patches_votes_and_stacks():
    patches = ensemble.SRPClassifier(linear(), n_models=3, seed=1)
    assert scored(patches, n=100) > 0.4
    members = [linear(), SingleLabel(KNNClassifier()), SingleLabel(GaussianNBClassifier())]
    assert scored(ensemble.VotingClassifier(members)) > 0.6
    members = [linear(), SingleLabel(KNNClassifier())]
    assert scored(ensemble.StackingClassifier(members, linear()), data=datasets.Phishing()) > 0.6


def test_model_selection():
    rates = [0.001, 1.0]
    halving = model_selection.SuccessiveHalvingClassifier(
        [linear(learning_rate=rate) for rate in rates], metrics.Accuracy(), budget=150, verbose=False
    )
    assert scored(halving) > 0.4
    assert halving.best_model.model.learning_rate == 1.0
    policy = bandit.EpsilonGreedy(0.5, decay=0.01, seed=1)
    arms = model_selection.BanditClassifier([linear(learning_rate=rate) for rate in rates], metrics.Accuracy(), policy)
    assert scored(arms) > 0.4


@pytest.mark.parametrize("select", ["halving", "bandit"])
def test_model_selection_takes_no_multi_label_models(select):
    """River's selection is for one class an event; for labels it refuses at the first step of its loop."""
    models = [LinearClassifier(learning_rate=rate) for rate in (0.1, 1.0)]
    if select == "halving":
        model = model_selection.SuccessiveHalvingClassifier(models, river_metric("micro_f1"), budget=100)
    else:
        policy = bandit.EpsilonGreedy(0.1, seed=1)
        model = model_selection.BanditClassifier(models, river_metric("micro_f1"), policy)
    with pytest.raises(ValueError, match="MicroF1 metric is not compatible with"):
        evaluate.progressive_val_score(numeric_events(), model, river_metric("micro_f1"))


def test_wrappers():
    assert scored(multiclass.OneVsRestClassifier(linear()), n=100) > 0.4
    assert scored(multiclass.OneVsOneClassifier(linear()), n=60) > 0.2
    sampled = imblearn.RandomUnderSampler(linear(), {True: 0.5, False: 0.5}, seed=1)
    assert scored(sampled, data=datasets.Phishing()) > 0.6
    chosen = preprocessing.StandardScaler() | feature_selection.SelectKBest(similarity=stats.PearsonCorr(), k=3)
    assert scored(chosen | linear(), data=datasets.Phishing()) > 0.6


@pytest.mark.parametrize("wrap", [multioutput.PerOutputClassifier, multioutput.ClassifierChain])
def test_rivers_multi_label_models_of_our_classifiers(wrap):
    metric = evaluate.progressive_val_score(numeric_events(60), wrap(linear()), river_metric("micro_f1"))
    assert metric.get() > 0.3


@few_learners
def test_clones_and_pickles(make):
    pairs = [(x, "high" if y["a"] else "low") for x, y in numeric_events()]
    used = preprocessing.StandardScaler() | SingleLabel(make())
    for x, y in pairs[:20]:
        used.learn_one(x, y)
    assert_same_state(used.clone()[-1].model, make())
    other = pickle.loads(pickle.dumps(used))
    for x, y in pairs[20:]:
        assert used.predict_proba_one(x) == other.predict_proba_one(x)
        used.learn_one(x, y)
        other.learn_one(x, y)
    assert_same_state(used[-1].model, other[-1].model)
    assert sum(used.predict_proba_one(pairs[0][0]).values()) == pytest.approx(1.0)


def test_a_clone_takes_other_parameters():
    model = linear(l2=0.5)
    assert model.clone({"model": LinearClassifier(l2=0.3)}).model.l2 == 0.3
    assert model.clone({"model": (LinearClassifier, {"l2": 0.1})}).model.l2 == 0.1
    assert model.model.l2 == 0.5
    with pytest.raises(ValueError, match="'model' is not a mutable attribute of SingleLabel"):
        model.mutate({"model": {"l2": 0.1}})


@few_learners
@pytest.mark.parametrize("kind", ["pandas", "polars", "array"])
def test_many_rows_are_as_one_after_another(make, kind):
    polars = pytest.importorskip("polars")
    pairs = [(x, "high" if y["a"] else "low" if y["b"] else "none") for x, y in numeric_events()]
    names = ["f1", "f2", "f3"] if kind != "array" else [0, 1, 2]
    table = np.array([list(x.values()) for x, _ in pairs])
    frames = {"pandas": pd.DataFrame, "polars": polars.DataFrame}
    X = table if kind == "array" else frames[kind](dict(zip(names, table.T, strict=True)))
    one, many = SingleLabel(make()), SingleLabel(make())
    assert list(many.predict_many(X)) == [None] * 40
    weights = [1.0, 2.0] * 15
    many.learn_many(X[:30], [label for _, label in pairs[:30]], weights)
    for row, (_, label), weight in zip(table.tolist(), pairs[:30], weights, strict=False):
        one.learn_one(dict(zip(names, row, strict=True)), label, weight)
    assert_same_state(one.model, many.model)
    rows = [dict(zip(names, row, strict=True)) for row in table.tolist()]
    assert list(many.predict_many(X)) == [one.predict_one(x) for x in rows]
    assert np.asarray(many.predict_proba_many(X)).tolist() == [list(one.predict_proba_one(x).values()) for x in rows]


def test_frames_go_through_pipelines_and_keep_their_index():
    pairs = numeric_events()
    X = pd.DataFrame([x for x, _ in pairs], index=range(100, 140))
    y = pd.Series(["high" if labels["a"] else "low" for _, labels in pairs])
    model = preprocessing.StandardScaler() | linear()
    model.learn_many(X, y)
    assert model.predict_many(X).index.equals(X.index)
    assert (model.predict_many(X).to_numpy() == y.to_numpy()).mean() > 0.8
    proba = model.predict_proba_many(X)
    assert set(proba.columns) == {"high", "low"}
    assert np.allclose(proba.sum(axis=1), 1.0)


def test_many_rows_without_probabilities():
    model = SingleLabel(NoChangeClassifier())
    assert model.predict_many(np.zeros((2, 1))).tolist() == [None, None]
    model.learn_many(np.zeros((2, 1)), ["p", "q"])
    assert model.predict_many(np.zeros((2, 1))).tolist() == [model.predict_one({0: 0.0})] * 2 == ["q", "q"]


def test_cold_starts_and_new_classes():
    model = linear()
    assert model.predict_one({"x": 1.0}) is None
    assert model.predict_proba_one({"x": 1.0}) == {}
    model.learn_one({"x": 1.0}, "p")
    assert model.predict_proba_one({"x": 1.0}) == {"p": 1.0}
    model.learn_one({"y": 1.0}, "q")
    assert set(model.predict_proba_one({"z": 1.0})) == {"p", "q"}
    for label in (3, True, 2.5):
        model.learn_one({"x": 1.0}, label)
        assert label in model.predict_proba_one({"x": 1.0})
