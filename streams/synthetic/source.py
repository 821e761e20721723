"""Events drawn from known concepts, with drifts at known places, as a source."""

from __future__ import annotations

import inspect
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.batch import COMPLETE, NOMINAL, NUMERIC, Batch
from streams.rows import Rows
from streams.schema import Schema
from streams.source import Position
from streams.synthetic.hyperplane import HyperplaneConcepts
from streams.synthetic.labels import MOST, Coupling, label_shares
from streams.synthetic.numbers import derived_key
from streams.synthetic.rbf import RBFConcepts
from streams.synthetic.schedule import Drift, Schedule
from streams.synthetic.tree import TreeConcepts

CONCEPTS = ("tree", "rbf", "hyperplane")

NUMBERS: dict[str, tuple[type[int] | type[float], float, float]] = {
    "events": (int, 0, 2**62),
    "seed": (int, 0, 2**63 - 1),
    "drifts": (int, 1, 10**6),
    "width": (int, 1, 2**62),
    "features": (int, 1, 10**6),
    "labels": (int, 1, 10**6),
    "cardinality": (float, 0, 10**6),
    "skew": (float, 0, 10),
    "noise": (float, 0, 1),
    "dependence": (float, 0, 1),
    "group_size": (int, 1, 10**6),
    "sparse": (float, 0, 0.9999),
    "nominal": (int, 0, 10**6),
    "categories": (int, 2, 1000),
    "depth": (int, 1, 12),
    "centroids": (int, 1, 10**4),
}
"""Parameters that are numbers, and the least and the most that each can be."""


