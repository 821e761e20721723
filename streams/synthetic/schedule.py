"""Where the drifts of a synthetic stream are, and what every event is drawn from."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from streams.synthetic.numbers import derived, uniform

KINDS = ("none", "sudden", "gradual", "incremental", "recurring", "labels")

COIN = 0
"""Which of an event's random numbers decides between the concept before a drift and the one after it."""


@dataclass(frozen=True, slots=True)
class Drift:
    """One drift of a stream.

    Parameters
    ----------
    event
        Number of the first event that the drift can touch; all before are as if it never came.
    width
        Events from that one to the first that is drawn wholly from what comes after. 1: there is no passage.
    kind
        One of `KINDS`, except ``none``.
    before, after
        Numbers of the concepts on its two sides, or of the groupings of labels if ``kind`` is ``labels``.
    """

    event: int
    width: int
    kind: str
    before: int
    after: int


class Stages(NamedTuple):
    """What some events are drawn from, an entry an event.

    Parameters
    ----------
    concept, towards
        int64: number of the concept, and of the one that it is on the way to, mostly itself.
    share
        float64: how much of the way it has gone.
    grouping
        int64: number of the grouping of labels.
    """

    concept: NDArray[np.int64]
    towards: NDArray[np.int64]
    share: NDArray[np.float64]
    grouping: NDArray[np.int64]


class Schedule:
    """The drifts of a stream.

    Parameters
    ----------
    kind
        ``none``; ``sudden``: another concept from one event on; ``gradual``: through ``width`` events more and more
        are drawn from the next concept, the others from the last; ``incremental``: through ``width`` events one concept
        turns into the next; ``recurring``: two concepts by turns; ``labels``: the same concept throughout, and another
        grouping of the labels.
    events
        Length of the stream; None: without end.
    drifts
        How many, at equal distances; by default 1, if ``recurring`` 3.
    positions
        Numbers of the events at which they begin, instead of ``drifts``. A stream without end needs them.
    width
        By default 1 event; if ``gradual`` or ``incremental`` a hundredth of the events, without end 1,000.

    Notes
    -----
    Of the events ``e, e + 1, …`` of a drift of ``width`` w that begins at ``e``, number ``e + i`` has the share
    ``(i + 1) / w`` of what comes after, up to 1: a straight line, where [1]_ has a sigmoid without beginning or end.
    It is a probability, of a coin that every event has for itself, except if ``incremental``.

    References
    ----------
    .. [1] Bifet, Holmes, Pfahringer, Kirkby, Gavaldà, "New ensemble methods for evolving data streams", KDD 2009,
       definition 1.
    .. [2] Gama, Žliobaitė, Bifet, Pechenizkiy, Bouchachia, "A survey on concept drift adaptation", ACM Computing
       Surveys 46(4), 2014, figure 2: the kinds of drift.

    Examples
    --------
    >>> Schedule("gradual", 1000, positions=[400], width=100).drifts
    [Drift(event=400, width=100, kind='gradual', before=0, after=1)]
    """

    def __init__(
        self,
        kind: str = "none",
        events: int | None = 100_000,
        *,
        drifts: int | None = None,
        positions: Sequence[int] | None = None,
        width: int | None = None,
    ) -> None:
        if kind not in KINDS:
            raise ValueError(f"drift must be one of {', '.join(KINDS)}, got {kind!r}")
        if kind == "none":
            for name, value in (("drifts", drifts), ("positions", positions), ("width", width)):
                if value is not None:
                    raise ValueError(f"{name} must not be given where drift is none, got {value}")
        if width is not None and width < 1:
            raise ValueError(f"width must be at least 1, got {width}")
        if kind == "sudden" and width not in (None, 1):
            raise ValueError(f"width must be 1 where drift is sudden, got {width}; gradual drift has a width")
        if width is None:
            passing = kind in ("gradual", "incremental")
            width = 1 if not passing else 1000 if events is None else max(1, events // 100)
        begins = [] if kind == "none" else _begins(kind, events, drifts, positions)
        for event, following in itertools.pairwise([*begins, events]):
            assert event is not None
            if following is not None and event + width > following:
                what = "the end" if following == events else "the next drift"
                raise ValueError(f"width must fit between the drift at {event} and {what} at {following}, got {width}")
        self.kind, self.width = kind, width
        self._moving = kind == "incremental"
        self._begins = np.array(begins, np.int64)
        numbers = np.arange(len(begins) + 1)
        if kind == "recurring":
            numbers %= 2
        still = np.zeros_like(numbers)
        self._concepts, self._groupings = (still, numbers) if kind == "labels" else (numbers, still)
        sides = numbers.tolist()
        self.drifts = [Drift(event, width, kind, sides[i], sides[i + 1]) for i, event in enumerate(begins)]
        """Every drift, in order."""

    @property
    def n_concepts(self) -> int:
        """How many concepts differ."""
        return int(self._concepts.max()) + 1

    @property
    def n_groupings(self) -> int:
        """How many groupings of the labels differ."""
        return int(self._groupings.max()) + 1

    def stages(self, first: int, n: int, key: np.uint64) -> Stages:
        """What ``n`` events from number ``first`` on are drawn from; ``key`` sets their coins."""
        before, after, share = np.zeros(n, np.int64), np.zeros(n, np.int64), np.zeros(n)
        _stages(first, key, self._begins, self.width, self._moving, before, after, share)
        concepts = self._concepts
        return Stages(concepts[before], concepts[after], share, self._groupings[after])


def _begins(kind: str, events: int | None, drifts: int | None, positions: Sequence[int] | None) -> list[int]:
    if positions is not None:
        if drifts is not None:
            raise ValueError(f"drifts must not be given beside positions, got {drifts}")
        begins = [int(event) for event in positions]
        if not begins:
            raise ValueError("positions must name an event, got none")
        if begins != sorted(set(begins)):
            raise ValueError(f"positions must ascend, got {begins}")
        if begins[0] < 1 or (events is not None and begins[-1] >= events):
            end = "" if events is None else f" and below the {events} events"
            raise ValueError(f"positions must be at least 1{end}, got {begins}")
        return begins
    if events is None:
        raise ValueError(f"positions must be given for {kind} drift in a stream without end, got none")
    drifts = (3 if kind == "recurring" else 1) if drifts is None else drifts
    if not 1 <= drifts < events:
        raise ValueError(f"drifts must be at least 1 and fewer than the {events} events, got {drifts}")
    return [events * (i + 1) // (drifts + 1) for i in range(drifts)]


@njit(cache=True, nogil=True)
def _stages(first, key, begins, width, moving, before, after, share):
    for i in range(len(share)):
        event = first + i
        stage = np.searchsorted(begins, event, side="right")
        before[i] = after[i] = stage
        if stage == 0:
            continue
        gone = event - begins[stage - 1] + 1
        if gone >= width:
            continue
        if moving:
            before[i] = stage - 1
            share[i] = gone / width
        elif uniform(derived(key, event), COIN) >= gone / width:
            before[i] = after[i] = stage - 1
