"""A small BERT with random weights, and what can be done without its libraries."""

import json
import time

import numpy as np

WIDTH, INNER, LAYERS, HEADS, WORDS, PLACES = 16, 24, 2, 4, 60, 32
EPSILON = 1e-12


def weights(seed=0):
    """The arrays of a network by their names in the file."""
    rng = np.random.default_rng(seed)
    shapes = {
        "embeddings.word_embeddings.weight": (WORDS, WIDTH),
        "embeddings.position_embeddings.weight": (PLACES, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
    }
    linear = {}
    for layer in range(LAYERS):
        where = f"encoder.layer.{layer}."
        linear |= {f"{where}attention.self.{part}": (WIDTH, WIDTH) for part in ("query", "key", "value")}
        linear[f"{where}attention.output.dense"] = (WIDTH, WIDTH)
        linear[f"{where}intermediate.dense"] = (INNER, WIDTH)
        linear[f"{where}output.dense"] = (WIDTH, INNER)
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    norms = [name for name in linear if name.endswith(("attention.output.dense", "output.dense"))]
    for name in ["embeddings.", *norms]:
        name = name.removesuffix("dense")
        shapes |= {f"{name}LayerNorm.weight": (WIDTH,), f"{name}LayerNorm.bias": (WIDTH,)}
    return {name: rng.normal(scale=0.5, size=shape).astype(np.float32) for name, shape in shapes.items()}


def written(folder, *, pooling=None, modules=None, limit=PLACES, kind="bert"):
    """A folder that looks like a model's."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "model_type": kind,
        "hidden_size": WIDTH,
        "num_attention_heads": HEADS,
        "num_hidden_layers": LAYERS,
        "layer_norm_eps": EPSILON,
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": limit}))
    if pooling is not None:
        (folder / "1_Pooling").mkdir(exist_ok=True)
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if modules is not None:
        (folder / "modules.json").write_text(json.dumps([{"type": f"models.{name}"} for name in modules]))
    return folder


def ids_of(text, limit=PLACES):
    """Numbers of the words of a text, between one that begins it and one that ends it."""
    return [1, *(3 + sum(map(ord, word)) % (WORDS - 3) for word in text.split()[: limit - 2]), 2]


class Tokens:
    """What a tokenizer gives."""

    def __init__(self, ids):
        self.ids = ids


class Tokenizer:
    """A tokenizer as the encoder uses it, which takes so many seconds a text."""

    def __init__(self, seconds=0.0):
        self._seconds = seconds

    def encode_batch(self, texts):
        time.sleep(self._seconds * len(texts))
        return [Tokens(ids_of(text)) for text in texts]


class FakeGPU:
    """A device that works by itself, as a GPU does: a part takes ``seconds`` from when the one before was done.

    ``busy_s`` is the time that it has worked; see `streams.extraction.encoders.devices.Device`.
    """

    def __init__(self, device, seconds):
        self._device, self._seconds = device, seconds
        self.n_prepared = None
        self._free, self.busy_s, self.n_waiting, self.most_waiting = 0.0, 0.0, 0, 0

    def load(self, held):
        return self._device.load(held)

    def cut(self, tokens):
        return [tokens[start : start + 2] for start in range(0, len(tokens), 2)]

    def begin(self, network, held, tokens):
        rows = self._device.rows(self._device.begin(network, held, tokens))
        self._free = max(self._free, time.perf_counter()) + self._seconds
        self.busy_s += self._seconds
        self.n_waiting += 1
        self.most_waiting = max(self.most_waiting, self.n_waiting)
        return rows, self._free

    def rows(self, begun):
        rows, done = begun
        time.sleep(max(0.0, done - time.perf_counter()))
        self.n_waiting -= 1
        return rows
