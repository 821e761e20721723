"""A small fixed set of workloads: what every learner reached must not fall, and how fast it was beside a fixed kernel.

``python -m benchmarks regression --compare benchmarks/results/regression.json`` fails where a quality fell by more than
`TOLERANCE`. Speeds are told as ratios to `_yardstick`, which took turns with them, so that two machines compare.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
from numba import njit
from numpy.typing import NDArray

from benchmarks.drift import quality as quality_of_alarms
from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.targets import Ratio
from benchmarks.workloads import dense
from benchmarks.workloads import read_all as read_set
from drift.scoring import score_alarms
from ihomer import evaluate
from ihomer.detectors import build as build_detector
from ihomer.evaluation.continual import continual_runs
from ihomer.evaluation.result import SHOWN
from ihomer.specs import build
from streams.batch import Batch, Rows
from streams.memory import BatchSource, read_all
from streams.siblurry.labelled import LabelledEvents, load_events
from streams.siblurry.scenario import SiBlurry
from streams.synthetic import open_synthetic

TOLERANCE = 0.005
"""By how much a quality may fall: other machines' linear algebra sums in another order."""

LEARNERS = (
    "ihomer",
    "ihomer:optimise=subset",
    "ihomer:experts=[ridge,logistic,neighbours,score-neighbours,trees]",
    "ihomer:mode=paper",
    "mlhat",
    "mlhat:mode=paper",
    "tree",
    "adaptive-tree",
    "forest",
    "adwin-bagging",
    "linear",
    "chain",
    "knn",
    "naive-bayes",
    "bernoulli-nb",
)
HEADS = ("auto", "slda", "rls", "ncm", "cosine-softmax")
DETECTORS = ("adwin", "page-hinkley", "ddm", "hddm-a", "hddm-w", "ecdd")

YARDSTICK = "reference kernel"

SEED = 1


def cells() -> list[Cell]:
    """Learners on four streams, heads in a scenario, detectors on a series."""
    ratios = [Ratio(YARDSTICK, spec) for spec in LEARNERS]
    return [
        *(
            Cell("learners", name, partial(_learners, make), targets=ratios, repeats=2)
            for name, make in STREAMS.items()
        ),
        Cell("heads", "blobs_v1", _heads, metrics=("a_auc", "a_last"), repeats=1),
        Cell("detectors", "rates_v1", _detectors, metrics=("n_missed",), repeats=1),
    ]


# Learners.


def _learners(make: Callable[[], Batch], setting: Setting) -> Sequence[Contestant]:
    whole = make()
    sides = [
        Contestant(spec, partial(_prequential, whole, spec), partial(_prequential, whole[:600], spec, Clock()))
        for spec in LEARNERS
    ]
    return [Contestant(YARDSTICK, _run_yardstick, partial(_run_yardstick, Clock())), *sides]


def _prequential(whole: Batch, spec: str, clock: Clock) -> Quality:
    (run,) = evaluate(BatchSource(whole), {spec: build(spec, SEED)}, baselines=False, further_metrics=False).runs
    clock.report(run.time["wall_s"] / run.counts["scored"], run.counts["scored"])
    return {name: run.metrics[name] for name in SHOWN}


def _dense() -> Batch:
    return Batch.concat(dense(14, 103, 3000, 4.2).batches())


def _drifting() -> Batch:
    return read_all(open_synthetic("synthetic:rbf?drift=sudden&events=4000&positions=2000&labels=10&noise=0.1&seed=1"))


def _words() -> Batch:
    """Sparse rows: each label has words of its own, most words are noise."""
    random = np.random.default_rng(3)
    n_words, n_labels, own = 2000, 12, 15
    texts, labels = [], []
    for _ in range(2500):
        present = np.flatnonzero(random.random(n_labels) < 1.5 / (1 + np.arange(n_labels)))
        words = [random.integers(n_words, size=20), *(own * label + random.integers(own, size=4) for label in present)]
        texts.append(np.unique(np.concatenate(words)))
        labels.append(present)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    x = Rows(np.append(0, lengths.cumsum()), np.concatenate(texts).astype(np.int32), np.ones(lengths.sum(), np.float32))
    return Batch.from_arrays(x, Rows.from_lists(labels))


STREAMS: dict[str, Callable[[], Batch]] = {
    "yeast": partial(read_set, "yeast"),
    "dense_14x103_v1": _dense,
    "drifting_v1": _drifting,
    "words_v1": _words,
}
"""What each workload is made by; changed data is a new name."""


def _run_yardstick(clock: Clock) -> Quality:
    random = np.random.default_rng(0)
    x, weights = random.normal(size=(20_000, 100)), np.zeros((10, 100))
    with clock:
        _yardstick(x, weights)
        clock.count(len(x))
    return {}


@njit(cache=True)
def _yardstick(x: NDArray[np.float64], weights: NDArray[np.float64]) -> None:
    """Ten perceptrons of 100 features that learn whether a row's first values rise; never to be changed."""
    for row in x:
        for k in range(weights.shape[0]):
            total = 0.0
            for j in range(row.shape[0]):
                total += weights[k, j] * row[j]
            if (total > 0) != (row[k + 1] > row[k]):
                sign = 1.0 if row[k + 1] > row[k] else -1.0
                for j in range(row.shape[0]):
                    weights[k, j] += sign * row[j]


# Heads and detectors.


def _heads(setting: Setting) -> Sequence[Contestant]:
    random = np.random.default_rng(5)
    centres = random.normal(size=(12, 32))
    y = random.integers(12, size=4000)
    x = centres[y] + 1.6 * random.normal(size=(4000, 32))
    events = load_events((x, y))
    return [Contestant(spec, partial(_continual, events, spec)) for spec in HEADS]


def _continual(events: LabelledEvents, spec: str, clock: Clock) -> Quality:
    def make(seed: int) -> dict[str, Callable[[], object]]:
        return {spec: partial(build, spec, seed=seed)}

    (run,) = continual_runs(events, make, SiBlurry(), [SEED], prequential=False)
    clock.report(run.time["wall_s"] / run.data["n_events"], run.data["n_events"])
    return {name: run.metrics[name] for name in ("a_auc", "a_last", "a_last_balanced")}


def _detectors(setting: Setting) -> Sequence[Contestant]:
    """Errors whose rate rises from 0.1 to 0.3 at every other change."""
    random = np.random.default_rng(7)
    rates = np.repeat(np.tile([0.1, 0.3], 10), 2000)
    errors = (random.random(len(rates)) < rates).astype(np.float64)
    return [Contestant(spec, partial(_detect, errors, spec)) for spec in DETECTORS]


def _detect(errors: NDArray[np.float64], spec: str, clock: Clock) -> Quality:
    detector = build_detector(spec)
    with clock:
        alarms = detector.update_many(errors)
        clock.count(len(errors))
    rises = list(range(2000, len(errors), 4000))
    return quality_of_alarms(score_alarms(alarms.tolist(), rises, len(errors), acceptance=2000, settling=2000))
