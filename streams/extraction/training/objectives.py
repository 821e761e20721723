"""What an image encoder is trained to do: each objective gives a loss for the features of views."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from streams.extraction.training.views import viewed

Encode = Callable[[Any], Any]
"""Views to features, a row each."""

_WIDE = 512


class Responses(nn.Module):
    """From a view, guess the responses of the whole image to patches: see `responses`.

    Parameters
    ----------
    width
        Of the features.
    targets
        A row an image.
    """

    def __init__(self, width: int, targets: NDArray[np.float32]) -> None:
        super().__init__()
        self._targets = torch.from_numpy(targets)
        self._head = nn.Sequential(nn.Linear(width, _WIDE), nn.GELU(), nn.Linear(_WIDE, targets.shape[1]))

    def forward(self, encode: Encode, pixels: Any, rows: Any, generator: Any) -> Any:
        """The mean square of what is guessed wrongly."""
        found = self._head(encode(viewed(pixels, generator, smallest=0.6)))
        return functional.mse_loss(found, self._targets[rows].to(found.device))


class Views(nn.Module):
    """Two views of an image get features that are alike, which vary over images and do not repeat each other.

    Parameters
    ----------
    width
        Of the features.

    References
    ----------
    Bardes, Ponce, LeCun, "VICReg: Variance-invariance-covariance regularization for self-supervised learning", ICLR
    2022, section 4.1, with its weights 25, 25 and 1.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self._head = nn.Sequential(nn.Linear(width, _WIDE), nn.BatchNorm1d(_WIDE), nn.ReLU(), nn.Linear(_WIDE, _WIDE))

    def forward(self, encode: Encode, pixels: Any, rows: Any, generator: Any) -> Any:
        """Distance of the two, lack of spread and covariance, a twenty-fifth of their weighted sum."""
        both = torch.cat([viewed(pixels, generator, smallest=0.3) for _ in range(2)])
        one, other = self._head(encode(both)).chunk(2)
        return functional.mse_loss(one, other) + sum(spread(side) / 2 + covariance(side) / 25 for side in (one, other))


def spread(rows: Any) -> Any:
    """How much the deviation of columns lacks to 1, on average."""
    return functional.relu(1 - torch.sqrt(rows.var(0) + 1e-4)).mean()


def covariance(rows: Any) -> Any:
    """Sum of the squares of the covariances of different columns, by their number."""
    centred = rows - rows.mean(0)
    found = centred.T @ centred / (len(rows) - 1)
    return (found.pow(2).sum() - found.diagonal().pow(2).sum()) / rows.shape[1]


class Supervised(nn.Module):
    """Tell the class of a view.

    Parameters
    ----------
    width
        Of the features.
    codes
        The class of each image.
    """

    def __init__(self, width: int, codes: NDArray[np.int64]) -> None:
        super().__init__()
        self._codes = torch.from_numpy(codes)
        self._head = nn.Linear(width, int(codes.max()) + 1)

    def forward(self, encode: Encode, pixels: Any, rows: Any, generator: Any) -> Any:
        """The mean negative logarithm of the class's probability."""
        found = self._head(encode(viewed(pixels, generator, smallest=0.4)))
        return functional.cross_entropy(found, self._codes[rows].to(found.device), label_smoothing=0.1)
