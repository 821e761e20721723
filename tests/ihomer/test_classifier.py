"""The classifier as a whole; the laws of every learner are in tests/contracts.py."""

import json
from itertools import pairwise

import numpy as np
import pytest

import ihomer
from ihomer.classifier import CHUNK, IHOMERClassifier
from ihomer.evaluation.metrics import MultiLabelMetrics
from learners import LinearClassifier, NoChangeClassifier
from streams.batch import Batch, Rows, Schema
from streams.opening import open_source

COMPARED = ("subset_accuracy", "micro_f1", "macro_f1", "example_f1")


@pytest.fixture(scope="module")
def yeast():
    return open_source("yeast").next_batch(5000)


def scores(model, batch, size=CHUNK):
    metrics = MultiLabelMetrics()
    for start in range(0, len(batch), size):
        part = batch[start : start + size]
        metrics.update(part, model.test_then_train(part))
    return metrics.cumulative(batch.schema.n_labels)


@pytest.fixture(scope="module")
def on_yeast(yeast):
    made = {name: IHOMERClassifier(None, name) for name in ("balanced", "f1", "subset", "hamming")}
    made |= {"linear": LinearClassifier(), "no-change": NoChangeClassifier()}
    return {name: scores(model, yeast) for name, model in made.items()}


def test_it_beats_its_local_learner_and_no_change_on_yeast(on_yeast):
    ours = on_yeast["balanced"]
    for other in ("linear", "no-change"):
        assert all(ours[name] > on_yeast[other][name] for name in COMPARED)
        assert ours["hamming_loss"] < on_yeast[other]["hamming_loss"]
    assert ours["subset_accuracy"] > 0.18
    assert ours["micro_f1"] > 0.64
    assert ours["example_f1"] > 0.62
    assert ours["log_loss"] < on_yeast["linear"]["log_loss"]


def test_each_objective_is_good_at_what_it_is_for(on_yeast):
    subset = {name: found["subset_accuracy"] for name, found in on_yeast.items()}
    assert max(subset, key=subset.get) == "subset"
    assert on_yeast["hamming"]["hamming_loss"] == min(found["hamming_loss"] for found in on_yeast.values())
    assert on_yeast["f1"]["micro_f1"] > on_yeast["hamming"]["micro_f1"] + 0.01
    assert on_yeast["f1"]["macro_f1"] == max(found["macro_f1"] for found in on_yeast.values())


def test_weights_can_stand_for_an_objective(yeast):
    named, weighed = IHOMERClassifier(None, "f1"), IHOMERClassifier(None, (0, 1, 1, 0, 1))
    part = yeast[:200]
    assert named.test_then_train(part).labels.indices.tolist() == weighed.test_then_train(part).labels.indices.tolist()


def test_what_comes_later_changes_no_answer(yeast):
    at = 700
    rng = np.random.default_rng(0)
    changed = yeast.take(np.arange(1000))
    changed.x = changed.x.copy()
    changed.x[at + 1 :] = rng.normal(size=changed.x[at + 1 :].shape)
    y = changed.y.to_dense(14)
    y[at:] = rng.random(y[at:].shape) < 0.5
    changed.y = Batch.from_arrays(np.zeros((1000, 1)), y).y
    a, b = IHOMERClassifier().test_then_train(yeast[:1000]), IHOMERClassifier().test_then_train(changed)
    assert a.proba[: at + 1].tobytes() == b.proba[: at + 1].tobytes()
    assert a.labels[: at + 1].indices.tolist() == b.labels[: at + 1].indices.tolist()
    assert a.proba[at + 1 :].tobytes() != b.proba[at + 1 :].tobytes()


def test_the_hierarchy_and_its_events_are_told_in_names_and_in_the_numbers_of_the_schema():
    rng = np.random.default_rng(1)
    schema = Schema(["f"], ["never", "d", "c", "b", "a"])
    taken = rng.random((1500, 2)) < 0.5
    y = np.stack([taken[:, 0] * 0, taken[:, 0], taken[:, 0], taken[:, 1], taken[:, 1]], 1)
    model = IHOMERClassifier()
    model.learn_batch(Batch.from_arrays(rng.normal(size=(1500, 1)), y, schema=schema))
    assert sorted(map(sorted, model.clusters_)) == [["a", "b"], ["c", "d"]]
    assert sorted(map(sorted, model.hierarchy_.clusters)) == [[1, 2], [3, 4]]
    assert model.hierarchy_.jaccard(3, 4) == 1.0
    assert model.hierarchy_.jaccard(1, 3) == pytest.approx(1 / 3, abs=0.05)
    tree = model.hierarchy_.tree(schema.label_names)
    assert sorted(sorted(child["labels"]) for child in tree["children"]) == [["a", "b"], ["c", "d"]]
    split = model.events_[-1]
    assert split["kind"] == "split"
    assert sorted(map(sorted, split["halves"])) == [["a", "b"], ["c", "d"]]
    assert model.hierarchy_.events[-1]["event"] == split["event"] <= 1500
    assert json.loads(json.dumps(model.events_)) == model.events_


