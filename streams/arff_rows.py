"""The rows of an ARFF file, from bytes to arrays."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from streams.arff_header import take_quoted
from streams.arff_layout import BITS, NUMBERS, SKIPPED, Layout
from streams.batch import COMPLETE, PARTIAL, UNLABELLED, Batch, Rows
from streams.numerals import EXACT, NEAR, WRONG, is_utf8, read_number

MAX_ROWS = 4096
"""Rows that one call of the kernel makes room for."""

DONE, COUNT, BROKEN, HUGE, UNKNOWN, EMPTY, QUOTE, LABEL, INDEX, ORDER, BRACE, WEIGHT, NOT_TEXT = range(13)
"""How the kernel stopped: at the end of its room or text, or at a row it cannot read, by what is wrong with that."""

REPORT = np.dtype(
    [(name, np.int64) for name in ("status", "rows", "position", "lines", "cells", "labels", "unknown", "odd")]
    + [(name, np.int64) for name in ("column", "token", "token_end")]
)
"""How far the kernel came, and the place of what stopped it. ``position`` and ``lines`` lie before the bad row."""

ODD = np.dtype([("row", np.int64), ("cell", np.int64), ("token", np.int64), ("token_end", np.int64)])
"""A number whose rounding needs more than 64 bits to decide. ``cell`` is a feature (dense) or the index of a value
(sparse); -1 is the row's weight."""

_NEWLINE, _RETURN, _SPACE, _TAB, _COMMA, _PERCENT, _BACKSLASH = 10, 13, 32, 9, 44, 37, 92
_OPEN, _CLOSE, _QUESTION, _QUOTE, _DOUBLE_QUOTE, _ZERO, _NINE = 123, 125, 63, 39, 34, 48, 57


