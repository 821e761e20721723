"""Objects of river as arrays: their pickle, the versions that wrote it, and whether it may be read."""

from __future__ import annotations

import functools
import pickle
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from typing import Any

import numpy as np
from numpy.typing import NDArray

ARRAYS = ("pickle", "river")
"""What the state of a pickled object is made of."""

_TRUSTED: ContextVar[bool] = ContextVar("trusted", default=False)


class PickleRefusedError(ValueError):
    """A state holds a pickle that is not read, because another version wrote it or nobody trusts it."""


class UntrustedPickleError(PickleRefusedError):
    """A state holds a pickle, and nobody said that its origin is trusted."""


@contextmanager
def trusting_pickle(trusted: bool = True) -> Iterator[None]:
    """Within it states with pickles are taken over; if not ``trusted``, nothing changes.

    To read a pickle can run any code that its author chose: say so of your own files alone.
    """
    token = _TRUSTED.set(trusted or _TRUSTED.get())
    try:
        yield
    finally:
        _TRUSTED.reset(token)


def to_arrays(thing: Any, packages: Iterable[str] = ()) -> dict[str, NDArray[np.uint8]]:
    """The pickle of ``thing`` and the version of river, as bytes.

    Parameters
    ----------
    packages
        Top-level packages beside river whose objects it holds. The version of each that is installed follows that of
        river, on a line of its own with its name.

    Raises
    ------
    TypeError
        Something in it cannot be pickled, such as a lambda expression.
    """
    try:
        written = pickle.dumps(thing, protocol=5)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(f"a river object must be picklable for its state to be kept, got {error}") from error
    names = sorted({name for package in packages for name in _distributions().get(package, ())} - {"river"})
    versions = "\n".join([version("river"), *(f"{name} {version(name)}" for name in names)])
    return {"pickle": np.frombuffer(written, np.uint8), "river": np.frombuffer(versions.encode(), np.uint8)}


def from_arrays(state: Mapping[str, NDArray[Any]]) -> Any:
    """What ``to_arrays`` wrote down, within `trusting_pickle`.

    Raises
    ------
    UntrustedPickleError
        Elsewhere; nothing has been read.
    PickleRefusedError
        Another major version of river wrote it, or, below 1.0, another minor one, or another minor version of another
        package; nothing has been read.
    """
    first, *others = state["river"].tobytes().decode(errors="replace").split("\n")
    for name, theirs in [("river", first), *(_name_and_version(line) for line in others)]:
        mine = _installed(name)
        series = _series(name, theirs)
        if series != _series(name, mine):
            raise PickleRefusedError(f"{name} must be of version {'.'.join(series)} to read this state, got {mine}")
    if not _TRUSTED.get():
        raise UntrustedPickleError(
            "the state holds a pickled river object, and to read a pickle can run any code: that its origin is trusted"
            " must be said by trust_pickle=True or --trust-pickle"
        )
    return pickle.loads(state["pickle"].tobytes())


def _series(name: str, text: str) -> list[str]:
    """The leading parts of a version within which pickles are taken for compatible: river's major one is enough."""
    parts = text.split(".")
    return parts[: 1 if name == "river" and parts[0] != "0" else 2]


def _name_and_version(line: str) -> tuple[str, str]:
    name, _, theirs = line.partition(" ")
    return name, theirs


def _installed(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


_distributions = functools.cache(packages_distributions)
"""Top-level package to the names under which pip has it; looks through all that is installed."""
