"""What the objective ``responses`` guesses: how an image responds to random patches of others, whitened and pooled."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

_SIDE, _STRIDE, _THRESHOLD = 6, 2, 0.25
_SAMPLE = 20_000
"""Patches from which mean and covariance are taken."""

Floats = NDArray[np.float32]


def whitened_patches(
    pixels: NDArray[np.uint8], side: int, n: int, random: np.random.Generator, prepare: Callable[[Floats], Floats]
) -> tuple[Floats, Floats, Floats]:
    """Mean of the patches of images, the matrix that whitens them, and ``n`` random ones, whitened, at unit length.

    Parameters
    ----------
    pixels
        uint8 of shape (n, h, w, 3).
    side
        Height and width of a patch; it is a row of its pixels, channel by channel.
    n
        How many.
    random
        Says which.
    prepare
        What is done with the rows before.
    """
    which = random.integers(len(pixels), size=max(n, _SAMPLE))
    top = random.integers(pixels.shape[1] - side + 1, size=len(which))
    left = random.integers(pixels.shape[2] - side + 1, size=len(which))
    cut = [pixels[i, j : j + side, k : k + side].transpose(2, 0, 1) for i, j, k in zip(which, top, left, strict=True)]
    sample = prepare(np.stack(cut).reshape(len(which), -1).astype(np.float32))
    mean = sample.mean(0)
    values, vectors = np.linalg.eigh(np.cov((sample - mean).T))
    values = values.clip(0)
    floor = 0.1 * float(values.mean()) + 1e-6
    whiten = ((vectors / np.sqrt(values + floor)) @ vectors.T).astype(np.float32)
    chosen = (sample[random.choice(len(sample), n, replace=False)] - mean) @ whiten
    chosen /= np.maximum(np.linalg.norm(chosen, axis=1, keepdims=True), 1e-6)
    return mean, whiten, chosen.astype(np.float32)


def contrast(patches: Floats) -> Floats:
    """Rows at mean 0 and variance 1, nearly; flat ones stay flat."""
    patches = patches - patches.mean(-1, keepdims=True)
    scaled: Floats = patches / np.sqrt(patches.var(-1, keepdims=True) + np.float32(10))
    return scaled


def responses(
    pixels: NDArray[np.uint8],
    n_patches: int,
    n_targets: int,
    random: np.random.Generator,
    advance: Callable[[int], bool] = lambda n: True,
) -> Floats | None:
    """The responses of each image to whitened patches, averaged over its quarters, as so many components.

    Parameters
    ----------
    pixels
        uint8 of shape (n, h, w, 3).
    n_patches, n_targets
        How many patches, and the most important components of the responses, at most.
    random
        Draws the patches.
    advance
        Told how many images are done; False gives up, and there are none.

    References
    ----------
    Coates, Ng, "The importance of encoding versus training with sparse coding and vector quantization", ICML 2011:
    random patches and a soft threshold.
    """
    mean, whiten, patches = whitened_patches(pixels, _SIDE, n_patches, random, contrast)
    project = (whiten @ patches.T).astype(np.float32)
    found = []
    for start in range(0, len(pixels), 128):
        found.append(_pooled(pixels[start : start + 128].astype(np.float32), mean, project))
        if not advance(min(start + 128, len(pixels))):
            return None
    whole = np.concatenate(found)
    whole -= whole.mean(0)
    values, vectors = np.linalg.eigh(whole.T @ whole / len(whole))
    values, vectors = values[::-1][:n_targets], vectors[:, ::-1][:, :n_targets]
    # Between the components as they are, of which the first few are nearly all, and all at one scale, mostly noise.
    scale = np.maximum(values, 1e-6 * values[0] + 1e-12) ** -0.25
    targets = (whole @ (vectors * scale)).astype(np.float32)
    scaled: Floats = targets / np.float32(max(targets.std(), 1e-6))
    return scaled


def _pooled(images: Floats, mean: Floats, project: Floats) -> Floats:
    """What is above a quarter of a patch's response to each filter, averaged over the four quarters of an image."""
    windows = sliding_window_view(images, (_SIDE, _SIDE), axis=(1, 2))[:, ::_STRIDE, ::_STRIDE]
    n, height, width = windows.shape[:3]
    above = np.maximum((contrast(windows.reshape(n, height, width, -1)) - mean) @ project - np.float32(_THRESHOLD), 0)
    rows = slice(0, (height + 1) // 2), slice(height // 2, height)
    columns = slice(0, (width + 1) // 2), slice(width // 2, width)
    return np.stack([above[:, y, x].mean((1, 2)) for y in rows for x in columns], 1).reshape(n, -1)
