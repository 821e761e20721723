"""Tensors that are learned by Adam, each with its own count of steps, whose rows may grow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learners.base import State

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8

_PARTS = ("", "_first", "_second")


class Learned:
    """A tensor that is learned.

    Parameters
    ----------
    value
        Where it starts; or a tensor of PyTorch in single precision, which is changed in place.
    rate
        Of Adam.
    device
        Of PyTorch.
    grows
        Whether rows are added to it: each then counts its own steps.

    Notes
    -----
    Algorithm 1 of Kingma and Ba, ICLR 2015, without decay of weights.
    """

    def __init__(self, value: Any, rate: float, device: str = "cpu", *, grows: bool = False) -> None:
        import torch

        self.value = torch.tensor(value, dtype=torch.float32, device=device) if _is_array(value) else value
        self.rate, self.grows = rate, grows
        self.first, self.second = torch.zeros_like(self.value), torch.zeros_like(self.value)
        self.steps = np.zeros(len(value) if grows else 1, np.int64)

    def grow(self, rows: NDArray[np.float32]) -> None:
        """Add rows that have taken no steps yet."""
        import torch

        new = torch.tensor(rows, dtype=torch.float32, device=self.value.device)
        self.value = torch.cat([self.value, new])
        self.first = torch.cat([self.first, torch.zeros_like(new)])
        self.second = torch.cat([self.second, torch.zeros_like(new)])
        self.steps = np.concatenate([self.steps, np.zeros(len(new), np.int64)])

    def step(self, gradient: Any) -> None:
        """One step down the gradient."""
        import torch

        with torch.no_grad():
            self.steps += 1
            self.first.lerp_(gradient, 1 - _BETA_1)
            self.second.lerp_(gradient * gradient, 1 - _BETA_2)
            first, second = (self._along_rows(1 - beta**self.steps) for beta in (_BETA_1, _BETA_2))
            self.value.sub_(self.rate * (self.first / first) / ((self.second / second).sqrt() + _EPSILON))

    def _along_rows(self, numbers: NDArray[Any]) -> Any:
        import torch

        shape = (-1, *[1] * (self.value.ndim - 1)) if self.grows else (1,) * self.value.ndim
        return torch.tensor(numbers, dtype=torch.float32, device=self.value.device).view(shape)

    def get_state(self, name: str) -> State:
        """Copies of the value, its two means and the steps."""
        held = zip(_PARTS, (self.value, self.first, self.second), strict=True)
        return {
            **{name + part: tensor.detach().cpu().numpy().copy() for part, tensor in held},
            f"{name}_steps": self.steps.copy(),
        }

    def set_state(self, name: str, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what `get_state` gave.

        Raises
        ------
        ValueError
            The shape of the value is another one, more rows excepted if it grows.
        """
        import torch

        value, mine = state[name], tuple(self.value.shape)
        if value.shape[self.grows :] != mine[self.grows :]:
            raise ValueError(f"state {name!r} must have shape {mine}, got {value.shape}")
        if self.grows:
            shape = value.shape
            self.value, self.first, self.second = (self.value.new_zeros(shape) for _ in _PARTS)
        for part, tensor in zip(_PARTS, (self.value, self.first, self.second), strict=True):
            tensor.copy_(torch.from_numpy(np.ascontiguousarray(state[name + part])))
        self.steps = state[f"{name}_steps"].copy()


def _is_array(value: Any) -> bool:
    return isinstance(value, np.ndarray)
