"""Si-Blurry streams by what a user writes."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from streams.siblurry.scenario import SiBlurry
from streams.siblurry.source import ArrangedSource

SCHEME = "siblurry:"

_KINDS = {
    "n": float,
    "m": float,
    "sessions": int,
    "seed": int,
    "donation": str,
    "varying": bool,
    "drop_remainder": bool,
}
_WORDS = {int: "a whole number", float: "a number", bool: "true or false"}


def open_siblurry(
    text: str, *, labels: str | Sequence[str] | None = None, payload: str | None = None
) -> ArrangedSource:
    """The stream that a URL names.

    Parameters
    ----------
    text
        ``siblurry:``, the data as `SiBlurry.stream` takes them, and after a question mark any parameters of
        `SiBlurry`, parted by ``&``. Data that have a question mark of their own need a second one.
    labels, payload
        As of `open_source`.

    Raises
    ------
    ValueError
        The text names no data, a parameter that there is not, one twice, or one with a value that it cannot have.

    Examples
    --------
    >>> source = open_siblurry("siblurry:yeast?n=0&sessions=3&seed=2")
    >>> source.scenario
    SiBlurry(n=0.0, m=10, sessions=3, seed=2, donation='random', varying=True, drop_remainder=False)
    """
    data, mark, query = text.removeprefix(SCHEME).rpartition("?")
    if not mark:
        data, query = query, ""
    if not data:
        raise ValueError(f"{text}: data must be named behind {SCHEME}, got none")
    settings: dict[str, Any] = {}
    for piece in query.split("&") if query else []:
        name, _, value = piece.partition("=")
        if name not in _KINDS:
            close = difflib.get_close_matches(name, _KINDS, n=1)
            hint = f"; did you mean {close[0]}?" if close else ""
            raise ValueError(f"{text}: parameter must be one of {', '.join(_KINDS)}, got {name!r}{hint}")
        if name in settings:
            raise ValueError(f"{text}: {name} must be given once, got it twice")
        settings[name] = _value(text, name, value)
    try:
        scenario = SiBlurry(**settings)
    except ValueError as error:
        raise ValueError(f"{text}: {error}") from None
    return scenario.stream(data, labels=labels, payload=payload)


def _value(text: str, name: str, value: str) -> Any:
    kind = _KINDS[name]
    try:
        return {"true": True, "false": False}[value] if kind is bool else kind(value)
    except (ValueError, KeyError):
        raise ValueError(f"{text}: {name} must be {_WORDS[kind]}, got {value!r}") from None