class RowReader:
    """Reads rows, laid out as ``layout`` says, from bytes into batches.

    Attributes
    ----------
    status
        How the last reading stopped: ``DONE``, or what is wrong with the row that stopped it.
    position, n_lines
        Where the next row, or the one that is wrong, begins; lines that lie before it.
    column
        The column that is wrong.
    token, token_end
        The bytes that are wrong.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        slots = np.full(1 << (2 * len(layout.category_columns) + 1).bit_length(), -1, np.int32)
        names = (layout.category_columns, layout.category_starts, layout.category_text)
        _fill_slots(slots, *names)
        self._table = (slots, *names, layout.category_values)
        # Room for one row at the least in which every value, and the weight, is odd.
        self._odd = np.zeros(2 * len(layout.columns) + 64, ODD)
        self._report = np.zeros(1, REPORT)

    def read(self, text: NDArray[np.uint8], begin: int, end: int, wanted: int) -> Batch:
        """Read rows, at most ``wanted``, from ``text[begin:end]``, which ends with a whole line.

        Parameters
        ----------
        text
            uint8 (n,), not changed.

        Returns
        -------
        The rows before the first that cannot be read, or as many as there was room for; offsets and source are not set.
        """
        layout, schema = self._layout, self._layout.schema
        n_bytes = end - begin
        room = min(wanted, MAX_ROWS, n_bytes // 2 + 1)
        if not schema.sparse:
            room = min(room, n_bytes // (2 * len(layout.columns)) + 64)
        # A value and what parts it from the next take two bytes at least.
        most = n_bytes // 2 + 1
        x = np.empty((0, 0) if schema.sparse else (room, schema.n_features), np.float32)
        indices = np.empty(most if schema.sparse else 0, np.int32)
        data = np.empty(len(indices), np.float32)
        pointers = np.zeros((3, room + 1), np.int64)
        labels = np.empty(most + room * len(layout.label_states), np.int32)
        unknown = np.empty(len(labels), np.int32)
        weight = np.empty(room, np.float64)
        payload = np.empty((room, 2), np.int64)
        into = (x, pointers, indices, data, labels, unknown, weight, payload, self._odd)
        _read_rows(
            text, begin, end, layout.columns, layout.absent, layout.label_states, self._table, into, self._report
        )
        report = self._report[0]
        self.status, self.position, self.n_lines, self.column, self.token, self.token_end = (
            int(report[what]) for what in ("status", "position", "lines", "column", "token", "token_end")
        )
        n, n_cells, n_labels, n_unknown, n_odd = (
            int(report[what]) for what in ("rows", "cells", "labels", "unknown", "odd")
        )
        for row, cell, token, token_end in self._odd[:n_odd].tolist():
            number = float(text[token:token_end].tobytes())
            if cell < 0:
                weight[row] = number
            elif schema.sparse:
                data[cell] = number
            else:
                x[row, cell] = number
        features: NDArray[np.float32] | Rows
        if schema.sparse:
            features = Rows(pointers[0, : n + 1], indices[:n_cells].copy(), data[:n_cells].copy())
        else:
            features = x[:n] if 2 * n > room else x[:n].copy()
        state, known = _known(Rows(pointers[2, : n + 1], unknown[:n_unknown]), schema.n_labels)
        return Batch(
            schema,
            features,
            Rows(pointers[1, : n + 1], labels[:n_labels].copy()),
            state,
            known,
            weight=None if (weight[:n] == 1).all() else weight[:n].copy(),
            payload=[_string(text, *bounds) for bounds in payload[:n].tolist()] if layout.payload >= 0 else None,
        )


def _known(unknown: Rows, n_labels: int) -> tuple[NDArray[np.uint8], Rows | None]:
    """State of every event's labels, and the known cells of partly labelled ones, from the cells that are unknown."""
    count = np.diff(unknown.indptr)
    state = np.full(len(count), COMPLETE, np.uint8)
    if not count.any():
        return state, None
    state[count > 0] = PARTIAL
    state[count == n_labels] = UNLABELLED
    partly = np.flatnonzero(state == PARTIAL)
    if not len(partly):
        return state, None
    cells = np.ones((len(partly), n_labels), bool)
    listed = unknown.take(partly)
    cells[np.repeat(np.arange(len(partly)), np.diff(listed.indptr)), listed.indices] = False
    indptr = np.zeros(len(count) + 1, np.int64)
    indptr[partly + 1] = cells.sum(1)
    return state, Rows(np.cumsum(indptr), np.nonzero(cells)[1].astype(np.int32))


def _string(text: NDArray[np.uint8], token: int, token_end: int) -> str | None:
    """The string between these bytes, or None for a missing one."""
    if token == token_end == 0:
        return None
    value = text[token:token_end].tobytes().decode()
    quote = chr(text[token - 1]) if token else ""
    return take_quoted(quote + value + quote)[0] if quote in ("'", '"') and "\\" in value else value


@njit(cache=True, nogil=True)
def _fill_slots(slots, column, start, text):
    """Put every category into a hash table of open addresses that is at most half full."""
    mask = len(slots) - 1
    for k in range(len(column)):
        at = _hash(text, start[k], start[k + 1], False, column[k]) & mask
        while slots[at] >= 0:
            at = (at + 1) & mask
        slots[at] = k


@njit(cache=True, nogil=True)
def _letter(text, i, escaped):
    """The byte that stands at ``i``, and where the next one begins."""
    c = text[i]
    if escaped and c == _BACKSLASH:
        i += 1
        c = text[i]
        if c == 110:
            c = _NEWLINE
        elif c == 114:
            c = _RETURN
        elif c == 116:
            c = _TAB
    return c, i + 1


