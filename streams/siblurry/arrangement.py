"""Where a scenario puts every sample, and what its sessions come to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DISJOINT, BLURRY, DROPPED = "disjoint", "blurry", "dropped"
"""Kinds of classes: of one session alone, of every session, and of none."""


@dataclass(frozen=True, eq=False)
class Arrangement:
    """The order of a scenario; learners never see it.

    Parameters
    ----------
    indices
        Number of the sample at each place, int64 of shape (n,).
    session
        Session of each place, from 0, ascending.
    codes
        Class at each place, as a number into ``classes``.
    classes
        Every class of the labels, ascending, also those that were dropped.
    home
        Session of each class, -1 for one that was dropped.
    kind
        ``disjoint``, ``blurry`` or ``dropped`` for each class.
    dropped
        Numbers of the samples that have no place, ascending.
    n_sessions
        How many sessions there are; some may be empty.
    """

    indices: NDArray[np.int64]
    session: NDArray[np.int64]
    codes: NDArray[np.int64]
    classes: list[Any]
    home: NDArray[np.int64]
    kind: list[str]
    dropped: NDArray[np.int64]
    n_sessions: int

    def __len__(self) -> int:
        return len(self.indices)

    @property
    def ends(self) -> list[int]:
        """The place behind the last one of every session."""
        return [int(end) for end in np.searchsorted(self.session, np.arange(self.n_sessions), side="right")]

    @property
    def dropped_classes(self) -> list[Any]:
        """The classes that have no place."""
        return [name for name, kind in zip(self.classes, self.kind, strict=True) if kind == DROPPED]

    @property
    def statistics(self) -> dict[str, list[float]]:
        """What the sessions come to, a number a session.

        ``events``, and their ``share`` of the stream; ``classes`` and ``disjoint_classes`` that are present; ``seen``,
        the share of all classes that have a place which came by the end of the session; ``visitors``, the share of
        events away from the home of their class.
        """
        counts = self.counts()
        is_disjoint = np.array([kind == DISJOINT for kind in self.kind], bool)
        events = counts.sum(0)
        came = np.cumsum(counts, axis=1) > 0
        at_home = np.array([counts[self.home == session, session].sum() for session in range(self.n_sessions)])
        columns = {
            "events": events,
            "share": events / max(1, len(self)),
            "classes": (counts > 0).sum(0),
            "disjoint_classes": (counts[is_disjoint] > 0).sum(0),
            "seen": came.sum(0) / max(1, int((self.home >= 0).sum())),
            "visitors": (events - at_home) / np.maximum(1, events),
        }
        return {name: column.tolist() for name, column in columns.items()}

    def counts(self, bins: int | None = None) -> NDArray[np.int64]:
        """Events of each class in each session, or in each of so many equal stretches of the stream."""
        where, width = self.session, self.n_sessions
        if bins is not None:
            where, width = np.arange(len(self)) * bins // max(1, len(self)), bins
        table = np.zeros((len(self.classes), width), np.int64)
        np.add.at(table, (self.codes, where), 1)
        return table

    def draw(self, title: str | None = None) -> Figure:
        """A drawing of every class over time, for `matplotlib.figure.Figure.savefig`."""
        from streams.siblurry.drawing import draw

        return draw(self, title)
