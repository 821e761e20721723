"""The rows of sparse text read word by word, as the formats' descriptions have it."""

import math
import re

import numpy as np

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class BadRowError(Exception):
    pass


def read_row(line, *, base, n_features=None, n_labels=None):
    """One row as ``(labels, features)``, texts and pairs of index and float32 value as written; None for no row."""
    words = [word for word in re.split(r"[ \t\r\n]+", line) if word]
    for place, word in enumerate(words):
        if word.startswith("#"):
            words = words[:place]
            break
    if not words:
        return None
    labels = []
    if ":" not in words[0]:
        listed = words.pop(0)
        labels = [] if listed == "-1" else [_label(text, n_labels) for text in listed.split(",")]
    features = [_feature(word, base, n_features) for word in words]
    for names in (labels, [index for index, _ in features]):
        if len(set(names)) < len(names):
            raise BadRowError
    return labels, features


def _label(text, n_labels):
    if re.match(r"\+[0-9]", text):
        text = text[1:]
    if n_labels is None:
        if not text:
            raise BadRowError
        return text
    if not re.fullmatch("[0-9]+", text) or int(text) >= n_labels:
        raise BadRowError
    return str(int(text))


def _feature(word, base, n_features):
    index, colon, value = word.partition(":")
    if not colon or not re.fullmatch("[0-9]{1,18}", index) or int(index) < base:
        raise BadRowError
    if n_features is not None and int(index) >= base + n_features:
        raise BadRowError
    if not _NUMBER.fullmatch(value):
        raise BadRowError
    with np.errstate(over="ignore"):
        number = np.float32(float(value))
    if math.isinf(number):
        raise BadRowError
    return int(index), number
