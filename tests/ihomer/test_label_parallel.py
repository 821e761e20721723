"""Label-parallel iHOMER gives the answers, the events and the state of the single process, to the bit."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys

import numpy as np
import pytest

from ihomer.classifier import CHUNK, IHOMERClassifier
from ihomer.label_parallel import classifier
from ihomer.label_parallel.classifier import LabelParallelIHOMER
from ihomer.label_parallel.crew import arranged
from ihomer.label_parallel.workers import WorkerLostError
from ihomer.specs import SpecError, build
from learners.linear import LinearClassifier
from streams.batch import Prediction
from streams.opening import open_source
from tests.contracts import ALL_STATES, assert_same_answers, assert_same_state, stream

SIZES = (700, 1, 63, 130, 1000)


def beginning(name, n):
    return open_source(name).next_batch(n)


def play(model, batch):
    """The answers to a batch that comes in pieces, by turns of these sizes."""
    parts, start = [], 0
    while start < len(batch):
        size = SIZES[len(parts) % len(SIZES)]
        parts.append(model.test_then_train(batch[start : start + size]))
        start += size
    return Prediction.concat(parts)


def assert_equal_runs(batch, parallel, prototype=None):
    single = IHOMERClassifier() if prototype is None else prototype.clone()
    expected = play(single, batch)
    assert_same_answers(single, expected, parallel, play(parallel, batch))
    assert_same_state(single, parallel)
    return single


@pytest.mark.parametrize(
    ("data", "n", "parameters"),
    [
        ("delicious", 700, {}),
        ("delicious", 200, {"shortlist": 2000}),
        ("delicious", 300, {"shortlist": 100, "n_min": 20, "experts": ("ridge", "score-neighbours"), "joint": False}),
        ("yeast", 900, {"window": 200, "temporal": False}),
        ("yeast", 300, {"experts": ("logistic", "neighbours"), "memory_budget": 400_000}),
        ("yeast", 300, {"local": LinearClassifier(), "local_per_cluster": True, "n_min": 50}),
        ("enron", 800, {"detector": "stepd:threshold=0.5"}),
    ],
    ids=str,
)
def test_it_equals_the_single_process(data, n, parameters, monkeypatch):
    monkeypatch.setattr(classifier, "ARRANGED_EVERY", 2 * CHUNK)
    prototype = IHOMERClassifier(**parameters)
    parallel = LabelParallelIHOMER(prototype, 3, backend="inline")
    single = assert_equal_runs(beginning(data, n), parallel, prototype)
    assert single._experts.has_shadow == (data == "enron")
    assert parallel.clusters_ == single.clusters_


def test_shadows_come_and_go_alike():
    """Labels change their meaning twice, so that shadows begin, and take over both when due and at the next alarm."""
    batch = stream(1, 6000, states=ALL_STATES)
    batch.x[2000:5000, :4] *= -1
    single = assert_equal_runs(batch, LabelParallelIHOMER(workers=2, backend="inline"))
    assert len([event for event in single.events_ if event["kind"] == "loss"]) > 1


def test_processes_give_the_same():
    batch = beginning("yeast", 300)
    parallel = LabelParallelIHOMER(workers=2)
    assert_equal_runs(batch, parallel)
    traffic = parallel.traffic_
    assert traffic.calls > 2 * 300 // CHUNK
    assert min(traffic.sent, traffic.received, traffic.waited_s) > 0
    parallel.close()


def test_the_state_of_either_is_taken_by_the_other():
    batch = beginning("enron", 900)
    straight = IHOMERClassifier()
    expected = straight.test_then_train(batch)
    single, parallel = IHOMERClassifier(), LabelParallelIHOMER(workers=3, backend="inline")
    single.learn_batch(batch[:700])
    parallel.set_state(single.get_state())
    assert_same_state(single, parallel)
    answers = parallel.test_then_train(batch[700:800])
    assert_same_state(pickle.loads(pickle.dumps(parallel)), parallel)
    single.set_state(parallel.get_state())
    answers = Prediction.concat([answers, single.test_then_train(batch[800:])])
    assert_same_answers(straight, expected[700:], single, answers)
    assert_same_state(straight, single)


def test_an_explanation_is_the_same():
    batch = beginning("yeast", 200)
    single, parallel = IHOMERClassifier(), LabelParallelIHOMER(backend="inline")
    for model in (single, parallel):
        model.learn_batch(batch)
    x = dict(zip(batch.schema.feature_names, batch.x[0].tolist(), strict=True))
    assert parallel.explain_one(x) == single.explain_one(x)


# Who has which label.


def test_clusters_come_together_and_the_work_stays_even(monkeypatch):
    monkeypatch.setattr(classifier, "ARRANGED_EVERY", 10 * CHUNK)
    model = LabelParallelIHOMER(IHOMERClassifier(n_min=20), 2, backend="inline")
    batch = beginning("yeast", 10 * CHUNK)
    model.learn_batch(batch[: 5 * CHUNK])
    owners = model.owners_
    assert abs(2 * sum(owners.values()) - len(owners)) <= 1
    assert any(len({owners[label] for label in cluster}) == 2 for cluster in model.clusters_)
    model.learn_batch(batch[5 * CHUNK :])
    owners = model.owners_
    assert all(len({owners[label] for label in cluster}) == 1 for cluster in model.clusters_)
    assert abs(2 * sum(owners.values()) - len(owners)) <= 4


def test_a_cluster_stays_where_it_is_unless_its_worker_has_too_much():
    owner = np.array([0, 0, 0, 1, 1, 1], np.int32)
    even = np.ones(6)
    assert arranged([[0, 1, 2], [3, 4, 5]], even, owner, 2).tolist() == [0, 0, 0, 1, 1, 1]
    assert arranged([[0, 1, 3], [2, 4, 5]], even, owner, 2).tolist() == [0, 0, 1, 0, 1, 1]
    assert arranged([[0], [1], [2]], np.array([3.0, 2, 1, 0, 0, 0]), owner, 2).tolist()[:3] == [0, 1, 1]
    assert np.bincount(arranged([], even, np.zeros(6, np.int32), 3)).tolist() == [2, 2, 2]


# What may go wrong.


def test_a_lost_worker_is_told_and_a_state_sets_it_right():
    batch = beginning("yeast", 300)
    straight = IHOMERClassifier()
    expected = straight.test_then_train(batch)
    model = LabelParallelIHOMER()
    model.learn_batch(batch[:128])
    checkpoint = model.get_state()
    os.kill(model._crew._workers._processes[1].pid, signal.SIGKILL)
    lost = (
        r"label worker 2 of 2 must live as long as the learner, got exit code -9; what it had learned is lost: "
        r"go on from the last checkpoint, with --resume or by set_state"
    )
    for _ in range(2):
        with pytest.raises(WorkerLostError, match=lost):
            model.learn_batch(batch[128:])
    model.set_state(checkpoint)
    assert_same_answers(straight, expected[128:], model, model.test_then_train(batch[128:]))
    assert_same_state(straight, model)
    model.close()


def test_workers_end_with_their_learner():
    code = """
