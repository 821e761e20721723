"""Learners that put prompts into a transformer: shared ones, and those of a pool whose keys are nearest to an event."""

from __future__ import annotations

import abc
from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

from learners.base import State
from learners.deep.backbone import Prompts
from learners.deep.learner import DeepLearner, Queries
from learners.heads.blocks import length_of
from learners.heads.head import dot

KEYS, SHARED, OWN = "keys", "g_prompts", "e_prompts"
"""What is learned: a key for each prompt of the pool, the shared prompts, and those of the pool."""

SPREAD = 1.0
"""Keys and prompts start uniformly between plus and minus this."""


class KeyedLearner(DeepLearner, abc.ABC):
    """A deep learner with a pool of prompts, of which keys tell which an event gets.

    Its constructor sets ``keys``, their number, before it calls this one.
    """

    keys: int

    def _start(self) -> None:
        self._learn(KEYS, self._spread(0, (self.keys, self._pretrained.width)))
        self._taken = np.zeros(self.keys, np.int64)

    def _spread(self, number: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        """Where a tensor starts, which has a number of its own."""
        random = np.random.default_rng([self.seed, 0, number])
        return random.uniform(-SPREAD, SPREAD, shape).astype(np.float32)

    def _nearest(self, queries: Queries, *, n: int = 1, balanced: bool = False) -> NDArray[np.int64]:
        """The keys of each event, (events, n)."""
        keys = self._learned[KEYS].value.detach().cpu().numpy()
        counts = self._taken if balanced else np.zeros_like(self._taken)
        return nearest(queries.astype(np.float64), keys.astype(np.float64), counts, n)

    def _get_state(self) -> State:
        return {**super()._get_state(), "taken": self._taken.copy()}

    def _set_state(self, state: State) -> None:
        super()._set_state(state)
        self._taken = state["taken"].copy()


class PromptedLearner(KeyedLearner, abc.ABC):
    """A deep learner that puts shared prompts into some blocks and those of a pool into others.

    Its constructor sets ``keys``, ``insertion``, ``g_length``, ``e_length``, ``g_blocks`` and ``e_blocks`` before it
    calls this one.

    Raises
    ------
    ValueError
        One of them is outside its range.
    """

    insertion: str
    g_length: int
    e_length: int
    g_blocks: Sequence[int]
    e_blocks: Sequence[int]

    def _start(self) -> None:
        if self.insertion not in ("prompt", "prefix"):
            raise ValueError(f"insertion must be 'prompt' or 'prefix', got {self.insertion!r}")
        for name, value, least in (
            ("keys", self.keys, 1),
            ("g_length", self.g_length, 0),
            ("e_length", self.e_length, 1),
        ):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}")
        super()._start()
        self._g_at, self._e_at = blocks_within(self.g_blocks, self.e_blocks, self._pretrained.n_blocks)
        halves = (2,) if self.insertion == "prefix" else ()
        width = self._pretrained.width
        self._learn(SHARED, self._spread(1, (len(self._g_at), *halves, self.g_length, width)))
        self._learn(OWN, self._spread(2, (self.keys, len(self._e_at), *halves, self.e_length, width)))

    def _prompts(self, which: NDArray[np.int64]) -> Prompts:
        """What is put into the transformer for events that took these keys."""
        own = self._learned[OWN].value[self._tensor(which)]
        found = {block: own[:, place] for place, block in enumerate(self._e_at)}
        if self.g_length:
            shared = self._learned[SHARED].value
            for place, block in enumerate(self._g_at):
                found[block] = shared[place].expand(len(which), *shared.shape[1:])
        return found


def blocks_within(
    g_blocks: Sequence[int], e_blocks: Sequence[int], n_blocks: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The blocks of shared and of own prompts in a model of so many blocks.

    Those that it lacks are left out; if no block is left for own prompts it is the last one.

    Raises
    ------
    ValueError
        A block is below 0, comes twice, or none is given for own prompts.
    """
    given = [*g_blocks, *e_blocks]
    if min(given, default=0) < 0 or len(set(given)) != len(given) or not len(e_blocks):
        raise ValueError(
            f"e_blocks must be at least one block, from 0, and none in g_blocks or twice, got {e_blocks} and {g_blocks}"
        )
    own = tuple(block for block in e_blocks if block < n_blocks) or (n_blocks - 1,)
    return tuple(block for block in g_blocks if block < n_blocks and block not in own), own


@njit(cache=True, nogil=True)
def nearest(
    queries: NDArray[np.float64], keys: NDArray[np.float64], counts: NDArray[np.int64], n: int
) -> NDArray[np.int64]:
    """The ``n`` keys with the least (1 - cosine) (count + 1) for each query, the least first; of equals the first."""
    found = np.empty((len(queries), n), np.int64)
    lengths = np.empty(len(keys))
    for e in range(len(keys)):
        lengths[e] = length_of(keys[e])
    for i in range(len(queries)):
        far = np.empty(len(keys))
        length = length_of(queries[i])
        for e in range(len(keys)):
            far[e] = (1 - dot(queries[i], keys[e]) / (length * lengths[e])) * (counts[e] + 1)
        for place in range(n):
            found[i, place] = np.argmin(far)
            far[found[i, place]] = np.inf
    return found
