"""Transformers with random weights, small enough for tests, in folders as transformers writes them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streams.batch import COMPLETE, Batch, Rows, Schema

SIZE = 8
"""Of an image, in pixels."""

WORDS = 30
"""That the text model knows, ``w0`` and so on."""


def save_vit(folder: Path, *, n_blocks: int = 4, seed: int = 0) -> str:
    """A model of images of 8 x 8 pixels in four patches."""
    import torch
    from transformers import ViTConfig, ViTModel

    torch.manual_seed(seed)
    config = ViTConfig(
        hidden_size=16, num_hidden_layers=n_blocks, num_attention_heads=2, intermediate_size=32, image_size=SIZE,
        patch_size=4, initializer_range=0.2,
    )  # fmt: skip
    ViTModel(config).save_pretrained(folder)
    return str(folder)


def save_bert(folder: Path, *, n_blocks: int = 3, seed: int = 0) -> str:
    """A model of texts of known words, with a tokenizer that knows a word by the blanks beside it."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel

    torch.manual_seed(seed)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"w{number}" for number in range(WORDS))]
    config = BertConfig(
        vocab_size=len(words), hidden_size=16, num_hidden_layers=n_blocks, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=40, initializer_range=0.2,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    return str(folder)


def texts(n: int, seed: int = 0) -> list[str]:
    """Texts of one to eight words."""
    random = np.random.default_rng(seed)
    return [" ".join(f"w{word}" for word in random.integers(0, WORDS, random.integers(1, 9))) for _ in range(n)]


def images(n: int, seed: int = 0) -> list[np.ndarray]:
    """Images of noise."""
    random = np.random.default_rng(seed)
    return [random.integers(0, 256, (SIZE, SIZE, 3), np.uint8) for _ in range(n)]


def events(payloads: list, labels: list[list[int]], names: list[str], weight=None) -> Batch:
    """Events that bring payloads alone."""
    n = len(payloads)
    state = np.full(n, COMPLETE, np.uint8)
    x = np.zeros((n, 0), np.float32)
    return Batch(Schema([], names), x, Rows.from_lists(labels), state, weight=weight, payload=payloads)
