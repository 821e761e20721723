"""Synthetic streams by what a user writes."""

from __future__ import annotations

import difflib
from typing import Any

from streams.synthetic.schedule import KINDS
from streams.synthetic.source import CONCEPTS, NUMBERS, SyntheticSource

SCHEME = "synthetic:"


def open_synthetic(text: str) -> SyntheticSource:
    """The stream that a URL names.

    Parameters
    ----------
    text
        ``synthetic:``, the concept, and after a question mark any parameters of `SyntheticSource`, parted by ``&``.
        ``positions`` are parted by ``+``.

    Raises
    ------
    ValueError
        The text names no concept, a parameter that there is not, one twice, or one with a value that it cannot have.

    Examples
    --------
    >>> source = open_synthetic("synthetic:rbf?drift=labels&labels=14&cardinality=4&positions=20000+60000")
    >>> source.schema
    Schema(20 features, 14 labels, dense)
    >>> [drift.event for drift in source.drifts]
    [20000, 60000]
    """
    concept, _, query = text.removeprefix(SCHEME).partition("?")
    if concept not in CONCEPTS:
        hint = _did_you_mean(concept, CONCEPTS)
        raise ValueError(f"{text}: concept must be one of {', '.join(CONCEPTS)}, got {concept!r}{hint}")
    names = ("drift", "positions", *NUMBERS)
    settings: dict[str, Any] = {}
    for piece in query.split("&") if query else []:
        name, equals, value = piece.partition("=")
        if name not in names:
            hint = _did_you_mean(name, names)
            raise ValueError(f"{text}: parameter must be one of {', '.join(names)}, got {name!r}{hint}")
        if name in settings:
            raise ValueError(f"{text}: {name} must be given once, got it twice")
        if not equals or not value:
            raise ValueError(f"{text}: {name} must have a value, got {piece!r}")
        settings[name] = value if name == "drift" else _numbers(text, name, value)
    try:
        return SyntheticSource(concept, **settings)
    except ValueError as error:
        hint = "" if "drift must be one of" not in str(error) else _did_you_mean(settings["drift"], KINDS)
        raise ValueError(f"{text}: {error}{hint}") from None


def _numbers(text: str, name: str, value: str) -> Any:
    """A number, or several."""
    kind = float if name in NUMBERS and NUMBERS[name][0] is float else int
    try:
        return [int(piece) for piece in value.split("+")] if name == "positions" else kind(value)
    except ValueError:
        rule = {"positions": "whole numbers parted by +"}.get(name, "a number" if kind is float else "a whole number")
        raise ValueError(f"{text}: {name} must be {rule}, got {value!r}") from None


def _did_you_mean(word: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {close[0]}?" if close else ""
