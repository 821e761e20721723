"""The baselines against sets and counts."""

from __future__ import annotations

import numpy as np
import pytest

from learners.baselines import MajorityClassifier, NoChangeClassifier
from streams.batch import Batch
from tests import contracts
from tests.naive import learners_baselines as naive


@pytest.mark.parametrize("states", [(2,), contracts.ALL_STATES])
def test_no_change_equals_twin(states):
    batch = contracts.stream(30, states=states)
    answer = NoChangeClassifier().test_then_train(batch)
    assert [set(answer.labels.row(t).tolist()) for t in range(len(batch))] == naive.no_change(batch)
    assert answer.proba is None


@pytest.mark.parametrize("states", [(2,), contracts.ALL_STATES])
def test_majority_equals_twin(states):
    batch = contracts.stream(31, states=states)
    answer = MajorityClassifier().test_then_train(batch)
    for t, expected in enumerate(naive.majority(batch)):
        row = [expected.get(label, 0.0) for label in range(5)]
        np.testing.assert_allclose(answer.proba[t], row, rtol=1e-6)
        assert answer.labels.row(t).tolist() == [label for label in range(5) if row[label] > 0.5]


def test_exactly_half_is_no_majority():
    model = MajorityClassifier()
    model.learn_batch(Batch.from_arrays(np.zeros((2, 1)), np.array([[1], [0]])))
    assert model.predict_one({}) == {"y0": False}


def test_no_change_has_no_probabilities():
    with pytest.raises(NotImplementedError, match="NoChangeClassifier has no probabilities"):
        NoChangeClassifier().predict_proba_one({})
