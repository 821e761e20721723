"""The end of a stream, scored by itself."""

from __future__ import annotations

import numpy as np
import pytest

from ihomer import IHOMERClassifier, evaluate
from ihomer.evaluation.arguments import Arguments
from ihomer.evaluation.metrics import MultiLabelMetrics
from ihomer.evaluation.suffix import STRUCTURAL, Suffix
from learners import LinearClassifier
from learners.baselines import NoChangeClassifier
from streams.batch import Batch

N = 1200


@pytest.fixture(scope="module")
def stream():
    """Labels in two blocks, whose members change places in the middle."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(N, 4)).astype(np.float32)
    blocks = (x[:, :2] + 0.3 * rng.normal(size=(N, 2)) > 0.5).astype(np.uint8)
    y = np.repeat(blocks, 3, axis=1) & (rng.random((N, 6)) < 0.9)
    y[N // 2 :] = y[N // 2 :, [0, 3, 1, 4, 2, 5]]
    return Batch.from_arrays(x, y.astype(np.uint8))


def model():
    return IHOMERClassifier(LinearClassifier(), mode="paper", replacement="immediate")


def last_change(learner):
    changes = [told["event"] for told in learner.events_ if told["kind"] in STRUCTURAL]
    return max((change for change in changes if change + 100 <= N), default=0)


@pytest.mark.parametrize("batch_size", [1, 7, 256, N])
def test_scores_are_those_of_the_end_alone(stream, batch_size):
    learner = model()
    result = evaluate(stream, {"ihomer": learner}, batch_size=batch_size, scope="after_last_restructure")
    start = last_change(learner) + 50
    assert start > 50, "the stream is to restructure something"
    names = [run.learner_name for run in result.runs]
    assert names == ["ihomer", "no-change", "majority"] * 2
    for fresh, run in zip((model(), NoChangeClassifier()), result.runs[3:5], strict=True):
        said = fresh.test_then_train(stream)
        expected = MultiLabelMetrics()
        expected.update(stream[start:], said[start:])
        assert run.counts["scored"] == N - start
        assert run.metrics == pytest.approx(expected.cumulative(6), nan_ok=True)
        assert run.data["order"] == f"file, from event {start + 1} on"


def test_without_a_restructuring_only_the_warm_up_is_left_out(stream):
    result = evaluate(stream, LinearClassifier(), baselines=False, scope="after_last_restructure")
    assert [run.counts["scored"] for run in result.runs] == [N, N - 50]


def test_a_change_with_too_little_after_it_does_not_count(stream):
    class Told:
        def __init__(self):
            self.events_ = [
                {"event": 100, "kind": "split", "labels": [0, 1]},
                {"event": 150, "kind": "hand-over", "labels": [0]},
                {"event": 160, "kind": "split", "feature": "x0"},
            ]

    told = Told()
    suffix, learner = Suffix(told), LinearClassifier()

    for start in range(0, 400, 100):
        part = stream[start : start + 100]
        if start == 300:
            told.events_.append({"event": 301, "kind": "merge", "labels": [0, 1]})
        suffix.count(Arguments.of(part, learner.test_then_train(part)), np.arange(start + 1, start + 101))
    assert (suffix.start, suffix.metrics.n_scored) == (150, 250)


def test_a_run_that_was_cut_goes_on(stream, tmp_path):
    whole = evaluate(stream, {"ihomer": model()}, batch_size=50, scope="after_last_restructure")
    evaluate(
        stream, {"ihomer": model()}, batch_size=50, max_events=700, scope="after_last_restructure", checkpoint=tmp_path
    )
    resumed = evaluate(
        stream, {"ihomer": model()}, batch_size=50, scope="after_last_restructure", checkpoint=tmp_path, resume=True
    )
    assert [run.metrics for run in resumed.runs] == [run.metrics for run in whole.runs]


def test_what_cannot_be_scored_is_refused(stream):
    with pytest.raises(ValueError, match="scope must be 'full' with a delay of labels"):
        evaluate(stream, LinearClassifier(), delay=5, scope="after_last_restructure")
    with pytest.raises(ValueError, match="scope must be one of full, after_last_restructure, got 'half'"):
        evaluate(stream, LinearClassifier(), scope="half")
