"""What an encoder was trained on, kept beside it, so that an evaluation can tell and refuse what would be a leak."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from streams.extraction.encoding import raw
from streams.whole_file import write_whole

FORMAT, VERSION = "ihomer-encoder", 1

RECORD, SEEN = "training.json", "training.npy"
"""Files of an encoder's folder: what it was trained on, and the digests of the images."""

OBJECTIVES = ("responses", "views", "supervised")
"""What training aims at: responses to patches are guessed, two views of an image are alike, or the class is told."""


class TrainingRecord(msgspec.Struct, kw_only=True):
    """What an image encoder was trained on.

    Parameters
    ----------
    data, digest
        Name of the data, and the SHA-256 over the digests of the images used, in ascending order.
    objective
        One of `OBJECTIVES`.
    classes
        Classes of the images that were used.
    labelled_classes
        Those whose labels were used; none without labels.
    held_out
        Classes whose images were left out.
    n_images
        Images that were used.
    size, patch, image_size, seed, batch_size, epochs, steps
        Settings, and how many steps were taken of how many epochs.
    finished
        Whether all steps were taken.
    loss
        Mean loss of each epoch.
    """

    format: str = FORMAT
    version: int = VERSION
    data: str
    digest: str
    objective: str
    classes: list[str]
    labelled_classes: list[str]
    held_out: list[str]
    n_images: int
    size: str
    patch: int
    image_size: int
    seed: int
    batch_size: int
    epochs: int
    steps: int
    finished: bool
    loss: list[float]

    @property
    def text(self) -> str:
        """The record in a sentence."""
        labels = "their labels" if self.objective == "supervised" else "no labels"
        left_out = f", classes {', '.join(self.held_out)} left out" if self.held_out else ""
        stopped = "" if self.finished else " (stopped before its end)"
        return (
            f"trained on {self.n_images:,} images of {self.data} and {labels} (objective {self.objective}, classes "
            f"{', '.join(self.classes)}{left_out}), {self.epochs} epochs{stopped}, seed {self.seed}"
        )

    def save(self, folder: Path, seen: NDArray[np.uint64]) -> None:
        """Write it beside the encoder, with the digests of the images."""
        write_whole(folder / RECORD, msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n")
        np.save(folder / SEEN, seen)


def read_record(folder: Path) -> TrainingRecord | None:
    """The record of an encoder's folder, or None where there is none.

    Raises
    ------
    ValueError
        The file is something else.
    """
    file = folder / RECORD
    if not file.is_file():
        return None
    try:
        record = msgspec.json.decode(file.read_bytes(), type=TrainingRecord)
    except msgspec.MsgspecError as error:
        raise ValueError(f"{file}: must be the record of an encoder's training: {error}") from error
    if (record.format, record.version) != (FORMAT, VERSION):
        raise ValueError(f"{file}: must be {FORMAT!r} version {VERSION}, got {record.format!r} {record.version}")
    return record


def digests(payloads: Iterable[Any]) -> NDArray[np.uint64]:
    """A number for each payload that another one hardly has: the beginning of its bytes' SHA-256.

    Examples
    --------
    >>> digests([b"a", "a", b"b"]).tolist()[:2]
    [14608863320967583690, 14608863320967583690]
    """
    found = [hashlib.sha256(raw(payload)).digest()[:8] for payload in payloads]
    return np.frombuffer(b"".join(found), "<u8").astype(np.uint64)


def whole_digest(seen: NDArray[np.uint64]) -> str:
    """One text for many digests, whatever their order."""
    return hashlib.sha256(np.sort(seen).astype("<u8").tobytes()).hexdigest()


def n_seen(folder: Path, payloads: Iterable[Any]) -> int:
    """How many of the payloads the encoder of a folder was trained on, to the byte."""
    file = folder / SEEN
    if not file.is_file():
        return 0
    return int(np.isin(digests(payloads), np.load(file)).sum())