class SyntheticSource:
    """A multi-label stream that is drawn while it is read.

    Parameters
    ----------
    concept
        ``tree`` (`TreeConcepts`), ``rbf`` (`RBFConcepts`) or ``hyperplane`` (`HyperplaneConcepts`).
    drift
        ``none``, ``sudden``, ``gradual``, ``incremental``, ``recurring`` or ``labels``, see `Schedule`.
    events
        Length of the stream; 0 or None: without end.
    seed
        From 0 to 2^63 - 1. Sets everything that is random.
    drifts, positions, width
        How many drifts there are or where they begin, and how many events each lasts, see `Schedule`.
    features, labels
        How many of each.
    cardinality
        Mean number of labels of an event, above 0 and at most 0.9 a label; by default a fifth of the labels, at most 3.
    skew
        At least 0. Label number r, from 1, is present as often as ``r ** -skew`` says, but at most 0.9 of the time.
    noise
        In [0, 1]. With this probability a label does not heed the features and is drawn by its share alone.
    dependence
        In [0, 1]. How closely the labels of a group are drawn together: the rank correlation of their random numbers.
    group_size
        How many labels a group has at most; by default the root of the number of labels, at least 2 and at most 5.
    sparse
        From 0 to 0.9999. Probability that a cell is absent; above 0, rows are sparse.
    nominal, categories
        How many of the features are nominal, fewer than all, and how many categories, from 2 to 1,000, each has.
        For ``tree`` with dense rows.
    depth
        From 1 to 12. For ``tree``: splits from the root to every leaf.
    centroids
        From 1 to 10,000. For ``rbf``: how many there are.

    Raises
    ------
    ValueError
        A parameter is outside its range or does not go with the others.

    Notes
    -----
    Event n is a function of the parameters and of n: any cut into batches gives the same events, and going to any place
    costs nothing. Random numbers are those of SplitMix64 [1]_ used by their number, as in [2]_, so that streams do not
    hang on the version of NumPy.

    How labels come about: the concept gives each label its probability ``p_j(x)``, which `probabilities` tells, and the
    labels are drawn with it, those of one group together (`Coupling`). The share of every label, and with it the
    cardinality, is the same at every event of the stream, whatever the drift. With ``labels`` drift, *only* the groups
    change: events have the same ``x`` and the same ``p_j(x)``, to the bit, as those of the stream without drift, and
    before the first drift the same labels. Every other drift changes what features say of labels and leaves the groups.
    Beside what features say of both, two labels of a group have a correlation (phi) of a little less than
    ``noise * dependence``: for marked groups take ``noise=0.5`` or more.

    As in [3]_, skew, cardinality and dependence of labels are given; there labels come first and the features after
    them, here the other way round, which is what makes ``p_j(x)`` known. The streams of [4]_ have 50,000 events, 8 to
    25 labels, gradual drift of width 500, and incremental of 275.

    A batch costs 9 bytes an event and label while it is drawn; concepts cost 8 bytes for each label and leaf, centroid
    or feature, and `HyperplaneConcepts` as many multiplications an event as there are labels times features.

    References
    ----------
    .. [1] Steele, Lea, Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014.
    .. [2] Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
    .. [3] Read, Bifet, Holmes, Pfahringer, "Scalable and efficient multi-label classification for evolving data
       streams", Machine Learning 88, 2012.
    .. [4] Esteban, Cano, Zafra, Ventura, "Hoeffding adaptive trees for multi-label classification on data streams",
       Knowledge-Based Systems, 2024.

    Examples
    --------
    >>> source = SyntheticSource("tree", "sudden", events=10_000, labels=6, cardinality=2)
    >>> source.drifts
    [Drift(event=5000, width=1, kind='sudden', before=0, after=1)]
    >>> len(source.next_batch(1000)), source.position()
    (1000, {'offset': 1000})
    >>> source.url
    'synthetic:tree?drift=sudden&events=10000&labels=6&cardinality=2'
    """

    def __init__(
        self,
        concept: str = "tree",
        drift: str = "none",
        *,
        events: int | None = 100_000,
        seed: int = 1,
        drifts: int | None = None,
        positions: Sequence[int] | None = None,
        width: int | None = None,
        features: int = 20,
        labels: int = 10,
        cardinality: float | None = None,
        skew: float = 0.5,
        noise: float = 0.2,
        dependence: float = 0.7,
        group_size: int | None = None,
        sparse: float = 0.0,
        nominal: int = 0,
        categories: int = 5,
        depth: int = 5,
        centroids: int = 50,
    ) -> None:
        events = events or 0
        given = {name: value for name, value in locals().items() if name != "self"}
        _check(given)
        if cardinality is None:
            cardinality = min(labels / 5, 3.0)
        if not 0 < cardinality <= MOST * labels:
            most = f"{MOST * labels:g}"
            raise ValueError(f"cardinality must be above 0 and at most {most} for {labels} labels, got {cardinality}")
        if group_size is None:
            group_size = min(max(2, math.isqrt(labels)), 5)
        if drift == "labels" and (labels <= group_size or group_size < 2 or not dependence or not noise):
            raise ValueError(
                "labels drift must have more labels than one group, groups of 2 or more, and dependence and noise "
                f"above 0, got labels={labels}, group_size={group_size}, dependence={dependence:g}, noise={noise:g}"
            )
        self._schedule = Schedule(drift, events or None, drifts=drifts, positions=positions, width=width)
        self._settings = _without_defaults(given)
        self._concept, self._n_events = concept, events or None
        self._next = 0
        self._key = np.uint64(derived_key(seed, 0))
        self._shares = label_shares(labels, cardinality, skew)
        self._coupling = Coupling(labels, group_size, dependence, self._schedule.n_groupings, derived_key(seed, 1))
        how: dict[str, Any] = {
            "features": features,
            "sparse": float(sparse),
            "noise": float(noise),
            "n_concepts": self._schedule.n_concepts,
            "seed": derived_key(seed, 2),
        }
        moving = drift == "incremental"
        self._concepts: TreeConcepts | RBFConcepts | HyperplaneConcepts
        if concept == "tree":
            how |= {"nominal": nominal, "categories": categories, "depth": depth}
            self._concepts = TreeConcepts(self._shares, moving=moving, **how)
        elif concept == "rbf":
            self._concepts = RBFConcepts(self._shares, moving=moving, centroids=centroids, **how)
        else:
            self._concepts = HyperplaneConcepts(self._shares, **how)
        names = [f"x{column}" for column in range(features)], [f"y{label}" for label in range(labels)]
        self._schema = Schema(*names, sparse=sparse > 0)
        for column in range(features):
            self._schema.decide(column, NUMERIC if column < features - nominal else NOMINAL)
        for column in range(features - nominal, features):
            self._schema.make_nominal(column, [f"c{number}" for number in range(categories)])

    @property
    def name(self) -> str:
        """Concept and parameters that differ from the defaults; fit for a file name."""
        return "-".join(["synthetic", self._concept, *self._settings])

    @property
    def url(self) -> str:
        """What `streams.open_source` opens as an equal stream."""
        return f"synthetic:{self._concept}" + ("?" if self._settings else "") + "&".join(self._settings)

    @property
    def schema(self) -> Schema:
        """Columns ``x0, x1, …``, of which the last are nominal, and labels ``y0, y1, …``."""
        return self._schema

    @property
    def n_events(self) -> int | None:
        """Length of the stream, or None."""
        return self._n_events

    @property
    def drifts(self) -> list[Drift]:
        """Every drift, in order."""
        return list(self._schedule.drifts)

    @property
    def label_shares(self) -> NDArray[np.float64]:
        """Probability of each label, the same at every event."""
        return self._shares.copy()

    @property
    def groups(self) -> NDArray[np.int32]:
        """Number of each label's group, one row a grouping; `Drift` tells which grouping follows which."""
        return self._coupling.groups.copy()

    def next_batch(self, max_events: int = 256, timeout: float | None = None) -> Batch | None:
        """The next events, at most ``max_events``, or None at the end."""
        if max_events < 1:
            raise ValueError(f"max_events must be at least 1, got {max_events}")
        first, n = self._next, max_events
        if self._n_events is not None:
            n = min(n, self._n_events - first)
            if n == 0:
                return None
        stages = self._schedule.stages(first, n, self._key)
        x, proba = self._concepts.draw(first, stages, self._key)
        y = Rows.from_dense(self._coupling.draw(first, stages.grouping, proba, self._key))
        self._next += n
        return Batch(
            self._schema,
            x,
            y,
            np.full(n, COMPLETE, np.uint8),
            source=self.name,
            offset=np.arange(first, first + n),
        )

    def probabilities(self, first: int, n: int) -> NDArray[np.float64]:
        """With which probability ``p_j(x)`` each label of ``n`` events was drawn, float64 of shape (n, labels).

        No predictor of single labels can be better in the long run than one that knows them. They are those of the
        concept that the event was drawn from, and for ``rbf`` of its centroid, which ``x`` alone need not give away.
        """
        end = "" if self._n_events is None else f" and at most the {self._n_events} events"
        if not 0 <= first <= first + n or (self._n_events is not None and first + n > self._n_events):
            raise ValueError(f"first and first + n must be at least 0{end}, got {first} and {first + n}")
        return self._concepts.draw(first, self._schedule.stages(first, n, self._key), self._key)[1]

    def position(self) -> Position:
        """How many events have been handed out."""
        return {"offset": self._next}

    def resume(self, position: Position) -> None:
        """Go to where ``position`` was taken, in a source of equal parameters."""
        offset = int(position["offset"])
        if offset < 0 or (self._n_events is not None and offset > self._n_events):
            length = "a stream without end" if self._n_events is None else f"the {self._n_events} events"
            raise ValueError(f"position must lie in {length}, got {offset}")
        self._next = offset

    def close(self) -> None:
        """Nothing to let go of."""


