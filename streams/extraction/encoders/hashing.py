"""Words of a text, hashed to a fixed number of columns."""

from __future__ import annotations

import re
from collections.abc import Iterator
from zlib import crc32

import numpy as np

from streams.extraction.encoders.cleaning import clean, text_of
from streams.extraction.weighing import StreamingIDF
from streams.rows import Rows

_WORD = re.compile(r"\w+(?:['’]\w+)?|[^\w\s]")
"""A word, with what an apostrophe ties to it, or any mark or emoji."""


class HashingEncoder:
    """Counts of the words of a text and of their neighbours, each in the column that its hash says.

    Parameters
    ----------
    dim
        Columns.
    words
        Up to so many words in a row count as one feature: 1 for single words, 2 for pairs as well.
    characters
        Up to so many characters of a word, its ends marked, count as features too, from 3 on; 0: none do.
    idf
        Whether words that many texts of the stream have weigh less: see `StreamingIDF`.
    norm
        Whether rows get unit length.
    clean
        Whether texts are cleaned before: see `streams.extraction.encoders.cleaning.clean`.

    Notes
    -----
    A feature that occurs n times in a text counts ``1 + log(n)``. Hashes are CRC-32, the same in every process and
    release. Features in one column add up: with 4,096 columns and 25 features a text, 0.6 % of a text's features share
    theirs with another one of it. Rows are sparse and cost by their cells.

    Examples
    --------
    >>> encoder = HashingEncoder(dim=1024, words=1, norm=False)
    >>> [round(value, 3) for value in encoder(["so it goes, so it goes"]).data.tolist()]
    [1.693, 1.693, 1.0, 1.693]
    """

    def __init__(
        self,
        dim: int = 4096,
        *,
        words: int = 2,
        characters: int = 0,
        idf: bool = False,
        norm: bool = True,
        clean: bool = True,
    ) -> None:
        for what, value, least in (("dim", dim, 1), ("words", words, 1), ("characters", characters, 0)):
            if value < least:
                raise ValueError(f"{what} must be at least {least}, got {value}")
        if characters in (1, 2):
            raise ValueError(f"characters must be 0 or at least 3, got {characters}")
        self.n_features, self.sparse = dim, True
        self._words, self._characters = words, characters
        self._idf, self._norm, self._clean = idf, norm, clean

    @property
    def fingerprint(self) -> str:
        """All settings, and the version of what they mean."""
        return (
            f"hashing-1:dim={self.n_features},words={self._words},characters={self._characters},idf={self._idf},"
            f"norm={self._norm},clean={self._clean}"
        )

    def __call__(self, payloads: list[str | bytes]) -> Rows:
        """A row a text."""
        indptr, indices, data = [0], [], []
        for payload in payloads:
            counts: dict[int, int] = {}
            for feature in self._features(text_of(payload)):
                column = crc32(feature.encode("utf-8", "surrogatepass")) % self.n_features
                counts[column] = counts.get(column, 0) + 1
            columns = sorted(counts)
            indices += columns
            data += [counts[column] for column in columns]
            indptr.append(len(indices))
        values = 1 + np.log(np.array(data, np.float32))
        rows = np.array(indptr, np.int64)
        if self._norm and len(values):
            lengths = np.sqrt(np.bincount(np.repeat(np.arange(len(rows) - 1), np.diff(rows)), values**2))
            values /= np.repeat(lengths, np.diff(rows)[: len(lengths)])
        return Rows(rows, np.array(indices, np.int32), values)

    def in_order(self) -> StreamingIDF | None:
        """What weighs words by how rare they have been so far."""
        return StreamingIDF(self.n_features) if self._idf else None

    def _features(self, text: str) -> Iterator[str]:
        words = _WORD.findall(clean(text) if self._clean else text)
        yield from words
        for n in range(2, self._words + 1):
            for start in range(len(words) - n + 1):
                yield " ".join(words[start : start + n])
        for word in words if self._characters else ():
            marked = f"\x02{word}\x03"
            for n in range(3, self._characters + 1):
                for start in range(len(marked) - n + 1):
                    yield f"\x00{marked[start : start + n]}"
