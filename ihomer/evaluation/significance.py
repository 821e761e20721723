"""Whether learners differ over several data sets: every test that there are enough of them for, in each metric."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from numpy.typing import ArrayLike

from ihomer.evaluation.paired_tests import (
    ALPHA,
    ROPE,
    Array,
    Direction,
    Friedman,
    average_ranks,
    critical_difference,
    friedman_test,
    holm,
    not_different,
    posterior,
    posterior_weights,
    wilcoxon_p,
)
from ihomer.evaluation.repeats import averaged
from ihomer.evaluation.result import METRICS, Result, shown

if TYPE_CHECKING:
    import pandas as pd

FEWEST = {"learners": 2, "ranks": 2, "friedman": 3, "signed_rank": 3, "wilcoxon": 6}
"""Learners that a comparison takes, and data sets from which on each part of it is computed.

Two sets have ranks and prove nothing. Wilcoxon's two-sided test cannot reach 0.05 with five sets or fewer: its smallest
p-value is 2 / 2**n. Friedman's test and Nemenyi's need three learners besides.
"""

_MANY_SETS, _MANY_LEARNERS = 10, 5
"""Above these Friedman's chi-square is near its distribution (Demšar 2006, section 3.2.2)."""


@dataclass(frozen=True, slots=True)
class AgainstControl:
    """Wilcoxon's signed-rank test of a learner against the control; ``p_holm`` corrected for the number of learners."""

    learner: str
    p: float
    p_holm: float


@dataclass(frozen=True, slots=True)
class Posterior:
    """Probabilities that ``a`` is better, that both are equivalent in practice, and that ``b`` is better."""

    a: str
    b: str
    a_better: float
    equivalent: float
    b_better: float

    def swapped(self) -> Posterior:
        """The same about ``b`` and ``a``."""
        return Posterior(self.b, self.a, self.b_better, self.equivalent, self.a_better)


@dataclass(frozen=True, slots=True)
class Significance:
    """What `compare_learners` finds about one metric.

    Parameters
    ----------
    metric, better
        The metric and which direction is better.
    learners, ranks
        Learners and their average ranks over ``data``, in the order given; 1 is best.
    data
        The data sets that every learner has a number for.
    alpha, rope
        Level of the tests, and half the width of the region of practical equivalence.
    friedman, critical_difference
        None where there are too few learners or sets. Average ranks that differ by the critical difference or more
        differ at level ``alpha`` by Nemenyi's test.
    control, wilcoxon
        The learner that the others are tested against, and the tests; none where there are too few sets.
    signed_rank
        The Bayesian comparison of every pair; none where there are too few sets.
    notes
        What was left out and why, in sentences.
    """

    metric: str
    better: Direction
    learners: list[str]
    ranks: list[float]
    data: list[str]
    alpha: float
    rope: float
    control: str
    friedman: Friedman | None = None
    critical_difference: float | None = None
    wilcoxon: list[AgainstControl] = field(default_factory=list)
    signed_rank: list[Posterior] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def by_rank(self) -> list[tuple[str, float]]:
        """Learners and average ranks, the best first."""
        return sorted(zip(self.learners, self.ranks, strict=True), key=lambda item: item[1])

    @property
    def groups(self) -> list[list[str]]:
        """Learners that Nemenyi's test does not tell apart: the longest runs of neighbours within the critical
        difference."""
        if self.critical_difference is None:
            return []
        names = [name for name, _ in self.by_rank]
        return [
            names[first : last + 1]
            for first, last in not_different([rank for _, rank in self.by_rank], self.critical_difference)
        ]

    def posterior(self, a: str, b: str) -> Posterior | None:
        """The Bayesian comparison of ``a`` with ``b``, or None where there is none."""
        for pair in self.signed_rank:
            if (pair.a, pair.b) == (a, b):
                return pair
            if (pair.a, pair.b) == (b, a):
                return pair.swapped()
        return None

    def to_json(self) -> dict[str, Any]:
        """Everything, as a JSON object."""
        return asdict(self) | {"groups": self.groups}

    @classmethod
    def from_json(cls, value: Any) -> Significance:
        """What ``to_json`` wrote; `msgspec.ValidationError` for anything else."""
        return msgspec.convert(value, cls)