def _check(given: dict[str, Any]) -> None:
    """Refuse a concept that there is not, and numbers that no stream, or not this concept, can have."""
    concept, features, nominal, sparse = (given[name] for name in ("concept", "features", "nominal", "sparse"))
    if concept not in CONCEPTS:
        raise ValueError(f"concept must be one of {', '.join(CONCEPTS)}, got {concept!r}")
    for name, (kind, low, high) in NUMBERS.items():
        value = given[name]
        if value is not None and kind is int and not isinstance(value, (int, np.integer)):
            raise TypeError(f"{name} must be a whole number, got {value!r}")
        if value is not None and not low <= value <= high:
            raise ValueError(f"{name} must be from {low} to {high}, got {value}")
    if nominal and (concept != "tree" or sparse or nominal >= features):
        rule = "0 but for tree with dense rows" if concept != "tree" or sparse else f"below the {features} features"
        raise ValueError(f"nominal must be {rule}, got {nominal}")


def _without_defaults(given: dict[str, Any]) -> list[str]:
    """Parameters that differ from their defaults, as a URL has them."""
    defaults = inspect.signature(SyntheticSource).parameters
    chosen = {name: value for name, value in given.items() if name != "concept" and value != defaults[name].default}
    return [f"{name}={'+'.join(map(str, v)) if name == 'positions' else v}" for name, v in chosen.items()]
