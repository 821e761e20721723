"""Labelled images as one array to train on, less the classes that are to stay unknown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from streams.extraction.encoders.images import image_of
from streams.extraction.training.record import digests
from streams.siblurry.labelled import LabelledEvents
from streams.siblurry.source import content_of


@dataclass(frozen=True, eq=False)
class Pictures:
    """Images to train on.

    Parameters
    ----------
    name
        Of the data.
    pixels
        uint8 of shape (n, size, size, 3).
    codes
        Class of each, as a number into ``classes``.
    classes
        Names of the classes of the images.
    held_out
        Those whose images are not there.
    seen
        See `digests`.
    """

    name: str
    pixels: NDArray[np.uint8]
    codes: NDArray[np.int64]
    classes: list[str]
    held_out: list[str]
    seen: NDArray[np.uint64]


def decoded(
    events: LabelledEvents,
    size: int,
    *,
    classes: Sequence[str] = (),
    hold_out: Sequence[str] = (),
    advance: Callable[[int], bool] = lambda n: True,
) -> Pictures | None:
    """The images of labelled events, brought to one size; those set aside for testing are never looked at.

    Parameters
    ----------
    events
        Their payloads are images.
    size
        Height and width.
    classes, hold_out
        The classes to use, or to leave out; one of the two may be given.
    advance
        Told how many images are done; False gives up, and there are none.

    Raises
    ------
    ValueError
        A class is none of the data's, fewer than two images are left, or one cannot be decoded.
    """
    names = [str(name) for name in events.batch.schema.label_names]
    used, held_out = _parted(events.name, names, classes, hold_out)
    of_event = events.classes(events.batch)
    rows = [row for row in range(len(of_event)) if of_event[row] >= 0 and names[of_event[row]] in used]
    payloads = events.batch.payload
    if len(rows) < 2 or payloads is None:
        raise ValueError(f"{events.name}: images to train on must be at least 2, got {len(rows)}")
    pixels = np.empty((len(rows), size, size, 3), np.uint8)
    seen = np.empty(len(rows), np.uint64)
    for number, row in enumerate(rows):
        content = content_of(payloads[row])
        try:
            pixels[number] = np.round(image_of(content, (size, size)) * 255)
        except (OSError, TypeError, ValueError) as error:
            key = row if events.batch.key is None else events.batch.key[row]
            raise ValueError(f"{events.name}: {key}: must be an image: {error}") from error
        seen[number] = digests([content])[0]
        if number % 256 == 255 and not advance(number + 1):
            return None
    advance(len(rows))
    codes = np.array([used.index(names[of_event[row]]) for row in rows], np.int64)
    return Pictures(events.name, pixels, codes, used, held_out, seen)


def _parted(
    name: str, names: Sequence[str], classes: Sequence[str], hold_out: Sequence[str]
) -> tuple[list[str], list[str]]:
    """The classes to use and those to leave out."""
    if classes and hold_out:
        raise ValueError(
            f"{name}: classes must be given or held out, got both, {', '.join(classes)} and {', '.join(hold_out)}"
        )
    for wanted in (*classes, *hold_out):
        if wanted not in names:
            raise ValueError(f"{name}: a class must be one of {', '.join(names)}, got {wanted!r}")
    used = [one for one in names if (one in classes if classes else one not in hold_out)]
    return used, [one for one in names if one not in used]
