"""Clusters of labels kept up to date with every label set: ours, the same algorithm in plain Python, river's ODAC."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.speed.plain_hierarchy import PlainHierarchy
from benchmarks.targets import Ratio
from benchmarks.workloads import BATCH_SIZE, read_all
from ihomer.hierarchy import LabelHierarchy
from streams.batch import Rows

_ARRAYS, _PAPER, _PLAIN = "ihomer, arrays", "ihomer, published rules", "plain Python"
_RIVER, _WHOLE = "river", "river, all labels together"

_QUALITY = "kept"


def cells() -> list[Cell]:
    """Streams whose label sets repeat, and two real sets with many labels."""
    shapes: list[tuple[str, Callable[[], Rows], int, int]] = [
        ("label_sets_101_v1", partial(label_sets, 101, 20_000, 4.4), 2_000, 100),
        ("label_sets_374_v1", partial(label_sets, 374, 20_000, 3.5), 2_000, 30),
        ("corel5k", partial(_sets_of, "corel5k"), 600, 30),
        ("delicious", partial(_sets_of, "delicious"), 2_000, 0),
    ]
    return [
        Cell(
            group="hierarchy",
            workload=name,
            build=partial(_build, make, n_plain, n_river),
            targets=[
                Ratio(_ARRAYS, _PLAIN),
                *([Ratio(_ARRAYS, _WHOLE, at_least=1000), Ratio(_PLAIN, _WHOLE)] if n_river else []),
                *([Ratio(_ARRAYS, _RIVER)] if n_river else []),
            ],
            metrics=(_QUALITY,),
            repeats=3,
            quick=name.startswith("label_sets"),
        )
        for name, make, n_plain, n_river in shapes
    ]


def label_sets(n_labels: int, n_events: int, cardinality: float) -> Rows:
    """``label_sets_L_v1``: events draw from five label sets a label, the r-th commonest with a frequency of 1 / r.

    A set has one label and a Poisson number of others; a label's frequency falls like 1 / rank, and labels of the same
    of L / 6 themes are thirty times likelier to come together.
    """
    random = np.random.default_rng([1, n_labels])
    weight, theme = 1 / (1 + np.arange(n_labels)), random.integers(0, n_labels // 6, n_labels)
    sets = []
    for _ in range(5 * n_labels):
        first = random.choice(n_labels, p=weight / weight.sum())
        likely = weight * np.where(theme == theme[first], 30.0, 1.0)
        size = 1 + random.poisson(cardinality - 1)
        sets.append(random.choice(n_labels, min(size, n_labels), replace=False, p=likely / likely.sum()).tolist())
    frequency = 1 / (1 + np.arange(len(sets)))
    drawn = random.choice(len(sets), n_events, p=frequency / frequency.sum())
    return Rows.from_lists(sets[i] for i in drawn)


def _sets_of(name: str) -> Rows:
    return read_all(name).y


def _build(make: Callable[[], Rows], n_plain: int, n_river: int, setting: Setting) -> Sequence[Contestant]:
    rows = make()
    if setting.quick:
        rows, n_plain = rows[:4_000], n_plain // 2
    lists = [row.tolist() for row in np.split(rows.indices, rows.indptr[1:-1])][:n_plain]
    n_labels = int(rows.indices.max()) + 1
    events = [dict(enumerate(row)) for row in rows[:n_plain].to_dense(n_labels).astype(float).tolist()]
    pieces = [rows[start : start + BATCH_SIZE] for start in range(0, len(rows), BATCH_SIZE)]

    judged = rows[:n_plain]
    expected = LabelHierarchy()
    expected.update_many(judged)

    def ours(mode: str, clock: Clock) -> Quality:
        model = LabelHierarchy(mode)
        with clock:
            for piece in pieces:
                model.update_many(piece)
                clock.count(len(piece))
        model = LabelHierarchy(mode)
        model.update_many(judged)
        return {_QUALITY: kept(judged, model.clusters)}

    def plain(clock: Clock) -> Quality:
        model = PlainHierarchy()
        with clock:
            for event in lists:
                model.update(event)
                clock.count(1)
        if model.clusters() != expected.clusters:
            raise ValueError(f"clusters must be {expected.clusters}, got {model.clusters()}")
        return {_QUALITY: kept(judged, model.clusters())}

    def river(together: bool, clock: Clock) -> Quality:
        from river.cluster import ODAC

        model = ODAC(n_min=len(events) + 1) if together else ODAC()
        with clock:
            for event in events[:n_river] if together else events:
                model.learn_one(event)
                clock.count(1)
        leaves = model._find_all_active_clusters(model._root_node)
        return {_QUALITY: kept(judged, [leaf.timeseries_names for leaf in leaves])}

    peers = [
        Contestant(
            _WHOLE,
            partial(river, True),
            note=f"`cluster.ODAC` without structural tests, over the first {n_river} events: what it costs to keep the "
            "similarities of all pairs of labels, as ours keeps them at all times",
        ),
        Contestant(
            _RIVER,
            partial(river, False),
            note=f"`cluster.ODAC()` over the first {n_plain} events. It soon has clusters of a label or two, and looks "
            "at no pair across them",
        ),
    ]
    return [
        Contestant(_ARRAYS, partial(ours, "default"), lambda: ours("default", Clock()), f"batches of {BATCH_SIZE}"),
        Contestant(_PAPER, partial(ours, "paper"), lambda: ours("paper", Clock())),
        Contestant(
            _PLAIN,
            plain,
            note=f"the default rules over dictionaries, not compiled, over the first {n_plain} events, after which its "
            "clusters must be ours: what is gained over it is gained by compiling, the rest by the algorithm",
        ),
        *(peers if n_river else []),
    ]


def kept(rows: Rows, clusters: Sequence[Sequence[int]]) -> float:
    """Share of all Jaccard similarity that is between labels of one cluster, above that which random clusters of the
    same sizes would keep, which is the share of pairs that they hold; of labels with at least 10 events."""
    dense = rows.to_dense(1 + max(int(rows.indices.max()), *(max(labels) for labels in clusters)))
    cluster = np.zeros(dense.shape[1])
    for number, labels in enumerate(clusters):
        cluster[labels] = number
    frequent = dense.sum(axis=0) >= 10
    joint = dense[:, frequent].T @ dense[:, frequent]
    similar = joint / (np.diag(joint)[:, None] + np.diag(joint) - joint)
    pairs = np.triu(np.ones(joint.shape, bool), 1)
    within = cluster[frequent][:, None] == cluster[frequent]
    return float(similar[pairs & within].sum() / similar[pairs].sum() - within[pairs].mean())
