"""Targets: what a cell is meant to show, when a ratio may be stated, and the verdict.

**The rule for ratios.** The ratio of two contestants is that of their bests. It is stated only if it (or its inverse,
where the other one is ahead) is larger than worst / best of *either* contestant: the slower one at its best is then
slower than the faster one at its worst, and the advantage is larger than the noise of both. Otherwise it is not stated.

**The rule for targets.** A target is judged by the ratio where that is stated. Where it is not, the target is reached
if it was in every round, even the worst, and missed if it was in none, not even the best. A round is one attempt of
each, one right after the other, so that a machine that slows down slows both. Otherwise the target is undecided, which
is not reached.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Side = Mapping[str, Any]
"""A contestant as the result file holds it: ``status``, ``reason``, and where ok ``best``, ``worst`` and its ``costs``,
one a round."""


@dataclass(frozen=True)
class Ratio:
    """How many times the cost of ``ours`` the ``peer`` pays, and how many times it should at least."""

    ours: str
    peer: str
    at_least: float | None = None

    def judge(self, done: Mapping[str, Side]) -> dict[str, Any]:
        """What was found, as the result file holds it."""
        asked = {} if self.at_least is None else {"at_least": self.at_least}
        record = {"ours": self.ours, "peer": self.peer, **asked}
        if reason := _absent(done, self.ours, self.peer):
            return {**record, "verdict": "undecided", "reason": reason}
        ratio, stated = ratio_of(done[self.ours], done[self.peer])
        if not stated:
            return {**record, **self._judge_rounds(done[self.ours], done[self.peer])}
        if self.at_least is None:
            return {**record, "found": ratio, "verdict": "stated"}
        return {**record, "found": ratio, "verdict": "reached" if ratio >= self.at_least else "missed"}

    def _judge_rounds(self, ours: Side, peer: Side) -> dict[str, str]:
        """The verdict where no ratio may be stated."""
        reason = "the spread is larger than the difference"
        if self.at_least is not None:
            rounds = {b >= self.at_least * a for a, b in zip(ours["costs"], peer["costs"], strict=False)}
            if rounds == {True}:
                return {"verdict": "reached", "reason": f"{reason}, but at least {self.at_least:g} x in every round"}
            if rounds == {False}:
                return {"verdict": "missed", "reason": f"{reason}, but at least {self.at_least:g} x in no round"}
        return {"verdict": "undecided", "reason": reason}


@dataclass(frozen=True)
class Growth:
    """The best cost of ``larger`` is at most so many times that of ``smaller``.

    Bests are compared as they are: a growth close to 1 is never larger than the spread.
    """

    smaller: str
    larger: str
    at_most: float

    def judge(self, done: Mapping[str, Side]) -> dict[str, Any]:
        """What was found, as the result file holds it."""
        record = {"ours": self.smaller, "peer": self.larger, "at_most": self.at_most}
        if reason := _absent(done, self.smaller, self.larger):
            return {**record, "verdict": "undecided", "reason": reason}
        ratio = done[self.larger]["best"] / done[self.smaller]["best"]
        return {**record, "found": ratio, "verdict": "reached" if ratio <= self.at_most else "missed"}


@dataclass(frozen=True)
class Below:
    """The best cost of ``ours`` stays below a limit, in the cell's unit."""

    ours: str
    limit: float

    def judge(self, done: Mapping[str, Side]) -> dict[str, Any]:
        """What was found, as the result file holds it."""
        record = {"ours": self.ours, "below": self.limit}
        if reason := _absent(done, self.ours):
            return {**record, "verdict": "undecided", "reason": reason}
        best = done[self.ours]["best"]
        return {**record, "found": best, "verdict": "reached" if best < self.limit else "missed"}


Target = Ratio | Growth | Below


def ratio_of(ours: Side, peer: Side) -> tuple[float, bool]:
    """Ratio of the bests, and whether the rule for ratios allows to state it.

    Examples
    --------
    >>> ratio_of({"best": 1.0, "worst": 1.5}, {"best": 2.0, "worst": 2.2})
    (2.0, True)
    >>> ratio_of({"best": 1.0, "worst": 2.5}, {"best": 2.0, "worst": 2.2})
    (2.0, False)
    >>> ratio_of({"best": 1.0, "worst": 1.1}, {"best": 2.0, "worst": 9.0})
    (2.0, False)
    """
    ratio = float(peer["best"] / ours["best"])
    advantage = max(ratio, 1 / ratio)
    return ratio, advantage > max(ours["worst"] / ours["best"], peer["worst"] / peer["best"])


def _absent(done: Mapping[str, Side], *names: str) -> str:
    """Why the contestants cannot be compared; empty if they can."""
    for name in names:
        if name not in done:
            return f"{name} did not take part"
        if done[name]["status"] != "ok":
            return f"{name}: {done[name]['reason']}"
    return ""
