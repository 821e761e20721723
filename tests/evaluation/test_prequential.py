"""Evaluation as users call it: the whole stream, every event answered before it is learned, baselines beside it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

import ihomer
from ihomer.checkpoint import CheckpointStore
from learners import LinearClassifier, MajorityClassifier, NoChangeClassifier
from learners.base import Learner
from streams.batch import Batch
from streams.memory import shuffled
from streams.wire import encode_events


def events(n: int = 400, seed: int = 0) -> Batch:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 6))
    return Batch.from_arrays(x, (x @ rng.normal(size=(6, 5)) > 0.7))


def by_hand(model: Learner, batch: Batch) -> tuple[np.ndarray, np.ndarray]:
    """True and predicted matrices of the obvious loop, event by event through dictionaries."""
    names = batch.schema.label_names
    answers = []
    x, truth = np.asarray(batch.x), batch.y.to_dense(len(names)).astype(bool)
    for row, labels in zip(x, truth, strict=True):
        event = {f"x{j}": float(v) for j, v in enumerate(row)}
        answer = model.predict_one(event)
        answers.append([answer[name] for name in names])
        model.learn_one(event, dict(zip(names, labels.tolist(), strict=True)))
    return truth, np.array(answers)


@pytest.mark.parametrize("kind", [LinearClassifier, NoChangeClassifier, MajorityClassifier])
def test_scores_are_those_of_the_obvious_loop(kind: type[Learner]) -> None:
    batch = events()
    run = ihomer.evaluate(batch, {"model": kind()}).runs[0]
    truth, answer = by_hand(kind(), batch)
    assert run.metrics["subset_accuracy"] == pytest.approx((truth == answer).all(1).mean())
    assert run.metrics["hamming_loss"] == pytest.approx((truth != answer).mean())
    hits = (truth & answer).sum()
    assert run.metrics["micro_f1"] == pytest.approx(2 * hits / (truth.sum() + answer.sum()))
    assert run.counts == {"read": 400, "scored": 400, "learned": 400, "unlabelled": 0, "pending": 0, "dead": 0}


def test_baselines_run_beside_unless_switched_off_or_named() -> None:
    batch = events(50)
    names = [run.learner_name for run in ihomer.evaluate(batch, LinearClassifier()).runs]
    assert names == ["LinearClassifier", "no-change", "majority"]
    alone = ihomer.evaluate(batch, LinearClassifier(), baselines=False)
    assert [run.learner_name for run in alone.runs] == ["LinearClassifier"]
    mine = ihomer.evaluate(batch, {"majority": MajorityClassifier()})
    assert [(run.learner_name, run.baseline) for run in mine.runs] == [("majority", False), ("no-change", True)]


def test_no_learners_is_an_error() -> None:
    with pytest.raises(ValueError, match="learners must name at least one, got none"):
        ihomer.evaluate(events(5), {})


def test_a_shuffled_stream_is_the_same_events_in_the_order_of_the_seed() -> None:
    batch = events()
    run = ihomer.evaluate(batch, {"m": LinearClassifier()}, shuffle=3, baselines=False).runs[0]
    same = ihomer.evaluate(shuffled(batch, 3), {"m": LinearClassifier()}, baselines=False).runs[0]
    assert run.data["order"] == "shuffled:3"
    assert run.metrics == same.metrics
    other = ihomer.evaluate(batch, {"m": LinearClassifier()}, shuffle=4, baselines=False).runs[0]
    assert run.metrics != other.metrics


def test_late_labels_cost_and_all_are_scored() -> None:
    prompt, late = (
        ihomer.evaluate(events(), {"m": LinearClassifier()}, delay=delay, baselines=False).runs[0] for delay in (0, 200)
    )
    assert prompt.counts["scored"] == late.counts["scored"] == 400
    assert late.metrics["micro_recall"] < prompt.metrics["micro_recall"]


def test_checkpoints_are_kept_and_gone_on_from(tmp_path: Path) -> None:
    batch = events()
    whole = ihomer.evaluate(batch, {"m": LinearClassifier()}).runs[0]
    ihomer.evaluate(batch, {"m": LinearClassifier()}, max_events=150, checkpoint=tmp_path)
    found = CheckpointStore(tmp_path).latest()
    assert found is not None
    assert found[1]["counts"]["read"] == 150
    rest = ihomer.evaluate(batch, {"m": LinearClassifier()}, checkpoint=tmp_path, resume=True).runs[0]
    assert rest.metrics == whole.metrics
    assert rest.counts == whole.counts


def test_a_result_names_the_bytes_of_the_file_it_was_made_from(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_bytes(b"\n".join(encode_events(events(20))))
    learners = {"m": LinearClassifier()}
    for shuffle in (None, 1):
        data = ihomer.evaluate(path, learners, shuffle=shuffle, baselines=False).runs[0].data
        assert data["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert ihomer.evaluate(events(20), learners, baselines=False).runs[0].data["sha256"] is None


def test_predictions_go_to_a_file(tmp_path: Path) -> None:
    ihomer.evaluate(events(30), {"m": LinearClassifier()}, predictions=tmp_path / "p.jsonl")
    assert len((tmp_path / "p.jsonl").read_text().splitlines()) == 30


def test_ranking_and_calibration_are_told_where_there_are_probabilities() -> None:
    batch = events()
    run, no_change = ihomer.evaluate(batch, {"m": LinearClassifier(), "n": NoChangeClassifier()}, baselines=False).runs
    proba = LinearClassifier().test_then_train(batch).proba
    truth = batch.y.to_dense(5).astype(bool)
    ranked = truth.any(1)
    first = truth[np.arange(len(truth)), proba.argmax(1)]
    assert run.metrics["precision_at_1"] == pytest.approx((first & (proba.max(1) > 0))[ranked].mean())
    assert run.ranking == {"n_ranked": ranked.sum(), "n_without_label": (~ranked).sum()}
    assert run.calibration is not None
    assert run.calibration["n_cells"] == truth.size
    assert run.metrics["ece"] == run.calibration["ece"]
    assert np.dot(run.calibration["n"], run.calibration["share_present"]) == pytest.approx(truth.sum())
    for number, entry in enumerate(run.per_label):
        answered = proba[:, number] >= entry["threshold"]
        hits = (answered & truth[:, number]).sum()
        assert entry["f1_at_threshold"] == pytest.approx(2 * hits / (answered.sum() + entry["support"]))
        assert entry["f1_at_threshold"] >= entry["f1_at_half"]
        assert entry["calibration"]["ece"] == pytest.approx(entry["ece"])
    assert no_change.calibration is None
    assert no_change.ranking == {}
    assert "threshold" not in no_change.per_label[0]
    assert not {"ece", "precision_at_1"} & no_change.metrics.keys()
    without = ihomer.evaluate(batch, {"m": LinearClassifier()}, baselines=False, further_metrics=False).runs[0]
    assert without.metrics == {key: run.metrics[key] for key in without.metrics}
    assert without.calibration is None
    assert "precision_at_1" not in without.metrics


def test_single_label_metrics_are_told_of_streams_that_have_one_class_an_event_to_the_end() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 4))
    truth = np.eye(4, dtype=int)[x.argmax(1)]
    single = ihomer.evaluate(Batch.from_arrays(x, truth), {"m": LinearClassifier()}).runs
    assert all({"accuracy", "kappa", "kappa_temporal", "kappa_m"} <= run.metrics.keys() for run in single)
    repeats = {run.learner_name: run for run in single}["no-change"]
    assert repeats.metrics["kappa_temporal"] == 0
    truth[-1] = 1
    several = ihomer.evaluate(Batch.from_arrays(x, truth), {"m": LinearClassifier()}).runs[0]
    assert "accuracy" not in several.metrics
    assert all("accuracy" not in point["cumulative"] for point in several.curve)
    binary = ihomer.evaluate(Batch.from_arrays(x, x[:, :1] > 0), {"m": LinearClassifier()}, baselines=False).runs[0]
    assert binary.metrics["accuracy"] == binary.metrics["subset_accuracy"]


def test_ihomer_beats_what_it_must_on_the_bundled_stream() -> None:
    """The whole stream in file order, defaults: above the linear learner and the baselines."""
    learners = {"ihomer": ihomer.IHOMERClassifier(seed=1), "linear": LinearClassifier()}
    result = ihomer.evaluate("yeast", learners)
    runs = {run.learner_name: run.metrics for run in result.runs}
    assert all(run.counts["scored"] == 2417 for run in result.runs)
    for metric in ("subset_accuracy", "micro_f1", "example_f1"):
        assert runs["ihomer"][metric] > max(runs[name][metric] for name in ("linear", "no-change", "majority"))
    assert runs["ihomer"]["hamming_loss"] < min(runs[name]["hamming_loss"] for name in ("linear", "no-change"))
