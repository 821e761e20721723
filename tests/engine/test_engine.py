"""The engine: counts that add up, delayed labels, sinks, checkpoints, stopping."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ihomer.checkpoint import CheckpointError, CheckpointStore
from ihomer.engine import Engine, Outputs
from ihomer.evaluation.track import Track
from ihomer.progress import NoProgress
from learners import LinearClassifier, MajorityClassifier, NoChangeClassifier
from streams.batch import PARTIAL, UNLABELLED, Batch, DeadLetter, Schema
from streams.memory import BatchSource


def events(n: int = 600, seed: int = 0, n_labels: int = 4) -> Batch:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 5))
    y = (x @ rng.normal(size=(5, n_labels)) + 0.3 * rng.normal(size=(n, n_labels))) > 0.5
    batch = Batch.from_arrays(x, y)
    batch.time = np.arange(n) * 1000 + 1_700_000_000_000
    return batch


class ListSink:
    """A sink that remembers messages and can be cut back."""

    name = "list"

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def write(self, messages: list[bytes]) -> None:
        self.messages += messages

    def flush(self) -> None:
        pass

    def position(self) -> dict[str, Any]:
        return {"length": len(self.messages)}

    def resume(self, position: dict[str, Any]) -> None:
        del self.messages[position["length"] :]

    def close(self) -> None:
        pass


class StopAt(NoProgress):
    """Has the engine stop when so many events were read."""

    def __init__(self, engine: Engine, n_events: int) -> None:
        self.engine, self.n_events = engine, n_events

    def advance(self, n_events: int, metrics: Any) -> None:
        if n_events >= self.n_events:
            self.engine.stop.set()


def tracks() -> list[Track]:
    return [
        Track("linear", LinearClassifier(), spacing=50),
        Track("no-change", NoChangeClassifier(), baseline=True, spacing=50),
    ]


def finals(engine: Engine) -> list[dict[str, bytes]]:
    """Everything but times, to the bit."""
    states = []
    for track in engine.tracks:
        track.wall_s = track.cpu_s = 0.0
        states.append({name: array.tobytes() for name, array in track.get_state().items()})
    return states


def run(batch: Batch, **settings: Any) -> Engine:
    engine = Engine(BatchSource(batch, "events"), tracks(), **settings)
    assert engine.run()
    return engine


def test_batch_size_changes_nothing() -> None:
    reference = finals(run(events(), batch_size=256))
    for size in (1, 7, 600, 5000):
        assert finals(run(events(), batch_size=size)) == reference


def test_counts_add_up_with_unlabelled_partial_and_dead_events() -> None:
    batch = events(100)
    batch.label_state[10:30] = UNLABELLED
    batch.label_state[50] = PARTIAL
    batch.known = Batch.from_arrays(np.zeros((100, 1)), np.eye(100, 4, -50) > 0).y
    source = BatchSource(batch, "events")
    letter = DeadLetter("events", 0, "broken", b"{")
    plain, n_dead = source.next_batch, 3

    def with_dead(max_events: int = 256, timeout: float | None = None) -> Batch | None:
        nonlocal n_dead
        found = plain(max_events)
        if found is not None:
            found.dead, n_dead = [letter] * n_dead, 0
        return found

    source.next_batch = with_dead  # type: ignore[method-assign]
    outputs = Outputs(dead_letters=ListSink(), predictions=ListSink())
    engine = Engine(source, tracks(), outputs=outputs)
    assert engine.run()
    assert engine.counts.as_dict() == {
        "read": 103,
        "scored": 80,
        "learned": 80,
        "unlabelled": 20,
        "pending": 0,
        "dead": 3,
    }
    assert len(outputs.dead_letters.messages) == 3
    assert len(outputs.predictions.messages) == 100
    assert engine.tracks[0].scored == 80


def test_max_events_is_exact() -> None:
    assert run(events(), max_events=123, batch_size=50).counts.read == 123
    assert run(events(), max_events=5000).counts.read == 600


@pytest.mark.parametrize("delay", [1, 10, 600, 1000])
def test_delay_by_count_is_answer_first_then_learn_what_has_come(delay: int) -> None:
    batch = events(300)
    sink = ListSink()
    engine = run(batch, delay=delay, batch_size=64, outputs=Outputs(predictions=sink))
    model, answers = LinearClassifier(), []
    for i in range(300):
        answers.append(model.predict_batch(batch[i : i + 1]).labels.indices.tolist())
        if i >= delay:
            model.learn_batch(batch[i - delay : i - delay + 1])
    names = batch.schema.label_names
    assert [json.loads(m)["labels"] for m in sink.messages] == [[names[j] for j in row] for row in answers]
    assert engine.counts.scored == engine.counts.learned == 300
    assert engine.counts.pending == 0


def test_delay_by_time_equals_delay_by_count_on_an_even_clock() -> None:
    by_count = finals(run(events(300), delay=10))
    by_time = finals(run(events(300), delay=np.timedelta64(10, "s")))
    assert by_time == by_count


def test_delay_by_time_needs_times() -> None:
    batch = events(10)
    batch.time = None
    with pytest.raises(ValueError, match="events must have a time where labels are delayed by time, got none"):
        run(batch, delay=np.timedelta64(1, "s"))


def test_without_learning_only_answers_are_scored() -> None:
    engine = run(events(), learn=False)
    assert engine.counts.scored == 600
    assert engine.counts.learned == 0
    assert engine.tracks[0].read("cumulative", 4)["micro_recall"] == 0


@pytest.mark.parametrize("delay", [0, 37])
@pytest.mark.parametrize("stop_at", [64, 320, 550])
def test_stop_and_go_on_is_never_having_stopped(tmp_path: Path, delay: int, stop_at: int) -> None:
    whole_sinks = Outputs(predictions=ListSink(), metrics=ListSink(), events=ListSink())
    whole = run(events(), delay=delay, outputs=whole_sinks, metrics_every=100)
    sinks = Outputs(predictions=ListSink(), metrics=ListSink(), events=ListSink())
    settings: dict[str, Any] = {
        "delay": delay,
        "outputs": sinks,
        "metrics_every": 100,
        "store": CheckpointStore(tmp_path),
        "batch_size": 40,
    }
    first = Engine(BatchSource(events(), "events"), tracks(), **settings)
    first.progress = StopAt(first, stop_at)
    assert not first.run()
    assert stop_at <= first.counts.read < 600
    sinks.predictions.write([b"written after the checkpoint"])
    second = Engine(BatchSource(events(), "events"), tracks(), **settings)
    assert second.resume()
    assert second.run(resume=True)
    assert finals(second) == finals(whole)
    assert vars(second.counts) == vars(whole.counts)
    for name, sink in whole_sinks.each().items():
        assert sinks.each()[name].messages == sink.messages


def test_stop_ends_after_the_batch_in_hand(tmp_path: Path) -> None:
    engine = Engine(BatchSource(events(), "events"), tracks(), batch_size=50, store=CheckpointStore(tmp_path))

    engine.progress = StopAt(engine, 100)
    assert not engine.run()
    assert engine.counts.read == 100
    assert engine.store is not None
    found = engine.store.latest()
    assert found is not None
    assert found[1]["counts"]["read"] == 100


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    run(events(), store=store)
    other = Engine(BatchSource(events(), "events"), [Track("majority", MajorityClassifier())], store=store)
    with pytest.raises(CheckpointError, match="learners must be those of the checkpoint"):
        other.resume()
    elsewhere = Engine(BatchSource(events(), "others"), tracks(), store=store)
    with pytest.raises(CheckpointError, match="source must be those of the checkpoint, events, got others"):
        elsewhere.resume()
    assert not Engine(BatchSource(events(), "events"), tracks(), store=CheckpointStore(tmp_path / "no")).resume()


def test_a_new_run_in_an_old_folder_leaves_its_own_checkpoint(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    run(events(), store=store)
    run(events(100), store=store)
    found = store.latest()
    assert found is not None
    assert found[1]["counts"]["read"] == 100


@pytest.mark.parametrize("what", ["batch_size", "checkpoint_every", "metrics_every"])
def test_sizes_are_checked(what: str) -> None:
    with pytest.raises(ValueError, match=f"{what} must be at least 1, got 0"):
        run(events(5), **{what: 0})


def test_a_learner_that_numbers_labels_otherwise_is_scored_by_name() -> None:
    """A learner trained before on a stream with another label order answers by name."""
    batch = events(300)
    order = np.array([2, 0, 3, 1], np.int32)
    names = batch.schema.label_names
    other = Schema(batch.schema.feature_names, [names[j] for j in np.argsort(order)])
    same_events = Batch(other, batch.x, batch.y.renumbered(order), batch.label_state)
    warm = LinearClassifier()
    warm.learn_batch(same_events)
    straight = LinearClassifier()
    straight.learn_batch(batch)
    results = []
    for model in (warm, straight):
        engine = Engine(BatchSource(events(200, seed=5), "events"), [Track("linear", model)])
        engine.run()
        results.append(engine.tracks[0].read("cumulative", 4))
    assert results[0] == pytest.approx(results[1])
    assert results[0]["micro_f1"] > 0.3