@njit(cache=True, nogil=True)
def _hash(text, start, stop, escaped, column):
    """FNV-1a of a name within its column, stirred once more because the names of many columns are alike and short."""
    value = np.uint64(14695981039346656037) ^ (np.uint64(column) * np.uint64(0x9E3779B97F4A7C15))
    i = start
    while i < stop:
        c, i = _letter(text, i, escaped)
        value = (value ^ np.uint64(c)) * np.uint64(1099511628211)
    value = (value ^ (value >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    return np.int64(value >> np.uint64(32))


@njit(cache=True, nogil=True)
def _find(text, start, stop, escaped, column, table):
    """The value of the category with this name in this column, or -1."""
    slots, owners, starts, names, values = table
    mask = len(slots) - 1
    at = _hash(text, start, stop, escaped, column) & mask
    while slots[at] >= 0:
        k = slots[at]
        if owners[k] == column:
            i, j = start, starts[k]
            same = True
            while same and i < stop:
                c, i = _letter(text, i, escaped)
                same = j < starts[k + 1] and names[j] == c
                j += 1
            if same and j == starts[k + 1]:
                return np.float64(values[k])
        at = (at + 1) & mask
    return -1.0


@njit(cache=True, nogil=True, forceinline=True)
def _after_blanks(text, i, end):
    while i < end and (text[i] == _SPACE or text[i] == _TAB or text[i] == _RETURN):
        i += 1
    return i


@njit(cache=True, nogil=True, forceinline=True)
def _ends_value(text, i, end, braced):
    """Whether a value that reached ``i`` ends there."""
    return i >= end or text[i] == _COMMA or text[i] == _NEWLINE or (braced and text[i] == _CLOSE)


@njit(cache=True, nogil=True, forceinline=True)
def _starts_comment(text, i, end):
    """Whether a ``%`` at ``i`` begins a comment: one inside a word does not."""
    if i >= end or text[i] != _PERCENT:
        return False
    c = text[i - 1] if i > 0 else _NEWLINE
    return c in (_SPACE, _TAB, _COMMA, _CLOSE, _NEWLINE, _QUOTE, _DOUBLE_QUOTE)


@njit(cache=True, nogil=True)
def _bare_end(text, i, end, braced):
    """End of the unquoted value that begins at ``i``, without the blanks behind it, and where reading goes on."""
    last = i
    while not _ends_value(text, i, end, braced) and not _starts_comment(text, i, end):
        if not (text[i] == _SPACE or text[i] == _TAB or text[i] == _RETURN):
            last = i + 1
        i += 1
    return last, i


@njit(cache=True, nogil=True)
def _quoted_end(text, i, end):
    """Where the quote that opens at ``i`` closes (-1: not on its line), and whether there are escapes in it."""
    quote, escaped = text[i], False
    i += 1
    while i < end and text[i] != quote and text[i] != _NEWLINE:
        if text[i] == _BACKSLASH and i + 1 < end and text[i + 1] != _NEWLINE:
            escaped = True
            i += 1
        i += 1
    return (i if i < end and text[i] == quote else -1), escaped


@njit(cache=True, nogil=True, forceinline=True)
def _value(text, i, end, braced, column, kind, table):
    """The value of a column that begins at ``i``.

    Returns ``(status, missing, value, quality, begin, stop, next)``; the bytes of the value are ``text[begin:stop]``.
    """
    begin = i
    if i < end and text[i] == _QUESTION:
        j = _after_blanks(text, i + 1, end)
        if _ends_value(text, j, end, braced) or _starts_comment(text, j, end):
            return DONE, True, 0.0, EXACT, begin, i + 1, j
    if (
        kind == BITS
        and i < end
        and (text[i] == _ZERO or text[i] == _ZERO + 1)
        and _ends_value(text, i + 1, end, braced)
    ):
        return DONE, False, np.float64(np.int64(text[i]) - _ZERO), EXACT, begin, i + 1, i + 1
    if kind == NUMBERS:
        value, quality, j = read_number(text, i, end)
        after = _after_blanks(text, j, end)
        if quality != WRONG and (_ends_value(text, after, end, braced) or _starts_comment(text, after, end)):
            return DONE, False, value, quality, begin, j, after
        stop, after = _bare_end(text, i, end, braced)
        return (EMPTY if stop == begin else BROKEN), False, 0.0, EXACT, begin, stop, after
    escaped = False
    if i < end and (text[i] == _QUOTE or text[i] == _DOUBLE_QUOTE):
        stop, escaped = _quoted_end(text, i, end)
        if stop < 0:
            return QUOTE, False, 0.0, EXACT, begin, begin, i
        begin = i + 1
        after = _after_blanks(text, stop + 1, end)
        if not (_ends_value(text, after, end, braced) or _starts_comment(text, after, end)):
            return QUOTE, False, 0.0, EXACT, begin, stop, after
    else:
        stop, after = _bare_end(text, i, end, braced)
        if stop == begin:
            return EMPTY, False, 0.0, EXACT, begin, stop, after
    if kind == SKIPPED:
        status = DONE if is_utf8(text, begin, stop) else NOT_TEXT
        return status, False, 0.0, EXACT, begin, stop, after
    value = _find(text, begin, stop, escaped, column, table)
    return (DONE if value >= 0 else UNKNOWN), False, value, EXACT, begin, stop, after


@njit(cache=True, nogil=True)
def _read_rows(text, begin, end, columns, absent, label_states, table, into, report):
    """Read rows from ``text[begin:end]``, which ends with a line, until the text or the room of ``weight`` ends.

    A row in braces lists its columns by number, another one has them all; each kind may stand among the other. A row
    that cannot be read stops the kernel, leaves nothing behind and is described in ``report``.
    """
    x, pointers, indices, data, labels, unknown, weight, payload, odd = into
    sparse = x.shape[1] == 0
    # Taken out here, because a field of a structured array costs a reference count each time it is looked up.
    kinds, features, label_columns, payloads = columns["kind"], columns["feature"], columns["label"], columns["payload"]
    n_columns = len(columns)
    row, lines, n_cells, n_labels, n_unknown, n_odd = 0, 0, 0, 0, 0, 0
    status, column, token, token_end = DONE, 0, 0, 0
    position = begin
    state = label_states.copy()
    while position < end and row < len(weight) and n_odd + n_columns < len(odd):
        i = _after_blanks(text, position, end)
        if i >= end or text[i] == _NEWLINE or text[i] == _PERCENT:
            while i < end and text[i] != _NEWLINE:
                i += 1
            position = min(i + 1, end)
            lines += 1
            continue
        cell, label_cell, unknown_cell, odd_cell = n_cells, n_labels, n_unknown, n_odd
        braced = text[i] == _OPEN
        by_state = braced and len(label_states) > 0
        weight[row] = 1.0
        payload[row, 0] = payload[row, 1] = 0
        column = -1
        if braced:
            i = _after_blanks(text, i + 1, end)
            # Loops, because assigning a slice compiles the making of its error message too: five seconds.
            if not sparse:
                for feature in range(len(absent)):
                    x[row, feature] = absent[feature]
            if by_state:
                for label in range(len(state)):
                    state[label] = label_states[label]
        while not (braced and column < 0 and i < end and text[i] == _CLOSE):
            i = _after_blanks(text, i, end)
            if braced:
                token = i
                number = np.int64(0)
                while i < end and _ZERO <= text[i] <= _NINE and number < n_columns:
                    number = number * 10 + (np.int64(text[i]) - _ZERO)
                    i += 1
                if i == token or number >= n_columns or i >= end or not (text[i] == _SPACE or text[i] == _TAB):
                    status = INDEX
                    token_end = _bare_end(text, token, end, True)[0]
                    break
                if number <= column:
                    status, token_end = ORDER, i
                    break
                column = int(number)
                i = _after_blanks(text, i, end)
            else:
                column += 1
                if column == n_columns:
                    if i >= end or text[i] != _OPEN:
                        status = COUNT
                    break
            kind = kinds[column]
            # Most values are short numbers with a comma behind them; by this shorter way they take half the time.
            value, quality, j = 0.0, WRONG, i
            if kind == NUMBERS:
                value, quality, j = read_number(text, i, end)
            elif kind == BITS and i < end and (text[i] == _ZERO or text[i] == _ZERO + 1):
                value, quality, j = np.float64(np.int64(text[i]) - _ZERO), EXACT, i + 1
            if quality == EXACT and j < end and text[j] == _COMMA:
                missing, token, token_end, i = False, i, j, j
            else:
                status, missing, value, quality, token, token_end, i = _value(text, i, end, braced, column, kind, table)
            if status != DONE:
                break
            label = label_columns[column]
            if label >= 0:
                if not missing and value != 0.0 and value != 1.0:
                    status = LABEL
                    break
                if by_state:
                    state[label] = 2 if missing else np.uint8(value)
                elif missing:
                    unknown[unknown_cell] = label
                    unknown_cell += 1
                elif value == 1.0:
                    labels[label_cell] = label
                    label_cell += 1
            elif kind == SKIPPED:
                if not sparse:
                    x[row, features[column]] = np.nan
                if payloads[column] and not missing:
                    payload[row, 0], payload[row, 1] = token, token_end
            else:
                narrow = np.float32(np.nan) if missing else np.float32(value)
                above = np.float32(value * (1 + 2.0**-50)) if quality == NEAR else narrow
                if np.isinf(above):
                    status = HUGE
                    break
                feature = features[column]
                if quality == NEAR and above != np.float32(value * (1 - 2.0**-50)):
                    odd["row"][odd_cell] = row
                    odd["cell"][odd_cell] = cell if sparse else feature
                    odd["token"][odd_cell], odd["token_end"][odd_cell] = token, token_end
                    odd_cell += 1
                    # Not 0, so that a sparse row has a cell that can be set.
                    narrow = np.float32(1)
                if not sparse:
                    x[row, feature] = narrow
                elif narrow != 0.0:
                    indices[cell], data[cell] = feature, narrow
                    cell += 1
            if i < end and text[i] == _COMMA:
                i += 1
                continue
            if braced:
                if i >= end or text[i] != _CLOSE:
                    status, token, token_end = BRACE, i, i
            elif column < n_columns - 1:
                status, column = COUNT, column + 1
            break
        if status != DONE:
            break
        if braced:
            i = _after_blanks(text, i + 1, end)
            if i < end and text[i] == _COMMA:
                i = _after_blanks(text, i + 1, end)
        if i < end and text[i] == _OPEN:
            token = _after_blanks(text, i + 1, end)
            value, quality, token_end = read_number(text, token, end)
            i = _after_blanks(text, token_end, end)
            if quality == WRONG or not 0.0 < value < np.inf or i >= end or text[i] != _CLOSE:
                status = WEIGHT
                token_end = _bare_end(text, token, end, True)[0]
                break
            weight[row] = value
            if quality == NEAR:
                odd["row"][odd_cell], odd["cell"][odd_cell] = row, -1
                odd["token"][odd_cell], odd["token_end"][odd_cell] = token, token_end
                odd_cell += 1
            i = _after_blanks(text, i + 1, end)
        if i < end and text[i] != _NEWLINE and not _starts_comment(text, i, end):
            status, token, token_end = BRACE, i, _bare_end(text, i, end, False)[0]
            break
        if by_state:
            for label in range(len(state)):
                if state[label] == 2:
                    unknown[unknown_cell] = label
                    unknown_cell += 1
                elif state[label] == 1:
                    labels[label_cell] = label
                    label_cell += 1
        while i < end and text[i] != _NEWLINE:
            i += 1
        position = min(i + 1, end)
        lines += 1
        row += 1
        n_cells, n_labels, n_unknown, n_odd = cell, label_cell, unknown_cell, odd_cell
        pointers[0, row], pointers[1, row], pointers[2, row] = n_cells, n_labels, n_unknown
    first = report[0]
    first["status"] = status
    first["rows"], first["position"], first["lines"] = row, position, lines
    first["cells"], first["labels"], first["unknown"], first["odd"] = n_cells, n_labels, n_unknown, n_odd
    first["column"], first["token"], first["token_end"] = column, token, token_end
