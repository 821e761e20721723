"""Where the records of a delimited text lie: lines, unless a quoted field goes on over their ends."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

MAX_QUOTED = 1 << 20
"""Bytes within which a quote must be closed; otherwise a single one would swallow the rest of the file."""

_NEWLINE, _RETURN, _SPACE, _QUOTE = 10, 13, 32, 34


class Records(NamedTuple):
    """The whole records of a piece of text.

    ``starts`` and ``ends`` (behind the line end) are places in the buffer, ``lines`` of shape (n, 2) the line ends from
    the beginning of the piece up to both, ``closed`` whether every quote is closed. The piece ends at ``stop``, behind
    the last record and blank lines after it, with ``n_lines`` line ends in it. ``quoted``: whether it has any quotes.
    """

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    lines: NDArray[np.int64]
    closed: NDArray[np.bool_]
    stop: int
    n_lines: int
    quoted: bool

    def __len__(self) -> int:
        return len(self.starts)


def find_records(
    text: NDArray[np.uint8], begin: int, stop: int, *, ended: bool, delimiter: str, most: int | None = None
) -> Records:
    """The whole records in ``text[begin:stop]``, at most ``most``; at the end of the text one needs no line end.

    Notes
    -----
    A quote opens a field only at its beginning; inside, two of them are one, and a line end is a character. Lines of
    nothing but blanks are passed over. A quote that is not closed within ``MAX_QUOTED`` bytes, or at all, makes a
    record that ends with the line it began on.
    """
    ends_of_lines = np.flatnonzero(text[begin:stop] == _NEWLINE) + begin + 1
    quoted = bool((text[begin:stop] == _QUOTE).any())
    if most is None and not quoted:
        records = _plain(text, begin, stop, ended, ends_of_lines)
        if records is not None:
            return records
    room = len(ends_of_lines) + 1 if most is None else min(len(ends_of_lines) + 1, most)
    starts, ends, lines = np.empty(room, np.int64), np.empty(room, np.int64), np.empty((room, 2), np.int64)
    closed = np.empty(room, np.bool_)
    n, place, n_lines = _find(text, begin, stop, ended, ord(delimiter), MAX_QUOTED, starts, ends, lines, closed)
    return Records(starts[:n], ends[:n], lines[:n], closed[:n], int(place), int(n_lines), quoted)


def _plain(text: NDArray[np.uint8], begin: int, stop: int, ended: bool, ends: NDArray[np.int64]) -> Records | None:
    """The records of a piece without quotes, which are its lines; None if one may be blank."""
    n_lines = len(ends)
    if ended and (n_lines == 0 or ends[-1] < stop) and begin < stop:
        ends = np.append(ends, stop)
    starts = np.concatenate([np.full(min(len(ends), 1), begin), ends[:-1]])
    if (text[starts] <= _SPACE).any():
        return None
    before = np.arange(len(ends))
    lines = np.stack([before, np.minimum(before + 1, n_lines)], axis=1)
    place = int(ends[-1]) if len(ends) else begin
    return Records(starts, ends, lines, np.ones(len(ends), np.bool_), place, n_lines, False)


@njit(cache=True, nogil=True)
def _find(text, begin, stop, ended, delimiter, limit, starts, ends, lines, closed):
    n, line, place = 0, 0, begin
    while place < stop and n < len(starts):
        i = place
        while i < stop and (text[i] == _SPACE or text[i] == _RETURN):
            i += 1
        if i == stop:
            if ended:
                place = stop
            break
        if text[i] == _NEWLINE:
            line += 1
            place = i + 1
            continue
        i = place
        end, first_end, inner, before = -1, -1, 0, 0
        quoted, opened, is_closed, waiting = False, -1, True, False
        while i < stop:
            c = text[i]
            if not quoted:
                if c == _NEWLINE:
                    end = i + 1
                    break
                if c == _QUOTE and (i == place or text[i - 1] == delimiter) and is_closed:
                    quoted, opened, first_end, before = True, i, -1, inner
            elif c == _QUOTE:
                if i + 1 == stop and not ended:
                    waiting = True
                    break
                if i + 1 < stop and text[i + 1] == _QUOTE:
                    i += 1
                else:
                    quoted = False
            else:
                if c == _NEWLINE:
                    inner += 1
                    if first_end < 0:
                        first_end = i + 1
                if i - opened >= limit:
                    is_closed = False
                    if first_end >= 0:
                        break
                    # Without a line end so far, the record goes on to the next one.
                    quoted = False
            i += 1
        if waiting or (end < 0 and is_closed and not ended):
            break
        if end < 0:
            if quoted:
                is_closed = False
            elif not ended and first_end < 0:
                break
            end = first_end if not is_closed and first_end >= 0 else i
        if not is_closed:
            inner = before
        starts[n], ends[n], closed[n] = place, end, is_closed
        lines[n, 0] = line
        line += inner + (1 if text[end - 1] == _NEWLINE else 0)
        lines[n, 1] = line
        n += 1
        place = end
    return n, place, line


def split_fields(record: str, delimiter: str) -> list[str]:
    """The fields of one record, without their quotes.

    Examples
    --------
    >>> split_fields('1,"a, ""b"" c",', ",")
    ['1', 'a, "b" c', '']
    """
    if '"' not in record:
        return record.split(delimiter)
    fields: list[str] = []
    letters: list[str] = []
    quoted, i, begin = False, 0, 0
    while i < len(record):
        c = record[i]
        if quoted:
            if c != '"':
                letters.append(c)
            elif record[i + 1 : i + 2] == '"':
                letters.append(c)
                i += 1
            else:
                quoted = False
        elif c == delimiter:
            fields.append("".join(letters))
            letters, begin = [], i + 1
        elif c == '"' and i == begin:
            quoted = True
        else:
            letters.append(c)
        i += 1
    return [*fields, "".join(letters)]
