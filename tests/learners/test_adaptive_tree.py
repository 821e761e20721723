"""The Hoeffding adaptive tree of classes against its twin: alternate trees, switches, votes and memory."""

from __future__ import annotations

import numpy as np
import pytest

from learners.trees.adaptive import HoeffdingAdaptiveTreeClassifier
from learners.trees.hoeffding import HoeffdingTreeClassifier
from streams.batch import COMPLETE, PARTIAL, Batch, Rows
from tests import contracts
from tests.learners.test_hoeffding_tree import LOOSE, assert_equals_twin, nominal, tied

EAGER = {**LOOSE, "drift_window_threshold": 20, "drift_delta": 0.5, "switch_significance": 0.6}
SETTINGS = {
    "default": {},
    "loose": EAGER,
    "unweighted": {**EAGER, "bootstrap_sampling": False, "leaf_prediction": "mc"},
    "shallow": {**EAGER, "max_depth": 1, "leaf_prediction": "nb", "seed": 7, "threshold": 0.4},
}


def regions(seed, n=700, *, sparse=False):
    """Two labels by the signs of the features; where the first is positive they change their meaning at 60 %."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    late, inside = np.arange(n) >= 0.6 * n, x[:, 0] > 0
    y = np.stack([inside, (x[:, 1] > 0) ^ (inside & late)], 1) ^ (rng.random((n, 2)) < 0.05)
    return Batch.from_arrays(Rows.from_dense(np.maximum(x, 0), values=True) if sparse else x, y)


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("sparse", [False, True])
def test_kernels_equal_twin(settings, sparse):
    for states in ((COMPLETE,), contracts.ALL_STATES, (PARTIAL,)):
        batch = contracts.stream(39, n=150, states=states, sparse=sparse)
        assert_equals_twin(HoeffdingAdaptiveTreeClassifier(**settings), batch, adaptive=True, **settings)
    x, y = tied(31)
    for features, labels in ((x, y), (np.zeros((40, 0)), y[:40]), (x, np.ones((60, 1))), (x[:0], y[:0])):
        batch = Batch.from_arrays(features, labels)
        assert_equals_twin(HoeffdingAdaptiveTreeClassifier(**settings), batch, adaptive=True, **settings)


@pytest.mark.parametrize("name", ["loose", "unweighted", "shallow"])
@pytest.mark.parametrize("sparse", [False, True])
def test_trees_that_adapt_equal_the_twin(name, sparse):
    kinds = set()
    for seed in (1, 5, 7):
        model = HoeffdingAdaptiveTreeClassifier(**SETTINGS[name])
        found, _ = assert_equals_twin(model, regions(seed, sparse=sparse), adaptive=True, **SETTINGS[name])
        kinds |= found.keys()
    assert kinds >= ({"split"} if sparse and name == "unweighted" else {"split", "background", "switch"})


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_nominal_columns_equal_twin(missing):
    batch = nominal(1, n=500, missing=missing)
    assert_equals_twin(HoeffdingAdaptiveTreeClassifier(**EAGER), batch, adaptive=True, **EAGER)


def test_without_drift_it_is_the_hoeffding_tree():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(3000, 4)).astype(np.float32)
    y = np.stack([x[:, 0] + x[:, 1] > 0, x[:, 2] > 0], 1)
    plain = HoeffdingTreeClassifier(100, 0.01)
    adaptive = HoeffdingAdaptiveTreeClassifier(100, 0.01, bootstrap_sampling=False)
    batch = Batch.from_arrays(x, y)
    assert (plain.test_then_train(batch).proba == adaptive.test_then_train(batch).proba).all()
    assert plain.events_ == adaptive.events_ != []
    assert plain.draw() == adaptive.draw()


def test_after_a_drift_it_is_right_again():
    n, rng = 12_000, np.random.default_rng(4)
    x = rng.normal(size=(n, 4)).astype(np.float32)
    truth = np.where(np.arange(n) < n // 2, x[:, 0] > 0, x[:, 1] > 0)
    batch = Batch.from_arrays(x, np.stack([truth, ~truth], 1))
    right = {}
    for model in (HoeffdingTreeClassifier(), HoeffdingAdaptiveTreeClassifier(seed=1)):
        answers = model.test_then_train(batch).labels.to_dense(2)[:, 0] > 0
        right[type(model).__name__] = (answers == truth)[-n // 2 :].mean()
    assert right["HoeffdingAdaptiveTreeClassifier"] > 0.9
    assert right["HoeffdingAdaptiveTreeClassifier"] > right["HoeffdingTreeClassifier"] + 0.01
    assert {"background", "switch"} <= {event["kind"] for event in model.events_}


def test_saved_at_any_moment_it_goes_on():
    batch, settings = regions(5), SETTINGS["loose"]
    straight = HoeffdingAdaptiveTreeClassifier(**settings)
    expected = straight.test_then_train(batch)
    at = sorted({event["event"] + ahead for event in straight.events_ for ahead in (-1, 1)} & set(range(len(batch))))
    model, done = HoeffdingAdaptiveTreeClassifier(**settings), 0
    for stop in [*at[:: max(len(at) // 20, 1)], len(batch)]:
        answer = model.test_then_train(batch[done:stop])
        contracts.assert_same_answers(straight, expected[done:stop], model, answer)
        restored = HoeffdingAdaptiveTreeClassifier(**settings)
        restored.set_state(model.get_state())
        model, done = restored, stop
    contracts.assert_same_state(straight, model)


def test_memory_is_bounded_with_alternate_trees():
    batch, settings = regions(5, n=2000), SETTINGS["loose"]
    records = ("nodes", "entries", "rows", "windows", "n_buckets", "buckets", "pending")
    sizes = []
    model = HoeffdingAdaptiveTreeClassifier(**settings, max_bytes=30_000)
    for start in range(0, 2000, 50):
        model.learn_batch(batch[start : start + 50])
        sizes.append(sum(model.get_state()[name].nbytes for name in records))
    free = HoeffdingAdaptiveTreeClassifier(**settings)
    free.learn_batch(batch)
    assert sum(free.get_state()[name].nbytes for name in records) > 60_000
    assert max(sizes) < 45_000  # windows and classes are counted, and not refused


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"drift_delta": 1.0}, r"drift_delta must be in \(0, 1\), got 1.0"),
        ({"switch_significance": 0.0}, r"switch_significance must be in \(0, 1\), got 0.0"),
        ({"drift_window_threshold": -1}, "drift_window_threshold must be at least 0, got -1"),
        ({"grace_period": 0}, "grace_period must be at least 1, got 0"),
    ],
)
def test_bad_parameters_are_refused(settings, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        HoeffdingAdaptiveTreeClassifier(**settings)
