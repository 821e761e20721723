"""Labelled images and other files as payloads: a folder of folders, an archive of one, or the arrays of images."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from streams.batch import COMPLETE, Batch, Name, Rows, Schema
from streams.siblurry.labelled import LabelledEvents, checked

TAR_ENDINGS = (".tar", ".tar.gz", ".tgz")

_Found = list[tuple[str, str, Any]]
"""Class, name and content of files."""


def read_folder(folder: Path) -> LabelledEvents:
    """A folder with a folder of files for each class, or two such folders called ``train`` and ``test``.

    The events have no features yet: their payload is the path of the file, and `ArrangedSource` hands out its bytes.
    """
    if (folder / "train").is_dir() and (folder / "test").is_dir():
        return _of_files(folder.name, _walked(folder / "train"), _walked(folder / "test"), None)
    return _of_files(folder.name, _walked(folder), None, None)


def read_tar(path: Path) -> LabelledEvents:
    """A tar archive of such a folder, plain or compressed; its files are read into memory.

    The class is the name of the folder that a file is in. Where one above is called ``train`` or ``test``, it tells the
    part.
    """
    parts: dict[str, _Found] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            *above, label, name = ["", *Path(member.name).parts]
            if not member.isfile() or not label or name.startswith("."):
                continue
            content = archive.extractfile(member)
            assert content is not None, "it is a file"
            part = above[-1] if above and above[-1] in ("train", "test") else "train"
            parts.setdefault(part, []).append((label, name, content.read()))
    for found in parts.values():
        found.sort(key=lambda file: file[:2])
    return _of_files(_stem(path), parts.get("train", []), parts.get("test"), path)


def read_images(path: Path) -> LabelledEvents | None:
    """A NumPy archive with whole numbers ``x`` (or ``x_train``) of shape (n, h, w, 3) as events with images as payload.

    ``y`` holds the class of each, and ``x_test`` and ``y_test`` those that are set aside. ``classes`` names the classes
    by their number. None where ``x`` is something else.
    """
    with np.load(path) as archive:
        ending = "" if "x" in archive.files else "_train"
        if not {f"x{ending}", f"y{ending}"} <= set(archive.files):
            return None
        x, y = archive[f"x{ending}"], archive[f"y{ending}"]
        if x.ndim != 4 or x.shape[3] not in (3, 4) or x.dtype.kind not in "ui" or y.shape != x.shape[:1]:
            return None
        told = next((archive[name] for name in ("label_names", "classes") if name in archive.files), None)
        aside = (archive["x_test"], archive["y_test"]) if {"x_test", "y_test"} <= set(archive.files) else None
    names: list[Name] = np.unique(y).tolist()
    if told is not None and y.dtype.kind in "ui":
        names = [name.item() if isinstance(name, np.generic) else str(name) for name in told]
        y = np.array(names)[y]
        aside = aside and (aside[0], np.array(names)[aside[1]])
    batch = _of_payloads(list(x), y.tolist(), names)
    test = aside and _of_payloads(list(aside[0]), aside[1].tolist(), names)
    return checked(LabelledEvents(path.stem, batch, test, path))


def find_tar(data: str | os.PathLike[str]) -> Path | None:
    """The archive that data name: a path, or the name of one in a folder where data sets are looked for."""
    text = os.fspath(data)
    if text.endswith(TAR_ENDINGS) and Path(text).is_file():
        return Path(text)
    if Path(text).exists() or os.sep in text or not text:
        return None
    from streams.registry import folders

    places = (folder / (text + ending) for folder in folders() for ending in TAR_ENDINGS)
    return next((place for place in places if place.is_file()), None)


def _walked(folder: Path) -> _Found:
    def walk() -> Iterator[tuple[str, str, Path]]:
        for place in sorted(folder.iterdir()):
            if place.is_dir():
                yield from ((place.name, file.name, file) for file in sorted(place.iterdir()) if file.is_file())

    return list(walk())


def _of_files(name: str, found: _Found, test: _Found | None, path: Path | None) -> LabelledEvents:
    names = sorted({label for label, _, _ in found})
    aside = None if test is None else _batch_of(test, names)
    return checked(LabelledEvents(name, _batch_of(found, names), aside, path))


def _batch_of(found: _Found, names: list[str]) -> Batch:
    found = [file for file in found if file[0] in names]
    batch = _of_payloads([content for _, _, content in found], [label for label, _, _ in found], names)
    batch.key = [f"{label}/{name}" for label, name, _ in found]
    return batch


def _of_payloads(payloads: list[Any], labels: Sequence[Any], names: Sequence[Name]) -> Batch:
    number = {name: code for code, name in enumerate(names)}
    payloads = [payload for payload, label in zip(payloads, labels, strict=True) if label in number]
    codes: NDArray[np.int32] = np.array([number[label] for label in labels if label in number], np.int32)
    return Batch(
        Schema([], list(names)),
        np.zeros((len(codes), 0), np.float32),
        Rows(np.arange(len(codes) + 1), codes),
        np.full(len(codes), COMPLETE, np.uint8),
        payload=payloads,
    )


def _stem(path: Path) -> str:
    ending = next(ending for ending in reversed(TAR_ENDINGS) if path.name.endswith(ending))
    return path.name.removesuffix(ending)
