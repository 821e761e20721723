"""Batches with everything in them, for tests of formats that have to give it back."""

import numpy as np

from streams.batch import COMPLETE, NUMERIC, PARTIAL, UNLABELLED, Batch, Rows, Schema


def random_schema(chance, *, sparse=False):
    schema = Schema(["n", "colour", "m,\n\"x'", "id"], ["a", "b;c", "d e"], sparse=sparse)
    for feature in (0, 2):
        schema.decide(feature, NUMERIC)
    schema.make_nominal(1, ["", "red", "NA", 'big "x"', "é, ü"] if sparse else ["red", "NA", "", 'big "x"', "é, ü"])
    schema.make_nominal(3, ["zero"] + [f"row{i}" for i in range(40)])
    schema.ignored.add(3)
    return schema


def random_batch(n, seed=1, *, sparse=False, partial=True, extras=True):
    """Events with missing values, all kinds of labels, and keys, times, weights and payloads where ``extras``."""
    chance = np.random.default_rng(seed)
    schema = random_schema(chance, sparse=sparse)
    x = chance.normal(size=(n, 4)).astype(np.float32)
    x[:, 1] = chance.integers(0, 5, n)
    x[:, 3] = chance.integers(0, 41, n)
    x[chance.random((n, 4)) < 0.2] = np.nan
    y = chance.random((n, 3)) < 0.4
    state = chance.choice([UNLABELLED, PARTIAL, COMPLETE] if partial else [COMPLETE], n).astype(np.uint8)
    # At least one label is unknown, or it would be the same as a whole set in a table of zeros and ones.
    known = chance.random((n, 3)) < 0.5
    known[known.all(1), 0] = False
    known[~known.any(1), 1] = True
    known[state != PARTIAL] = False
    y[state == PARTIAL] &= known[state == PARTIAL]
    y[state == UNLABELLED] = False
    if sparse:
        x[chance.random((n, 4)) < 0.5] = 0
    more = {}
    if extras:
        more = {
            "weight": np.where(chance.random(n) < 0.5, 1.0, chance.random(n) + 0.1),
            "time": chance.integers(1, 1 << 45, n),
            "key": [None if i % 5 == 4 else f"k{i}" for i in range(n)],
            "payload": [None if i % 7 == 6 else f'text, "{i}"\r\n\tend' for i in range(n)],
        }
    return Batch(
        schema,
        Rows.from_dense(x, values=True) if sparse else x,
        Rows.from_dense(y),
        state,
        Rows.from_dense(known) if (state == PARTIAL).any() else None,
        source="toy",
        **more,
    )