def compare_learners(
    table: pd.DataFrame | ArrayLike,
    *,
    metric: str = "score",
    better: Direction = "higher",
    alpha: float = ALPHA,
    rope: float = ROPE,
    control: str | None = None,
    pairs: Literal["all", "control"] = "all",
) -> Significance:
    """Compare learners over data sets in one metric.

    Parameters
    ----------
    table
        Scores, a row a data set and a column a learner: a frame, or an array, whose rows and columns are numbered. A
        row with a missing (NaN) or infinite score is left out.
    metric, better
        What the scores are called, and whether higher or lower ones are better.
    alpha
        Level of the tests, in (0, 1).
    rope
        Half the width of the region of practical equivalence, in the unit of the scores; 0 or more.
    control
        The learner that the others are tested against; None: the first.
    pairs
        Which pairs are compared in the Bayesian way, the costliest part: all, or the control with each other one.

    Raises
    ------
    ValueError
        Fewer than 2 learners, or fewer than 2 data sets that all of them have a score for.

    Notes
    -----
    With 2 data sets there are average ranks only. From 3 on Friedman's test and Nemenyi's critical difference (of at
    least 3 learners) and the Bayesian signed-rank test of each pair; from 6 on Wilcoxon's tests against the control
    with Holm's correction. What is left out is in ``notes``.

    References
    ----------
    Demšar 2006 and Benavoli et al. 2017, see `critical_difference` and `signed_rank`.

    Examples
    --------
    >>> import pandas as pd
    >>> scores = {"linear": [0.7, 0.8, 0.6, 0.9], "chain": [0.8, 0.9, 0.7, 0.9], "majority": [0.2, 0.3, 0.1, 0.4]}
    >>> found = compare_learners(pd.DataFrame(scores, ["flags", "birds", "yeast", "scene"]))
    >>> found.by_rank, found.groups
    ([('chain', 1.125), ('linear', 1.875), ('majority', 3.0)], [['chain', 'linear'], ['linear', 'majority']])
    """
    import pandas as pd

    if not 0 < alpha < 1:
        raise ValueError(f"alpha must be in (0, 1), got {alpha}")
    if not 0 <= rope < math.inf:
        raise ValueError(f"rope must be at least 0, got {rope}")
    frame = table if isinstance(table, pd.DataFrame) else pd.DataFrame(np.asarray(table, np.float64))
    learners = [str(name) for name in frame.columns]
    if len(learners) < FEWEST["learners"]:
        raise ValueError(f"{metric}: learners must be at least {FEWEST['learners']}, got {_listed(learners)}")
    if len(set(learners)) < len(learners):
        raise ValueError(f"{metric}: learners must have different names, got {_listed(learners)}")
    control = learners[0] if control is None else control
    if control not in learners:
        raise ValueError(f"control must be one of {_listed(learners)}, got {control!r}")
    values = frame.to_numpy(np.float64)
    whole = np.isfinite(values).all(axis=1)
    data = [str(name) for name in frame.index[whole]]
    missing = [str(name) for name in frame.index[~whole]]
    notes = [f"Left out, because a learner has no number there: {_listed(missing)}."] if missing else []
    scores = values[whole]
    n, k = scores.shape
    if n < FEWEST["ranks"]:
        least, found = FEWEST["ranks"], _listed(data)
        raise ValueError(f"{metric}: data sets with a number of every learner must be at least {least}, got {found}")
    enough = n >= FEWEST["friedman"] and k > 2
    if k == 2:
        notes.append("Friedman’s and Nemenyi’s tests need at least 3 learners, there are 2.")
    if n < FEWEST["friedman"]:
        notes.append(f"Tests need at least {FEWEST['friedman']} data sets, there are {n}: average ranks only.")
    elif n < FEWEST["wilcoxon"]:
        notes.append(
            f"Wilcoxon’s test needs at least {FEWEST['wilcoxon']} data sets, there are {n}: with fewer its p-value"
            " cannot be below 0.05."
        )
    if enough and (n <= _MANY_SETS or k <= _MANY_LEARNERS):
        notes.append(
            f"Friedman’s p-values are rough for {n} data sets and {k} learners; they are near the truth for more than"
            f" {_MANY_SETS} and {_MANY_LEARNERS}."
        )
    up = scores if better == "higher" else -scores
    column = {name: up[:, number] for number, name in enumerate(learners)}
    posteriors: list[Posterior] = []
    if n >= FEWEST["signed_rank"]:
        weights = posterior_weights(n)
        compared = combinations(learners, 2) if pairs == "all" else ((control, b) for b in learners if b != control)
        posteriors = [Posterior(a, b, *posterior(column[a] - column[b], rope, weights)) for a, b in compared]
    return Significance(
        metric=metric,
        better=better,
        learners=learners,
        ranks=[float(rank) for rank in average_ranks(scores, better)],
        data=data,
        alpha=alpha,
        rope=rope,
        control=control,
        friedman=friedman_test(scores) if enough else None,
        critical_difference=critical_difference(k, n, alpha) if enough else None,
        wilcoxon=_against(control, column) if n >= FEWEST["wilcoxon"] else [],
        signed_rank=posteriors,
        notes=notes,
    )


