"""One model of the models of partitions: merged where that is exact, else an ensemble of them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from drift.pickled import trusting_pickle
from ihomer.checkpoint import Arrays, CheckpointStore, below, build, describe, nested, write
from ihomer.partition_ensemble import PartitionEnsemble
from ihomer.plans import RunPlan
from learners.base import Learner

MERGED = "merged.ckpt"
"""The file, in the folder of the checkpoints."""

_TRIES = 5
"""How often a partition's checkpoint is looked for: its writer may remove the one found before it is read."""


@runtime_checkable
class Mergeable(Protocol):
    """A learner that takes in what another one has learned, as if it had learned those events too."""

    def merge(self, other: Any) -> None:
        """Take it in; ValueError where that is not exact."""


@dataclass(frozen=True)
class Merged:
    """What was made of the models of partitions.

    Attributes
    ----------
    rule
        ``exact``: one model, as if it had learned the events of all partitions; ``ensemble``: a `PartitionEnsemble`.
    why
        Why it is an ensemble; empty where it is not.
    events, partitions
        How many events the models had read by then, and how many models there are.
    file
        Where it is kept.
    """

    rule: str
    why: str
    events: int
    partitions: int
    file: str

    def as_dict(self) -> dict[str, Any]:
        """The entry of the result file."""
        return asdict(self)

    def __str__(self) -> str:
        how = "merged exactly" if self.rule == "exact" else f"put into an ensemble, since {self.why}"
        models = f"{self.partitions} model{'' if self.partitions == 1 else 's'}"
        return f"{models} of {self.events:,} events {how}: {self.file}"


class PartitionMerge:
    """Merges the models of partitions on a schedule, as their latest checkpoints have them.

    Parameters
    ----------
    plan
        Its ``merge`` says after how many events; its first learner is the one that is merged.
    tell
        Told of every merge.

    Notes
    -----
    Models are read from checkpoints, so that the learners themselves are not touched, wherever they are, and a merge
    takes in what has been made durable. It costs reading a checkpoint of every partition, and one pass over the states.
    """

    def __init__(self, plan: RunPlan, tell: Callable[[str], None]) -> None:
        assert plan.merge is not None
        assert plan.checkpoint is not None
        self._plan, self._tell = plan, tell
        self._every, self._due = plan.merge, plan.merge
        self.latest: Merged | None = None
        """The latest merge."""

    def look(self, kept: int) -> None:
        """Merge, if so many events in checkpoints, over all partitions, make that due."""
        if kept >= self._due:
            self._due = self._every * (kept // self._every + 1)
            self.merge()

    def merge(self) -> None:
        """Merge now, if checkpoints have more than at the latest merge."""
        found = _latest(self._plan)
        events = sum(read for read, _ in found)
        if not found or (self.latest is not None and self.latest.events == events):
            return
        file = CheckpointStore(self._plan.checkpoint or "").directory / MERGED
        try:
            model, why = merged([model for _, model in found], fresh=self._plan.warm_start is None)
        except ValueError as error:
            # Partitions that cannot be reconciled, such as a feature that is a number here and a word there, do no
            # harm to each other.
            self._tell(f"no model of all partitions: {error}")
            return
        self.latest = Merged("ensemble" if why else "exact", why, events, len(found), str(file))
        manifest = {"kind": "model", "learners": [describe(model)], "merged": self.latest.as_dict()}
        write(file, manifest, nested("0/model", model.get_state()))
        self._tell(str(self.latest))


def merged(models: Sequence[Learner], *, fresh: bool = True) -> tuple[Learner, str]:
    """One model of all ``models``, and why it is an ensemble, or nothing where it is not.

    Parameters
    ----------
    models
        With the same parameters, at least one; an ensemble is made of these very objects.
    fresh
        Whether each has learned nothing but events of its own.

    Examples
    --------
    >>> from learners.baselines import MajorityClassifier
    >>> models = [MajorityClassifier(), MajorityClassifier()]
    >>> for model, rain in zip(models, (True, False)):
    ...     model.learn_one({}, {"rain": rain})
    >>> model, why = merged(models)
    >>> model.predict_proba_one({})["rain"][True], why
    (0.5, '')
    """
    first = models[0]
    if not isinstance(first, Mergeable):
        return PartitionEnsemble.of(models), f"{type(first).__name__} cannot be merged"
    if not fresh:
        return PartitionEnsemble.of(models), "all models began with what one had learned"
    whole = copy.deepcopy(first)
    try:
        for other in models[1:]:
            whole.merge(other)
    except ValueError as error:
        return PartitionEnsemble.of(models), str(error)
    return whole, ""


def _latest(plan: RunPlan) -> list[tuple[int, Learner]]:
    """Events read and the first learner of every partition, in the order of their numbers."""
    folder = CheckpointStore(plan.checkpoint or "").directory
    names = sorted(path.name for path in folder.glob("partition-*") if path.is_dir())
    found = [_read(CheckpointStore(folder, name)) for name in names]
    return [
        (manifest["counts"]["read"], _model(plan, manifest["learners"][0], below("0/model", arrays)))
        for manifest, arrays in filter(None, found)
    ]


def _read(store: CheckpointStore) -> tuple[dict[str, Any], Arrays] | None:
    for attempt in range(_TRIES):
        try:
            latest = store.latest()
            return None if latest is None else latest[1:]
        except FileNotFoundError:
            if attempt == _TRIES - 1:
                raise
    return None


def _model(plan: RunPlan, description: dict[str, Any], state: Arrays) -> Learner:
    from ihomer.specs import build as build_spec

    model = build(description, [type(build_spec(plan.learner))])
    with trusting_pickle(plan.trust_pickle):
        model.set_state(state)
    return model
