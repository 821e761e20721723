"""Trees and forests where every event has one class, answered before it is learned: ours, river's and MOA's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.classes import Classes, Stream, accuracy, electricity, radial, random_tree, stream
from benchmarks.frame import Cell, Clock, Contestant, PeerMissingError, Quality, Setting
from benchmarks.peers import PROCESSES, Environment, run_process
from benchmarks.targets import Ratio
from learners.base import Learner
from streams.batch import Rows

NAMES = ("accuracy",)

ARRAYS, DICTIONARIES, JAVA, PYTHON, RIVER = "ihomer, arrays", "ihomer, dictionaries", "MOA", "CapyMOA", "river"

CAPYMOA = Environment("capymoa", ["capymoa==0.15.1", "jpype1==1.7.1", "numpy==2.4.6"])
"""Its PyPI package holds MOA, as Java classes; it needs a Java that is installed."""

N_MEMBERS = 10


@dataclass(frozen=True)
class Method:
    """What is compared: our learner, river's and CapyMOA's, made to do the same.

    Parameters
    ----------
    group
        Of the cells.
    ours, river
        Make a learner.
    capymoa, parameters
        Name of a classifier of CapyMOA, and what it is made with.
    settings
        What all have in common, in a few words.
    streams
        On which it is measured.
    dictionaries
        How many times river's speed dictionaries should at least have.
    """

    group: str
    ours: Callable[[], Learner]
    river: Callable[[], Any]
    capymoa: str
    parameters: Mapping[str, Any]
    settings: str
    streams: Sequence[Stream]
    dictionaries: float | None = None


def _tree() -> Learner:
    from learners import HoeffdingTreeClassifier

    return HoeffdingTreeClassifier()


def _river_tree() -> Any:
    from river.tree import HoeffdingTreeClassifier

    return HoeffdingTreeClassifier()


def _adaptive_tree() -> Learner:
    from learners import HoeffdingAdaptiveTreeClassifier

    return HoeffdingAdaptiveTreeClassifier(seed=1)


def _river_adaptive_tree() -> Any:
    from river.tree import HoeffdingAdaptiveTreeClassifier

    return HoeffdingAdaptiveTreeClassifier(seed=1)


def _forest() -> Learner:
    from learners import AdaptiveRandomForestClassifier

    return AdaptiveRandomForestClassifier(N_MEMBERS, seed=1)


def _river_forest() -> Any:
    from river.forest import ARFClassifier

    return ARFClassifier(N_MEMBERS, seed=1)


def _bagging() -> Learner:
    from learners import ADWINBaggingClassifier

    return ADWINBaggingClassifier(N_MEMBERS, seed=1)


def _river_bagging() -> Any:
    from river.ensemble import ADWINBaggingClassifier

    return ADWINBaggingClassifier(_river_tree(), N_MEMBERS, seed=1)


_AS_RIVER = {"confidence": 1e-7, "disable_prepruning": False}


def _streams(n_events: int, n_slow: int) -> list[Stream]:
    shapes = ((random_tree, 2, 20), (random_tree, 2, 50), (radial, 5, 20), (radial, 5, 50))
    made = [stream(make, n_classes, d, n_events, n_slow) for make, n_classes, d in shapes]
    return [*made, Stream("electricity", electricity, min(n_events, 45_312), n_slow)]


METHODS = [
    Method(
        "tree",
        _tree,
        _river_tree,
        "HoeffdingTree",
        _AS_RIVER,
        "grace period 200, delta 1e-7, tau 0.05, naive Bayes adaptive leaves, ten split points",
        _streams(100_000, 20_000),
        dictionaries=5,
    ),
    Method(
        "adaptive-tree",
        _adaptive_tree,
        _river_adaptive_tree,
        "HoeffdingAdaptiveTree",
        _AS_RIVER,
        "as for the Hoeffding tree",
        _streams(50_000, 10_000),
    ),
    Method(
        "forest",
        _forest,
        _river_forest,
        "AdaptiveRandomForestClassifier",
        {"ensemble_size": N_MEMBERS, "max_features": "sqrt"},
        "ten trees, grace period 50, delta 0.01, Poisson(6), the square root of the features and one more (river: not "
        "one more), ADWIN with 0.01 for warnings and 0.001 for drifts, votes weighted by accuracy",
        _streams(20_000, 2_000),
    ),
    Method(
        "bagging",
        _bagging,
        _river_bagging,
        "OnlineAdwinBagging",
        {"ensemble_size": N_MEMBERS, "base_learner": ["HoeffdingTree", _AS_RIVER]},
        "ten Hoeffding trees as above, Poisson(1), ADWIN with 0.002",
        _streams(20_000, 2_000),
    ),
]


def cells() -> list[Cell]:
    """Hoeffding trees, adaptive ones, forests and ADWIN bagging, at 20 and 50 features and on real data."""
    return [
        Cell(
            group=method.group,
            workload=stream.name,
            build=partial(_build, method, stream),
            targets=[
                Ratio(ARRAYS, JAVA, at_least=1),
                Ratio(DICTIONARIES, RIVER, at_least=method.dictionaries),
                Ratio(DICTIONARIES, PYTHON),
                Ratio(ARRAYS, RIVER),
            ],
            metrics=NAMES,
            repeats=3,
        )
        for method in METHODS
        for stream in method.streams
    ]


def _build(method: Method, stream: Stream, setting: Setting) -> Sequence[Contestant]:
    less = 4 if setting.quick else 1
    events, n_slow = stream.make(stream.n_events // less), stream.n_slow // less
    arff = setting.folder / "events.arff"
    events.write_arff(arff)
    all_of_them = f"`{method.capymoa}`, {method.settings}"
    few = f"over the first {n_slow:,} events, as `accuracy` is for everyone"
    return [
        _arrays(events, n_slow, method.ours),
        _one_by_one(DICTIONARIES, events[:n_slow], partial(_single_label, method.ours), f"`SingleLabel`, {few}"),
        _moa(events, n_slow, method, setting, "java", all_of_them),
        _moa(events[:n_slow], n_slow, method, setting, "python", f"`predict` and `train` an event, {few}"),
        _one_by_one(RIVER, events[:n_slow], method.river, few),
    ]


def _single_label(make: Callable[[], Learner]) -> Any:
    from ihomer import SingleLabel

    return SingleLabel(make())


def judged(truth: NDArray[np.int64], answers: NDArray[np.int64], n_slow: int) -> dict[str, float]:
    """The accuracy over the events that all have seen, and over all events where those are more."""
    found = {"accuracy": accuracy(truth[:n_slow], answers[:n_slow])}
    return found if len(truth) <= n_slow else {**found, "accuracy_of_all": accuracy(truth, answers)}


def _arrays(events: Classes, n_slow: int, make: Callable[[], Learner]) -> Contestant:
    batches = events.batches()

    def attempt(clock: Clock) -> Quality:
        model, answers = make(), []
        with clock:
            for batch in batches:
                answers.append(model.test_then_train(batch).labels)
                clock.count(len(batch))
        # A label set of one class is an answer; an empty one, before anything is known, is none.
        found = np.concatenate([np.where(np.diff(rows.indptr) == 1, _first(rows), -1) for rows in answers])
        return judged(events.y, found, n_slow)

    def warm() -> None:
        model = make()
        for batch in batches[: max(1, n_slow // 256)]:
            model.test_then_train(batch)

    return Contestant(ARRAYS, attempt, warm)


def _first(rows: Rows) -> NDArray[np.int64]:
    """The first label of each row, whatever where there is none."""
    padded = np.append(rows.indices, -1).astype(np.int64)
    first: NDArray[np.int64] = padded[np.minimum(rows.indptr[:-1], len(rows.indices))]
    return first


def _one_by_one(name: str, events: Classes, make: Callable[[], Any], note: str) -> Contestant:
    pairs = events.to_river()

    def attempt(clock: Clock) -> Quality:
        model, answers = make(), []
        with clock:
            for x, y in pairs:
                answers.append(model.predict_one(x))
                model.learn_one(x, y)
                clock.count(1)
        return judged(events.y, np.array([-1 if answer is None else answer for answer in answers]), len(events))

    def warm() -> None:
        model = make()
        for x, y in pairs[:300]:
            model.predict_one(x)
            model.learn_one(x, y)

    return Contestant(name, attempt, warm, note)


def _moa(events: Classes, n_slow: int, method: Method, setting: Setting, loop: str, note: str) -> Contestant:
    answers = setting.folder / f"{loop}.npy"
    arguments = [
        str(PROCESSES / "capymoa_loops.py"),
        str(setting.folder / "events.arff"),
        method.capymoa,
        json.dumps(method.parameters),
        loop,
        str(len(events)),
        str(answers),
    ]

    def attempt(clock: Clock) -> Quality:
        report = run_process([str(CAPYMOA.python()), *arguments], clock)
        clock.report(report["seconds"] / len(events), report["events"])
        found = np.load(answers)
        quality = judged(events.y, found, n_slow)
        if abs(accuracy(events.y, found) - report["accuracy"]) > 1e-9:
            raise ValueError(f"both passes must be equally right, got {quality} and {report['accuracy']}")
        return quality

    def warm() -> None:
        require_java()
        CAPYMOA.python()

    pass_note = f"{note}; from memory, the second pass of a process, so that its code is compiled"
    return Contestant(JAVA if loop == "java" else PYTHON, attempt, warm, pass_note)


def require_java() -> None:
    """See that there is a Java.

    Raises
    ------
    PeerMissingError
        There is none.
    """
    if shutil.which("java") is None:
        raise PeerMissingError("java is not installed")
