"""A GPU, or the processor, by PyTorch, which is imported where one is opened."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.extraction.encoders.devices import Network, Tokens, Weights

_TOKENS = 1 << 16
"""Tokens, and those that fill up shorter texts, that go through a network together."""

_FILLER = 0.1
"""Share of them that may be spent on filling up."""


class TorchDevice:
    """See `streams.extraction.encoders.devices.Device`.

    Parameters
    ----------
    name
        As PyTorch calls it, ``cuda`` or ``cpu``.
    half
        Whether to reckon in half precision; rows are float32 all the same.

    Notes
    -----
    On a GPU what goes there and what comes back stands in pinned memory and is copied by streams of its own, so that
    copies and computing overlap; nothing is waited for before `rows`.
    """

    def __init__(self, name: str, *, half: bool = False) -> None:
        import torch

        self._torch = torch
        self._device = torch.device(name)
        self._is_gpu = self._device.type == "cuda"
        self._dtype = torch.float16 if half else torch.float32
        if self._is_gpu:
            self._there, self._work, self._back = (torch.cuda.Stream(self._device) for _ in range(3))

    def cut(self, tokens: Tokens) -> Iterable[Tokens]:
        """By the number of tokens, those that fill up shorter texts included, and by how many these are."""
        start = 0
        while start < len(tokens):
            stop, n_tokens = start + 1, len(tokens[start])
            while stop < len(tokens):
                n_filled = (stop + 1 - start) * len(tokens[stop])
                if n_filled > _TOKENS or n_tokens + len(tokens[stop]) < (1 - _FILLER) * n_filled:
                    break
                n_tokens += len(tokens[stop])
                stop += 1
            yield tokens[start:stop]
            start = stop

    def load(self, weights: Mapping[str, NDArray[np.float32]]) -> Weights:
        """Copies of the weights on the device."""
        found = {name: self._torch.from_numpy(value).to(self._device, self._dtype) for name, value in weights.items()}
        if self._is_gpu:
            self._torch.cuda.synchronize(self._device)
        return found

    def begin(self, network: Network, weights: Weights, tokens: Tokens) -> Any:
        """Queue the copy there, the forward pass and the copy back."""
        torch = self._torch
        filled, there = np.zeros((len(tokens), max(map(len, tokens))), np.int64), np.zeros((len(tokens), 1), np.int64)
        for number, text in enumerate(tokens):
            filled[number, : len(text)] = text
            there[number] = len(text)
        with torch.inference_mode():
            ids, lengths = torch.from_numpy(filled), torch.from_numpy(there)
            if not self._is_gpu:
                return network(_Torch(torch, ids, lengths), weights).float(), None
            with torch.cuda.stream(self._there):
                ids = ids.pin_memory().to(self._device, non_blocking=True)
                lengths = lengths.pin_memory().to(self._device, non_blocking=True)
            self._work.wait_stream(self._there)
            with torch.cuda.stream(self._work):
                ids.record_stream(self._work)
                lengths.record_stream(self._work)
                found = network(_Torch(torch, ids, lengths), weights).float()
            self._back.wait_stream(self._work)
            with torch.cuda.stream(self._back):
                found.record_stream(self._back)
                rows = torch.empty(found.shape, dtype=torch.float32, pin_memory=True)
                rows.copy_(found, non_blocking=True)
                done = torch.cuda.Event()
                done.record(self._back)
        return rows, done

    def rows(self, begun: Any) -> NDArray[np.float32]:
        """The rows, once they have come back."""
        rows, done = begun
        if done is not None:
            done.synchronize()
        found: NDArray[np.float32] = rows.numpy().copy()
        return found


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
