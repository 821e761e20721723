"""Random events with random answers, and what tests of metrics ask of any of them."""

from __future__ import annotations

import numpy as np
import pytest

from streams.batch import COMPLETE, PARTIAL, Batch, Prediction, Rows, Schema

PROBA_KINDS = ("none", "dense", "listed")


def random_stream(seed, n, n_labels, *, states=(COMPLETE,), proba="none", density=0.3):
    """A batch of ``n`` events and answers to it; about one truth and one answer in three is empty."""
    rng = np.random.default_rng(seed)
    true = (rng.random((n, n_labels)) < density) & (rng.random((n, 1)) < 0.7)
    predicted = (true ^ (rng.random((n, n_labels)) < 0.2)) & (rng.random((n, 1)) < 0.7)
    state = rng.choice(np.array(states, np.uint8), n)
    known = (rng.random((n, n_labels)) < 0.6) & (state == PARTIAL)[:, None]
    true &= (state == COMPLETE)[:, None] | known
    batch = Batch(
        Schema(labels=range(n_labels)),
        np.zeros((n, 0), np.float32),
        Rows.from_dense(true),
        state,
        Rows.from_dense(known) if PARTIAL in states else None,
    )
    p = (rng.random((n, n_labels)) ** 3).astype(np.float32)
    p[rng.random((n, n_labels)) < 0.2] = 0
    p[rng.random((n, n_labels)) < 0.05] = 1
    answers = {"none": None, "dense": p, "listed": Rows.from_dense(p, values=True)}
    return batch, Prediction(Rows.from_dense(predicted), answers[proba])


def update_in_pieces(metrics, batch, prediction, size):
    for start in range(0, len(batch), size):
        rows = slice(start, start + size)
        metrics.update(batch[rows], prediction[rows])


def assert_same_state(one, other):
    mine, theirs = one.get_state(), other.get_state()
    assert mine.keys() == theirs.keys()
    for name, array in mine.items():
        assert array.tobytes() == theirs[name].tobytes(), name


def assert_scores(got, expected):
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert got[name] == pytest.approx(value, rel=1e-12, abs=1e-12, nan_ok=True), name
