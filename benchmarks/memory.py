"""Bytes of a learner against events learned, over millions of them: are they flat, and within a budget?

A stream of 20 features and 8 labels; which features speak for which label changes every 250,000 events, so that what
can grow has a reason to. Nothing of it is kept, and a learner's bytes are asked for at every tenth of the way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.tables import amount, score, table
from benchmarks.targets import Below
from ihomer.specs import build
from streams.batch import Batch, Schema

if TYPE_CHECKING:
    from matplotlib.figure import Figure

BUDGET = 8_000_000
"""Bytes that no learner may pass; given to those that take a limit."""

LEARNERS = {
    "linear": ("linear", 10_000_000),
    "naive Bayes": ("naive-bayes", 10_000_000),
    "chain": ("chain", 10_000_000),
    "mlhat": (f"mlhat:max_bytes={BUDGET}", 10_000_000),
    "mlhat, as published": (f"mlhat:mode=paper,max_bytes={BUDGET}", 10_000_000),
    "kNN": ("knn", 10_000_000),
    "ihomer": ("ihomer", 2_000_000),
}
"""What tables call a learner, what the command line does, and how many events it is given."""

N_FEATURES, N_LABELS = 20, 8
POINTS = 10
"""How often bytes are asked for."""

_BLOCK, _ERA = 1_000, 250_000
"""Events that are made at once, and events after which the world changes."""


def cells() -> list[Cell]:
    """One cell; one attempt a learner, since bytes do not vary."""
    return [
        Cell(
            "events",
            "eras_8x20_v1",
            _build,
            unit="bytes",
            targets=[Below(name, BUDGET) for name in LEARNERS],
            metrics=("growth", "micro_f1"),
            repeats=1,
        )
    ]


def _build(setting: Setting) -> Sequence[Contestant]:
    share = 50 if setting.quick else 1
    return [Contestant(name, partial(_run, spec, n // share)) for name, (spec, n) in LEARNERS.items()]


def _run(spec: str, n_events: int, clock: Clock) -> Quality:
    """Learn so many events; the cost is the most that the learner had."""
    model = build(spec, 1)
    step, sizes, hits, either = n_events // POINTS, [], 0, 0
    for batch in _stream(n_events):
        answers = model.test_then_train(batch).labels.to_dense(N_LABELS).astype(bool)
        truth = batch.y.to_dense(N_LABELS).astype(bool)
        hits, either = hits + int((truth & answers).sum()), either + int(truth.sum() + answers.sum())
        clock.count(len(batch))
        if clock.events // step > len(sizes):
            sizes.append(model.nbytes)
    clock.report(max(sizes), clock.events)
    trajectory = {f"bytes_{point:02}": float(size) for point, size in enumerate(sizes, 1)}
    return {"growth": max(sizes) / sizes[0], "micro_f1": 2 * hits / either, **trajectory}


def _stream(n_events: int) -> Iterator[Batch]:
    schema = Schema([f"x{j}" for j in range(N_FEATURES)], [f"y{j}" for j in range(N_LABELS)])
    for start in range(0, n_events, _BLOCK):
        x, y = _block(start)
        yield Batch.from_arrays(x, y, schema=schema)


def _block(start: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The events from ``start`` on: a label is present where two features of its own agree, or a third is large."""
    chosen = np.random.default_rng([1, start // _ERA]).integers(N_FEATURES, size=(3, N_LABELS))
    x = np.random.default_rng([2, start]).normal(size=(_BLOCK, N_FEATURES)).astype(np.float32)
    first, second, third = (x[:, column] for column in chosen)
    return x, ((first > 0.5) & (second > 0)) | (third > 1.5)


# Table and picture.


def tables(result: Mapping[str, Any]) -> dict[str, str]:
    """A row a learner: the most bytes it had, and how many times what it had after a tenth of the way."""
    rows = [
        [
            side["name"],
            f"{side['events']:,}",
            f"{side['best'] / 1e3:,.0f} KB",
            f"{side['quality']['growth']:.3f}",
            score(side["quality"]["micro_f1"]),
        ]
        for side in _done(result)
    ]
    failed = [
        f"**{s['name']}: {s['reason']}**" for c in result["cells"] for s in c["contestants"] if s["status"] != "ok"
    ]
    header = ["learner", "events", "most bytes", "times those after a tenth", "micro-F1"]
    note = f"No learner may pass {amount(BUDGET, 'bytes')}; the world changes every {_ERA:,} events."
    return {"events": "\n\n".join([note, table(header, rows, texts=("learner",)), *failed])} if rows else {}


def pictures(result: Mapping[str, Any]) -> dict[str, Figure]:
    """Bytes against events, a line a learner."""
    from matplotlib.figure import Figure

    if not _done(result):
        return {}
    drawn = Figure(figsize=(7, 4), layout="constrained")
    axes = drawn.add_subplot()
    for side in _done(result):
        sizes = [side["quality"][f"bytes_{point:02}"] / 1e6 for point in range(1, POINTS + 1)]
        events = np.arange(1, POINTS + 1) * side["events"] / POINTS / 1e6
        axes.plot(events, sizes, marker=".", label=side["name"])
    axes.axhline(BUDGET / 1e6, color="black", linestyle="--", linewidth=1, label="budget")
    axes.set(xlabel="events, millions", ylabel="bytes of the model, MB", yscale="log")
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return {"events": drawn}


def _done(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [side for cell in result["cells"] for side in cell["contestants"] if side["status"] == "ok"]
