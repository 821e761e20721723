"""What the weights of an image encoder depend on, beside the images."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from streams.extraction.training.record import OBJECTIVES

IMAGES = 100_000
"""Views that an encoder is trained on, where epochs are not given: some minutes on a processor."""


@dataclass(frozen=True)
class Shape:
    """How large a transformer is."""

    width: int
    layers: int
    heads: int


SIZES = {"tiny": Shape(128, 4, 4), "small": Shape(192, 6, 6)}

BATCHES = {"responses": 64, "views": 128, "supervised": 64}
"""Images of a step, by objective."""


class TrainingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How an image encoder is trained.

    Parameters
    ----------
    objective
        One of `OBJECTIVES`.
    size
        ``tiny`` (4 layers of 128) or ``small`` (6 of 192).
    patch, image_size
        Height and width of a patch and of an image in pixels, which is a multiple.
    epochs
        How often each image comes; None: as often as makes `IMAGES` in all, once at least.
    seed
        Of all that is drawn.

    Raises
    ------
    ValueError
        A value is none that there is.
    """

    objective: str = "responses"
    size: str = "small"
    patch: int = 8
    image_size: int = 32
    epochs: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        for what, value, known in (("objective", self.objective, OBJECTIVES), ("size", self.size, tuple(SIZES))):
            if value not in known:
                raise ValueError(f"{what} must be one of {', '.join(known)}, got {value!r}")
        if self.patch < 2 or self.image_size < 8 or self.image_size % self.patch:
            raise ValueError(
                f"patch must be at least 2 and divide the image size of at least 8, got {self.patch} and "
                f"{self.image_size}"
            )
        if self.epochs is not None and self.epochs < 1:
            raise ValueError(f"epochs must be at least 1, got {self.epochs}")

    @property
    def batch_size(self) -> int:
        """Images of a step, as far as there are so many."""
        return BATCHES[self.objective]

    def epochs_of(self, n_images: int) -> int:
        """How often each of so many images comes."""
        return self.epochs or max(1, round(IMAGES / n_images))
