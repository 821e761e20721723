"""Comparisons of learners over several data sets as tables for the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from ihomer.evaluation.significance import Significance


def tables(found: Mapping[str, Significance]) -> RenderableType:
    """Average ranks with Friedman's and Nemenyi's tests, then the control against each other learner, then notes."""
    from rich.console import Group
    from rich.text import Text

    comparisons = list(found.values())
    notes = dict.fromkeys(note for comparison in comparisons for note in comparison.notes)
    parts: list[RenderableType] = [_ranks(comparisons)]
    if any(comparison.signed_rank for comparison in comparisons):
        parts.append(_against_control(comparisons))
    return Group(*parts, *(Text(note, style="yellow") for note in notes))


def _ranks(comparisons: list[Significance]) -> Table:
    from rich.text import Text

    from ihomer.cli.terminal import plain_table
    from ihomer.evaluation.result import METRICS

    columns = [
        f"{METRICS[comparison.metric].title} {'↓' if comparison.better == 'lower' else '↑'}"
        for comparison in comparisons
    ]
    n_sets = sorted({len(comparison.data) for comparison in comparisons})
    table = plain_table("learner", *columns, right=tuple(columns))
    table.title = f"average ranks over {' or '.join(str(n) for n in n_sets)} data sets, 1 is best"
    learners = list(dict.fromkeys(name for comparison in comparisons for name in comparison.learners))
    for place, learner in enumerate(learners):
        cells = []
        for comparison in comparisons:
            ranks = dict(zip(comparison.learners, comparison.ranks, strict=True))
            rank = ranks.get(learner)
            style = "bold" if rank is not None and rank == min(comparison.ranks) else ""
            cells.append(Text("–" if rank is None else f"{rank:.2f}", style=style))
        table.add_row(Text(learner), *cells, end_section=place == len(learners) - 1)
    if any(comparison.friedman for comparison in comparisons):
        tests = [comparison.friedman for comparison in comparisons]
        table.add_row("Friedman χ²", *("–" if test is None else f"{test.chi_square:.2f}" for test in tests))
        table.add_row("p of χ²", *("–" if test is None else _p(test.chi_square_p) for test in tests))
        table.add_row(
            "Iman–Davenport F", *("–" if test is None else "∞" if test.f is None else f"{test.f:.2f}" for test in tests)
        )
        table.add_row("p of F", *("–" if test is None else _p(test.f_p) for test in tests))
        differences = [comparison.critical_difference for comparison in comparisons]
        table.add_row(
            f"critical difference at {comparisons[0].alpha:g}",
            *("–" if difference is None else f"{difference:.2f}" for difference in differences),
        )
    return table


def _against_control(comparisons: list[Significance]) -> Table:
    """A row a learner; in each cell the probabilities, and the corrected p-value where there is one."""
    from rich.text import Text

    from ihomer.cli.terminal import plain_table
    from ihomer.evaluation.result import METRICS

    control, rope = comparisons[0].control, comparisons[0].rope
    columns = [METRICS[comparison.metric].title for comparison in comparisons]
    table = plain_table(f"{control} against", *columns, right=tuple(columns))
    table.title = f"probability that {control} is better / equivalent within {rope:g} / worse (Bayesian signed-rank)"
    tested = any(comparison.wilcoxon for comparison in comparisons)
    if tested:
        table.caption = "in brackets: p of Wilcoxon’s test with Holm’s correction"
    others = dict.fromkeys(name for comparison in comparisons for name in comparison.learners if name != control)
    for other in others:
        cells = []
        for comparison in comparisons:
            pair = comparison.posterior(control, other)
            if pair is None:
                cells.append("–")
                continue
            text = f"{pair.a_better:.2f} / {pair.equivalent:.2f} / {pair.b_better:.2f}"
            p = {test.learner: test.p_holm for test in comparison.wilcoxon}.get(other)
            cells.append(text if p is None else f"{text} ({p:.3f})")
        table.add_row(Text(other), *cells)
    return table


def _p(value: float) -> str:
    return "<0.0001" if value < 0.0001 else f"{value:.4f}"
