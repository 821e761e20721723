"""What the page says about learners over several data sets: a diagram, a sentence and the tests for each metric."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ihomer.evaluation.result import METRICS, Metric
from ihomer.evaluation.significance import Significance
from ihomer.report.ranks import drawing


def sections(found: Mapping[str, Significance], styles: Mapping[str, str]) -> list[dict[str, Any]]:
    """A part of the page for each metric."""
    return [
        {
            "metric": METRICS.get(key, Metric(key, key, comparison.better)),
            "drawing": drawing(comparison, styles),
            "sentence": _sentence(comparison),
            "tests": _tests(comparison),
            "control": comparison.control,
            "rope": f"{comparison.rope:g}",
            "rows": _against_control(comparison, styles),
            "pairs": _pairs(comparison, styles),
        }
        for key, comparison in found.items()
    ]


def _sentence(found: Significance) -> str:
    """What Friedman's and Nemenyi's tests come to."""
    if found.friedman is None or found.critical_difference is None:
        return f"Average ranks over {len(found.data)} data sets."
    p = _p(found.friedman.f_p)
    if found.friedman.f_p >= found.alpha:
        return (
            f"Friedman’s test finds no difference between the {len(found.learners)} learners over"
            f" {len(found.data)} data sets ({p}), so the diagram proves none either."
        )
    best = found.by_rank[0][0]
    beaten = [name for name, rank in found.by_rank if rank - found.by_rank[0][1] >= found.critical_difference]
    return (
        f"The {len(found.learners)} learners differ over {len(found.data)} data sets by Friedman’s test ({p});"
        f" by Nemenyi’s, {best} ranks above {_listed(beaten) if beaten else 'none of the others for sure'}."
    )


def _tests(found: Significance) -> list[tuple[str, str]]:
    """Names and values of the statistics."""
    if found.friedman is None or found.critical_difference is None:
        return []
    f = "∞" if found.friedman.f is None else f"{found.friedman.f:.2f}"
    return [
        ("Friedman χ²", f"{found.friedman.chi_square:.2f}, {_p(found.friedman.chi_square_p)}"),
        ("Iman–Davenport F", f"{f}, {_p(found.friedman.f_p)}"),
        (f"critical difference at level {found.alpha:g}:", f"{found.critical_difference:.2f}"),
    ]


def _against_control(found: Significance, styles: Mapping[str, str]) -> list[dict[str, Any]]:
    """The other learners by their rank: the probabilities in numbers and as a bar, and the corrected p-value."""
    p_holm = {test.learner: _p(test.p_holm).removeprefix("p ").removeprefix("= ") for test in found.wilcoxon}
    rows = []
    for name, rank in found.by_rank:
        pair = None if name == found.control else found.posterior(found.control, name)
        if pair is not None:
            rows.append(
                {
                    "title": name,
                    "style": styles.get(name, ""),
                    "rank": f"{rank:.2f}",
                    "shares": (pair.a_better, pair.equivalent, pair.b_better),
                    "p_holm": p_holm.get(name),
                }
            )
    return rows


def _pairs(found: Significance, styles: Mapping[str, str]) -> dict[str, Any] | None:
    """The probability that the learner of a row is better than that of a column, for every pair."""
    if not found.signed_rank:
        return None
    names = [name for name, _ in found.by_rank]
    rows = []
    for name in names:
        pairs = [found.posterior(name, other) for other in names]
        rows.append((name, styles.get(name, ""), ["" if pair is None else f"{pair.a_better:.3f}" for pair in pairs]))
    return {"heads": [(name, styles.get(name, "")) for name in names], "rows": rows}


def _p(value: float) -> str:
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.4f}"


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
