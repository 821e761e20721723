"""Objects of river as arrays: their pickle, the version of river that wrote it, and whether it may be read."""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray

ARRAYS = ("pickle", "river")
"""What the state of a pickled object is made of."""

_TRUSTED: ContextVar[bool] = ContextVar("trusted", default=False)


class PickleRefusedError(ValueError):
    """A state holds a pickle that is not read, because another version of river wrote it or nobody trusts it."""


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


def to_arrays(thing: Any) -> dict[str, NDArray[np.uint8]]:
    """The pickle of ``thing`` and the version of river, as bytes.

    Raises
    ------
    TypeError
        Something in it cannot be pickled, such as a lambda expression.
    """
    try:
        written = pickle.dumps(thing, protocol=5)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise TypeError(f"a river object must be picklable for its state to be kept, got {error}") from error
    return {"pickle": np.frombuffer(written, np.uint8), "river": np.frombuffer(version("river").encode(), np.uint8)}


def from_arrays(state: Mapping[str, NDArray[Any]]) -> Any:
    """What ``to_arrays`` wrote down, within `trusting_pickle`.

    Raises
    ------
    UntrustedPickleError
        Elsewhere; nothing has been read.
    PickleRefusedError
        Another major version of river wrote it, or, below 1.0, another minor one; nothing has been read.
    """
    theirs, mine = state["river"].tobytes().decode(errors="replace"), version("river")
    if _series(theirs) != _series(mine):
        raise PickleRefusedError(f"river must be of version {'.'.join(_series(theirs))} to read this state, got {mine}")
    if not _TRUSTED.get():
        raise UntrustedPickleError(
            "the state holds a pickled river object, and to read a pickle can run any code: that its origin is trusted"
            " must be said by trust_pickle=True or --trust-pickle"
        )
    return pickle.loads(state["pickle"].tobytes())


def _series(text: str) -> list[str]:
    """The leading parts of a version within which pickles are taken for compatible."""
    parts = text.split(".")
    return parts[: 2 if parts[0] == "0" else 1]
