"""Result files: a journal that a broken run goes on from, the file that is kept, and two of them compared.

``SUITE.jsonl`` is the journal. Its first line says on what machine, with which versions and which code the figures were
taken; every further line is a finished cell, on disk before the next cell begins. A run goes on where the journal ends,
and refuses to where its first line would differ: times from two machines or two programs are never in one table.

``SUITE.json`` is made from the journal: keys in a fixed order, cells in the order of the suite, one value a line.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ihomer.evaluation.result import METRICS
from streams.whole_file import write_whole

FORMAT, VERSION = "ihomer-benchmark", 1


class MixtureError(ValueError):
    """A journal was written on another machine, or with other versions, code or sizes."""


class Journal:
    """The finished cells of a suite, kept as they come.

    Parameters
    ----------
    path
        Of the journal; made with its folder where missing.
    head
        Suite, machine, versions, code and whether quick.
    fresh
        Forget what is there.

    Raises
    ------
    MixtureError
        What is there was taken under another ``head``.

    Notes
    -----
    A last line that was cut off when a run was killed is dropped; its cell is measured again.
    """

    def __init__(self, path: Path, head: Mapping[str, Any], *, fresh: bool = False) -> None:
        self.path, self.head = path, dict(head)
        self.cells: dict[str, dict[str, Any]] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = [] if fresh or not path.exists() else _whole_lines(path)
        if not lines:
            path.write_text("")
            self._append(self.head)
            return
        different = [key for key in self.head if lines[0].get(key) != self.head[key]]
        if different:
            key = different[0]
            raise MixtureError(
                f"{path}: {key} must be that of the cells already there, {lines[0].get(key)!r}, "
                f"got {self.head[key]!r}; use --fresh to measure them anew or --out for another folder"
            )
        write_whole(path, "".join(_line(line) for line in lines).encode())
        self.cells = {line["cell"]: line for line in lines[1:]}

    def add(self, record: Mapping[str, Any]) -> None:
        """Keep a finished cell."""
        self._append(record)
        self.cells[record["cell"]] = dict(record)

    def _append(self, value: Mapping[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(_line(value))
            file.flush()
            os.fsync(file.fileno())


def _line(value: Mapping[str, Any]) -> str:
    return json.dumps(value) + "\n"


def _whole_lines(path: Path) -> list[dict[str, Any]]:
    lines = []
    for text in path.read_text().splitlines(keepends=True):
        if not text.endswith("\n"):
            break
        lines.append(json.loads(text))
    return lines


def to_result(journal: Journal, order: Iterable[str]) -> dict[str, Any]:
    """The content of a result file: the cells that are done, in the order of the suite."""
    cells = [journal.cells[name] for name in order if name in journal.cells]
    return {"format": FORMAT, "version": VERSION, **journal.head, "cells": cells}


def save(result: Mapping[str, Any], path: Path) -> None:
    """Write a result file, whole or not at all."""
    write_whole(path, (json.dumps(_rounded(result), indent=1) + "\n").encode())


def load(path: Path) -> dict[str, Any]:
    """Read a result file.

    Raises
    ------
    ValueError
        It is something else.
    """
    result: dict[str, Any] = json.loads(path.read_text())
    if result.get("format") != FORMAT or result.get("version") != VERSION:
        found = f"{result.get('format')!r} version {result.get('version')!r}"
        raise ValueError(f"{path}: must be {FORMAT!r} version {VERSION}, got {found}")
    return result


def _rounded(value: Any) -> Any:
    """Costs and metrics to ten digits: more would be noise from one numpy to the next."""
    if isinstance(value, float):
        return float(f"{value:.10g}")
    if isinstance(value, Mapping):
        return {key: _rounded(one) for key, one in value.items()}
    return [_rounded(one) for one in value] if isinstance(value, (list, tuple)) else value


def worse_than(old: Mapping[str, Any], new: Mapping[str, Any], tolerance: float = 0.0) -> list[str]:
    """What is worse in ``new`` than in ``old``, a sentence each.

    A cell, a contestant or a metric that is no longer there is worse; so is a quality that fell (or a loss that rose)
    by more than ``tolerance``, and a target that was reached and is not any more. Costs are not compared: they belong
    to their machine.
    """
    found = []
    cells = {cell["cell"]: cell for cell in new["cells"]}
    for cell in old["cells"]:
        name = cell["cell"]
        if name not in cells:
            found.append(f"{name}: the cell has vanished")
            continue
        sides = {side["name"]: side for side in cells[name]["contestants"]}
        for side in (side for side in cell["contestants"] if side["status"] == "ok"):
            now = sides.get(side["name"], {"status": "vanished"})
            if now["status"] != "ok":
                found.append(f"{name}: {side['name']} was ok, now {now.get('reason', now['status'])}")
                continue
            for metric, before in side["quality"].items():
                after = now["quality"].get(metric)
                if after is None:
                    found.append(f"{name}: {side['name']}: {metric} has vanished")
                elif _loss(metric, before, after) > tolerance:
                    found.append(f"{name}: {side['name']}: {metric} was {before:.6g}, now {after:.6g}")
        lost = [target for target in _reached(cell) if target not in _reached(cells[name])]
        found.extend(f"{name}: the target {target} is no longer reached" for target in lost)
    return found


_FEWER_IS_BETTER = (
    *("n_missed", "n_false_alarms", "false_alarms_per_10_000", "mean_delay", "median_delay"),
    *("model_bytes", "growth"),
)
"""Metrics of the suites themselves; of all others that evaluation does not know, more is better."""


def _loss(metric: str, before: float, after: float) -> float:
    """How much worse ``after`` is."""
    lower = METRICS[metric].better == "lower" if metric in METRICS else metric in _FEWER_IS_BETTER
    return after - before if lower else before - after


def _reached(cell: Mapping[str, Any]) -> list[str]:
    """The targets that a cell has reached, in words."""
    words = []
    for target in cell["targets"]:
        bounds = ", ".join(f"{kind} {target[kind]:g}" for kind in ("at_least", "at_most", "below") if kind in target)
        against = f" against {target['peer']}" if "peer" in target else ""
        words += [f"{target['ours']}{against}, {bounds}"] if target["verdict"] == "reached" else []
    return words
