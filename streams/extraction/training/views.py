"""Random views of images: cut out, turned round, with other colours."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch.nn import functional

MEAN, DEVIATION = 0.5, 0.25
"""What networks are given: colours from 0 to 1, less the mean, by the deviation."""


def scaled(pixels: Any) -> Any:
    """Images of shape (n, 3, h, w), whole numbers to 255, as networks are given them."""
    return (pixels.float() / 255 - MEAN) / DEVIATION


def viewed(pixels: Any, generator: Any, *, smallest: float) -> Any:
    """A view of each image, as networks are given it.

    Parameters
    ----------
    pixels
        Whole numbers to 255 of shape (n, 3, h, w).
    generator
        Of random numbers, on the processor.
    smallest
        The smallest share of an image's area that is cut out and brought to its size.

    Notes
    -----
    Half of the views are turned round. Of 8 in 10 brightness, contrast, saturation and tint are changed, and 2 in 10
    are grey.
    """
    n, _, height, width = pixels.shape
    device = pixels.device

    def drawn(low: float, high: float, *shape: int) -> Any:
        return (low + (high - low) * torch.rand(n, *shape, generator=generator)).to(device)

    side, ratio = drawn(smallest, 1).sqrt(), drawn(-0.25, 0.25).exp()
    across, down = (side * ratio).clamp(max=1), (side / ratio).clamp(max=1)
    place = torch.zeros(n, 2, 3, device=device)
    place[:, 0, 0] = across * (drawn(-1, 1) > 0).float().mul(2).sub(1)
    place[:, 1, 1] = down
    place[:, 0, 2], place[:, 1, 2] = drawn(-1, 1) * (1 - across), drawn(-1, 1) * (1 - down)
    grid = functional.affine_grid(place, [n, 3, height, width], align_corners=False)
    colours = functional.grid_sample(pixels.float() / 255, grid, padding_mode="reflection", align_corners=False)
    changed = colours * drawn(0.6, 1.4, 1, 1, 1)
    level = changed.mean((1, 2, 3), keepdim=True)
    changed = (changed - level) * drawn(0.6, 1.4, 1, 1, 1) + level
    grey = changed.mean(1, keepdim=True)
    changed = (changed - grey) * drawn(0.2, 1.8, 1, 1, 1) + grey + drawn(-0.08, 0.08, 3, 1, 1)
    colours = torch.where(drawn(0, 1, 1, 1, 1) < 0.8, changed, colours)
    colours = torch.where(drawn(0, 1, 1, 1, 1) < 0.2, colours.mean(1, keepdim=True), colours)
    return (colours.clamp(0, 1) - MEAN) / DEVIATION


def rate(step: int, n_steps: int, highest: float) -> float:
    """The learning rate of a step: it rises over the first twentieth, then falls as the cosine does."""
    warm = max(1, min(50, n_steps // 20))
    return highest * min(1.0, (step + 1) / warm) * (0.5 * (1 + math.cos(math.pi * step / n_steps)) + 0.001)
