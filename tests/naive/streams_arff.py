"""The rows of an ARFF file read one character after the other, as the format's description has it."""

import math
import re

import numpy as np

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_BLANK = " \t\r"


class BadRowError(Exception):
    pass


def read_row(line, attributes, labels, *, sparse):
    """One row as ``(features, present, unknown, weight)``; None for a blank line or comment.

    ``attributes`` are pairs of kind (``number``, ``category``, ``text``) and categories. ``features`` maps the number
    of a feature to its value; text is not in it.
    """
    line = line.rstrip("\n")
    text = line.strip(_BLANK)
    if not text or text.startswith("%"):
        return None
    tokens, weight = _tokens(line)
    braced = text.startswith("{")
    cells = {}
    if braced:
        last = -1
        for token in tokens:
            match = re.fullmatch(r"(\d+)[ \t]+(.+)", token, re.S)
            if not match or int(match[1]) >= len(attributes) or int(match[1]) <= last:
                raise BadRowError
            last = int(match[1])
            cells[last] = match[2]
    else:
        if len(tokens) != len(attributes):
            raise BadRowError
        cells = dict(enumerate(tokens))
    features, present, unknown = {}, [], []
    feature = label = 0
    for j, (kind, categories) in enumerate(attributes):
        is_label = j in labels
        value = _cell(cells.get(j), kind, categories, sparse and not is_label)
        if is_label:
            if value is not None and math.isnan(value):
                unknown.append(label)
            elif value == 1:
                present.append(label)
            elif value != 0:
                raise BadRowError
            label += 1
        else:
            if kind != "text":
                with np.errstate(over="ignore"):
                    features[feature] = np.float32(value)
                if np.isinf(features[feature]):
                    raise BadRowError
            feature += 1
    return features, present, unknown, weight


def _cell(token, kind, categories, sparse):
    binary = kind == "category" and set(categories) <= {"0", "1"}
    as_number = binary and not (sparse and categories[0] == "1")
    if token is None:
        return float(categories[0]) if as_number else 0.0
    if token == "?":
        return math.nan
    if kind == "number":
        if not _NUMBER.fullmatch(token):
            raise BadRowError
        return float(token)
    name = _unquoted(token)
    if kind == "text":
        return None
    if name not in categories:
        raise BadRowError
    return float(name) if as_number else float(categories.index(name))


def _unquoted(token):
    if token[0] not in "'\"":
        return token
    letters, i = [], 1
    while i < len(token) - 1:
        if token[i] == "\\":
            i += 1
            letters.append({"n": "\n", "r": "\r", "t": "\t"}.get(token[i], token[i]))
        else:
            letters.append(token[i])
        i += 1
    return "".join(letters)


def _tokens(line):
    """Values of a row, each with the number before it in a row with braces, and the weight behind them."""
    i = len(line) - len(line.lstrip(_BLANK))
    braced = line[i] == "{"
    i += braced
    tokens, weight = [], 1.0
    while True:
        while i < len(line) and line[i] in _BLANK:
            i += 1
        if braced and not tokens and i < len(line) and line[i] == "}":
            break
        if not braced and i < len(line) and line[i] == "{":
            break
        start = end = i
        quote = None
        while i < len(line):
            c = line[i]
            if quote:
                if c == "\\" and i + 1 < len(line):
                    i += 1
                elif c == quote:
                    quote = None
            elif c in "'\"" and not line[start:i].strip(_BLANK + "0123456789" * braced):
                quote = c
            elif c == "," or (braced and c == "}") or _comment(line, i):
                break
            i += 1
            if c not in _BLANK or quote:
                end = i
        if quote:
            raise BadRowError
        token = line[start:end]
        value = re.sub(r"^\d+[ \t]+", "", token) if braced else token
        if not value:
            raise BadRowError
        if value[0] in "'\"" and not re.fullmatch(r"'(\\.|[^'\\])*'|\"(\\.|[^\"\\])*\"", value):
            raise BadRowError
        tokens.append(token)
        if i < len(line) and line[i] == ",":
            i += 1
            continue
        break
    if braced:
        if i >= len(line) or line[i] != "}":
            raise BadRowError
        i += 1
    rest = re.sub(r"(^|(?<=[\s}]))%.*", "", line[i:]).strip(_BLANK)
    match = re.fullmatch(r",?[ \t\r]*(\{[ \t\r]*([^ \t\r}]*)[ \t\r]*\})?", rest) if braced else None
    if not braced:
        match = re.fullmatch(r"()(\{[ \t\r]*([^ \t\r}]*)[ \t\r]*\})?", rest)
        found = match[3] if match else None
    else:
        found = match[2] if match else None
    if not match:
        raise BadRowError
    if found is not None:
        if not _NUMBER.fullmatch(found) or not 0 < float(found) < math.inf:
            raise BadRowError
        weight = float(found)
    return tokens, weight


def _comment(line, i):
    return line[i] == "%" and (i == 0 or line[i - 1] in " \t,}'\"")
