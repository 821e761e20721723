"""The Si-Blurry scenario: which sample comes when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from streams.siblurry.arrangement import BLURRY, DISJOINT, DROPPED, Arrangement

if TYPE_CHECKING:
    from streams.siblurry.source import ArrangedSource

Integers = NDArray[np.int64]


class SiBlurry:
    """Sessions whose boundaries are stochastic and blurred: some classes stay in one, others leak into all.

    Parameters
    ----------
    n
        Disjoint class ratio, per cent from 0 to 100: the share of the classes that live in one session alone. 100 is
        classic class-incremental learning, 0 has blurry classes only.
    m
        Blurry sample ratio, per cent from 0 to 100: the share of the samples of blurry classes that leave the session
        of their class.
    sessions
        How many sessions there are; at least 1.
    seed
        From 0 on. Sets everything that is random.
    donation
        Which samples of a session leave it: ``random`` ones, or its ``head``, the first in the order of the data, as
        the published generator has it (whole classes, where the data are sorted by class).
    varying
        Whether sessions differ in how many classes and samples they have, by random cuts; False: equal shares, as in
        i-Blurry.
    drop_remainder
        False: every sample of every class has a place. True: as the published generator has it; both numbers of
        classes are rounded down to a multiple of ``sessions``, and with equal shares the rest of the division of the
        leaving samples goes too. `Arrangement.dropped` lists them.

    Raises
    ------
    ValueError
        A parameter is outside its range.

    Notes
    -----
    The steps, each drawing on one generator in this order [1]_: classes are permuted and the first share of them is
    disjoint; cuts at ``sessions - 1`` uniform places give each session its disjoint classes, and others its blurry
    ones; cuts of the number of leaving samples tell how many each session gives away, at most all of its blurry
    samples; these are pooled and shuffled, and every session takes the next so many of them, some of which may be its
    own; at last each session is shuffled. Sessions may be without classes, or empty. Numbers are those of NumPy's
    generator, so that the order differs from the published code's of the same seed.

    Time and memory are linear in the number of samples.

    References
    ----------
    .. [1] Moon, Park, Kim, Park, "Online class incremental learning on stochastic blurry task boundary via mask and
       visual prompt tuning", ICCV 2023, section 3.
    .. [2] Koh, Kim, Ha, Choi, "Online continual learning on class incremental blurry task configuration with anytime
       inference", ICLR 2022, for i-Blurry.

    Examples
    --------
    >>> arrangement = SiBlurry(seed=3).order(np.repeat(np.arange(10), 30))
    >>> len(arrangement), arrangement.statistics["events"]
    (300, [31, 32, 89, 30, 118])
    """

    def __init__(
        self,
        n: float = 50,
        m: float = 10,
        *,
        sessions: int = 5,
        seed: int = 1,
        donation: Literal["random", "head"] = "random",
        varying: bool = True,
        drop_remainder: bool = False,
    ) -> None:
        for name, value in (("n", n), ("m", m)):
            if not 0 <= value <= 100:
                raise ValueError(f"{name} must be from 0 to 100, got {value}")
        if sessions < 1:
            raise ValueError(f"sessions must be at least 1, got {sessions}")
        if seed < 0:
            raise ValueError(f"seed must be at least 0, got {seed}")
        if donation not in ("random", "head"):
            raise ValueError(f"donation must be 'random' or 'head', got {donation!r}")
        self.n, self.m, self.sessions, self.seed = n, m, sessions, seed
        self.donation, self.varying, self.drop_remainder = donation, varying, drop_remainder

    @property
    def settings(self) -> dict[str, Any]:
        """Every parameter by its name."""
        return dict(vars(self))

    def __repr__(self) -> str:
        return f"SiBlurry({', '.join(f'{name}={value!r}' for name, value in self.settings.items())})"

    def order(self, y: ArrayLike) -> Arrangement:
        """Give every sample its place.

        Parameters
        ----------
        y
            The class of every sample, integers, truth values or strings of shape (n,).

        Raises
        ------
        TypeError, ValueError
            ``y`` is of another kind or shape.
        """
        y = np.asarray(y)
        if y.ndim != 1:
            raise ValueError(f"y must have shape (n,), got {y.shape}")
        if y.size and y.dtype.kind not in "iubUS":
            raise TypeError(f"y must hold integers, truth values or strings, got {y.dtype}")
        classes, codes = np.unique(y, return_inverse=True)
        random = np.random.default_rng(self.seed)
        home, kind = self._homes(len(classes), random)
        home_of_sample = home[codes]
        is_blurry = kind[codes] == BLURRY
        stay = [np.flatnonzero((home_of_sample == session) & ~is_blurry) for session in range(self.sessions)]
        blurry = [np.flatnonzero((home_of_sample == session) & is_blurry) for session in range(self.sessions)]
        blurred = self._blur(blurry, random)
        parts = [random.permutation(np.concatenate(pair)) for pair in zip(stay, blurred, strict=True)]
        indices = np.concatenate(parts).astype(np.int64)
        return Arrangement(
            indices=indices,
            session=np.repeat(np.arange(self.sessions), [len(part) for part in parts]),
            codes=codes[indices],
            classes=classes.tolist(),
            home=home,
            kind=kind.tolist(),
            dropped=np.setdiff1d(np.arange(len(y)), indices),
            n_sessions=self.sessions,
        )

    def stream(
        self, data: Any, *, labels: str | Sequence[str] | None = None, payload: str | None = None
    ) -> ArrangedSource:
        """The events of labelled data in this order.

        Parameters
        ----------
        data
            A pair of arrays ``x`` (n, d) and ``y`` (n,) or 0/1 (n, L); a folder with a folder of files for each class;
            or what `streams.open_source` opens. See `LabelledEvents` for the class of an event with several labels.
        labels, payload
            As of `streams.open_source`.
        """
        from streams.siblurry.labelled import load_events
        from streams.siblurry.source import ArrangedSource

        return ArrangedSource(load_events(data, labels=labels, payload=payload), self)

    def _homes(self, n_classes: int, random: np.random.Generator) -> tuple[Integers, NDArray[np.str_]]:
        """Session and kind of every class."""
        n_disjoint = int(n_classes * self.n // 100)
        n_blurry = n_classes - n_disjoint
        if self.drop_remainder:
            n_disjoint -= n_disjoint % self.sessions
            n_blurry = n_classes - n_disjoint
            n_blurry -= n_blurry % self.sessions
        order = random.permutation(n_classes)
        home = np.full(n_classes, -1, np.int64)
        kind = np.full(n_classes, DROPPED, "U8")
        start = 0
        for what, size in ((DISJOINT, n_disjoint), (BLURRY, n_blurry)):
            mine = order[start : start + size]
            home[mine] = np.repeat(np.arange(self.sessions), self._shares(size, random))
            kind[mine] = what
            start += size
        return home, kind

    def _shares(self, size: int, random: np.random.Generator) -> Integers:
        """How many of so many things each session gets."""
        if self.varying and size:
            cuts = np.sort(random.integers(size, size=self.sessions - 1))
            return np.diff(cuts, prepend=0, append=size)
        rest = np.arange(self.sessions) < size % self.sessions
        return size // self.sessions + rest.astype(np.int64)

    def _blur(self, blurry: list[Integers], random: np.random.Generator) -> list[Integers]:
        """The blurry samples of each session after the exchange."""
        if self.varying:
            gives = takes = self._shares(int(sum(map(len, blurry)) * self.m // 100), random)
        else:
            gives = np.array([len(mine) * self.m // 100 for mine in blurry], np.int64)
            takes = self._shares(int(gives.sum()), random)
            if self.drop_remainder:
                takes = np.full(self.sessions, gives.sum() // self.sessions)
        if self.donation == "random":
            blurry = [random.permutation(mine) for mine in blurry]
        pool = np.concatenate([mine[:n] for mine, n in zip(blurry, gives, strict=True)])
        taken = np.split(random.permutation(pool), np.cumsum(takes))
        kept = [mine[n:] for mine, n in zip(blurry, gives, strict=True)]
        return [np.concatenate(pair) for pair in zip(kept, taken, strict=False)]
