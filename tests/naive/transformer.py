"""BERT's forward pass for one text, a token and a head at a time."""

import math

import numpy as np


def embedded(weights, ids, n_layers, n_heads, epsilon, first=False, unit=True):
    def linear(x, where):
        return weights[f"{where}.weight"].astype(float) @ x + weights[f"{where}.bias"]

    def norm(x, where):
        x = (x - x.mean()) / math.sqrt(x.var() + epsilon)
        return x * weights[f"{where}.weight"] + weights[f"{where}.bias"]

    def gelu(x):
        return np.array([value * 0.5 * (1 + math.erf(value / math.sqrt(2))) for value in x])

    tokens = [
        norm(
            weights["embeddings.word_embeddings.weight"][token].astype(float)
            + weights["embeddings.position_embeddings.weight"][place]
            + weights["embeddings.token_type_embeddings.weight"][0],
            "embeddings.LayerNorm",
        )
        for place, token in enumerate(ids)
    ]
    for layer in range(n_layers):
        where = f"encoder.layer.{layer}."
        parts = [[linear(x, f"{where}attention.self.{name}") for x in tokens] for name in ("query", "key", "value")]
        size = len(tokens[0]) // n_heads
        after = []
        for place, x in enumerate(tokens):
            mixed = np.zeros(len(x))
            for head in range(n_heads):
                cut = slice(head * size, (head + 1) * size)
                fits = np.array([parts[0][place][cut] @ key[cut] / math.sqrt(size) for key in parts[1]])
                shares = np.exp(fits - fits.max())
                mixed[cut] = sum(
                    share / shares.sum() * value[cut] for share, value in zip(shares, parts[2], strict=True)
                )
            x = norm(x + linear(mixed, f"{where}attention.output.dense"), f"{where}attention.output.LayerNorm")
            inner = gelu(linear(x, f"{where}intermediate.dense"))
            after.append(norm(x + linear(inner, f"{where}output.dense"), f"{where}output.LayerNorm"))
        tokens = after
    pooled = tokens[0] if first else sum(tokens) / len(tokens)
    return pooled / np.linalg.norm(pooled) if unit else pooled
