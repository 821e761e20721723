"""Ensembles of trees and linear models beside river's on the same streams; what they draw by lot differs.

Tolerances are stated with each; naive Bayes and single trees, where nothing is drawn, are held to river's probabilities
in `tests/learners`.
"""

from __future__ import annotations

import numpy as np
import pytest
from river import datasets, ensemble, forest, linear_model, preprocessing, tree
from river.drift import NoDrift

from benchmarks.classes import Classes, radial, random_tree
from ihomer import AdaptiveRandomForestClassifier, ADWINBaggingClassifier, LinearClassifier, SingleLabel


def accuracy(model, pairs):
    """Share of the events that were answered right, each before it is learned."""
    right = 0
    for x, y in pairs:
        right += model.predict_one(x) == y
        model.learn_one(x, y)
    return right / len(pairs)


def turned(events: Classes) -> Classes:
    """The same events, whose classes change places in the middle."""
    y = events.y.copy()
    y[len(y) // 2 :] = (y[len(y) // 2 :] + 1) % (y.max() + 1)
    return Classes(events.name, events.x, y)


STREAMS = {"tree": lambda: random_tree(2, 10, 1500), "radial": lambda: radial(3, 10, 1500)}


@pytest.mark.parametrize("name", sorted(STREAMS))
def test_forests_that_do_not_drift_agree_to_four_points(name):
    """Runs of either with other seeds differ by 1.5 to 2 points (standard deviation) on so few events."""
    pairs = STREAMS[name]().to_river()
    theirs = [
        accuracy(
            forest.ARFClassifier(5, max_features=4, drift_detector=NoDrift(), warning_detector=NoDrift(), seed=seed),
            pairs,
        )
        for seed in (1, 2)
    ]
    ours = [
        accuracy(
            SingleLabel(AdaptiveRandomForestClassifier(5, 4, drift_delta=None, warning_delta=None, seed=seed)), pairs
        )
        for seed in (1, 2)
    ]
    assert np.mean(ours) == pytest.approx(np.mean(theirs), abs=0.04)


@pytest.mark.parametrize("name", sorted(STREAMS))
def test_forests_on_drifting_streams_are_no_worse_than_rivers_by_two_points(name):
    """Better they may be: river replaces trees whose errors fall, too."""
    pairs = turned(STREAMS[name]()).to_river()
    theirs = accuracy(forest.ARFClassifier(5, max_features=4, seed=1), pairs)
    ours = accuracy(SingleLabel(AdaptiveRandomForestClassifier(5, 4, seed=1)), pairs)
    assert ours > theirs - 0.02


@pytest.mark.parametrize("name", sorted(STREAMS))
def test_bagging_without_drift_agrees_to_two_points(name):
    pairs = STREAMS[name]().to_river()
    theirs = accuracy(ensemble.ADWINBaggingClassifier(tree.HoeffdingTreeClassifier(), 5, seed=1), pairs)
    ours = accuracy(SingleLabel(ADWINBaggingClassifier(5, seed=1)), pairs)
    assert ours == pytest.approx(theirs, abs=0.02)


def test_bagging_on_a_drifting_stream_is_no_worse_than_rivers_by_two_points():
    """River hands right answers to ADWIN as if they were errors, and replaces the best tree where they rise."""
    pairs = turned(STREAMS["radial"]()).to_river()
    theirs = accuracy(ensemble.ADWINBaggingClassifier(tree.HoeffdingTreeClassifier(), 5, seed=1), pairs)
    ours = accuracy(SingleLabel(ADWINBaggingClassifier(5, seed=1)), pairs)
    assert ours > theirs - 0.02


def test_linear_models_are_no_worse_than_rivers_by_a_point():
    """Ours steps by AdaGrad over inputs of one length, river's by plain gradients."""
    pairs = list(datasets.Phishing())
    theirs = accuracy(preprocessing.StandardScaler() | linear_model.LogisticRegression(), pairs)
    ours = accuracy(SingleLabel(LinearClassifier()), pairs)
    assert ours > theirs - 0.01
