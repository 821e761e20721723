"""Payloads of events: as arrays of a state, and as what a transformer is given."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learners.base import State
from learners.deep.pretrained import Pretrained

TEXT, BYTES, ARRAY = range(3)
"""Kinds of payloads in a state."""


class Reader:
    """Makes of payloads what a transformer is given.

    Parameters
    ----------
    pretrained
        The transformer.
    limit
        Tokens of a text that count; None: as many as the model says, or 128.

    Notes
    -----
    A text is its tokens' numbers. An image is brought to the model's size, its sides each by themselves, to numbers
    from 0 to 1, and to the mean and deviation that ``preprocessor_config.json`` tells, or 0.5 and 0.5.
    """

    def __init__(self, pretrained: Pretrained, limit: int | None) -> None:
        self._sees = pretrained.sees
        if self._sees:
            self._shape, self._mode, self._resample, self._mean, self._deviation = _image_settings(pretrained)
        else:
            from tokenizers import Tokenizer

            self._tokenizer = Tokenizer.from_file(str(pretrained.folder / "tokenizer.json"))
            self._tokenizer.enable_truncation(limit or pretrained.limit)
            self._tokenizer.no_padding()

    def __call__(self, payloads: Sequence[Any]) -> list[NDArray[Any]]:
        """An array a payload: int64 (tokens,), or float32 (channels, height, width)."""
        if self._sees:
            return [self._pixels(payload) for payload in payloads]
        texts = [text_of(payload) for payload in payloads]
        return [np.array(found.ids, np.int64) for found in self._tokenizer.encode_batch(texts)]

    def _pixels(self, payload: Any) -> NDArray[np.float32]:
        image = _image_of(payload).convert(self._mode)
        if image.size != (self._shape[1], self._shape[0]):
            image = image.resize((self._shape[1], self._shape[0]), self._resample)
        pixels = np.asarray(image, np.float32).reshape(*self._shape, -1) / np.float32(255)
        return np.ascontiguousarray(((pixels - self._mean) / self._deviation).transpose(2, 0, 1))


def text_of(payload: Any) -> str:
    """The text of a payload, which is one, or its bytes in UTF-8.

    Raises
    ------
    ValueError
        It is neither.
    """
    if isinstance(payload, str):
        return payload
    if isinstance(payload, (bytes, bytearray)):
        return bytes(payload).decode("utf-8")
    raise ValueError(f"payload must be a text, or one in bytes, got {type(payload).__name__}")


def digest(payload: Any) -> bytes:
    """A short name of a payload's content."""
    kind, content = _content(payload)
    return hashlib.blake2b(content, digest_size=16, salt=bytes([kind])).digest()


def pack(name: str, payloads: Sequence[Any]) -> State:
    """Payloads as three arrays of a state: their bytes, where each ends, and what each is."""
    found = [_content(payload) for payload in payloads]
    return {
        f"{name}_bytes": np.frombuffer(b"".join(content for _, content in found), np.uint8),
        f"{name}_ends": np.cumsum([len(content) for _, content in found], dtype=np.int64),
        f"{name}_kinds": np.array([kind for kind, _ in found], np.uint8),
    }


def unpack(name: str, state: State) -> list[Any]:
    """What `pack` packed."""
    content, ends = state[f"{name}_bytes"].tobytes(), state[f"{name}_ends"]
    starts = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if len(ends) else ends
    parts = [content[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    return [_payload(kind, part) for kind, part in zip(state[f"{name}_kinds"].tolist(), parts, strict=True)]


def _content(payload: Any) -> tuple[int, bytes]:
    if isinstance(payload, str):
        return TEXT, payload.encode("utf-8")
    if isinstance(payload, (bytes, bytearray)):
        return BYTES, bytes(payload)
    if isinstance(payload, np.ndarray):
        written = io.BytesIO()
        np.lib.format.write_array(written, payload, allow_pickle=False)
        return ARRAY, written.getvalue()
    raise ValueError(f"payload must be a text, bytes or an array, got {type(payload).__name__}")


def _payload(kind: int, content: bytes) -> Any:
    if kind == TEXT:
        return content.decode("utf-8")
    if kind == BYTES:
        return content
    return np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)


def _image_of(payload: Any) -> Any:
    """A payload as Pillow has images; of a file the first frame, turned as its EXIF says."""
    from PIL import Image, ImageOps

    if isinstance(payload, (bytes, bytearray)):
        with Image.open(io.BytesIO(bytes(payload))) as opened:
            return ImageOps.exif_transpose(opened)
    if not isinstance(payload, np.ndarray):
        raise ValueError(f"payload must be the bytes of an image or an array, got {type(payload).__name__}")
    if payload.ndim not in (2, 3) or (payload.ndim == 3 and payload.shape[2] not in (3, 4)):
        raise ValueError(f"payload must have shape (h, w), (h, w, 3) or (h, w, 4) to be an image, got {payload.shape}")
    whole = payload.dtype.kind in "ui"
    return Image.fromarray((payload if whole else np.clip(np.round(payload * 255.0), 0, 255)).astype(np.uint8))


def _image_settings(pretrained: Pretrained) -> tuple[tuple[int, int], str, int, Any, Any]:
    told, size = pretrained.settings("preprocessor_config.json"), pretrained.config["image_size"]
    n_channels = int(pretrained.config.get("num_channels", 3))
    if n_channels not in (1, 3):
        raise ValueError(f"model must take images of 1 or 3 channels, got {n_channels}")
    height, width = size if isinstance(size, (list, tuple)) else (size, size)
    even = [0.5] * n_channels
    mean, deviation = told.get("image_mean") or even, told.get("image_std") or even
    if not told.get("do_normalize", True):
        mean, deviation = [0.0] * n_channels, [1.0] * n_channels
    return (
        (int(height), int(width)),
        "RGB" if n_channels == 3 else "L",
        int(told.get("resample", 2)),
        np.array(mean[:n_channels], np.float32),
        np.array(deviation[:n_channels], np.float32),
    )
