"""What a network is computed on: this machine's processor, or a GPU that works while the next texts are prepared."""

from __future__ import annotations

import itertools
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

Weights = Mapping[str, Any]
"""Arrays of a network by name, as the device holds them."""

Tokens = list[list[int]]
"""Numbers of the tokens of texts, shorter texts first."""

Network = Callable[["Numerics", Weights], Any]
"""A forward pass over the tokens that the first argument has, with these weights: a row a text."""

_TOKENS = 1024
"""Tokens that go through a network together on the processor, at most but for a longer text."""

Part = TypeVar("Part", bound=list[Any])

AHEAD = 2
"""Parts that a device has at a time: one that it works on, and one that waits."""


class DeviceFullError(MemoryError):
    """What goes through a network together is too much for the memory of a device."""


class Numerics(Protocol):
    """Tokens of texts, laid out as a device likes it, and the operations that networks do with them.

    ``ids`` and ``places`` are the numbers of the tokens and where they stand in their texts. Arrays have an axis or two
    for tokens and a last one for their features.
    """

    ids: Any
    places: Any

    def take(self, table: Any, rows: Any) -> Any:
        """Rows of a table."""

    def linear(self, x: Any, weight: Any, bias: Any) -> Any:
        """``x`` times the transposed weight, plus the bias."""

    def norm(self, x: Any, weight: Any, bias: Any, epsilon: float) -> Any:
        """``x`` at mean 0 and variance 1 over its last axis, then scaled and moved."""

    def gelu(self, x: Any) -> Any:
        """``x`` times the normal distribution's share below it."""

    def attention(self, query: Any, key: Any, value: Any, n_heads: int) -> Any:
        """Values of the tokens of each text mixed by how well keys fit queries, in so many heads."""

    def mean(self, x: Any) -> Any:
        """Means over the tokens of each text."""

    def first(self, x: Any) -> Any:
        """The first token of each text."""

    def unit(self, x: Any) -> Any:
        """Rows at unit length."""


class Device(Protocol):
    """Where networks are computed."""

    @property
    def busy_s(self) -> float | None:
        """Seconds for which it has computed; None where it does not work by itself."""

    @property
    def n_prepared(self) -> int | None:
        """How many texts are prepared at a time, the device working on those before meanwhile; None: all of a block."""

    def cut(self, tokens: Tokens) -> Iterable[Tokens]:
        """The texts in parts that go through a network together."""

    def load(self, weights: Mapping[str, NDArray[np.float32]]) -> Weights:
        """Bring the weights of a network there."""

    def begin(self, network: Network, weights: Weights, tokens: Tokens) -> Any:
        """Let a part be computed; does not wait for it where the device works by itself.

        Raises
        ------
        DeviceFullError
            The part is too large for the device's memory; ``cut`` makes smaller ones from then on.
        """

    def rows(self, begun: Any) -> NDArray[np.float32]:
        """What came of a part that was begun."""


def computed(device: Device, network: Network, weights: Weights, parts: Iterable[Tokens]) -> list[NDArray[np.float32]]:
    """The rows of all parts; while the device works on one, the next is prepared and brought there."""
    return overlapped(partial(device.begin, network, weights), device.rows, parts)


def overlapped(
    begin: Callable[[Part], Any], rows_of: Callable[[Any], NDArray[np.float32]], parts: Iterable[Part]
) -> list[NDArray[np.float32]]:
    """The rows of all parts, of which `AHEAD` are under way at a time.

    Parameters
    ----------
    begin
        Lets a part be computed and gives what ``rows_of`` takes; raises `DeviceFullError` where there is no room for
        it. Then what is under way is waited for and, if that was not it, the part is halved.
    rows_of
        Waits for what was begun.
    parts
        Lists of anything; the next one is asked for while the one before is computed.

    Raises
    ------
    DeviceFullError
        There is no room for a part of one.
    """
    under_way: deque[Any] = deque()
    rows: list[NDArray[np.float32]] = []
    for part in parts:
        left = [part]
        while left:
            try:
                under_way.append(begin(left[-1]))
            except DeviceFullError:
                if not under_way:
                    if len(left[-1]) == 1:
                        raise
                    left += _halves(left.pop())
                while under_way:
                    rows.append(rows_of(under_way.popleft()))
                continue
            left.pop()
            if len(under_way) >= AHEAD:
                rows.append(rows_of(under_way.popleft()))
    rows += map(rows_of, under_way)
    return rows


def _halves(part: Part) -> list[Part]:
    """The second half and the first."""
    half = len(part) // 2
    return [part[half:], part[:half]]  # type: ignore[list-item]


