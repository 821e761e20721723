"""Checkpoints: arrays and JSON in one file, written whole or not at all, read without running any code from it."""

from __future__ import annotations

import inspect
import io
import json
import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from streams.whole_file import whole_file

if TYPE_CHECKING:
    from learners.base import Learner

FORMAT = "ihomer-checkpoint"
VERSION = 1

Arrays = dict[str, NDArray[Any]]

_ROOMS = ("ihomer", "learners")
_NAME = re.compile(r"checkpoint-(\d{12})\.ckpt")


class CheckpointError(ValueError):
    """A file is no checkpoint, is damaged, or is of a version that this one cannot read."""


def write(path: str | os.PathLike[str], manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a checkpoint: after a crash at any moment ``path`` holds the old file or the new one, whole.

    Parameters
    ----------
    path
        Where to; its folder must exist.
    manifest
        A JSON object; ``format`` and ``version`` are added.
    arrays
        By name, of any dtype without Python objects.
    """
    with whole_file(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
        head = {"format": FORMAT, "version": VERSION, **manifest}
        archive.writestr("manifest.json", json.dumps(head, ensure_ascii=False, indent=1))
        for name, array in arrays.items():
            with archive.open(f"arrays/{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def read(path: str | os.PathLike[str]) -> tuple[dict[str, Any], Arrays]:
    """The manifest and the arrays of a checkpoint.

    Raises
    ------
    CheckpointError
        Not a checkpoint, damaged, or of another version.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            manifest = json.loads(archive.read("manifest.json"))
            if manifest.get("format") != FORMAT:
                raise CheckpointError(f"{path}: format must be {FORMAT!r}, got {manifest.get('format')!r}")
            if manifest.get("version") != VERSION:
                raise CheckpointError(f"{path}: version must be {VERSION}, got {manifest.get('version')!r}")
            arrays = {}
            for name in archive.namelist():
                if name.startswith("arrays/"):
                    member = io.BytesIO(archive.read(name))
                    arrays[name[len("arrays/") : -len(".npy")]] = np.lib.format.read_array(member, allow_pickle=False)
    except (zipfile.BadZipFile, KeyError, json.JSONDecodeError, EOFError) as error:
        raise CheckpointError(f"{path}: must be a whole checkpoint file, got {error}") from error
    return manifest, arrays


class CheckpointStore:
    """The checkpoints of one run in a folder, the two latest kept.

    Parameters
    ----------
    directory
        Made where missing.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self.directory = Path(directory)

    def save(self, event: int, manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Path:
        """Write the checkpoint taken after ``event`` events and drop all but it and the one before."""
        self.directory.mkdir(parents=True, exist_ok=True)
        path = self.directory / f"checkpoint-{event:012d}.ckpt"
        write(path, manifest, arrays)
        for old in self._paths()[:-2]:
            old.unlink(missing_ok=True)
        return path

    def latest(self) -> tuple[Path, dict[str, Any], Arrays] | None:
        """The latest checkpoint that can be read whole, or None where there is none at all.

        Raises
        ------
        CheckpointError
            There are checkpoints and none can be read.
        """
        paths = self._paths()
        for path in reversed(paths):
            try:
                return path, *read(path)
            except CheckpointError:
                if path == paths[0]:
                    raise
        return None

    def clear(self) -> None:
        """Remove every checkpoint of the folder."""
        for path in self._paths():
            path.unlink()

    def _paths(self) -> list[Path]:
        if not self.directory.is_dir():
            return []
        return sorted(path for path in self.directory.iterdir() if _NAME.fullmatch(path.name))


def nested(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """``arrays`` with every name under ``prefix``."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def below(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """What ``nested`` put under ``prefix``, under its own names again."""
    start = f"{prefix}/"
    return {name[len(start) :]: array for name, array in arrays.items() if name.startswith(start)}


def describe(model: Learner) -> dict[str, Any]:
    """The class and the parameters of a learner as a JSON object, learners among the parameters included."""
    cls = type(model)
    return {
        "class": f"{cls.__module__}:{cls.__qualname__}",
        "params": {name: _plain(name, getattr(model, name)) for name in inspect.signature(cls).parameters},
    }


def _plain(name: str, value: Any) -> Any:
    from learners.base import Learner

    if isinstance(value, Learner):
        return {"learner": describe(value)}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, (list, tuple)):
        return [_plain(name, item) for item in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"parameter {name} must be a number, a string, None, a list or a learner, got {value!r}")


def build(description: Mapping[str, Any], classes: Iterable[type] = ()) -> Learner:
    """The untrained learner that ``describe`` wrote down.

    Parameters
    ----------
    description
        From ``describe``.
    classes
        Learner classes from outside the engine that may be made.
    """
    from learners.base import Learner

    path = description["class"]
    known = {f"{cls.__module__}:{cls.__qualname__}": cls for cls in classes}
    module, _, name = path.partition(":")
    if path not in known and module.split(".")[0] in _ROOMS:
        known[path] = getattr(import_module(module), name, object)
    cls = known.get(path)
    if cls is None or not issubclass(cls, Learner):
        raise CheckpointError(f"class must be a learner of the engine or one of those passed as classes, got {path!r}")

    def restored(value: Any) -> Any:
        if isinstance(value, dict):
            return build(value["learner"], classes)
        return [restored(item) for item in value] if isinstance(value, list) else value

    return cls(**{name: restored(value) for name, value in description["params"].items()})


def save(model: Learner, path: str | os.PathLike[str]) -> None:
    """Write a learner, its parameters and all that it has learned, to a file."""
    write(path, {"kind": "model", "learners": [describe(model)]}, nested("0/model", model.get_state()))


def load(path: str | os.PathLike[str], *, classes: Iterable[type] = ()) -> Learner:
    """The learner that ``save`` wrote; a run's checkpoint gives its first learner.

    Parameters
    ----------
    path
        The file.
    classes
        Learner classes from outside the engine that the file may name; no other is imported.

    Raises
    ------
    CheckpointError
        Not a checkpoint, damaged, of another version, or naming a class that is not allowed.
    """
    manifest, arrays = read(path)
    model = build(manifest["learners"][0], classes)
    model.set_state(below("0/model", arrays))
    return model
