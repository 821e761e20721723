"""Why an event is answered as it is: what decided each label, as objects, as JSON and as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from streams.batch import Name


@dataclass
class Neighbour:
    """An event of the window that has the label.

    ``event`` is its number among those learned, from 0; ``similarity`` the cosine; ``vote`` its share of all votes.
    """

    event: int
    similarity: float
    vote: float


@dataclass
class LabelExplanation:
    """What decided one label.

    Parameters
    ----------
    label
        Its name.
    proba
        Probability that it is present.
    answered
        Whether it is in the answer. That maximises expected utility, so it need not be whether ``proba`` is above 1/2.
    cluster
        Names of the labels that are in its cluster now, its own among them.
    contributions
        What each feature of `ihomer.stack.FEATURES` that is in use adds to the logit of ``proba``.
    neighbours
        The most similar events that had the label, the nearest first.
    """

    label: Name
    proba: float
    answered: bool
    cluster: list[Name] = field(default_factory=list)
    contributions: dict[str, float] = field(default_factory=dict)
    neighbours: list[Neighbour] = field(default_factory=list)


@dataclass
class Explanation:
    """What decided every label that an event was asked about, the most probable first, and which sets are likely.

    ``likely_sets`` are label sets met before, with the probability that the event has exactly these labels; what is
    missing to 1 belongs to independent labels.
    """

    labels: list[LabelExplanation]
    likely_sets: list[tuple[list[Name], float]]

    def to_dict(self) -> dict[str, Any]:
        """As JSON objects."""
        return asdict(self)

    def to_text(self, top: int = 5) -> str:
        """The ``top`` most probable labels, and all that are answered, with their three strongest reasons each."""
        shown = [told for place, told in enumerate(self.labels) if place < top or told.answered]
        lines = [line for told in shown for line in _of_label(told)]
        if len(shown) < len(self.labels):
            lines.append(f"and {len(self.labels) - len(shown)} labels less likely")
        for names, mass in self.likely_sets[:3]:
            lines.append(f"label set {_listed(names)}: {mass:.2f}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.to_text()


def _of_label(told: LabelExplanation) -> list[str]:
    lines = [f"{'+' if told.answered else '-'} {told.label}  p = {told.proba:.3f}"]
    strongest = sorted(told.contributions.items(), key=lambda part: -abs(part[1]))[:3]
    if strongest:
        lines.append("    because of " + ", ".join(f"{name} {value:+.2f}" for name, value in strongest))
    if told.neighbours:
        share = sum(near.vote for near in told.neighbours)
        nearest = ", ".join(f"{near.event} ({near.similarity:.2f})" for near in told.neighbours[:3])
        lines.append(f"    {share:.0%} of the votes of neighbours, such as event {nearest}")
    if len(told.cluster) > 1:
        lines.append(f"    in a cluster with {_listed([name for name in told.cluster if name != told.label])}")
    return lines


def _listed(names: Sequence[Name]) -> str:
    return "{" + ", ".join(map(str, names)) + "}"
