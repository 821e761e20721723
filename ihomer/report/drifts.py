"""Drifts on the page: alarms on the stream itself by kind, and what detectors are worth where the drifts are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from drift.scoring import DetectionScore, score_alarms
from ihomer.evaluation.repeats import MeanRun
from ihomer.evaluation.result import Run

KINDS = {
    "labels-prior": "frequencies of labels",
    "labels-cardinality": "number of labels an event",
    "label-dependency": "dependencies between labels",
    "features": "features",
}
"""What alarms on the stream itself are about; one of any other kind is called by it."""


def known(run: Run) -> list[int]:
    """Where the stream itself says that it changes."""
    return [int(drift["event"]) for drift in run.data.get("drifts") or [] if isinstance(drift, Mapping)]


def alarms(run: Run) -> list[dict[str, Any]]:
    """Alarms on the stream itself, whoever learned from it; of repeats none, since each has its own."""
    return [] if isinstance(run, MeanRun) else list(run.data.get("alarms") or [])


def by_kind(run: Run) -> dict[str, list[int]]:
    """Events of the alarms on the stream itself."""
    found: dict[str, list[int]] = {}
    for alarm in alarms(run):
        found.setdefault(str(alarm.get("kind", "change")), []).append(int(alarm["event"]))
    return found


def legend(run: Run) -> list[tuple[str, str]]:
    """Kind and words of the alarms on the stream itself, in a fixed order."""
    found = by_kind(run)
    return [(kind, KINDS.get(kind, kind)) for kind in (*KINDS, *sorted(found.keys() - KINDS.keys())) if kind in found]


def sentences(run: Run) -> list[str]:
    """What there is to tell of the stream itself."""
    if isinstance(run, MeanRun):
        counts = [len(alarms(repeat)) for repeat in run.repeats]
        return [f"Drifts in each repeat: {', '.join(f'{count:,}' for count in counts)}."] if any(counts) else []
    told = []
    found = by_kind(run)
    for kind, words in legend(run):
        events = found[kind]
        places = ", ".join(f"{event:,}" for event in events[:6])
        more = f" and {len(events) - 6:,} more" if len(events) > 6 else ""
        told.append(f"{len(events):,} drift{'' if len(events) == 1 else 's'} of its {words}, at event {places}{more}.")
    return told


def scores(
    runs: Sequence[Run], names: Sequence[str], styles: Mapping[str, str]
) -> list[tuple[str, str, str, list[str]]]:
    """A row for every detector, where the drifts are known: who was watched, style, detector, and figures as text.

    Notes
    -----
    Learners' losses come first, then the detectors of the stream itself. Repeats are counted together.
    """
    if not known(runs[0]):
        return []
    rows = []
    for run, name in zip(runs, names, strict=True):
        total = sum((_score(repeat, repeat.drifts) for repeat in _repeats(run)), DetectionScore())
        # Of a learner without the entry it was `drift.ADWIN`.
        detector = (run.learner.get("detector") or {}).get("class", "ADWIN").rpartition(":")[2]
        rows.append((name, styles[name], detector, _figures(total)))
    for detector in dict.fromkeys(runs[0].data.get("watch") or []):
        total = DetectionScore()
        for repeat in _repeats(runs[0]):
            total += _score(repeat, [alarm for alarm in alarms(repeat) if alarm.get("detector") == detector])
        rows.append(("the stream", "", str(detector), _figures(total)))
    return rows


def _repeats(run: Run) -> Sequence[Run]:
    return run.repeats if isinstance(run, MeanRun) else [run]


def _score(run: Run, found: Sequence[Mapping[str, Any]]) -> DetectionScore:
    """Alarms are at events counted from 1, drifts at events counted from 0."""
    n_events = int(run.counts.get("scored") or run.data.get("n_events") or 0)
    drifts = [drift for drift in run.data.get("drifts") or [] if int(drift["event"]) < n_events]
    return score_alarms(
        sorted({int(alarm["event"]) - 1 for alarm in found if int(alarm["event"]) <= n_events}),
        [int(drift["event"]) for drift in drifts],
        n_events,
        widths=[int(drift.get("width", 1)) for drift in drifts] if drifts else 1,
    )


def _figures(score: DetectionScore) -> list[str]:
    """Detected, mean delay, false alarms, and these per 10,000 events."""
    return [
        f"{score.n_detected:,} of {score.n_drifts:,}",
        f"{score.mean_delay:,.0f}" if score.delays else "–",
        f"{score.n_false_alarms:,}",
        f"{score.false_alarms_per_10_000:.2f}" if score.n_events else "–",
    ]
