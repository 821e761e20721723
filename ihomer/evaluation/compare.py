"""Two results side by side, with a verdict per number."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from ihomer.evaluation.repeats import averaged
from ihomer.evaluation.result import EVENTS_PER_SECOND, METRICS, MODEL_BYTES, SHOWN, Metric, Result, Run

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

Verdict = Literal["better", "worse", "equal", "new", "gone", "not comparable"]

COSTS = (EVENTS_PER_SECOND, MODEL_BYTES)

COMPARED = (*SHOWN, *(metric.key for metric in COSTS))
"""What the table shows of a pair; the verdicts are on every number."""

_STYLES: dict[str, str] = {"better": "green", "worse": "bold red", "gone": "bold red", "new": "cyan", "equal": "dim"}


@dataclass(frozen=True, slots=True)
class Difference:
    """One number of a run in the first result, ``a``, and in the second, ``b``; the verdict is on the second.

    ``gone`` is a number that only the first has, ``new`` one that only the second has, ``not comparable`` a speed taken
    on another machine.
    """

    metric: str
    a: float | None
    b: float | None
    change: float | None
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Pair:
    """A run of the first result and its counterpart in the second."""

    data: str
    order: str
    learner: str
    differences: list[Difference]
    warnings: list[str]


@dataclass(frozen=True, slots=True)
class Comparison:
    """What `compare` found.

    Parameters
    ----------
    pairs
        Runs that both results have, in the order of the first.
    only_a, only_b
        ``data``, ``order`` and ``learner`` of the runs that only one of them has.
    warnings
        What stands in the way of comparing at all: other versions, another machine.
    """

    pairs: list[Pair]
    only_a: list[dict[str, str]]
    only_b: list[dict[str, str]]
    tolerance: float
    speed_tolerance: float
    warnings: list[str] = field(default_factory=list)

    @property
    def verdicts(self) -> dict[str, int]:
        """How many numbers got each verdict."""
        counts: dict[str, int] = {"better": 0, "worse": 0, "equal": 0, "new": 0, "gone": 0, "not comparable": 0}
        for pair in self.pairs:
            for difference in pair.differences:
                counts[difference.verdict] += 1
        return counts

    @property
    def worse(self) -> bool:
        """Whether anything got worse or is gone, a whole run included."""
        return bool(self.only_a) or self.verdicts["worse"] + self.verdicts["gone"] > 0

    def table(self, metrics: Iterable[str] = COMPARED) -> RenderableType:
        """The comparison for the terminal: a line per run and metric, then whatever needs a word."""
        from rich.console import Group
        from rich.text import Text

        wanted = set(metrics)
        lines = [self._only(self.only_a, "first"), self._only(self.only_b, "second"), *self.warnings]
        lines += [
            f"{pair.data}, {pair.order}, {pair.learner}: {warning}" for pair in self.pairs for warning in pair.warnings
        ]
        counts = ", ".join(f"{count} {verdict}" for verdict, count in self.verdicts.items() if count)
        total = Text(f"all numbers of the second against the first: {counts or 'nothing in common'}")
        return Group(self._table(wanted), total, *(Text(line, style="yellow") for line in lines if line))

    def _table(self, wanted: set[str]) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(caption=f"equal: within {self.tolerance:g}, speed and bytes within {self.speed_tolerance:.0%}")
        for title in ("data", "learner", "metric"):
            table.add_column(title)
        for title in ("first", "second", "change"):
            table.add_column(title, justify="right")
        table.add_column("verdict")
        for pair in self.pairs:
            shown = [difference for difference in pair.differences if difference.metric in wanted]
            for place, difference in enumerate(shown):
                metric = _KNOWN.get(difference.metric, Metric(difference.metric, difference.metric, "higher"))
                change = None if difference.change is None else f"{difference.change:+,.{metric.digits}f}"
                table.add_row(
                    Text(pair.data if pair.order == "file" else f"{pair.data} ({pair.order})") if place == 0 else "",
                    Text(pair.learner) if place == 0 else "",
                    Text(metric.title),
                    metric.text(difference.a),
                    metric.text(difference.b),
                    change or "–",
                    Text(difference.verdict, style=_STYLES.get(difference.verdict, "yellow")),
                    end_section=place == len(shown) - 1,
                )
        return table

    @staticmethod
    def _only(runs: list[dict[str, str]], which: str) -> str:
        names = "; ".join(f"{run['data']}, {run['order']}, {run['learner']}" for run in runs)
        return f"only in the {which}: {names}" if runs else ""

    def to_json(self) -> dict[str, Any]:
        """Everything, as a JSON object."""
        return asdict(self) | {"verdicts": self.verdicts, "worse": self.worse}


_KNOWN = METRICS | {metric.key: metric for metric in COSTS}


def compare(a: Result, b: Result, *, tolerance: float = 0.001, speed_tolerance: float = 0.1) -> Comparison:
    """Compare the runs of two results that agree in data, order and learner.

    Parameters
    ----------
    a, b
        The first, and the second, which is judged against it.
    tolerance
        Metrics that differ by no more are equal; 0 or more.
    speed_tolerance
        Events per second and model bytes that differ by no more than this share of the first are equal; 0 or more.

    Raises
    ------
    ValueError
        A tolerance below 0.

    Notes
    -----
    Where several runs agree in data, order and learner, those with the same parameters and seed are matched first, then
    the others in their order, with a warning. Repeats of a run count once, by their mean. Speeds are judged only where
    both results come from the same machine.

    Examples
    --------
    >>> from ihomer.evaluation.result import Result, Run
    >>> data, learner = {"name": "toy", "order": "file"}, {"name": "linear"}
    >>> before, after = (Result([Run(data, learner, {"hamming_loss": loss})]) for loss in (0.2, 0.1))
    >>> compare(before, after).pairs[0].differences[0].verdict
    'better'
    """
    for name, value in (("tolerance", tolerance), ("speed_tolerance", speed_tolerance)):
        if not value >= 0:
            raise ValueError(f"{name} must be at least 0, got {value}")
    a, b = averaged(a), averaged(b)
    pairs, only_a, only_b = _matched(a.runs, b.runs)
    same_machine = a.machine == b.machine
    comparison = Comparison(
        [
            Pair(
                *_key(mine),
                _differences(mine, theirs, tolerance, speed_tolerance, same_machine),
                _warnings(mine, theirs),
            )
            for mine, theirs in pairs
        ],
        [_named(run) for run in only_a],
        [_named(run) for run in only_b],
        tolerance,
        speed_tolerance,
    )
    if not same_machine:
        comparison.warnings.append("the results come from different machines: speeds are not compared")
    for package in sorted(a.versions.keys() | b.versions.keys()):
        mine, theirs = a.versions.get(package, "none"), b.versions.get(package, "none")
        if mine != theirs:
            comparison.warnings.append(f"{package} differs: {mine} and {theirs}")
    return comparison


def _key(run: Run) -> tuple[str, str, str]:
    return (*run.stream, run.learner_name)


def _named(run: Run) -> dict[str, str]:
    return dict(zip(("data", "order", "learner"), _key(run), strict=True))


def _settings(run: Run) -> tuple[Any, Any]:
    return run.learner.get("params"), run.learner.get("seed")


def _matched(a: list[Run], b: list[Run]) -> tuple[list[tuple[Run, Run]], list[Run], list[Run]]:
    """Pairs in the order of ``a``, and what is left of both."""
    partner: dict[int, int] = {}
    free = list(range(len(b)))
    for exactly in (True, False):
        for i, mine in enumerate(a):
            if i in partner:
                continue
            for j in free:
                if _key(mine) == _key(b[j]) and (not exactly or _settings(mine) == _settings(b[j])):
                    partner[i] = j
                    free.remove(j)
                    break
    pairs = [(a[i], b[partner[i]]) for i in sorted(partner)]
    return pairs, [run for i, run in enumerate(a) if i not in partner], [b[j] for j in free]


def _differences(a: Run, b: Run, tolerance: float, speed_tolerance: float, same_machine: bool) -> list[Difference]:
    found = a.metrics.keys() | b.metrics.keys()
    metrics = [METRICS[key] for key in METRICS if key in found]
    metrics += [Metric(key, key, "higher") for key in sorted(found - METRICS.keys())]
    differences = []
    for metric in (*metrics, *COSTS):
        mine, theirs = a.value(metric), b.value(metric)
        if mine is None and theirs is None:
            continue
        change = None if mine is None or theirs is None else theirs - mine
        verdict: Verdict
        if mine is None:
            verdict = "new"
        elif theirs is None:
            verdict = "gone"
        elif metric.key not in _KNOWN or (metric is EVENTS_PER_SECOND and not same_machine):
            verdict = "not comparable"
        elif abs(theirs - mine) <= (speed_tolerance * abs(mine) if metric in COSTS else tolerance):
            verdict = "equal"
        else:
            verdict = "better" if metric.is_better(theirs, mine) else "worse"
        differences.append(Difference(metric.key, mine, theirs, change, verdict))
    return differences


def _warnings(a: Run, b: Run) -> list[str]:
    """Why two runs of one name may not be the same thing twice."""
    warnings = [
        f"{title} differ: {mine:,} and {theirs:,}"
        for title, mine, theirs in (
            ("events read", a.counts.get("read", 0), b.counts.get("read", 0)),
            ("events scored", a.counts.get("scored", 0), b.counts.get("scored", 0)),
            ("numbers of labels", a.data.get("n_labels") or 0, b.data.get("n_labels") or 0),
        )
        if mine != theirs
    ]
    hashes = {a.data.get("sha256"), b.data.get("sha256")} - {None}
    if len(hashes) > 1:
        warnings.append("the data differ: the files have other checksums")
    if _settings(a) != _settings(b):
        warnings.append("the learner's parameters or seed differ")
    for run, which in ((a, "first"), (b, "second")):
        if run.interrupted:
            warnings.append(f"the {which} was interrupted")
    return warnings
