"""The real scikit-multiflow and the engine, each at work in the other; run by make interop-skmultiflow."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("skmultiflow", reason="needs scikit-multiflow, as in make interop-skmultiflow")

from skmultiflow.data import DataStream, LEDGenerator, MultilabelGenerator, RegressionGenerator, SEAGenerator
from skmultiflow.evaluation import EvaluatePrequential
from skmultiflow.lazy import KNNClassifier
from skmultiflow.meta import MultiOutputLearner
from skmultiflow.trees import HoeffdingTreeClassifier, LabelCombinationHoeffdingTreeClassifier

from drift.pickled import trusting_pickle
from learners.array_style import ArrayLearner
from learners.linear import LinearClassifier
from learners.naive_bayes import GaussianNBClassifier
from learners.partial_fit import from_partial_fit
from streams.batch import Batch
from streams.memory import BatchSource, read_all
from streams.multiflow import from_skmultiflow_stream, to_skmultiflow_stream
from streams.source import DecodeError

GENERATORS = {
    "SEA": lambda: SEAGenerator(random_state=1, noise_percentage=0.1),
    "LED": lambda: LEDGenerator(random_state=1, has_noise=True),
    "labels": lambda: MultilabelGenerator(n_samples=300, n_features=6, n_targets=3, n_labels=1, random_state=1),
}


@pytest.mark.parametrize("name", GENERATORS)
def test_the_events_are_those_of_the_stream(name):
    x, y = GENERATORS[name]().next_sample(256)
    batch = from_skmultiflow_stream(GENERATORS[name]()).next_batch(256)
    assert np.array_equal(batch.x, x.astype(np.float32))
    labels = batch.y.to_dense(batch.schema.n_labels)
    if y.ndim == 1:
        assert [batch.schema.label_names[label] for label in labels.argmax(1)] == y.tolist()
        assert (labels.sum(1) == 1).all()
    else:
        assert np.array_equal(labels, y)


@pytest.mark.parametrize("name", GENERATORS)
def test_a_stream_goes_on_where_it_stood(name):
    source = from_skmultiflow_stream(GENERATORS[name]())
    whole = source.next_batch(300)
    again = from_skmultiflow_stream(GENERATORS[name]())
    again.next_batch(100)
    position = again.position()
    other = from_skmultiflow_stream(GENERATORS[name]())
    for later in (again, other):
        later.resume(position)
        rest = later.next_batch(200)
        assert rest.x.tobytes() == whole.x[100:].tobytes()
        assert rest.y.indices.tolist() == whole.y[100:].indices.tolist()


def test_a_stream_with_an_end_ends():
    data = np.column_stack([np.arange(300.0), np.arange(300) % 3])
    source = from_skmultiflow_stream(DataStream(data, y=(np.arange(300) % 3)[:, None], n_targets=1))
    assert source.n_events == 300
    assert len(read_all(source)) == 300
    assert source.next_batch() is None


def test_streams_of_numbers_are_refused():
    source = from_skmultiflow_stream(RegressionGenerator(n_samples=100, random_state=1))
    with pytest.raises(DecodeError, match="a target must be a class, got the number"):
        source.next_batch()


@pytest.mark.parametrize("cls", [HoeffdingTreeClassifier, KNNClassifier])
def test_their_classifier_answers_as_in_its_own_loop(cls):
    batch = from_skmultiflow_stream(SEAGenerator(random_state=1)).next_batch(600)
    answers = from_partial_fit(cls(), classes=[0, 1]).test_then_train(batch)
    model, x = cls(), batch.x.astype(np.float64)
    y = batch.y.to_dense(2).argmax(1)
    predicted = answers.labels.to_dense(2).argmax(1)
    for i in range(len(batch)):
        if i > 20:
            assert predicted[i] == model.predict(x[i : i + 1])[0]
        model.partial_fit(x[i : i + 1], y[i : i + 1], classes=np.array([0, 1]))
    assert (predicted[300:] == y[300:]).mean() > 0.8


@pytest.mark.parametrize("name", ["output-by-output", "label-sets"])
def test_their_multi_label_learner_learns(name):
    batch = from_skmultiflow_stream(GENERATORS["labels"]()).next_batch(300)
    theirs = {
        "output-by-output": lambda: MultiOutputLearner(HoeffdingTreeClassifier()),
        "label-sets": lambda: LabelCombinationHoeffdingTreeClassifier(n_labels=3),
    }[name]()
    model = from_partial_fit(theirs, classes=batch.schema.label_names, multilabel=True)
    answers = model.test_then_train(batch)
    assert len(answers) == 300
    right = (answers.labels.to_dense(3) == batch.y.to_dense(3))[100:].mean()
    frequent = batch.y.to_dense(3).mean(0)
    assert right > np.maximum(frequent, 1 - frequent).mean() - 0.02


def test_their_classifier_goes_on_from_its_state():
    batch = from_skmultiflow_stream(SEAGenerator(random_state=1)).next_batch(600)
    straight = from_partial_fit(HoeffdingTreeClassifier(), classes=[0, 1])
    expected = straight.test_then_train(batch)[300:]
    model = from_partial_fit(HoeffdingTreeClassifier(), classes=[0, 1])
    model.learn_batch(batch[:300])
    state = model.get_state()
    assert b"\nscikit-multiflow 0.5.3" in state["river"].tobytes()
    other = from_partial_fit(HoeffdingTreeClassifier(), classes=[0, 1])
    with trusting_pickle():
        other.set_state(state)
    answers = other.test_then_train(batch[300:])
    assert answers.proba.tobytes() == expected.proba.tobytes()


@pytest.mark.parametrize("kind", ["classes", "labels"])
def test_their_evaluator_runs_our_learner_on_our_stream(kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(800, 4))
    y = np.eye(3)[np.where(x[:, 0] > 0.4, 0, np.where(x[:, 1] > 0, 1, 2))]
    several = kind == "labels"
    if several:
        y = np.column_stack([x[:, 0] > 0, x[:, 1] > 0.3, x[:, 2] > 0.5]).astype(float)
    stream = to_skmultiflow_stream(BatchSource(Batch.from_arrays(x, y)), multilabel=several)
    ours = [ArrayLearner(LinearClassifier()), ArrayLearner(GaussianNBClassifier())]
    evaluator = EvaluatePrequential(
        max_samples=800, pretrain_size=200, batch_size=10, metrics=["exact_match" if several else "accuracy"]
    )
    evaluator.evaluate(stream=stream, model=ours)
    for number in range(2):
        measured = evaluator.get_mean_measurements(number)
        # Their Hamming score counts the labels that are present, 0.4 of all here.
        assert measured.exact_match_score() > 0.7 if several else measured.accuracy_score() > 0.8
