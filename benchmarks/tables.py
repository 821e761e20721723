"""Result files as Markdown tables, and their way into pages that mark the place."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ihomer.evaluation.result import METRICS

_PLACE = re.compile(r"(<!-- benchmark (\S+?)/(\S+) -->\n).*?(<!-- /benchmark -->)", re.DOTALL)


def table(header: Sequence[str], rows: Iterable[Sequence[str]], *, texts: Sequence[str]) -> str:
    """A Markdown table; the columns headed by ``texts`` hold words, all others figures, set flush right."""
    marks = ["---" if title in texts else "--:" for title in header]
    escaped = [[cell.replace("|", "\\|").replace("\n", " ") for cell in row] for row in [header, marks, *rows]]
    return "\n".join("| " + " | ".join(row) + " |" for row in escaped)


def provenance(result: Mapping[str, Any]) -> str:
    """A line that says where the figures of a result come from."""
    machine, versions = result["machine"], dict(result["versions"])
    memory = f", {machine['memory_bytes'] / 2**30:.0f} GiB" if "memory_bytes" in machine else ""
    kind = "**A quick run: a look, not a figure to state.** " if result["quick"] else ""
    listed = ", ".join(f"{name} {version}" for name, version in versions.items())
    where = f"Machine: {machine['cpu']}, {machine['cores']} cores{memory}."
    return f"{kind}{where} Versions: {listed}. Code: `{result['code']}`."


def common_tables(result: Mapping[str, Any]) -> dict[str, str]:
    """One table a group, the fastest contestant of a cell first, whoever that is."""
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for cell in result["cells"]:
        groups.setdefault(cell["group"], []).append(cell)
    return {group: _group(cells) for group, cells in groups.items()}


def _group(cells: Sequence[Mapping[str, Any]]) -> str:
    metrics = list(dict.fromkeys(m for cell in cells for side in cell["contestants"] for m in side.get("quality", {})))
    unit = cells[0]["unit"]
    rows = [row for cell in cells for row in _rows(cell, metrics)]
    words = [METRICS[metric].title if metric in METRICS else metric.replace("_", " ") for metric in metrics]
    header = ["workload", "contestant", "events", unit, "spread", *words, "target"]
    notes = dict.fromkeys(
        f"{side['name']}: {side['note']}" for cell in cells for side in cell["contestants"] if "note" in side
    )
    text = table(header, rows, texts=("workload", "contestant", "target"))
    return f"{text}\n\n" + "\n".join(f"* {note}" for note in notes) if notes else text


def _rows(cell: Mapping[str, Any], metrics: Sequence[str]) -> Iterable[list[str]]:
    if "absent" in cell:
        yield [f"`{cell['workload']}`", f"**{cell['absent']}**", *[""] * (4 + len(metrics))]
    sides = sorted(cell["contestants"], key=lambda side: side.get("best", float("inf")))
    for i, side in enumerate(sides):
        mine = [target for target in cell["targets"] if target.get("peer", target["ours"]) == side["name"]]
        texts = [verdict(target, cell["unit"]) for target in mine]
        if i == 0 and "agreement" in cell:
            agreement = cell["agreement"]
            texts.append(f"same answers to {agreement['largest_difference']:.1g} (must be {agreement['tolerance']:g})")
        workload = f"`{cell['workload']}`" if i == 0 else ""
        row = [workload, side["name"], f"{side['events']:,}" if side["events"] else ""]
        if side["status"] == "ok":
            row += [amount(side["best"], cell["unit"]), f"{100 * side['spread']:.0f} %"]
            row += [score(side["quality"].get(metric)) for metric in metrics]
        else:
            row += [f"**{side['reason']}**", "", *("" for _ in metrics)]
        yield [*row, "; ".join(texts)]


def amount(cost: float, unit: str) -> str:
    """A cost in words of its unit.

    Examples
    --------
    >>> amount(0.00004, "events/s"), amount(0.31, "s"), amount(150e6, "bytes"), amount(859.0, "bytes")
    ('25,000', '0.310', '150.0 MB', '859 bytes')
    """
    if unit == "events/s":
        return f"{1 / cost:,.0f}" if cost < 0.01 else f"{1 / cost:.3g}"
    if unit == "bytes":
        return f"{cost / 1e6:.1f} MB" if cost >= 1e5 else f"{cost:,.0f} bytes"
    return f"{cost:,.0f}" if unit == "events" else f"{cost:.3f}"


def verdict(target: Mapping[str, Any], unit: str) -> str:
    """A target and what came of it.

    Examples
    --------
    >>> verdict({"ours": "a", "peer": "b", "at_least": 50.0, "found": 61.2, "verdict": "reached"}, "events/s")
    'a is 61.2 x this; at least 50 x: reached'
    >>> verdict({"ours": "a", "peer": "b", "at_least": 50.0, "found": 40.0, "verdict": "missed"}, "events/s")
    'a is 40 x this; at least 50 x: **missed by 20 %**'
    >>> verdict({"ours": "a", "below": 0.5, "found": 0.2, "verdict": "reached"}, "s")
    'below 0.500: reached'
    """
    name, found = target["ours"], target.get("found")
    if found is None:
        return f"no ratio to {name}: {target['reason']}" if "peer" in target else f"undecided: {target['reason']}"
    if "below" in target:
        rule = "more than" if unit == "events/s" else "below"
        return f"{rule} {amount(target['below'], unit)}: {_outcome(target, found / target['below'] - 1)}"
    if "at_most" in target:
        missing = found / target["at_most"] - 1
        return f"{_times(found)} of {name}; at most {_times(target['at_most'])}: {_outcome(target, missing)}"
    if "at_least" not in target:
        return f"{name} is {_times(found)} this"
    missing = 1 - found / target["at_least"]
    return f"{name} is {_times(found)} this; at least {_times(target['at_least'])}: {_outcome(target, missing)}"


def _outcome(target: Mapping[str, Any], missing: float) -> str:
    return "reached" if target["verdict"] == "reached" else f"**missed by {100 * missing:.0f} %**"


def _times(ratio: float) -> str:
    return f"{ratio:,.0f} x" if ratio >= 100 else f"{ratio:.3g} x"


def score(value: float | None) -> str:
    """A quality with four digits, a count with all of its; empty for None.

    Examples
    --------
    >>> score(0.123456), score(28596.0), score(None)
    ('0.1235', '28,596', '')
    """
    if value is None:
        return ""
    return f"{value:,.0f}" if value == int(value) and abs(value) > 1 else f"{value:.4g}"


def included(page: str, tables_of: Callable[[str], Mapping[str, str]]) -> str:
    """``page`` with every marked place filled anew.

    A place is what stands between ``<!-- benchmark SUITE/TABLE -->`` and ``<!-- /benchmark -->``.

    Raises
    ------
    ValueError
        A place names a table that the suite's result does not have.
    """

    def fill(place: re.Match[str]) -> str:
        suite, name = place[2], place[3]
        tables = tables_of(suite)
        if name not in tables:
            raise ValueError(f"benchmark {suite}/{name} must be among the tables {sorted(tables)}")
        return f"{place[1]}\n{tables[name]}\n\n{place[4]}"

    return _PLACE.sub(fill, page)