def test_the_hierarchy_it_tells_of_is_a_copy():
    model = IHOMERClassifier(n_min=10)
    batch = Batch.from_arrays(np.zeros((50, 1)), np.ones((50, 3)))
    model.learn_batch(batch)
    model.hierarchy_.update([0])
    assert model.hierarchy_.n_events == 50
    assert IHOMERClassifier().hierarchy_.clusters == []


@pytest.mark.parametrize("mode", ["default", "paper"])
def test_unlabelled_events_do_not_reach_the_hierarchy(mode):
    model = IHOMERClassifier(mode=mode)
    model.learn_batch(Batch.from_arrays(np.zeros((30, 1))))
    model.learn_batch(Batch.from_arrays(np.zeros((30, 1)), np.full((30, 2), np.nan)))
    model.learn_batch(Batch.from_arrays(np.zeros((30, 1)), np.ones((30, 2))))
    assert model.hierarchy_.n_events == 30
    assert model.clusters_ == [["y0", "y1"]]


def test_paper_mode_gives_the_local_learners_answers(yeast):
    part = yeast[:600]
    paper, local = IHOMERClassifier(mode="paper").test_then_train(part), LinearClassifier().test_then_train(part)
    assert paper.labels.indices.tolist() == local.labels.indices.tolist()
    assert paper.proba.tobytes() == local.proba.tobytes()


def test_a_local_learner_of_choice_is_copied_and_comes_back_from_a_file(yeast, tmp_path):
    local = LinearClassifier("ftrl", 0.5)
    model = IHOMERClassifier(local)
    other = IHOMERClassifier()
    mine, default = model.test_then_train(yeast[:300]), other.test_then_train(yeast[:300])
    assert local.schema_.n_features == 0, "untouched"
    assert mine.proba.tobytes() != default.proba.tobytes()
    ihomer.save(model, tmp_path / "model.ckpt")
    again = ihomer.load(tmp_path / "model.ckpt")
    assert again.local.optimizer == "ftrl"
    more = yeast[300:600]
    assert again.test_then_train(more).proba.tobytes() == model.test_then_train(more).proba.tobytes()
    assert again.events_ == model.events_


def test_a_local_learner_needs_probabilities():
    model = IHOMERClassifier(NoChangeClassifier())
    with pytest.raises(TypeError, match=r"local must be a learner with probabilities, got NoChangeClassifier"):
        model.learn_one({"a": 1.0}, {"p": True})


def test_the_past_of_the_labels_can_be_left_out():
    rng = np.random.default_rng(2)
    turns = np.repeat(rng.integers(0, 2, 40), 50)
    batch = Batch.from_arrays(rng.normal(size=(2000, 3)), np.stack([turns, 1 - turns], 1))
    assert scores(IHOMERClassifier(), batch)["subset_accuracy"] > 0.95
    # An alarm would make the rest of it quick enough to follow.
    assert scores(IHOMERClassifier(temporal=False, detector=None), batch)["subset_accuracy"] < 0.8


def test_labels_that_always_go_together_are_answered_together():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(3000, 2))
    noisy = x + rng.normal(size=(3000, 2))
    first = noisy[:, 0] > 0
    y = np.stack([first, first, ~first & (noisy[:, 1] > 0)], 1)
    answers = IHOMERClassifier(None, "subset").test_then_train(Batch.from_arrays(x, y)).labels.to_dense(3)[1000:]
    linear = LinearClassifier().test_then_train(Batch.from_arrays(x, y)).labels.to_dense(3)[1000:]
    possible = {tuple(row) for row in y.astype(int).tolist()}
    assert {tuple(row) for row in answers.astype(int).tolist()} == possible
    assert {tuple(row) for row in linear.astype(int).tolist()} > possible
    assert np.mean((answers == y[1000:]).all(1)) > np.mean((linear == y[1000:]).all(1))


def test_a_quarter_of_the_memory_budget_is_for_the_pairs():
    rng = np.random.default_rng(4)
    batch = Batch.from_arrays(rng.normal(size=(600, 2)), rng.random((600, 120)) < 0.1)
    free, bounded = IHOMERClassifier(), IHOMERClassifier(memory_budget=65_536)
    free.learn_batch(batch)
    bounded.learn_batch(batch)
    assert bounded.get_state()["hierarchy/counts_keys"].nbytes <= 8_192
    assert free.get_state()["hierarchy/counts_keys"].nbytes >= 65_536
    assert bounded.hierarchy_.counts.n_evicted > 0


