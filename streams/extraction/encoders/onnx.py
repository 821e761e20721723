"""Any network in the ONNX format, run by ONNX Runtime on texts, images or arrays."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from streams.extraction.encoders.cleaning import text_of
from streams.extraction.encoders.images import image_of
from streams.extraction.encoding import EncoderError

_FORMAT = 1


class OnnxEncoder:
    """Runs a network that lies in a file.

    Parameters
    ----------
    path
        The ``.onnx`` file. With a ``tokenizer.json`` beside it, or above its folder, its payloads are texts.
    payloads
        ``texts``; ``images`` (bytes of an image file or pixels); ``arrays`` of one shape. None: texts where there is a
        tokenizer, images where the network's input has three channels and two sides, else arrays.
    output
        Name of the output whose rows are the features; None: the first one.
    limit
        Tokens of a text that count.
    device
        ``cpu``, ``cuda``, or ``auto``: a GPU where ONNX Runtime was built for one and finds it.

    Raises
    ------
    EncoderError
        There is no such file.

    Notes
    -----
    Needs the extra ``onnx`` (onnxruntime, tokenizers). One thread reckons, in each worker. An output of shape
    (n, tokens, d) is averaged over the tokens; any other one is laid out as rows. Images are brought to the size of the
    network's input (224 x 224 where it leaves that open), scaled to 0 to 1, then by mean and deviation of a
    ``preprocessor_config.json`` beside the file, or else of ImageNet.
    """

    def __init__(
        self,
        path: str,
        *,
        payloads: Literal["texts", "images", "arrays"] | None = None,
        output: str | None = None,
        limit: int = 256,
        device: Literal["auto", "cpu", "cuda"] = "cpu",
    ) -> None:
        self._path = Path(path)
        if not self._path.is_file():
            raise EncoderError(f"path must be a file of ONNX, found none: {path!r}")
        if limit < 1:
            raise ValueError(f"limit must be at least 1, got {limit}")
        self._kind, self._output, self._limit, self._device = payloads, output, limit, device
        self._fingerprint: str | None = None
        self._loaded: tuple[Any, Any] | None = None

    @property
    def fingerprint(self) -> str:
        """Hash of the file and of the tokenizer, and all settings that change a row."""
        if self._fingerprint is None:
            total = hashlib.sha256()
            for file in (self._path, self._tokenizer_path, self._path.parent / "preprocessor_config.json"):
                if file is not None and file.is_file():
                    with open(file, "rb") as opened:
                        total.update(hashlib.file_digest(opened, "sha256").digest())
            settings = f"payloads={self._kind},output={self._output},limit={self._limit}"
            self._fingerprint = f"onnx-{_FORMAT}:{total.hexdigest()[:16]},{settings}"
        return self._fingerprint

    @property
    def _tokenizer_path(self) -> Path | None:
        places = [folder / "tokenizer.json" for folder in (self._path.parent, self._path.parent.parent)]
        return next((place for place in places if place.is_file()), None)

    def __getstate__(self) -> dict[str, Any]:
        """All but the network, which is loaded where it works."""
        return {**vars(self), "_loaded": None}

    def warm_up(self) -> None:
        """Load the network."""
        self._loaded = self._loaded or self._load()

    def __call__(self, payloads: list[Any]) -> NDArray[np.float32]:
        """A row a payload."""
        self.warm_up()
        assert self._loaded is not None, "warm_up has loaded it"
        session, tokenizer = self._loaded
        kind = self._kind or self._kind_of(session)
        mask: NDArray[np.int64] | None = None
        inputs: dict[str, NDArray[Any]]
        if kind == "texts":
            if tokenizer is None:
                raise EncoderError(f"{self._path}: texts need a tokenizer.json beside the network, found none")
            inputs, mask = _tokens(tokenizer, [text_of(payload) for payload in payloads])
        elif kind == "images":
            inputs = {"": self._images(session, payloads)}
        else:
            inputs = {"": np.stack([np.asarray(payload, np.float32) for payload in payloads])}
        declared = [told.name for told in session.get_inputs()]
        fed = {name: inputs.get(name, inputs.get("")) for name in declared if name in inputs or "" in inputs}
        found = session.run(None if self._output is None else [self._output], fed)[0]
        if mask is not None and found.ndim == 3:
            weights = mask[:, :, np.newaxis].astype(np.float32)
            found = (found * weights).sum(1) / weights.sum(1)
        rows: NDArray[np.float32] = np.asarray(found, np.float32).reshape(len(payloads), -1)
        return rows

    def _kind_of(self, session: Any) -> str:
        if self._tokenizer_path is not None:
            return "texts"
        shape = session.get_inputs()[0].shape
        return "images" if len(shape) == 4 and shape[1] == 3 else "arrays"

    def _images(self, session: Any, payloads: list[Any]) -> NDArray[np.float32]:
        told = self._path.parent / "preprocessor_config.json"
        config = json.loads(told.read_text(encoding="utf-8")) if told.is_file() else {}
        mean = np.array(config.get("image_mean", (0.485, 0.456, 0.406)), np.float32)
        deviation = np.array(config.get("image_std", (0.229, 0.224, 0.225)), np.float32)
        sides = session.get_inputs()[0].shape[2:]
        height, width = (side if isinstance(side, int) else 224 for side in sides)
        pixels = np.stack([image_of(payload, (height, width)) for payload in payloads])
        scaled: NDArray[np.float32] = np.ascontiguousarray(((pixels - mean) / deviation).transpose(0, 3, 1, 2))
        return scaled

    def _load(self) -> tuple[Any, Any]:
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(
                f"a network of ONNX needs the extra 'onnx': pip install ihomer[onnx] ({error})"
            ) from error
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = settings.inter_op_num_threads = 1
        there = onnxruntime.get_available_providers()
        providers = ["CPUExecutionProvider"]
        if self._device != "cpu" and "CUDAExecutionProvider" in there:
            providers.insert(0, "CUDAExecutionProvider")
        elif self._device == "cuda":
            import warnings

            message = "device must be a GPU that ONNX Runtime can use, found none: the CPU encodes"
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        session = onnxruntime.InferenceSession(str(self._path), settings, providers=providers)
        tokenizer = None
        if self._tokenizer_path is not None and self._kind in (None, "texts"):
            from tokenizers import Tokenizer

            tokenizer = Tokenizer.from_file(str(self._tokenizer_path))
            tokenizer.enable_truncation(self._limit)
            tokenizer.no_padding()
        return session, tokenizer


def _tokens(tokenizer: Any, texts: list[str]) -> tuple[dict[str, NDArray[np.int64]], NDArray[np.int64]]:
    """What networks for texts take, by the names that all of them use, and which tokens are there."""
    tokens = [encoding.ids for encoding in tokenizer.encode_batch(texts)]
    shape = len(texts), max(1, *map(len, tokens))
    ids, mask = np.zeros(shape, np.int64), np.zeros(shape, np.int64)
    for number, row in enumerate(tokens):
        ids[number, : len(row)] = row
        mask[number, : len(row)] = 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros(shape, np.int64)}, mask
