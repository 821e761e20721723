"""Vision and text models of the library transformers, on a GPU or on the processor."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from streams.extraction.encoders.cleaning import text_of
from streams.extraction.encoders.devices import overlapped
from streams.extraction.encoders.images import image_of
from streams.extraction.encoding import EncoderError

_FORMAT = 1

_PART = 64
"""Payloads that go through a network on a GPU together."""


class TransformersEncoder:
    """Embeds images or texts by a model that transformers has saved in a folder.

    Parameters
    ----------
    path
        The model's folder. With a ``preprocessor_config.json`` its payloads are images (bytes of an image file, or
        pixels), else texts.
    device
        ``cpu``, ``cuda``, or ``auto``: a GPU where there is one.
    half
        Whether a GPU reckons in half precision.
    limit
        Tokens of a text that count.

    Raises
    ------
    EncoderError
        There is no model in the folder.

    Notes
    -----
    Needs the extra ``deep``. Nothing is ever fetched, and code that came with a model is not run. The features of an
    image are the model's pooled output, or its first token's where it pools none; those of a text the mean over its
    tokens. One thread reckons on the processor, in each worker. On a GPU a block goes through the network in parts of
    64 payloads, so that the next ones are decoded meanwhile.
    """

    def __init__(
        self, path: str, *, device: Literal["auto", "cpu", "cuda"] = "auto", half: bool = False, limit: int = 256
    ) -> None:
        self._folder = Path(path)
        if not (self._folder / "config.json").is_file():
            raise EncoderError(f"path must be a folder with a model of transformers, found no config.json in {path!r}")
        if device not in ("auto", "cpu", "cuda"):
            raise ValueError(f"device must be 'auto', 'cpu' or 'cuda', got {device!r}")
        self._device, self._half, self._limit = device, half, limit
        self._sees = (self._folder / "preprocessor_config.json").is_file()
        self._fingerprint: str | None = None
        self._loaded: tuple[Any, Any, Any] | None = None

    @property
    def fingerprint(self) -> str:
        """Hash of all files of the folder, and all settings that change a row."""
        if self._fingerprint is None:
            total = hashlib.sha256()
            for file in sorted(self._folder.iterdir()):
                if file.is_file():
                    with open(file, "rb") as opened:
                        total.update(file.name.encode() + hashlib.file_digest(opened, "sha256").digest())
            self._fingerprint = f"transformers-{_FORMAT}:{total.hexdigest()[:16]},half={self._half},limit={self._limit}"
        return self._fingerprint

    @property
    def device_s(self) -> float | None:
        """Seconds for which a GPU has computed; None where none does."""
        return None if self._loaded is None else self._loaded[0].busy_s

    def __getstate__(self) -> dict[str, Any]:
        """All but the model, which is loaded where it works."""
        return {**vars(self), "_loaded": None}

    def warm_up(self) -> None:
        """Load the model and let it embed something."""
        self._loaded = self._loaded or self._load()
        self([np.zeros((8, 8, 3), np.uint8) if self._sees else "warm"])

    def __call__(self, payloads: list[Any]) -> NDArray[np.float32]:
        """A row a payload."""
        queue, model, prepare = self._loaded = self._loaded or self._load()

        def begin(part: list[Any]) -> Any:
            return queue.begin(self._prepared(prepare, part), lambda given: self._pooled(model, given))

        # On the processor every payload is decoded before any is embedded, so that a broken one costs no pass.
        size = _PART if queue.is_gpu else max(1, len(payloads))
        parts = (payloads[start : start + size] for start in range(0, len(payloads), size))
        return np.concatenate(overlapped(begin, queue.rows, parts))

    def _prepared(self, prepare: Any, payloads: list[Any]) -> dict[str, Any]:
        """What the model takes, by name."""
        if self._sees:
            pixels = [(image_of(payload) * 255).astype(np.uint8) for payload in payloads]
            given = prepare(images=pixels, return_tensors="pt")
        else:
            texts = [text_of(payload) for payload in payloads]
            given = prepare(texts, padding=True, truncation=True, max_length=self._limit, return_tensors="pt")
        # In half precision here already: a copy that converts would be waited for.
        return {
            name: value.half() if self._half and value.is_floating_point() else value for name, value in given.items()
        }

    def _pooled(self, model: Any, given: dict[str, Any]) -> Any:
        """A row a payload of what the model makes."""
        found = model(**given)
        if self._sees:
            pooled = getattr(found, "pooler_output", None)
            rows = found.last_hidden_state[:, 0] if pooled is None else pooled
        else:
            mask = given["attention_mask"][:, :, None].float()
            rows = (found.last_hidden_state.float() * mask).sum(1) / mask.sum(1)
        return rows.reshape(len(rows), -1)

    def _load(self) -> tuple[Any, Any, Any]:
        try:
            import torch
            from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

            from streams.extraction.encoders.torch_device import TorchQueue
        except ImportError as error:
            message = f"a model of transformers needs the extra 'deep': pip install ihomer[deep] ({error})"
            raise ImportError(message) from error
        on_gpu = self._device != "cpu" and torch.cuda.is_available()
        if self._device == "cuda" and not on_gpu:
            message = "device must be a GPU that PyTorch can use, found none: the CPU encodes"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        queue = TorchQueue("cuda" if on_gpu else "cpu")
        self._half = self._half and on_gpu
        if not on_gpu:
            torch.set_num_threads(1)
        local = {"local_files_only": True, "trust_remote_code": False}
        with no_progress_bar():
            model = AutoModel.from_pretrained(self._folder, **local).eval().to(queue.device)
        if self._half:
            model = model.half()
        prepare = (AutoImageProcessor if self._sees else AutoTokenizer).from_pretrained(self._folder, **local)
        return queue, model, prepare


@contextmanager
def no_progress_bar() -> Iterator[None]:
    """A while in which transformers draws none of its own."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
