"""What each part of iHOMER is worth, over the published sets.

The default stands beside itself with one part left out. Its label hierarchy takes no part in answers; what clusters are
worth is asked of paper mode, where each has a learner of its own: beside one learner for all labels, random clusters of
the same sizes, and clusters that stay what they were after a tenth of the stream. What else they could be used for in
the default is tried with the right clusters and with random ones, on labels that come late too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from statistics import mean
from typing import Any

from benchmarks import late_labels
from benchmarks.accuracy import SETS, SMALL, published
from benchmarks.cluster_uses import USES, ClusterUse
from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.tables import score, table
from ihomer import IHOMERClassifier, evaluate
from ihomer.evaluation.result import METRICS, SHOWN
from ihomer.experts import EXPERTS, USUAL
from ihomer.partition import shuffled
from learners import KNNClassifier, LinearClassifier, MLHATClassifier
from learners.base import Learner
from streams.batch import Batch, Name
from streams.opening import open_source
from streams.registry import fetch

VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    **{f"without {name}": {"experts": [other for other in USUAL if other != name]} for name in USUAL},
    "without the labels' past": {"temporal": False},
    "without label sets": {"joint": False},
    "without watching its loss": {"detector": None},
    "with random trees": {"experts": EXPERTS},
    "with a Hoeffding tree": {"local": MLHATClassifier()},
    "with a linear model a cluster": {"local_per_cluster": True},
    **{f"for {goal}": {"optimise": goal} for goal in ("f1", "subset", "hamming")},
}
"""What is measured, and the parameters that make it."""

ORDERS = (1, 2, 3)
"""Seeds of the shuffled orders in which the default goes through every set too."""


LOCALS: dict[str, Learner] = {
    "linear": LinearClassifier(),
    "kNN, label sets": KNNClassifier(mode="powerset"),
    "tree, as published": MLHATClassifier(mode="paper"),
    "tree": MLHATClassifier(),
}
"""Local learners of paper mode: one to which every label is a problem of its own, and others that see label sets."""

FROZEN_AFTER = 0.1
"""Share of a stream after which frozen clusters stay what they are."""


class RandomClusters(IHOMERClassifier):
    """Paper mode with random clusters of the sizes of the hierarchy's, drawn anew when it splits or merges one."""

    def __init__(self, local: Learner | None = None, *, seed: int = 1) -> None:
        super().__init__(local, mode="paper", seed=seed)
        self._drawn: list[list[Name]] = []
        self._changes = 0

    def _partition(self) -> list[list[Name]]:
        changes = sum(event["kind"] in ("split", "merge") for event in self._hierarchy.events)
        if changes > self._changes:
            names, self._changes = self._names(), changes
            drawn = shuffled(self._hierarchy.clusters, self.seed, changes)
            self._drawn = [[names[label] for label in cluster] for cluster in drawn]
        # Labels born since then are in no cluster and stay with the learner that they came to.
        return self._drawn or super()._partition()


class FrozenClusters(IHOMERClassifier):
    """Paper mode whose hierarchy makes no test after so many events."""

    def __init__(self, local: Learner | None = None, *, after: int = 0) -> None:
        super().__init__(local, mode="paper")
        self.after = after
        self._hierarchy.frozen_after = after


SCHEMES: dict[str, Callable[[Learner, int], Learner]] = {
    "one learner": lambda local, n_events: local.clone(),
    "random clusters": lambda local, n_events: RandomClusters(local),
    "clusters of the first tenth": lambda local, n_events: FrozenClusters(local, after=int(FROZEN_AFTER * n_events)),
    "clusters": lambda local, n_events: IHOMERClassifier(local, mode="paper"),
    "clusters, replaced as published": lambda local, n_events: IHOMERClassifier(
        local, mode="paper", replacement="immediate"
    ),
}
"""Which labels share a learner, and what makes it of a local learner and the length of the stream."""


SELDOM = ("cal500", "delicious")
"""Sets of which more than nine label sets in ten are new."""

WITH_CLUSTERS = {
    f"{use}, {whose}": partial(ClusterUse, use, by_chance=by_chance)
    for use in USES
    for whose, by_chance in (("random clusters", True), ("clusters", False))
}
"""The default with one more use of its clusters."""


def cells() -> list[Cell]:
    """Cells of every set, one attempt a variant: all are deterministic."""
    sets = [name for name in SETS if name in published(SHOWN[0])]
    whole = (("sets", _build, sets), ("clusters", _build_clusters, sets), ("uses", _build_uses, SETS))
    return [
        *(
            Cell(group, name, partial(build, name), metrics=SHOWN, repeats=1, quick=name in SMALL)
            for group, build, names in whole
            for name in names
        ),
        *(
            Cell("late", name, partial(_build_late, make), metrics=("micro_f1", "new_f1"), repeats=1, quick=False)
            for name, make in late_labels.STREAMS.items()
        ),
    ]


