"""A GPU, or the processor, by PyTorch, which is imported where one is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.extraction.encoders.devices import DeviceFullError, Network, Tokens, Weights

_TOKENS = 1 << 16
"""Tokens, and those that fill up shorter texts, that go through a network together."""

_TEXTS = 1024
"""Texts that are tokenized at a time while a GPU works on those before."""

_FILLER = 0.1
"""Share of them that may be spent on filling up."""


class TorchQueue:
    """What PyTorch computes, one thing after the other; on a GPU while the next goes there and the last comes back.

    Parameters
    ----------
    name
        As PyTorch calls it, ``cuda`` or ``cpu``.

    Notes
    -----
    On a GPU what goes there and what comes back stands in pinned memory and is copied by streams of its own, so that
    copies and computing overlap; nothing is waited for before `rows`. ``busy_s`` are the seconds for which the GPU has
    computed, by its own clock, and None on the processor.
    """

    def __init__(self, name: str) -> None:
        import torch

        self.torch = torch
        self.device = torch.device(name)
        self.is_gpu = self.device.type == "cuda"
        self.busy_s: float | None = None
        if self.is_gpu:
            self.busy_s = 0.0
            self._there, self._work, self._back = (torch.cuda.Stream(self.device) for _ in range(3))

    def begin(self, given: Mapping[str, Any], compute: Callable[[dict[str, Any]], Any]) -> Any:
        """Queue the copy of arrays there, what is computed of them, and the copy of its rows back.

        Raises
        ------
        DeviceFullError
            The GPU has no room for it.
        """
        if not self.is_gpu:
            with self.torch.inference_mode():
                return compute(dict(given)).float(), None
        try:
            with self.torch.inference_mode():
                return self._begin(given, compute)
        except self.torch.cuda.OutOfMemoryError as error:
            reason = str(error).partition("\n")[0]
        # What the pass had made is let go of with the exception.
        self.torch.cuda.empty_cache()
        raise DeviceFullError(reason)

    def _begin(self, given: Mapping[str, Any], compute: Callable[[dict[str, Any]], Any]) -> Any:
        torch = self.torch
        with torch.cuda.stream(self._there):
            there = {name: value.pin_memory().to(self.device, non_blocking=True) for name, value in given.items()}
        self._work.wait_stream(self._there)
        with torch.cuda.stream(self._work):
            for value in there.values():
                value.record_stream(self._work)
            before, after = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            before.record(self._work)
            found = compute(there).float()
            after.record(self._work)
        self._back.wait_stream(self._work)
        with torch.cuda.stream(self._back):
            found.record_stream(self._back)
            rows = torch.empty(found.shape, dtype=torch.float32, pin_memory=True)
            rows.copy_(found, non_blocking=True)
            done = torch.cuda.Event()
            done.record(self._back)
        return rows, (before, after, done)

    def rows(self, begun: Any) -> NDArray[np.float32]:
        """The rows, once they have come back."""
        rows, events = begun
        if events is not None:
            before, after, done = events
            done.synchronize()
            self.busy_s = (self.busy_s or 0.0) + before.elapsed_time(after) / 1000
        found: NDArray[np.float32] = rows.numpy().copy()
        return found


class TorchDevice:
    """See `streams.extraction.encoders.devices.Device`.

    Parameters
    ----------
    name
        As PyTorch calls it, ``cuda`` or ``cpu``.
    half
        Whether to reckon in half precision; rows are float32 all the same.
    """

    def __init__(self, name: str, *, half: bool = False) -> None:
        self._queue = TorchQueue(name)
        self._torch = self._queue.torch
        self._dtype = self._torch.float16 if half else self._torch.float32
        self._n_tokens = _TOKENS

    @property
    def busy_s(self) -> float | None:
        """Seconds for which a GPU has computed."""
        return self._queue.busy_s

    @property
    def n_prepared(self) -> int | None:
        """So many texts on a GPU; all of a block on the processor."""
        return _TEXTS if self._queue.is_gpu else None

    def cut(self, tokens: Tokens) -> Iterable[Tokens]:
        """By the number of tokens, those that fill up shorter texts included, and by how many these are."""
        start = 0
        while start < len(tokens):
            stop, n_tokens = start + 1, len(tokens[start])
            while stop < len(tokens):
                n_filled = (stop + 1 - start) * len(tokens[stop])
                if n_filled > self._n_tokens or n_tokens + len(tokens[stop]) < (1 - _FILLER) * n_filled:
                    break
                n_tokens += len(tokens[stop])
                stop += 1
            yield tokens[start:stop]
            start = stop

    def load(self, weights: Mapping[str, NDArray[np.float32]]) -> Weights:
        """Copies of the weights on the device."""
        place = self._queue.device, self._dtype
        found = {name: self._torch.from_numpy(value).to(*place) for name, value in weights.items()}
        if self._queue.is_gpu:
            self._torch.cuda.synchronize(self._queue.device)
        return found

    def begin(self, network: Network, weights: Weights, tokens: Tokens) -> Any:
        """Queue the copy there, the forward pass and the copy back."""
        filled, lengths = np.zeros((len(tokens), max(map(len, tokens))), np.int64), np.zeros((len(tokens), 1), np.int64)
        for number, text in enumerate(tokens):
            filled[number, : len(text)] = text
            lengths[number] = len(text)
        given = {"ids": self._torch.from_numpy(filled), "lengths": self._torch.from_numpy(lengths)}
        try:
            return self._queue.begin(given, lambda there: network(_Torch(self._torch, **there), weights))
        except DeviceFullError:
            self._n_tokens = max(1, filled.size // 2)
            raise

    def rows(self, begun: Any) -> NDArray[np.float32]:
        """The rows, once they have come back."""
        return self._queue.rows(begun)


class _Torch:
    """See `streams.extraction.encoders.devices.Numerics`; a row a text, filled up to one length."""

    def __init__(self, torch: Any, ids: Any, lengths: Any) -> None:
        self._functional = torch.nn.functional
        self.ids, self.places = ids, torch.arange(ids.shape[1], device=ids.device)
        self._lengths, self._is_there = lengths, self.places < lengths

    def take(self, table: Any, rows: Any) -> Any:
        return self._functional.embedding(rows, table)

    def linear(self, x: Any, weight: Any, bias: Any) -> Any:
        return self._functional.linear(x, weight, bias)

    def norm(self, x: Any, weight: Any, bias: Any, epsilon: float) -> Any:
        return self._functional.layer_norm(x, x.shape[-1:], weight, bias, epsilon)

    def gelu(self, x: Any) -> Any:
        return self._functional.gelu(x)

    def attention(self, query: Any, key: Any, value: Any, n_heads: int) -> Any:
        n, length, width = query.shape
        query, key, value = (
            part.view(n, length, n_heads, width // n_heads).transpose(1, 2) for part in (query, key, value)
        )
        seen = self._is_there[:, None, None, :]
        mixed = self._functional.scaled_dot_product_attention(query, key, value, attn_mask=seen)
        return mixed.transpose(1, 2).reshape(n, length, width)

    def mean(self, x: Any) -> Any:
        # In half precision a sum over hundreds of tokens would lose too much.
        return (x.float() * self._is_there[:, :, None]).sum(1) / self._lengths

    def first(self, x: Any) -> Any:
        return x[:, 0]

    def unit(self, x: Any) -> Any:
        return self._functional.normalize(x.float(), dim=1)