from ihomer.label_parallel.classifier import LabelParallelIHOMER
if __name__ == "__main__":
    model = LabelParallelIHOMER()
    model.learn_one({"a": 1.0}, {"b": True})
    processes = model._crew._workers._processes
    del model
    print([process.exitcode for process in processes])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[0, 0]", done.stderr


def test_wrong_parameters_are_refused():
    with pytest.raises(ValueError, match="workers must be at least 1, got 0"):
        LabelParallelIHOMER(workers=0)
    with pytest.raises(ValueError, match="backend must be one of processes, ray, inline, got 'threads'"):
        LabelParallelIHOMER(backend="threads")
    with pytest.raises(ValueError, match="prototype must be of mode 'default', got 'paper'"):
        LabelParallelIHOMER(IHOMERClassifier(mode="paper"))
    with pytest.raises(TypeError, match="prototype must be an IHOMERClassifier, got LinearClassifier"):
        LabelParallelIHOMER(LinearClassifier())


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    needed = r"the backend 'ray' needs the extra 'ray': pip install ihomer\[ray\]"
    with pytest.raises(ImportError, match=needed):
        LabelParallelIHOMER(backend="ray")
    with pytest.raises(SpecError, match=needed):
        build("ihomer-parallel:backend=ray")


def test_the_command_line_makes_it():
    model = build("ihomer-parallel:workers=3,backend=inline,prototype=ihomer(shortlist=40,seed=5)")
    assert (model.workers, model.shortlist, model.prototype.seed) == (3, 40, 5)


# Ray.


@pytest.mark.deep
def test_two_actors_give_the_same_on_delicious():
    parallel = LabelParallelIHOMER(IHOMERClassifier(shortlist=2000), backend="ray", address="local")
    assert_equal_runs(beginning("delicious", 1500), parallel, IHOMERClassifier(shortlist=2000))
    assert len(parallel.owners_) > 900
    parallel.close()


@pytest.mark.deep
def test_a_lost_actor_is_told():
    batch = beginning("yeast", 200)
    model = LabelParallelIHOMER(backend="ray", address="local")
    model.learn_batch(batch[:100])
    workers = model._crew._workers
    workers._ray.kill(workers._actors[0])
    with pytest.raises(WorkerLostError, match="label worker 1 of 2 must live as long as the learner, got "):
        model.learn_batch(batch[100:])
    model.close()