def _against(control: str, column: dict[str, Array]) -> list[AgainstControl]:
    others = [name for name in column if name != control]
    p_values = [wilcoxon_p(column[control], column[name]) for name in others]
    return [AgainstControl(*found) for found in zip(others, p_values, holm(p_values), strict=True)]


def significance(
    result: Result,
    metrics: Iterable[str] | None = None,
    *,
    alpha: float = ALPHA,
    rope: float = ROPE,
    control: str | None = None,
) -> dict[str, Significance]:
    """Compare the learners of a result, baselines too, over its data sets, in each metric.

    Parameters
    ----------
    result
        Of an evaluation, or several merged. Repeats count once, by their mean; interrupted runs are left out.
    metrics
        Keys of `METRICS`, which say what is better; one that no run has is passed over. None: those of the short
        tables.
    alpha, rope, control
        As in `compare_learners`. A learner is called by its name, or by its title where names do not tell apart.

    Raises
    ------
    ValueError
        An unknown metric, or fewer than 2 learners or 2 data sets that all of them finished.

    Notes
    -----
    Numbers that print alike are ties: scores are rounded to the digits that tables show.
    """
    import pandas as pd

    keys = list(shown(result.runs) if metrics is None else metrics)
    for key in keys:
        if key not in METRICS:
            raise ValueError(f"metrics must be among {', '.join(METRICS)}, got {key!r}")
    result = averaged(result)
    titles, streams = result.learner_titles(), result.stream_titles()
    learners = sorted(dict.fromkeys(titles), key=lambda title: result.runs[titles.index(title)].baseline)
    stopped = [
        f"Left out, because it was interrupted: {title} on {streams[run.stream]}."
        for title, run in zip(titles, result.runs, strict=True)
        if run.interrupted
    ]
    found: dict[str, Significance] = {}
    for key in keys:
        table = pd.DataFrame(math.nan, list(streams.values()), learners)
        for title, run in zip(titles, result.runs, strict=True):
            value = run.value(METRICS[key])
            if value is not None and not run.interrupted:
                table.loc[streams[run.stream], title] = METRICS[key].rounded(value)
        if table.notna().any(axis=None):
            compared = compare_learners(
                table, metric=key, better=METRICS[key].better, alpha=alpha, rope=rope, control=control
            )
            compared.notes.extend(stopped)
            found[key] = compared
    if not found:
        raise ValueError(f"a result must have numbers of {', '.join(keys)} from runs that were not interrupted")
    return found


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) if names else "none"
