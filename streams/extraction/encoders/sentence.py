"""Sentence embeddings by a BERT model that lies in a folder or came with a package."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from streams.extraction.encoders.cleaning import text_of
from streams.extraction.encoders.devices import Device, Numerics, Tokens, Weights, computed, open_device
from streams.extraction.encoding import EncoderError

_FORMAT = 1


class SentenceEncoder:
    """Embeds texts by a sentence-transformers model of the BERT kind, all-MiniLM-L6-v2 say.

    Parameters
    ----------
    path
        The model's folder, with ``config.json``, ``model.safetensors`` and ``tokenizer.json``; or an installed package
        that holds such a folder, in its top folder or one below.
    device
        ``cpu``, ``cuda`` or ``auto``: see `open_device`.
    half
        Whether a GPU reckons in half precision.

    Raises
    ------
    EncoderError
        There is no model, or one of another kind.

    Notes
    -----
    Needs the extra ``sentence`` (tokenizers and safetensors), and ``deep`` (PyTorch) for a GPU alone. Texts are
    tokenized and cut as the model says; the embedding is what its pooling says, the mean over the tokens or the first
    one, at unit length if it says so.

    Texts of a block go through the network in order of their length, as many at once as have 1,024 tokens. On a GPU as
    many go as have 65,536, and meanwhile the next of 1,024 texts at a time are tokenized. What else is among them
    changes a row by rounding, so that rows are the same to the bit for equal blocks alone.
    """

    def __init__(self, path: str, *, device: Literal["auto", "cpu", "cuda"] = "cpu", half: bool = False) -> None:
        self._folder = find_model(path)
        config = json.loads((self._folder / "config.json").read_text(encoding="utf-8"))
        kind = config.get("model_type")
        if kind != "bert" or config.get("hidden_act", "gelu") != "gelu":
            raise EncoderError(f"{self._folder}: a model must be of the kind 'bert' with 'gelu', got {kind!r}")
        self._n_heads, self._n_layers = int(config["num_attention_heads"]), int(config["num_hidden_layers"])
        self._epsilon = float(config.get("layer_norm_eps", 1e-12))
        self.n_features = int(config["hidden_size"])
        self._limit = int(_settings(self._folder, "sentence_bert_config.json").get("max_seq_length") or 512)
        pooling = _settings(self._folder / "1_Pooling", "config.json")
        self._first_token = bool(pooling.get("pooling_mode_cls_token", False))
        if not (self._first_token or pooling.get("pooling_mode_mean_tokens", True)):
            raise EncoderError(f"{self._folder}: pooling must be of mean_tokens or cls_token, got {pooling}")
        modules = _settings(self._folder, "modules.json") or [{"type": "Normalize"}]
        self._unit = any("Normalize" in str(module.get("type")) for module in modules)
        self._device_name, self._half = device, half
        self._fingerprint: str | None = None
        self._network: tuple[Any, Device, Weights] | None = None

    @property
    def fingerprint(self) -> str:
        """Hash of the model's weights, its tokenizer and all settings that change a row."""
        if self._fingerprint is None:
            total = hashlib.sha256()
            for name in ("config.json", "tokenizer.json", "model.safetensors"):
                with open(self._folder / name, "rb") as file:
                    total.update(hashlib.file_digest(file, "sha256").digest())
            self._fingerprint = (
                f"sentence-{_FORMAT}:{total.hexdigest()[:16]},limit={self._limit},first={self._first_token},"
                f"unit={self._unit},half={self._half}"
            )
        return self._fingerprint

    @property
    def device_s(self) -> float | None:
        """Seconds for which a GPU has computed; None where none does."""
        return None if self._network is None else self._network[1].busy_s

    def __getstate__(self) -> dict[str, Any]:
        """All but the network, which is loaded where it works."""
        return {**vars(self), "_network": None}

    def warm_up(self) -> None:
        """Load the network and let it embed a text."""
        self(["warm"])

    def __call__(self, payloads: list[str | bytes]) -> NDArray[np.float32]:
        """A row a text."""
        texts = [text_of(payload) for payload in payloads]
        tokenizer, device, weights = self._network = self._network or self._loaded()
        order: list[int] = []

        def parts() -> Iterator[Tokens]:
            n_prepared = device.n_prepared or max(1, len(texts))
            for start in range(0, len(texts), n_prepared):
                tokens = [encoding.ids for encoding in tokenizer.encode_batch(texts[start : start + n_prepared])]
                by_length = sorted(range(len(tokens)), key=lambda number: len(tokens[number]))
                order.extend(start + number for number in by_length)
                yield from device.cut([tokens[number] for number in by_length])

        found = computed(device, self._forward, weights, parts())
        rows = np.empty((len(texts), self.n_features), np.float32)
        if found:
            rows[order] = np.concatenate(found)
        return rows

    def _loaded(self) -> tuple[Any, Device, Weights]:
        try:
            from safetensors.numpy import load_file
            from tokenizers import Tokenizer
        except ImportError as error:
            message = f"a sentence encoder needs the extra 'sentence': pip install ihomer[sentence] ({error})"
            raise ImportError(message) from error
        tokenizer = Tokenizer.from_file(str(self._folder / "tokenizer.json"))
        tokenizer.enable_truncation(self._limit)
        tokenizer.no_padding()
        device = open_device(self._device_name, half=self._half)
        held = load_file(str(self._folder / "model.safetensors"))
        floats = {name.removeprefix("bert."): value for name, value in held.items() if value.dtype.kind == "f"}
        return tokenizer, device, device.load({name: np.asarray(value, np.float32) for name, value in floats.items()})

    def _forward(self, numerics: Numerics, weights: Weights) -> Any:
        def linear(x: Any, where: str) -> Any:
            return numerics.linear(x, weights[f"{where}.weight"], weights[f"{where}.bias"])

        def norm(x: Any, where: str) -> Any:
            return numerics.norm(x, weights[f"{where}.weight"], weights[f"{where}.bias"], self._epsilon)

        words = numerics.take(weights["embeddings.word_embeddings.weight"], numerics.ids)
        places = numerics.take(weights["embeddings.position_embeddings.weight"], numerics.places)
        x = norm(words + places + weights["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
        for layer in range(self._n_layers):
            where = f"encoder.layer.{layer}."
            query, key, value = (linear(x, f"{where}attention.self.{part}") for part in ("query", "key", "value"))
            mixed = numerics.attention(query, key, value, self._n_heads)
            x = norm(x + linear(mixed, f"{where}attention.output.dense"), f"{where}attention.output.LayerNorm")
            inner = numerics.gelu(linear(x, f"{where}intermediate.dense"))
            x = norm(x + linear(inner, f"{where}output.dense"), f"{where}output.LayerNorm")
        pooled = numerics.first(x) if self._first_token else numerics.mean(x)
        return numerics.unit(pooled) if self._unit else pooled


def find_model(path: str) -> Path:
    """The folder of a model: this one, or the one that an installed package holds.

    Raises
    ------
    EncoderError
        There is none.
    """
    needed = ("config.json", "model.safetensors", "tokenizer.json")
    places = [Path(path)]
    if not Path(path).exists() and path.replace("-", "_").replace(".", "_").isidentifier():
        spec = importlib.util.find_spec(path.replace("-", "_"))
        for name in (spec.submodule_search_locations or []) if spec else []:
            places += [Path(name), *sorted(entry for entry in Path(name).iterdir() if entry.is_dir())]
    for place in places:
        if all((place / file).is_file() for file in needed):
            return place
    raise EncoderError(
        f"a model must be a folder with {', '.join(needed)}, or a package that has one, found none: {path!r}"
    )


def _settings(folder: Path, name: str) -> Any:
    file = folder / name
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
