"""Rows of sparse text, ``label,label index:value index:value``, from bytes to arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from streams.batch import Rows
from streams.numbering import FULL, IndexNumbers, TextNumbers, forget_indices, forget_texts, number_index, number_text
from streams.numerals import NEAR, WRONG, is_utf8, read_number

MAX_ROWS = 4096
"""Rows that one call of the kernel makes room for."""

DONE, LABEL, REPEATED_LABEL, INDEX, REPEATED_INDEX, BROKEN, HUGE = range(7)
"""How the kernel stopped: at the end of its room or text, or at a row it cannot read, by what is wrong with that."""

_FULL_FEATURES, _FULL_LABELS, _FULL_ODD = range(7, 10)
"""How the kernel stopped at a row for which a table has no room."""

MOST_DIGITS = 18
"""An index of more digits would not fit into 64 bits."""

REPORT = np.dtype(
    [(name, np.int64) for name in ("status", "rows", "position", "lines", "cells", "labels", "odd", "token")]
    + [("token_end", np.int64)]
)
"""How far the kernel came, and the place of what stopped it. ``position`` and ``lines`` lie before the bad row."""

ODD = np.dtype([("row", np.int64), ("column", np.int64), ("token", np.int64), ("token_end", np.int64)])
"""A number whose rounding needs more than 64 bits to decide."""

_NEWLINE, _RETURN, _SPACE, _TAB, _COMMA, _HASH, _COLON, _PLUS, _MINUS = 10, 13, 32, 9, 44, 35, 58, 43, 45
_ZERO, _NINE = 48, 57


class SparseRowReader:
    """Reads rows of sparse text, and numbers the features and labels that they name.

    Parameters
    ----------
    base
        Index of the file's first feature, 0 or 1.
    n_features, n_labels
        How many there are: a feature's column is then its index less ``base``, and a label's text its number. None:
        they are numbered in the order in which rows that can be read bring them.

    Attributes
    ----------
    features, labels
        Those that are numbered in this way: indices as the file has them, and texts.
    status
        How the last reading stopped: ``DONE``, or what is wrong with the row that stopped it.
    position, n_lines
        Where the next row, or the one that is wrong, begins; lines that lie before it.
    token, token_end
        The bytes that are wrong.
    """

    def __init__(self, base: int, n_features: int | None, n_labels: int | None) -> None:
        self.features, self.labels = IndexNumbers(), TextNumbers()
        declared = (-1 if n is None else n for n in (n_features, n_labels))
        self._columns = np.array([base, *declared], np.int64)
        self._odd = np.zeros(64, ODD)
        self._report = np.zeros(1, REPORT)
        self._cells = np.zeros(0, np.int32), np.zeros(0, np.float32), np.zeros(0, np.int32)

    def read(self, text: NDArray[np.uint8], begin: int, end: int, wanted: int) -> tuple[Rows, Rows]:
        """Read rows, at most ``wanted``, from ``text[begin:end]``, which ends with a whole line.

        Parameters
        ----------
        text
            uint8 (n,), not changed.

        Returns
        -------
        Features and labels of the rows before the first that cannot be read, or of as many as there was room for:
        perhaps of none, where the next call finds more room.
        """
        n_bytes = end - begin
        # A label and what parts it from the next take two bytes at least, a feature with its value four.
        if len(self._cells[2]) < n_bytes // 2 + 1:
            n = n_bytes // 4 + 1
            self._cells = np.empty(n, np.int32), np.empty(n, np.float32), np.empty(n_bytes // 2 + 1, np.int32)
        pointers = np.zeros((2, min(wanted, MAX_ROWS, n_bytes // 2 + 1) + 1), np.int64)
        tables, into = (self.features.table, self.labels.table), (pointers, *self._cells, self._odd)
        _read_rows(text, begin, end, self._columns, tables, into, self._report)
        report = self._report[0]
        self.status, self.position, self.n_lines, self.token, self.token_end = (
            int(report[what]) for what in ("status", "position", "lines", "token", "token_end")
        )
        n, n_cells, n_labels, n_odd = (int(report[what]) for what in ("rows", "cells", "labels", "odd"))
        indices, data, labels = self._cells
        data = data[:n_cells].copy()
        x = Rows(pointers[0, : n + 1], indices[:n_cells].copy(), data)
        for row, column, token, token_end in self._odd[:n_odd].tolist():
            data[x.indptr[row] + np.searchsorted(x.row(row), column)] = float(text[token:token_end].tobytes())
        if self.status >= _FULL_FEATURES:
            self._make_room()
        return x, Rows(pointers[1, : n + 1], labels[:n_labels].copy())

    def _make_room(self) -> None:
        if self.status == _FULL_FEATURES:
            self.features.grow()
        elif self.status == _FULL_LABELS:
            self.labels.grow()
        else:
            self._odd = np.zeros(2 * len(self._odd), ODD)
        self.status = DONE


@njit(cache=True, nogil=True, forceinline=True)
def _after_blanks(text, i, end):
    while i < end and (text[i] == _SPACE or text[i] == _TAB or text[i] == _RETURN):
        i += 1
    return i


@njit(cache=True, nogil=True, forceinline=True)
def _ends_word(text, i, end):
    """Whether a word that reached ``i`` ends there."""
    return i >= end or text[i] == _SPACE or text[i] == _NEWLINE or text[i] == _TAB or text[i] == _RETURN


@njit(cache=True, nogil=True)
def _word_end(text, i, end):
    while not _ends_word(text, i, end):
        i += 1
    return i


@njit(cache=True, nogil=True)
def _sort_row(columns, values, start, stop):
    """Sort cells by column (Shell, "A high-speed sorting procedure", CACM 1959): in place, whatever the length."""
    gap = np.int64(1)
    while 3 * gap + 1 < stop - start:
        gap = 3 * gap + 1
    while gap > 0:
        for i in range(start + gap, stop):
            column, value = columns[i], values[i]
            j = np.int64(i)
            while j >= start + gap and columns[j - gap] > column:
                columns[j], values[j] = columns[j - gap], values[j - gap]
                j -= gap
            columns[j], values[j] = column, value
        gap //= 3


@njit(cache=True, nogil=True)
def _read_label(text, start, stop, n_declared, table):
    """The number of the label ``text[start:stop]``, -1 if there is no room for it, -2 if it is none."""
    if start == stop:
        return np.int64(-2)
    if n_declared < 0:
        return number_text(text, start, stop, table) if is_utf8(text, start, stop) else np.int64(-2)
    number = np.int64(0)
    for i in range(start, stop):
        if not _ZERO <= text[i] <= _NINE or number >= n_declared:
            return np.int64(-2)
        number = number * 10 + (np.int64(text[i]) - _ZERO)
    return number if number < n_declared else np.int64(-2)


@njit(cache=True, nogil=True)
def _read_rows(text, begin, end, declared, tables, into, report):
    """Read rows from ``text[begin:end]``, which ends with a line, until the text or the room of ``pointers`` ends.

    A row that cannot be read, or for which there is no room, stops the kernel, leaves nothing behind and is described
    in ``report``.
    """
    base, most_features, most_labels = declared[0], declared[1], declared[2]
    feature_table, label_table = tables
    pointers, indices, data, labels, odd = into
    row, lines, n_cells, n_labels, n_odd = 0, 0, 0, 0, 0
    status, token, token_end = DONE, 0, 0
    position = begin
    while position < end and row < pointers.shape[1] - 1:
        i = _after_blanks(text, position, end)
        if i >= end or text[i] == _NEWLINE or text[i] == _HASH:
            while i < end and text[i] != _NEWLINE:
                i += 1
            position = min(i + 1, end)
            lines += 1
            continue
        features_before, labels_before = feature_table[0][0], label_table[0][0]
        cell, label_cell, odd_cell = n_cells, n_labels, n_odd

        # Labels, unless the first word is a feature.
        stop = i
        while not _ends_word(text, stop, end) and text[stop] != _COLON:
            stop += 1
        if _ends_word(text, stop, end):
            only_minus_one = stop - i == 2 and text[i] == _MINUS and text[i + 1] == _ZERO + 1
            ascending = True
            while i <= stop and not only_minus_one:
                token, token_end = i, i
                while token_end < stop and text[token_end] != _COMMA:
                    token_end += 1
                i = token_end + 1
                signed = token + 1 < token_end and text[token] == _PLUS and _ZERO <= text[token + 1] <= _NINE
                label = _read_label(text, token + 1 if signed else token, token_end, most_labels, label_table)
                if label < 0:
                    status = _FULL_LABELS if label == FULL else LABEL
                    break
                if label_cell > n_labels and labels[label_cell - 1] >= label:
                    ascending = False
                labels[label_cell] = label
                label_cell += 1
            if status == DONE and not ascending:
                # Labels have no values: they are moved along with themselves.
                _sort_row(labels, labels, n_labels, label_cell)
                for k in range(n_labels + 1, label_cell):
                    if labels[k] == labels[k - 1]:
                        status = REPEATED_LABEL
            i = stop

        ascending, zeros = True, 0
        while status == DONE:
            i = _after_blanks(text, i, end)
            if i >= end or text[i] == _NEWLINE or text[i] == _HASH:
                break
            token = i
            index = np.int64(0)
            while i < end and i - token < MOST_DIGITS and _ZERO <= text[i] <= _NINE:
                index = index * 10 + (np.int64(text[i]) - _ZERO)
                i += 1
            column = index - base
            named = token < i < end and text[i] == _COLON and column >= 0
            if not named or (most_features >= 0 and column >= most_features):
                status, token_end = INDEX, _word_end(text, token, end)
                break
            if most_features < 0:
                column = number_index(index, feature_table)
                if column == FULL:
                    status = _FULL_FEATURES
                    break
            token = i + 1
            value, quality, i = read_number(text, token, end)
            token_end = i
            if quality == WRONG or not _ends_word(text, i, end):
                status, token_end = BROKEN, _word_end(text, token, end)
                break
            narrow = np.float32(value)
            rounds_both_ways = False
            if quality == NEAR:
                above = np.float32(value * (1 + 2.0**-50))
                rounds_both_ways = above != np.float32(value * (1 - 2.0**-50))
                narrow = above if np.isinf(above) else narrow
            if np.isinf(narrow):
                status = HUGE
                break
            if rounds_both_ways:
                if odd_cell == len(odd):
                    status = _FULL_ODD
                    break
                odd["row"][odd_cell], odd["column"][odd_cell] = row, column
                odd["token"][odd_cell], odd["token_end"][odd_cell] = token, token_end
                odd_cell += 1
                # Not 0, so that its cell is there to be set.
                narrow = np.float32(1)
            if cell > n_cells and indices[cell - 1] >= column:
                ascending = False
            zeros += narrow == 0
            indices[cell], data[cell] = column, narrow
            cell += 1
        if status == DONE and not ascending:
            _sort_row(indices, data, n_cells, cell)
            for k in range(n_cells + 1, cell):
                if indices[k] == indices[k - 1]:
                    status = REPEATED_INDEX
        if status != DONE:
            forget_indices(features_before, feature_table)
            forget_texts(labels_before, label_table)
            break
        if zeros > 0:
            kept = n_cells
            for k in range(n_cells, cell):
                if data[k] != 0:
                    indices[kept], data[kept] = indices[k], data[k]
                    kept += 1
            cell = kept
        while i < end and text[i] != _NEWLINE:
            i += 1
        position = min(i + 1, end)
        lines += 1
        row += 1
        n_cells, n_labels, n_odd = cell, label_cell, odd_cell
        pointers[0, row], pointers[1, row] = n_cells, n_labels
    first = report[0]
    first["status"] = status
    first["rows"], first["position"], first["lines"] = row, position, lines
    first["cells"], first["labels"], first["odd"] = n_cells, n_labels, n_odd
    first["token"], first["token_end"] = token, token_end


@njit(cache=True, nogil=True)
def count_rows(text: Any, at_line_start: Any) -> tuple[int, bool]:
    """Rows that begin in ``text``, and whether the text behind it goes on before the first letter of a line."""
    n = 0
    for i in range(len(text)):
        c = text[i]
        if c == _NEWLINE:
            at_line_start = True
        elif at_line_start and c not in (_SPACE, _TAB, _RETURN):
            n += c != _HASH
            at_line_start = False
    return n, at_line_start