def _build(data: str, setting: Setting) -> Sequence[Contestant]:
    fetch(data)

    def made(settings: Mapping[str, Any]) -> Learner:
        return IHOMERClassifier(**settings)

    sides = [
        Contestant(name, partial(_evaluate, data, partial(made, settings), None)) for name, settings in VARIANTS.items()
    ]
    return sides + [Contestant(_shuffled(seed), partial(_evaluate, data, IHOMERClassifier, seed)) for seed in ORDERS]


def _build_clusters(data: str, setting: Setting) -> Sequence[Contestant]:
    fetch(data)
    n_events = open_source(data).n_events
    assert n_events is not None, "a published set knows how many events it has"
    return [
        Contestant(f"{learner}: {scheme}", partial(_evaluate, data, partial(make, local, n_events), None))
        for learner, local in LOCALS.items()
        for scheme, make in SCHEMES.items()
    ]


def _build_uses(data: str, setting: Setting) -> Sequence[Contestant]:
    fetch(data)
    makers: Mapping[str, Callable[[], Learner]] = {"default": IHOMERClassifier, **WITH_CLUSTERS}
    return [Contestant(name, partial(_evaluate, data, make, None)) for name, make in makers.items()]


def _build_late(make: Callable[[], Batch], setting: Setting) -> Sequence[Contestant]:
    batch = make()

    def attempt(new: Callable[[], Learner], clock: Clock) -> Quality:
        with clock:
            answers = late_labels.answers(new(), batch)
            clock.count(len(batch))
        return late_labels.quality(batch, answers)

    return [
        Contestant(name, partial(attempt, new)) for name, new in {"default": IHOMERClassifier, **WITH_CLUSTERS}.items()
    ]


def _shuffled(seed: int) -> str:
    return f"shuffled, seed {seed}"


def _evaluate(data: str, make: Callable[[], Learner], shuffle: int | None, clock: Clock) -> Quality:
    (run,) = evaluate(data, {"ihomer": make()}, baselines=False, shuffle=shuffle, further_metrics=False).runs
    n_events = run.counts["scored"]
    clock.report(run.time["wall_s"] / n_events, n_events)
    return {name: run.metrics[name] for name in SHOWN}


def tables(result: Mapping[str, Any]) -> dict[str, str]:
    """Means over the sets, a variant a row, and how long it takes beside the first."""
    often = [name for name in SETS if name not in SELDOM]
    made = {
        "variants": _means(result, "sets", SETS, "the default's"),
        "clusters": _means(result, "clusters", SETS, "that of one linear learner"),
        "uses": _means(result, "uses", often, "the default's"),
        "uses-new-sets": _means(result, "uses", SELDOM, "the default's"),
        "late": _late(result),
    }
    return {name: text for name, text in made.items() if text}


def _late(result: Mapping[str, Any]) -> str:
    """Micro-F1 of whole streams and of new labels, a variant a row."""
    measured = [cell for cell in result["cells"] if cell["group"] == "late" and cell["contestants"]]
    if not measured:
        return ""
    sides = [{side["name"]: side["quality"] for side in cell["contestants"]} for cell in measured]
    rows = [[name, *(score(by[name][key]) for by in sides for key in ("micro_f1", "new_f1"))] for name in sides[0]]
    note = (
        "Micro-F1 over the whole stream / over labels first present after a quarter of it, in the "
        f"{late_labels.NEW} events after their first."
    )
    header = ["variant", *(title for cell in measured for title in (cell["workload"], "new labels"))]
    return f"{note}\n\n{table(header, rows, texts=('variant',))}"


def _means(result: Mapping[str, Any], group: str, names: Sequence[str], first: str) -> str:
    cells_of = [cell for cell in result["cells"] if cell["group"] == group and cell["contestants"]]
    measured = [cell for cell in cells_of if cell["workload"] in names]
    sets = [{side["name"]: side for side in cell["contestants"]} for cell in measured]
    if not sets:
        return ""
    rows = []
    for name in sets[0]:
        if any(sides[name]["status"] != "ok" for sides in sets):
            continue
        means = {key: mean(sides[name]["quality"][key] for sides in sets) for key in SHOWN}
        total = sum(means[key] if METRICS[key].better == "higher" else -means[key] for key in SHOWN)
        cost = mean(sides[name]["best"] / next(iter(sides.values()))["best"] for sides in sets)
        rows.append([name, *(METRICS[key].text(means[key]) for key in SHOWN), f"{total:.4f}", f"{cost:.2f}"])
    listed = ", ".join(cell["workload"] for cell in measured)
    note = (
        f"Means over {len(sets)} sets: {listed}. Sum: the gains less Hamming loss. Time: an event's, as a share of "
        f"{first}, one attempt."
    )
    header = ["variant", *(METRICS[key].title for key in SHOWN), "sum", "time"]
    return f"{note}\n\n{table(header, rows, texts=('variant',))}"