def wide(sparse, n=2200):
    """Events of many inputs, for which windows are long."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(n, 60)).astype(np.float32)
    y = x[:, :12] + 0.5 * rng.normal(size=(n, 12)) > 0.8
    return Batch.from_arrays(Rows.from_dense(np.where(x > 0.3, x, 0), values=True) if sparse else x, y)


@pytest.mark.parametrize("sparse", [False, True])
def test_windows_become_shorter_where_the_memory_budget_wants_it(sparse):
    batch, budget = wide(sparse), 300_000
    free, bounded = IHOMERClassifier(), IHOMERClassifier(memory_budget=budget)
    for start in range(0, len(batch), 50):
        for model in (free, bounded):
            model.learn_batch(batch[start : start + 50])
        assert bounded.nbytes <= budget
    assert free.nbytes > 1.5 * budget
    state = bounded.get_state()
    held = len(state["experts/window/records"])
    assert CHUNK <= held < len(batch) / 2
    assert len(state["experts/score_neighbours/rows"]) == held
    assert len(state["experts/nearest/squares" if sparse else "experts/nearest/rows"]) == held
    vote = bounded.predict_batch(batch[:5]), free.predict_batch(batch[:5])
    assert not np.array_equal(vote[0].proba, vote[1].proba)


@pytest.mark.parametrize("sparse", [False, True])
def test_windows_are_shortened_at_the_same_events_in_any_cut_and_after_loading(sparse):
    batch = wide(sparse)
    whole, parts, loaded = (IHOMERClassifier(memory_budget=300_000) for _ in range(3))
    answers = whole.test_then_train(batch)
    cuts = [0, 7, 64, 700, 1500, len(batch)]
    found = [parts.test_then_train(batch[low:high]) for low, high in pairwise(cuts)]
    assert np.array_equal(np.concatenate([part.proba for part in found]), answers.proba)
    loaded.learn_batch(batch[:1500])
    other = IHOMERClassifier(memory_budget=300_000)
    other.schema_ = loaded.schema_
    other.set_state(loaded.get_state())
    rest = other.test_then_train(batch[1500:])
    assert np.array_equal(rest.proba, answers.proba[1500:])
    ours, theirs = other.get_state(), whole.get_state()
    assert [name for name in theirs if ours[name].tobytes() != theirs[name].tobytes()] == []


def test_a_budget_that_cannot_be_kept_leaves_a_chunk_of_neighbours():
    batch = wide(False, 400)
    model = IHOMERClassifier(memory_budget=8_192)
    model.learn_batch(batch)
    assert len(model.get_state()["experts/window/records"]) == CHUNK
    assert model.nbytes > 8_192
    with pytest.raises(ValueError, match="memory_budget must be None or at least 8192 bytes, got 8191"):
        IHOMERClassifier(memory_budget=8_191)


def test_single_events_are_learned_within_the_budget_as_batches_are():
    batch = wide(False, 700)
    one, many = IHOMERClassifier(memory_budget=100_000), IHOMERClassifier(memory_budget=100_000)
    many.learn_batch(batch)
    names = batch.schema.feature_names
    for i in range(len(batch)):
        labels = set(batch.y.row(i).tolist())
        x = dict(zip(names, batch.x[i].tolist(), strict=True))
        one.learn_one(x, {name: place in labels for place, name in enumerate(batch.schema.label_names)})
    held = one.get_state(), many.get_state()
    assert len(held[0]["experts/window/records"]) == len(held[1]["experts/window/records"]) < 400
    assert np.array_equal(held[0]["experts/nearest/rows"], held[1]["experts/nearest/rows"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimise": "speed"}, "optimise must be one of balanced, f1, subset, hamming, or five weights, got 'speed'"),
        ({"optimise": (1, 1)}, r"optimise must have five weights of at least 0, not all 0, got \(1, 1\)"),
        ({"optimise": (0, 0, 0, 0, 0)}, "optimise must have five weights of at least 0, not all 0, got"),
        ({"optimise": (1, 1, 1, -1, 1)}, "optimise must have five weights of at least 0, not all 0, got"),
        ({"mode": "fast"}, "mode must be 'default' or 'paper', got 'fast'"),
        ({"max_size": 1}, "min_size must be from 1 to half of max_size = 1, got 2"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(ValueError, match=message):
        IHOMERClassifier(**settings)
