"""What every implementation of iHOMER has to pass: which tests prove it, and those that stand nowhere else.

The checks of the tree, entropy and the switch test of background trees, are with the tree.
"""

from __future__ import annotations

import ast
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ihomer
from ihomer import IHOMERClassifier
from ihomer.hierarchy import LabelHierarchy
from learners import LinearClassifier
from streams.batch import Batch, Prediction, Rows
from tests.contracts import LAWS
from tests.naive import evaluation_metrics as naive

ROOT = Path(__file__).parents[2]

PROVED_BY = {
    "Jaccard from counts equals that of the batch, on every prefix": [
        "tests/ihomer/test_hierarchy_counts.py::test_jaccard_is_that_of_the_batch_on_every_prefix",
        "tests/ihomer/test_hierarchy_counts.py::test_it_equals_dense_counters",
    ],
    "sparse and dense hierarchies are the same tree, distances to 1e-12": [
        "tests/ihomer/test_hierarchy.py::test_it_equals_the_dense_twin",
    ],
    "clusters are disjoint, complete and not empty after every event": [
        "tests/ihomer/test_hierarchy.py::test_clusters_are_a_partition_after_every_event",
        "tests/ihomer/test_hierarchy.py::test_uniting_small_leaves_loses_none",
        "tests/ihomer/test_acceptance.py::test_every_label_born_has_one_learner_after_every_event",
    ],
    "the published case of five labels": ["tests/ihomer/test_hierarchy.py::test_the_published_five_label_case"],
    "labels alike stay together": ["tests/ihomer/test_acceptance.py::test_a_split_parts_no_labels_that_are_alike"],
    "independent blocks split, and rewired ones are followed": [
        "tests/ihomer/test_hierarchy.py::test_independent_blocks_split_and_a_rewiring_is_followed_within_1600_events",
        "tests/ihomer/test_cluster_learners.py::test_the_learners_follow_a_rewiring",
    ],
    "metrics are those of the logged predictions, by both conventions for empty sets": [
        "tests/evaluation/test_metrics.py::test_agrees_with_counting_anew",
        "tests/evaluation/test_prequential.py::test_scores_are_those_of_the_obvious_loop",
        "tests/ihomer/test_acceptance.py::test_metrics_are_those_of_the_logged_predictions",
    ],
    "the same seed gives the same answers, and a saved run goes on": [
        "tests/contracts.py::twice_is_the_same_bytes",
        "tests/contracts.py::a_saved_learner_goes_on",
        "tests/engine/test_engine.py::test_stop_and_go_on_is_never_having_stopped",
        "tests/engine/test_kill.py::test_sigkill_and_resume_equals_never_killed",
    ],
    "events with one label and with none, labels never seen, streams without labels, one label, two labels": [
        "tests/ihomer/test_hierarchy.py::test_tiny_label_spaces",
        "tests/ihomer/test_hierarchy.py::test_events_with_one_label_make_no_pairs_and_still_a_partition",
        "tests/ihomer/test_hierarchy.py::test_numbers_never_seen_have_no_place",
        "tests/ihomer/test_hierarchy.py::test_a_stream_without_labels_changes_nothing_but_the_clock",
        "tests/ihomer/test_acceptance.py::test_streams_with_few_labels_or_none",
    ],
    "baselines stand beside the model": [
        "tests/evaluation/test_prequential.py::test_baselines_run_beside_unless_switched_off_or_named",
    ],
}
"""Check to the tests and laws that prove it."""


