"""Learners that met the same seeds, compared pair by pair: what one gains over another, and how sure that is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from ihomer.evaluation.result import METRICS, Result


@dataclass(frozen=True, slots=True)
class SeedComparison:
    """What learner ``a`` has more of a metric than ``b`` on the same data.

    Parameters
    ----------
    data, metric, a, b
        Names.
    n_seeds
        How many seeds both have.
    difference, deviation
        Mean of a's number less b's over the seeds, and the standard deviation of that (of a sample).
    p
        Of the paired t-test that the mean is 0.
    """

    data: str
    metric: str
    a: str
    b: str
    n_seeds: int
    difference: float
    deviation: float
    p: float

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` at level 0.05, else ``even``."""
        if self.p >= 0.05:
            return "even"
        return "better" if (self.difference > 0) == (METRICS[self.metric].better == "higher") else "worse"


def compare_seeds(
    result: Result, metrics: Sequence[str] = ("a_auc", "a_last"), control: str | None = None
) -> list[SeedComparison]:
    """One learner against each other, on every data set and in every metric.

    Parameters
    ----------
    result
        Runs with a ``repeat`` in their data.
    metrics
        Keys of `METRICS`.
    control
        Name of the learner that the others are compared with; None: the first.

    Notes
    -----
    Seeds that not both have are left out; a pair needs two. Few seeds prove little: five that all agree in sign reach
    0.05 by the t-test only if they agree in size as well.

    Examples
    --------
    >>> from ihomer.evaluation.result import Run
    >>> runs = [
    ...     Run({"name": "toy", "order": f"siblurry:{seed}", "repeat": seed}, {"name": name}, {"a_auc": value})
    ...     for name, values in (("new", (0.8, 0.7, 0.9)), ("old", (0.7, 0.61, 0.79)))
    ...     for seed, value in enumerate(values)
    ... ]
    >>> (found,) = compare_seeds(Result(runs), ["a_auc"])
    >>> round(found.difference, 3), found.verdict
    (0.1, 'better')
    """
    values: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for run, title in zip(result.runs, result.learner_titles(), strict=True):
        if "repeat" not in run.data:
            continue
        for metric in metrics:
            number = run.value(METRICS[metric])
            if number is not None:
                by_learner = values.setdefault((run.stream[0], metric), {})
                by_learner.setdefault(title, {})[run.stream[1]] = number
    found = []
    for (data, metric), by_learner in values.items():
        first = control if control is not None else next(iter(by_learner))
        for other, theirs in by_learner.items():
            mine = by_learner.get(first, {})
            gaps = [mine[order] - theirs[order] for order in mine if order in theirs]
            if other != first and len(gaps) > 1:
                found.append(_compared(data, metric, first, other, gaps))
    return found


def _compared(data: str, metric: str, a: str, b: str, gaps: Sequence[float]) -> SeedComparison:
    from scipy.stats import t

    mean, deviation = statistics.fmean(gaps), statistics.stdev(gaps)
    if deviation == 0:
        p = 1.0 if mean == 0 else 0.0
    else:
        p = 2 * float(t.sf(abs(mean) / deviation * math.sqrt(len(gaps)), len(gaps) - 1))
    return SeedComparison(data, metric, a, b, len(gaps), mean, deviation, p)
