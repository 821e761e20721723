"""Images as arrays: from JPEG, PNG or any bytes that Pillow reads, to what a network takes."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray


def image_of(payload: Any, size: tuple[int, int] | None = None) -> NDArray[np.float32]:
    """The pixels of an image: float32 of shape (height, width, 3), from 0 to 1.

    Parameters
    ----------
    payload
        Bytes of an image file; or an array of shape (height, width), (height, width, 3) or (height, width, 4), whole
        numbers to 255 or other numbers to 1.
    size
        Height and width to bring it to, its sides each by themselves; None: as it is.

    Raises
    ------
    TypeError, ValueError, OSError
        It is no image.

    Notes
    -----
    Of an image file the first frame counts, turned as its EXIF says, in RGB; what is transparent becomes black.
    """
    from PIL import Image, ImageOps

    if isinstance(payload, (bytes, bytearray)):
        with Image.open(io.BytesIO(bytes(payload))) as opened:
            turned = ImageOps.exif_transpose(opened)
            image = (opened if turned is None else turned).convert("RGB")
    elif isinstance(payload, np.ndarray):
        if payload.ndim not in (2, 3) or (payload.ndim == 3 and payload.shape[2] not in (3, 4)):
            raise ValueError(f"an image must have shape (h, w), (h, w, 3) or (h, w, 4), got {payload.shape}")
        pixels = payload if payload.dtype.kind in "ui" else np.clip(np.round(payload * 255.0), 0, 255)
        image = Image.fromarray(pixels.astype(np.uint8)).convert("RGB")
    else:
        raise TypeError(f"a payload must be the bytes of an image or an array, got {type(payload).__name__}")
    if size is not None and image.size != (size[1], size[0]):
        image = image.resize((size[1], size[0]), Image.Resampling.BILINEAR)
    return np.asarray(image, np.float32) / np.float32(255)
