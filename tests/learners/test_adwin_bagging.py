"""ADWIN bagging against its twin, and what it promises beyond the laws of all learners."""

from __future__ import annotations

import numpy as np
import pytest

from learners import ADWINBaggingClassifier
from tests.contracts import run, stream
from tests.learners.test_forest import TREE, accuracy, drifting
from tests.naive.learners_forest import Bagging


@pytest.mark.parametrize("rate", [1.0, 4.0])
@pytest.mark.parametrize("events", ["classes", "labels"])
def test_it_equals_its_twin(events, rate):
    batch = drifting() if events == "classes" else stream(3, 300, missing=0.1)
    model = ADWINBaggingClassifier(3, 0.2, lambda_value=rate, seed=5, **TREE)
    twin = Bagging(3, 5, 0.2, rate, **TREE)
    answers = run(model, batch, cuts=(1, 100, 257))
    assert np.allclose(answers.proba, twin.run(batch), rtol=0, atol=1e-12)
    assert model.events_ == twin.events
    assert twin.events or events == "labels"


def test_the_worst_tree_is_replaced_where_the_stream_drifts():
    batch = drifting(4000, nominal=False)
    model, still = ADWINBaggingClassifier(5, seed=1), ADWINBaggingClassifier(5, 1e-300, seed=1)
    after = slice(2500, 4000)
    found, without = run(model, batch), run(still, batch)
    assert accuracy(found[after], batch[after]) > accuracy(without[after], batch[after]) + 0.1
    assert {event["kind"] for event in model.events_} == {"replacement"}
    assert all(event["event"] > 2000 for event in model.events_)
    assert still.events_ == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"n_models": 0}, "n_models must be at least 1, got 0"),
        ({"drift_delta": 0.0}, r"drift_delta must be in \(0, 1\), got 0.0"),
        ({"lambda_value": 101.0}, r"lambda_value must be in \(0, 100\], got 101.0"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ADWINBaggingClassifier(**settings)