def open_device(name: str, *, half: bool = False) -> Device:
    """The device of a setting.

    Parameters
    ----------
    name
        ``cpu``: this machine's processor, by NumPy. ``cuda``: a GPU, by PyTorch; where there is none it is the
        processor, with a warning. ``auto``: a GPU where PyTorch finds one, without a word where not.
    half
        Whether a GPU reckons in half precision.

    Raises
    ------
    ImportError
        ``cuda`` without PyTorch.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', got {name!r}")
    if name == "cpu":
        return Processor()
    try:
        import torch
    except ImportError as error:
        if name == "auto":
            return Processor()
        raise ImportError(f"the device 'cuda' needs the extra 'deep': pip install ihomer[deep] ({error})") from error
    if torch.cuda.is_available():
        from streams.extraction.encoders.torch_device import TorchDevice

        return TorchDevice("cuda", half=half)
    if name == "cuda":
        warnings.warn(
            "device must be a GPU that PyTorch can use, found none: the CPU encodes", RuntimeWarning, stacklevel=2
        )
    return Processor()


class Processor:
    """This machine's processor, by NumPy; see `Device`.

    Tokens of all texts are the rows of one matrix, so that none is filled up; only attention goes text by text, those
    of one length at once.
    """

    busy_s = n_prepared = None

    def cut(self, tokens: Tokens) -> Iterable[Tokens]:
        """By the number of tokens, which the memory for what is between two layers grows with."""
        start = n_tokens = 0
        for stop, text in enumerate(tokens):
            if stop > start and n_tokens + len(text) > _TOKENS:
                yield tokens[start:stop]
                start, n_tokens = stop, 0
            n_tokens += len(text)
        yield tokens[start:]

    def load(self, weights: Mapping[str, NDArray[np.float32]]) -> Weights:
        """The weights as they are."""
        return weights

    def begin(self, network: Network, weights: Weights, tokens: Tokens) -> Any:
        """The rows themselves."""
        return network(_Numpy(tokens), weights)

    def rows(self, begun: Any) -> NDArray[np.float32]:
        """The rows."""
        rows: NDArray[np.float32] = begun
        return rows


class _Numpy:
    """See `Numerics`; a row a token."""

    def __init__(self, tokens: Tokens) -> None:
        lengths = np.array([len(text) for text in tokens])
        self._ends = np.cumsum(lengths)
        self._starts, self._lengths = self._ends - lengths, lengths[:, np.newaxis].astype(np.float32)
        self.ids = np.array([token for text in tokens for token in text], np.int64)
        self.places = np.arange(len(self.ids)) - np.repeat(self._starts, lengths)
        # Texts of one length stand side by side.
        borders = np.flatnonzero(np.diff(lengths, prepend=-1, append=-1))
        self._alike = [
            (int(self._starts[low]), int(self._ends[high - 1]), high - low) for low, high in itertools.pairwise(borders)
        ]

    def take(self, table: Any, rows: Any) -> Any:
        return table[rows]

    def linear(self, x: Any, weight: Any, bias: Any) -> Any:
        x = x @ weight.T
        x += bias
        return x

    def norm(self, x: Any, weight: Any, bias: Any, epsilon: float) -> Any:
        x = x - x.mean(-1, keepdims=True)
        x /= np.sqrt(np.square(x).mean(-1, keepdims=True) + np.float32(epsilon))
        x *= weight
        x += bias
        return x

    def gelu(self, x: Any) -> Any:
        from scipy.special import erf

        share = erf(x * np.float32(np.sqrt(0.5)))
        share += 1
        share *= x
        share *= np.float32(0.5)
        return share

    def attention(self, query: Any, key: Any, value: Any, n_heads: int) -> Any:
        mixed = np.empty_like(value)
        for low, high, n in self._alike:
            shape = n, (high - low) // n, n_heads, value.shape[1] // n_heads
            of_heads = [part[low:high].reshape(shape).transpose(0, 2, 1, 3) for part in (query, key, value)]
            scores = of_heads[0] @ of_heads[1].transpose(0, 1, 3, 2)
            scores *= np.float32(1 / np.sqrt(shape[3]))
            scores -= scores.max(-1, keepdims=True)
            np.exp(scores, out=scores)
            scores /= scores.sum(-1, keepdims=True)
            mixed[low:high] = (scores @ of_heads[2]).transpose(0, 2, 1, 3).reshape(high - low, -1)
        return mixed

    def mean(self, x: Any) -> Any:
        return np.add.reduceat(x, self._starts) / self._lengths

    def first(self, x: Any) -> Any:
        return x[self._starts]

    def unit(self, x: Any) -> Any:
        return x / np.maximum(np.sqrt(np.square(x).sum(1, keepdims=True)), np.float32(1e-12))
