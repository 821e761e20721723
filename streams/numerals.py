"""Decimal numbers in text, read from bytes as Python's ``float`` reads them, and whether bytes are text."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

WRONG, EXACT, NEAR = 0, 1, 2
"""How good a number is: none at all, the double that ``float`` would give, or within 4 units of 2^-53 of that."""

_POWERS = np.array([float(f"1e{e}") for e in range(309)])
_ZERO, _NINE = 48, 57


@njit(cache=True, nogil=True, forceinline=True)
def read_number(text: Any, i: Any, end: Any) -> Any:
    """The decimal number at ``i`` as a double, how good it is, and where it ends.

    Digits that make an integer up to 2^53 and a power of ten up to 22 are exact in a double, and one operation rounds
    as it should (Clinger, "How to read floating point numbers accurately", PLDI 1990). Otherwise the double is near:
    three roundings, and digits beyond the 18th left out, keep it within 4 units of 2^-53.
    """
    negative = False
    if i < end and (text[i] == 45 or text[i] == 43):
        negative = text[i] == 45
        i += 1
    begin, digits, power = i, np.int64(0), np.int64(0)
    while i < end:
        digit = np.int64(text[i]) - _ZERO
        if digit < 0 or digit > 9:
            break
        digits = digits * 10 + digit
        i += 1
    n_digits, point = i - begin, i
    if i < end and text[i] == 46:
        i += 1
        while i < end:
            digit = np.int64(text[i]) - _ZERO
            if digit < 0 or digit > 9:
                break
            digits = digits * 10 + digit
            i += 1
        power = point + 1 - i
        n_digits -= power
    if n_digits == 0:
        return 0.0, WRONG, i
    if n_digits > 18:
        digits, power = _long_number(text, begin, point, i)
    if i < end and (text[i] == 101 or text[i] == 69):
        i += 1
        downwards = False
        if i < end and (text[i] == 45 or text[i] == 43):
            downwards = text[i] == 45
            i += 1
        if i >= end or not _ZERO <= text[i] <= _NINE:
            return 0.0, WRONG, i
        exponent = np.int64(0)
        while i < end and _ZERO <= text[i] <= _NINE:
            exponent = min(exponent * 10 + (np.int64(text[i]) - _ZERO), np.int64(1 << 40))
            i += 1
        power += -exponent if downwards else exponent
    value = float(digits)
    quality = EXACT
    if digits == 0:
        value = 0.0
    elif -22 <= power <= 22 and digits <= 1 << 53:
        value = value * _POWERS[power] if power >= 0 else value / _POWERS[-power]
        if n_digits > 18:
            quality = NEAR
    elif power > 290:
        value, quality = np.inf, NEAR
    elif power < -290:
        value, quality = 0.0, NEAR
    else:
        value = value * _POWERS[power] if power >= 0 else value / _POWERS[-power]
        quality = NEAR
    return -value if negative else value, quality, i


@njit(cache=True, nogil=True)
def _long_number(text, begin, point, end):
    """The first 18 digits that count, and the power of ten that they stand for."""
    digits, n_digits, power = np.int64(0), 0, 0
    for i in range(begin, end):
        if i == point:
            continue
        if n_digits < 18:
            digits = digits * 10 + (np.int64(text[i]) - _ZERO)
            n_digits += 1 if digits > 0 else 0
            power -= i > point
        else:
            power += i < point
    return digits, power


@njit(cache=True, nogil=True)
def is_utf8(text: Any, i: Any, stop: Any) -> bool:
    """Whether bytes are well-formed UTF-8 (The Unicode Standard, table 3-7)."""
    while i < stop:
        c = text[i]
        if c < 0x80:
            i += 1
            continue
        low, high = 0x80, 0xBF
        if 0xC2 <= c <= 0xDF:
            more = 1
        elif 0xE0 <= c <= 0xEF:
            more = 2
            if c == 0xE0:
                low = 0xA0
            elif c == 0xED:
                high = 0x9F
        elif 0xF0 <= c <= 0xF4:
            more = 3
            if c == 0xF0:
                low = 0x90
            elif c == 0xF4:
                high = 0x8F
        else:
            return False
        if i + more >= stop:
            return False
        for k in range(1, more + 1):
            if not low <= text[i + k] <= high:
                return False
            low, high = 0x80, 0xBF
        i += more + 1
    return True
