"""Events as river has them, and the learners that represent the others."""

from __future__ import annotations

import numpy as np
import pytest

from tests.contracts import cases

FEW = ("LinearClassifier", "KNNClassifier", "GaussianNBClassifier", "IHOMERClassifier", "MLHATClassifier")
"""One for each kind of method: gradients, windows, counts, a hierarchy, trees."""


def every_learner() -> list:
    """A pytest parameter for each learner of the house, under the first of its settings."""
    return [case for case in cases() if case.id.endswith("-0")]


def a_few_learners() -> list:
    return [case for case in every_learner() if case.id.removesuffix("-0") in FEW]


learners = pytest.mark.parametrize("make", every_learner())
few_learners = pytest.mark.parametrize("make", a_few_learners())


def events(n=40, seed=0):
    """Pairs of features and labels that depend on them; label d appears half-way."""
    rng = np.random.default_rng(seed)
    pairs = []
    for i in range(n):
        a, b, c = rng.normal(size=3).astype(np.float32).tolist()
        x = {"f1": a, "f2": b, "f3": c, "f4": str(rng.choice(["red", "green"]))}
        y = {"a": a > 0, "b": b + 0.3 * a > 0.2, "c": x["f4"] == "red"}
        pairs.append((x, y if i < n // 2 else {**y, "d": c > 0.5}))
    return pairs


def numeric_events(n=40, seed=0):
    return [({name: x[name] for name in ("f1", "f2", "f3")}, y) for x, y in events(n, seed)]


def answers(model, pairs):
    """What the model answers before it learns each event: labels and, where it has them, probabilities."""
    given = []
    for x, y in pairs:
        given.append(answer(model, x))
        model.learn_one(x, y)
    return given


def answer(model, x):
    labels = {label for label, is_present in model.predict_one(x).items() if is_present}
    try:
        return labels, {label: p[True] for label, p in model.predict_proba_one(x).items()}
    except NotImplementedError:
        return labels, {}
