"""Heads on frozen features: learning an event beside one BLAS `dger`, and answering and learning beside river."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dger

from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.targets import Growth, Ratio
from benchmarks.workloads import cut
from learners.base import Learner
from learners.heads.gaussian import GaussianClassifier
from learners.heads.ncm import NCMClassifier
from learners.heads.ridge import RidgeClassifier
from learners.heads.rls import RLSClassifier
from learners.heads.slda import SLDAClassifier
from streams.batch import Batch

CLASSES = 100
WIDTHS = (384, 768)
"""Of the features of a small sentence encoder and of a base-sized image encoder."""

_DGER, _SOLVE = "dger", "SLDA, one solve"
_CHUNK = 64


def cells() -> list[Cell]:
    """What it costs to learn, in units of a rank-one update, and to answer first, beside river's nearest."""
    parts = []
    for width in WIDTHS:
        learn = Cell(
            group="heads-learn",
            workload=f"classes_{CLASSES}x{width}_v1",
            build=partial(_build_learn, width),
            targets=[Growth(_DGER, "RLS", at_most=2.5), Growth(_DGER, "SLDA", at_most=1.5)],
        )
        answer = Cell(
            group="heads",
            workload=f"classes_{CLASSES}x{width}_v1",
            build=partial(_build_answer, width),
            targets=[
                Ratio("Gaussian", "river, GaussianNB", at_least=20),
                Ratio("RLS", "river, SoftmaxRegression", at_least=20),
            ],
            metrics=("accuracy",),
        )
        parts += [learn, answer]
    return parts


def classes(n_events: int, width: int, n_classes: int = CLASSES) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """``classes_CxD_v1``: normal features around the means of equally frequent classes, which overlap somewhat."""
    rng = np.random.default_rng([3, n_classes, width])
    means = rng.normal(size=(n_classes, width)) * 2 / np.sqrt(width)
    mixing = rng.normal(size=(width, width)) / np.sqrt(width)
    y = rng.integers(0, n_classes, n_events)
    return (means[y] @ mixing * 4 + rng.normal(size=(n_events, width)) @ mixing).astype(np.float32), y


def _batch(n_events: int, width: int) -> Batch:
    x, y = classes(n_events, width)
    return Batch.from_arrays(x, np.eye(CLASSES)[y])


def _build_learn(width: int, setting: Setting) -> Sequence[Contestant]:
    whole = _batch(512 if setting.quick else 2_048, width)
    pieces = cut(whole)
    matrix = np.zeros((width, width), order="F")
    left, right = np.random.default_rng(4).normal(size=(2, width))

    def update(clock: Clock) -> Quality:
        with clock:
            for _ in range(len(whole) // _CHUNK):
                for _ in range(_CHUNK):
                    dger(1e-9, left, right, a=matrix, overwrite_a=1)
                clock.count(_CHUNK)
        return {}

    def learn(make: Callable[[], Learner], clock: Clock) -> Quality:
        head = make()
        head.learn_batch(whole)  # every class is born, as later in a stream
        with clock:
            for piece in pieces:
                head.learn_batch(piece)
                clock.count(len(piece))
        return {}

    def solve(clock: Clock) -> Quality:
        head = SLDAClassifier()
        head.learn_batch(whole)
        with clock:
            head.weights()
            clock.count(1)
        return {}

    ours: dict[str, Callable[[], Learner]] = {
        "RLS": RLSClassifier,
        "SLDA": SLDAClassifier,
        "ridge": RidgeClassifier,
        "NCM": NCMClassifier,
        "Gaussian": GaussianClassifier,
    }
    return [
        Contestant(_DGER, update, lambda: update(Clock()), note=f"one call of BLAS on {width} x {width} an event"),
        *(
            Contestant(name, partial(learn, make), partial(learn, make, Clock()), note="learning alone")
            for name, make in ours.items()
        ),
        Contestant(_SOLVE, solve, lambda: solve(Clock()), note="an event is one solving for weights, due every 64"),
    ]


def _build_answer(width: int, setting: Setting) -> Sequence[Contestant]:
    judged = 100 if setting.quick else 300
    x, y = classes(512 if setting.quick else 2_048, width)
    pieces = cut(Batch.from_arrays(x, np.eye(CLASSES)[y]))

    def ours(make: Callable[[], Learner], clock: Clock) -> Quality:
        head, answers = make(), []
        with clock:
            for piece in pieces:
                answers.append(np.asarray(head.test_then_train(piece).proba))
                clock.count(len(piece))
        chosen = np.concatenate(answers).argmax(axis=1)[:judged]
        return {"accuracy": float(np.mean(chosen == y[:judged]))}

    features = [f"x{j}" for j in range(width)]
    events = [dict(zip(features, row, strict=True)) for row in x[:judged].tolist()]

    def river(make: Callable[[], Any], clock: Clock) -> Quality:
        model, hits = make(), 0
        with clock:
            for event, label in zip(events, y.tolist(), strict=False):
                hits += model.predict_one(event) == label
                model.learn_one(event, label)
                clock.count(1)
        return {"accuracy": hits / judged}

    def gaussian() -> Any:
        from river.naive_bayes import GaussianNB

        return GaussianNB()

    def softmax() -> Any:
        from river.linear_model import SoftmaxRegression

        return SoftmaxRegression()

    heads: dict[str, Callable[[], Learner]] = {
        "Gaussian": GaussianClassifier,
        "NCM": NCMClassifier,
        "SLDA": SLDAClassifier,
        "RLS": RLSClassifier,
    }
    note = f"accuracy over the first {judged} events, which river saw"
    return [
        *(Contestant(name, partial(ours, make), partial(ours, make, Clock()), note) for name, make in heads.items()),
        Contestant("river, GaussianNB", partial(river, gaussian), note="`GaussianNB()`"),
        Contestant("river, SoftmaxRegression", partial(river, softmax), note="`SoftmaxRegression()`"),
    ]
