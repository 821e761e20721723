"""A challenger takes the place of the learner that it ran beside, in the checkpoints of a run that has stopped."""

from __future__ import annotations

import os
from typing import Any

from ihomer.checkpoint import CheckpointError, CheckpointStore, below, nested
from ihomer.specs import parse


def promote(directory: str | os.PathLike[str], challenger: str) -> list[Any]:
    """Write checkpoints, of a run or of each partition of one, from which ``challenger`` goes on as the only learner.

    Parameters
    ----------
    directory
        The run's checkpoint folder, or its URL.
    challenger
        A learner as the checkpoint calls it.

    Returns
    -------
    list of paths
        The files written. The ones that they follow stay beside them.

    Raises
    ------
    CheckpointError
        There is no checkpoint, or it has no such learner, and nothing has been written.

    Notes
    -----
    A process that still runs on these checkpoints is fenced: it can write no more of them.
    """
    whole = CheckpointStore(directory)
    names = sorted(path.name for path in whole.directory.glob("partition-*") if path.is_dir())
    stores = [CheckpointStore(directory, name) for name in names] or [whole]
    promoted = [_promoted(store, challenger) for store in stores]
    paths = []
    for store, (manifest, arrays) in zip(stores, promoted, strict=True):
        store.claim()
        paths.append(store.save(manifest["counts"]["read"], manifest, arrays))
    return paths


def _promoted(store: CheckpointStore, challenger: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """The latest checkpoint of a store with the challenger first and the other learners, baselines excepted, gone."""
    found = store.latest()
    if found is None:
        raise CheckpointError(f"{store.directory}: a run to promote in must have a checkpoint, found none")
    path, manifest, arrays = found
    learners = manifest["learners"]
    names = [learner["name"] for learner in learners if not learner["baseline"]]
    if challenger not in names:
        raise CheckpointError(f"{path}: learner must be one of {', '.join(names)}, got {challenger!r}")
    chosen = [number for number, learner in enumerate(learners) if learner["name"] == challenger]
    order = chosen + [number for number, learner in enumerate(learners) if learner["baseline"]]
    tracks = [below(str(number), arrays) for number in order]
    rest = {name: array for name, array in arrays.items() if not name.partition("/")[0].isdigit()}
    for place, track in enumerate(tracks):
        rest |= nested(str(place), track)
    reordered = {name: [manifest[name][number] for number in order] for name in ("learners", "reported", "detectors")}
    # A run of this learner alone calls it by its short name.
    reordered["learners"][0] = {**reordered["learners"][0], "name": parse(challenger).name}
    return {**manifest, **reordered}, rest