def test_every_check_is_proved_by_tests_that_are_there():
    for test in itertools.chain.from_iterable(PROVED_BY.values()):
        path, _, name = test.partition("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, test
    laws = {law.__name__ for law in LAWS}
    assert {"twice_is_the_same_bytes", "a_saved_learner_goes_on"} <= laws


@given(
    events=st.lists(st.lists(st.integers(0, 6), max_size=4), min_size=20, max_size=80),
    n_min=st.integers(5, 20),
)
@settings(max_examples=60, deadline=None)
def test_a_split_parts_no_labels_that_are_alike(events, n_min):
    """Label n + 7 is there whenever label n is."""
    hierarchy = LabelHierarchy("paper", n_min, delta=0.49, tau=0.9)
    hierarchy.update_many(Rows.from_lists([[*event, *(label + 7 for label in event)] for event in events]))
    for event in hierarchy.events:
        for half in event.get("halves", []):
            assert {label % 7 for label in half if label < 7} == {label % 7 for label in half if label >= 7}
    for leaf in hierarchy._tree.members().values():
        labels = set(leaf.tolist())
        assert {label + 7 for label in labels if label < 7} == {label for label in labels if label >= 7}


@pytest.mark.parametrize("replacement", ["warm", "immediate"])
def test_every_label_born_has_one_learner_after_every_event(replacement):
    rng = np.random.default_rng(2)
    model = IHOMERClassifier(mode="paper", n_min=20, delta=0.4, replacement=replacement)
    born = set()
    for i in range(400):
        y = [f"y{label}" for label in range(i // 40 + 2) if rng.random() < (0.6 if (label + i // 100) % 3 else 0.1)]
        model.learn_batch(Batch.from_dicts([{"x": float(rng.normal())}], [y], schema=model.schema_))
        born |= set(y)
        local = model._experts.local
        assert local.owners_.keys() == born == {name for cluster in model.clusters_ for name in cluster}
        assert set(local.owners_.values()) <= local.learners_.keys()
        for name, number in local.owners_.items():
            assert name in local.learners_[number].schema_.label_names
    assert any(event["kind"] == "split" for event in model.events_)


def test_metrics_are_those_of_the_logged_predictions(tmp_path):
    rng = np.random.default_rng(3)
    x = rng.normal(size=(700, 4))
    batch = Batch.from_arrays(x, (x[:, [0, 1, 2, 0]] + rng.normal(size=(700, 4)) > [0.3, 0.8, 2.0, 1.0]))
    assert (np.diff(batch.y.indptr) == 0).any()
    models = {"default": IHOMERClassifier(), "paper": IHOMERClassifier(mode="paper", delta=0.3)}
    for name, model in models.items():
        path = tmp_path / f"{name}.jsonl"
        (run,) = ihomer.evaluate(batch, {name: model}, baselines=False, predictions=path).runs
        columns = {label: column for column, label in enumerate(batch.schema.label_names)}
        logged = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        labels = Rows.from_lists([[columns[label] for label in event["labels"]] for event in logged])
        proba = np.zeros((700, 4), np.float32)
        for i, event in enumerate(logged):
            for label, p in event["proba"].items():
                proba[i, columns[label]] = p
        expected = naive.scores(naive.log(batch, Prediction(labels, proba)), 4)
        assert expected.keys() <= run.metrics.keys()
        assert {key: run.metrics[key] for key in expected} == pytest.approx(expected, rel=1e-9)
        assert run.metrics["example_f1_empty1"] > run.metrics["example_f1"]


@pytest.mark.parametrize("settings_", [{}, {"mode": "paper"}, {"local_per_cluster": True}], ids=str)
@pytest.mark.parametrize("n_labels", [0, 1, 2])
def test_streams_with_few_labels_or_none(settings_, n_labels):
    """Of ``n_labels + 1`` declared labels the last is never present; most events have one label or none."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(350, 3))
    y = np.zeros((350, n_labels + 1))
    for label in range(n_labels):
        y[:, label] = x[:, label] > 1
    model = IHOMERClassifier(**settings_)
    answers = model.test_then_train(Batch.from_arrays(x, y))
    assert answers.proba.shape == (350, n_labels + 1)
    assert ((answers.proba >= 0) & (answers.proba <= 1)).all()
    assert not answers.proba[:, n_labels].any()
    assert not answers.labels.to_dense(n_labels + 1)[:, n_labels].any()
    assert sorted(name for cluster in model.clusters_ for name in cluster) == [f"y{j}" for j in range(n_labels)]
    if n_labels:
        assert (answers.labels.to_dense(n_labels + 1)[200:] == y[200:]).mean() > 0.9
    else:
        assert not model.predict_one({"x0": 1.0})["y0"]
        assert model.hierarchy_.tree() is None


def test_an_untaught_label_space_is_an_empty_answer():
    for model in (IHOMERClassifier(), IHOMERClassifier(LinearClassifier(), mode="paper")):
        answer = model.predict_batch(Batch.from_arrays(np.zeros((2, 1))))
        assert not answer.labels.indices.size
        assert model.predict_one({"x": 1.0}) == {}
