"""What the columns of an ARFF file become: a schema, and tables for the kernel that reads the rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from streams.arff_header import CATEGORY, NUMBER, Attribute
from streams.batch import NUMERIC, Schema

SKIPPED, NUMBERS, BITS, CATEGORIES = 0, 1, 2, 3
"""Kind of a column: text that is passed over, numbers, 0 and 1 as themselves, or categories by number."""

COLUMN = np.dtype(
    [("kind", np.int8), ("payload", np.bool_), ("feature", np.int32), ("label", np.int32)],
    align=True,
)
"""A column of the file: what it holds, whether it is the payload, its number among features and labels (-1: none)."""


class Layout:
    """Attributes sorted into features and labels.

    Parameters
    ----------
    attributes
        In the order of the file.
    labels
        Numbers of those that are labels, ascending.
    sparse
        Whether batches hold sparse rows.
    payload
        Number of the attribute that is the payload, or -1.

    Attributes
    ----------
    schema
        Names of features and labels. String attributes are ignored features.
    columns
        ``COLUMN`` of every attribute.
    absent
        float32, what a row in braces means by leaving a dense feature out.
    label_states
        uint8, the same for labels (1: present); empty where it means all of them to be absent.
    category_columns, category_values
        Attribute of every declared category (int32), and the value that stands for it (float32).
    category_starts, category_text
        UTF-8 of the name of category ``k``: ``category_text[category_starts[k]:category_starts[k + 1]]``.
    """

    def __init__(self, attributes: Sequence[Attribute], labels: Sequence[int], *, sparse: bool, payload: int) -> None:
        label_of = {column: label for label, column in enumerate(labels)}
        features = [column for column in range(len(attributes)) if column not in label_of]
        self.schema = Schema(
            (attributes[column].name for column in features),
            (attributes[column].name for column in labels),
            sparse=sparse,
        )
        self.columns = np.zeros(len(attributes), COLUMN)
        self.columns["feature"] = self.columns["label"] = -1
        self.columns["feature"][features] = np.arange(len(features))
        self.columns["label"][labels] = np.arange(len(labels))
        if payload >= 0:
            self.columns["payload"][payload] = True
        self.payload = payload
        self.absent = np.zeros(len(features), np.float32)
        states = np.zeros(len(labels), np.uint8)
        owners: list[int] = []
        values: list[float] = []
        for column, attribute in enumerate(attributes):
            feature = int(self.columns["feature"][column])
            if attribute.kind == CATEGORY:
                # A sparse row leaves out the first category; only number 0 can be left out of a sparse batch.
                as_numbers = attribute.is_binary and not (sparse and feature >= 0 and attribute.categories[0] == "1")
                codes = [float(name) if as_numbers else float(k) for k, name in enumerate(attribute.categories)]
                owners += [column] * len(codes)
                values += codes
                self.columns["kind"][column] = BITS if as_numbers and len(codes) == 2 else CATEGORIES
                if feature < 0:
                    states[label_of[column]] = codes[0]
                elif as_numbers:
                    self.schema.decide(feature, NUMERIC)
                    self.absent[feature] = codes[0]
                else:
                    self.schema.make_nominal(feature, attribute.categories)
            elif attribute.kind == NUMBER:
                self.columns["kind"][column] = NUMBERS
                if feature >= 0:
                    self.schema.decide(feature, NUMERIC)
            else:
                self.columns["kind"][column] = SKIPPED
                self.absent[feature] = np.nan
                self.schema.ignored.add(feature)
        self.label_states = states if states.any() else np.zeros(0, np.uint8)
        encoded = [name.encode() for attribute in attributes for name in attribute.categories]
        self.category_columns = np.array(owners, np.int32)
        self.category_values = np.array(values, np.float32)
        self.category_starts = np.cumsum([0, *map(len, encoded)]).astype(np.int64)
        self.category_text = np.array(np.frombuffer(b"".join(encoded), np.uint8))
