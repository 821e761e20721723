"""One logistic model a label, answering each event before learning it: ours, river's and Vowpal Wabbit's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.peers import PROCESSES, Environment, run_process
from benchmarks.targets import Ratio
from benchmarks.workloads import BATCH_SIZE, Events, Shape, cut, dense_shape, f1, yeast
from ihomer import LinearClassifier, open_source
from streams.batch import Batch, Rows

NAMES = ("micro_f1", "macro_f1")

VOWPAL_WABBIT = Environment("vowpal-wabbit", ["vowpalwabbit==9.11.9"])
"""Its PyPI package, which needs no compiler."""

_STREAMED, _DICTIONARIES = "ihomer, arrays", "ihomer, dictionaries"


DENSE = [
    dense_shape(6, 72, 1.9, 40_000, 4_000),
    dense_shape(14, 103, 4.2, 20_000, 2_000),
    dense_shape(101, 120, 4.4, 8_000, 400),
    dense_shape(374, 500, 3.5, 2_000, 80),
]
YEAST = Shape("yeast", lambda n: yeast()[:n], 2_417, 2_417)


def cells() -> list[Cell]:
    """Against river from memory, and against Vowpal Wabbit from a file."""
    river = [
        Cell(
            group="linear",
            workload=shape.name,
            build=partial(_build_river, shape),
            targets=[Ratio(_STREAMED, "river", at_least=100), Ratio(_DICTIONARIES, "river", at_least=5)],
            metrics=NAMES,
        )
        for shape in [YEAST, *DENSE]
    ]
    files = [
        Cell(
            group="linear-files",
            workload=shape.name,
            build=partial(_build_files, shape),
            targets=[
                Ratio(_STREAMED, "vowpal wabbit, text", at_least=5),
                Ratio("ihomer, ARFF", "vowpal wabbit, text", at_least=5),
                Ratio(_STREAMED, "vowpal wabbit, cache"),
            ],
            metrics=NAMES,
        )
        for shape in [YEAST, *DENSE]
    ]
    return [*river, *files]


def _ours(events: Events, judged: int) -> Contestant:
    batches = events.batches()
    note = "F1 over the events that river saw, the first ones" if judged < len(events) else ""

    def attempt(clock: Clock) -> Quality:
        return _learn(batches, events.y[:judged], clock)

    return Contestant(_STREAMED, attempt, lambda: _learn(batches[:2], events.y[: 2 * BATCH_SIZE], Clock()), note)


def _learn(batches: Iterable[Batch], truth: NDArray[np.bool_], clock: Clock) -> Quality:
    model, answers = LinearClassifier(), []
    with clock:
        for batch in batches:
            answers.append(model.test_then_train(batch).labels)
            clock.count(len(batch))
    return f1(truth, Rows.concat(answers)[: len(truth)])


def _build_river(shape: Shape, setting: Setting) -> Sequence[Contestant]:
    events = shape.make(shape.n_events // 4 if setting.quick else shape.n_events)
    judged = min(len(events), shape.n_river // 4 if setting.quick else shape.n_river)
    labels = {f"y{j}": j for j in range(events.y.shape[1])}
    pairs = events[:judged].to_river()

    def river(clock: Clock) -> Quality:
        from river.linear_model import LogisticRegression
        from river.multioutput import PerOutputClassifier
        from river.preprocessing import StandardScaler

        return one_by_one(StandardScaler() | PerOutputClassifier(LogisticRegression()), pairs, clock)

    def one_by_one(model: Any, pairs: Sequence[tuple[Any, Any]], clock: Clock) -> Quality:
        answers = []
        with clock:
            for x, y in pairs:
                answers.append(model.predict_one(x))
                model.learn_one(x, y)
                clock.count(1)
        predicted = [[labels[name] for name, present in answer.items() if present] for answer in answers]
        return f1(events.y[: len(pairs)], predicted)

    note = (
        "`StandardScaler() | PerOutputClassifier(LogisticRegression())`: one scaler for all labels, which is faster "
        "than one a label and gives the same answers; where it saw fewer events, its speed is that over those"
    )
    return [
        _ours(events, judged),
        Contestant(
            _DICTIONARIES,
            lambda clock: one_by_one(LinearClassifier(), pairs, clock),
            lambda: one_by_one(LinearClassifier(), pairs[:50], Clock()),
            "`predict_one`, then `learn_one`, over the events that river saw",
        ),
        Contestant("river", river, note=note),
    ]


def _build_files(shape: Shape, setting: Setting) -> Sequence[Contestant]:
    events = shape.make(shape.n_events // 4 if setting.quick else shape.n_events)
    names = ("events.arff", "events.npz", "events.vw", "events.cache", "answers")
    arff, npz, text, cache, answers = (setting.folder / name for name in names)
    events.write_arff(arff)
    events.write_vowpal_wabbit(text)
    np.savez(npz, x=events.x.astype(np.float32), y=events.y)
    n_labels = events.y.shape[1]

    def read_arff() -> Iterator[Batch]:
        source = open_source(str(arff))
        while (batch := source.next_batch(BATCH_SIZE)) is not None:
            yield batch
        source.close()

    def from_arff(clock: Clock) -> Quality:
        return _learn(read_arff(), events.y, clock)

    def read_npz() -> Iterator[Batch]:
        with np.load(npz) as arrays:
            yield from cut(Batch.from_arrays(arrays["x"], arrays["y"]))

    def from_npz(clock: Clock) -> Quality:
        return _learn(read_npz(), events.y, clock)

    options = f"--multilabel_oaa {n_labels} --loss_function logistic --quiet -d {text}"
    quality: dict[str, float] = {}

    def vowpal_wabbit(arguments: str, clock: Clock) -> Quality:
        command = [str(VOWPAL_WABBIT.python()), str(PROCESSES / "vowpal_wabbit.py"), f"{options} {arguments}"]
        clock.report(run_process(command, clock)["seconds"] / len(events), len(events))
        return quality

    def warm() -> None:
        vowpal_wabbit(f"-p {answers} --cache_file {cache}", Clock())
        quality.update(f1(events.y, [map(int, filter(None, line.strip().split(","))) for line in answers.open()]))

    return [
        _ours(events, len(events)),
        Contestant("ihomer, ARFF", from_arff, lambda: from_arff(Clock()), "reads the ARFF file and answers"),
        Contestant("ihomer, npz", from_npz, note="reads the arrays from a NumPy archive and answers"),
        Contestant(
            "vowpal wabbit, text",
            partial(vowpal_wabbit, ""),
            warm,
            f"`{VOWPAL_WABBIT.requirements[0]}`, `--multilabel_oaa L --loss_function logistic`, one pass over its text "
            "format (its parser has a thread of its own); the start of its process and the writing of answers are not "
            "counted",
        ),
        Contestant(
            "vowpal wabbit, cache",
            partial(vowpal_wabbit, f"--cache_file {cache}"),
            note="the same from its binary cache, so without parsing",
        ),
    ]
