"""Hashed words and document frequencies, word by word, as the encoders' documentation says it."""

import math
import re
import zlib


def hashed(text, dim, words=2, characters=0, norm=True):
    """The cells of a text that is clean: column to value."""
    found = re.findall(r"\w+(?:['’]\w+)?|[^\w\s]", text)
    features = []
    for n in range(1, words + 1):
        features += [" ".join(found[i : i + n]) for i in range(len(found) - n + 1)]
    if characters:
        for word in found:
            marked = "\x02" + word + "\x03"
            for n in range(3, characters + 1):
                features += ["\x00" + marked[i : i + n] for i in range(len(marked) - n + 1)]
    counts = {}
    for feature in features:
        column = zlib.crc32(feature.encode()) % dim
        counts[column] = counts.get(column, 0) + 1
    cells = {column: 1 + math.log(count) for column, count in counts.items()}
    return unit(cells) if norm else cells


def weighed(texts):
    """The cells of texts, in order, weighed by how rare they have been."""
    seen, result = [], []
    for cells in texts:
        seen.append(set(cells))
        n = len(seen)
        result.append(
            unit({j: v * (math.log((1 + n) / (1 + sum(j in text for text in seen))) + 1) for j, v in cells.items()})
        )
    return result


def unit(cells):
    length = math.sqrt(sum(value**2 for value in cells.values()))
    return {column: value / length for column, value in cells.items()}
