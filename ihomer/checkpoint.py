"""Checkpoints: arrays and JSON in one file, written whole or not at all, read without running any code from it.

A model of river is bytes among the arrays, a pickle, which is read where the caller trusts the file and not otherwise.
"""

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

from streams.source import TakenOverError
from streams.whole_file import whole_file

if TYPE_CHECKING:
    from learners.base import Learner

FORMAT = "ihomer-checkpoint"
VERSION = 1

Arrays = dict[str, NDArray[Any]]

_ROOMS = ("ihomer", "learners")
_NAME = re.compile(r"checkpoint-(?:g(\d{6,})-)?(\d{12})\.ckpt")
_CLAIM = re.compile(r"generation-(\d{6,})")


class CheckpointError(ValueError):
    """A file is no checkpoint, is damaged, or is of a version that this one cannot read."""


def write(path: Any, manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a checkpoint: after a crash at any moment ``path`` holds the old file or the new one, whole.

    Parameters
    ----------
    path
        Where to, as text or a path of any file system; its folder must exist.
    manifest
        A JSON object; ``format`` and ``version`` are added.
    arrays
        By name, of any dtype without Python objects.
    """
    if not isinstance(path, (str, Path)):
        content = io.BytesIO()
        _write(content, manifest, arrays)
        path.write_bytes(content.getvalue())
        return
    with whole_file(path) as partial:
        _write(partial, manifest, arrays)


def _write(target: Any, manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> None:
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as archive:
        head = {"format": FORMAT, "version": VERSION, **manifest}
        archive.writestr("manifest.json", json.dumps(head, ensure_ascii=False, indent=1))
        for name, array in arrays.items():
            with archive.open(f"arrays/{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(array), allow_pickle=False)


def read(path: Any) -> tuple[dict[str, Any], Arrays]:
    """The manifest and the arrays of a checkpoint.

    Raises
    ------
    CheckpointError
        Not a checkpoint, damaged, or of another version.
    """
    try:
        with (Path(path) if isinstance(path, str) else path).open("rb") as file, zipfile.ZipFile(file) as archive:
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


class FencedError(CheckpointError, TakenOverError):
    """Another process has taken over the run whose checkpoint was to be written."""


class CheckpointStore:
    """The checkpoints of one run in a folder, the two latest kept.

    Parameters
    ----------
    directory, name
        A folder, made where missing, or a URL such as ``s3://bucket/state`` that universal-pathlib opens; and one below
        it, if a name is given.

    Notes
    -----
    Where a run may move from process to process, each one calls `claim` before it reads, and its checkpoints then have
    its generation in their names. A process that does not know that it was replaced can neither write (`FencedError`)
    nor, if it was just about to, come before those of its successor: readers take the highest generation.

    In a folder a checkpoint is there whole or not at all, and no two processes have the same generation. In an object
    store the former holds where an upload appears at once, as with S3 and its kind; the latter is only very likely, for
    want of a way to create a file unless it exists.
    """

    def __init__(self, directory: str | os.PathLike[str], name: str = "") -> None:
        self.directory: Any = _folder(directory) / name if name else _folder(directory)
        self.generation = 0

    def claim(self) -> int:
        """Become the one process that writes here, and return its generation."""
        self.directory.mkdir(parents=True, exist_ok=True)
        while True:
            claimed = self._claims()
            mine = max([*claimed, *(generation for generation, _, _ in self._found())], default=0) + 1
            try:
                self._claim_file(mine).touch(exist_ok=False)
            except FileExistsError:
                continue
            if max(self._claims(), default=0) > mine:  # a listing may miss what comes and goes while it is made
                self._claim_file(mine).unlink(missing_ok=True)
                continue
            for earlier in claimed:
                self._claim_file(earlier).unlink(missing_ok=True)
            self.generation = mine
            return mine

    def check(self) -> None:
        """Raise `FencedError` where a higher generation has been claimed since this one."""
        newest = max(self._claims(), default=0) if self.generation else 0
        if newest > self.generation:
            raise FencedError(
                f"{self.directory}: generation must be {newest}, which has taken over, got {self.generation}"
            )

    def save(self, event: int, manifest: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Path:
        """Write the checkpoint taken after ``event`` events and drop all but it and the one before.

        Raises
        ------
        FencedError
            A higher generation has been claimed.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        self.check()
        generation = f"g{self.generation:06d}-" if self.generation else ""
        path: Path = self.directory / f"checkpoint-{generation}{event:012d}.ckpt"
        write(path, manifest, arrays)
        for _, _, old in self._found()[:-2]:
            old.unlink(missing_ok=True)
        return path

    def latest(self) -> tuple[Path, dict[str, Any], Arrays] | None:
        """The latest checkpoint that can be read whole, or None where there is none at all.

        Raises
        ------
        CheckpointError
            There are checkpoints and none can be read.
        """
        paths = [path for _, _, path in self._found()]
        for path in reversed(paths):
            try:
                return path, *read(path)
            except CheckpointError:
                if path == paths[0]:
                    raise
        return None

    def clear(self) -> None:
        """Remove every checkpoint of the folder."""
        for _, _, path in self._found():
            path.unlink()

    def _found(self) -> list[tuple[int, int, Path]]:
        """Generation, events and path of every checkpoint, the latest last."""
        if not self.directory.is_dir():
            return []
        names = ((_NAME.fullmatch(path.name), path) for path in self.directory.iterdir())
        return sorted((int(match[1] or 0), int(match[2]), path) for match, path in names if match)

    def _claims(self) -> list[int]:
        matches = (_CLAIM.fullmatch(path.name) for path in self.directory.iterdir())
        return sorted(int(match[1]) for match in matches if match)

    def _claim_file(self, generation: int) -> Any:
        return self.directory / f"generation-{generation:06d}"


def _folder(directory: str | os.PathLike[str]) -> Any:
    """A path, of the local file system or of what a URL names."""
    text = os.fspath(directory)
    if "://" not in text:
        return Path(text)
    try:
        from upath import UPath
    except ImportError as error:
        raise CheckpointError(f"{text}: universal-pathlib must be installed to keep checkpoints at a URL") from error
    return UPath(text)


def nested(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """``arrays`` with every name under ``prefix``."""
    return {f"{prefix}/{name}": array for name, array in arrays.items()}


def below(prefix: str, arrays: Mapping[str, NDArray[Any]]) -> Arrays:
    """What ``nested`` put under ``prefix``, under its own names again."""
    start = f"{prefix}/"
    return {name[len(start) :]: array for name, array in arrays.items() if name.startswith(start)}


def describe(model: Learner) -> dict[str, Any]:
    """The class and the parameters of a learner as a JSON object, learners among the parameters included.

    A river model is its specification, or, where it has none, what it calls itself.
    """
    from learners.river_model import RiverClassifier

    cls = type(model)
    if isinstance(model, RiverClassifier):
        told = model.text or {"pickled": str(model.model)}
        return {"class": f"{cls.__module__}:{cls.__qualname__}", "params": {"model": told, "seed": model.seed}}
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
    if path == "learners.river_model:RiverClassifier":
        return _river_model(description["params"])

    def restored(value: Any) -> Any:
        if isinstance(value, dict):
            return build(value["learner"], classes)
        return [restored(item) for item in value] if isinstance(value, list) else value

    return cls(**{name: restored(value) for name, value in description["params"].items()})


def _river_model(params: Mapping[str, Any]) -> Learner:
    """A river model from its specification, or without one an empty place for what the state holds."""
    from ihomer.specs import RIVER
    from ihomer.specs import build as build_spec
    from learners.river_model import RiverClassifier

    text = params["model"]
    if not isinstance(text, str):
        return RiverClassifier(None)
    if not text.startswith(RIVER):
        raise CheckpointError(f"a river model must be a specification that begins with {RIVER}, got {text!r}")
    return build_spec(text, params["seed"])


def save(model: Learner, path: str | os.PathLike[str]) -> None:
    """Write a learner, its parameters and all that it has learned, to a file."""
    write(path, {"kind": "model", "learners": [describe(model)]}, nested("0/model", model.get_state()))


def load(path: str | os.PathLike[str], *, classes: Iterable[type] = (), trust_pickle: bool = False) -> Learner:
    """The learner that ``save`` wrote; a run's checkpoint gives its first learner.

    Parameters
    ----------
    path
        The file.
    classes
        Learner classes from outside the engine that the file may name; no other is imported.
    trust_pickle
        Whether to read a river model, which is a pickle: that can run any code which the writer of the file chose.

    Raises
    ------
    CheckpointError
        Not a checkpoint, damaged, of another version, naming a class that is not allowed, or holding a pickle that is
        not trusted or that another version of river wrote.
    """
    from drift.pickled import PickleRefusedError, trusting_pickle

    manifest, arrays = read(path)
    model = build(manifest["learners"][0], classes)
    try:
        with trusting_pickle(trust_pickle):
            model.set_state(below("0/model", arrays))
    except PickleRefusedError as error:
        raise CheckpointError(f"{path}: {error}") from error
    return model
