"""The engine watches the stream: alarms in sinks and notes, delayed labels, checkpoints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drift import CardinalityDrift, KolmogorovSmirnovDrift, PriorShift
from ihomer.checkpoint import CheckpointError, CheckpointStore
from ihomer.engine import Engine, Outputs
from ihomer.evaluation.track import Track
from ihomer.evaluation.watching import StreamWatch
from ihomer.progress import NoProgress
from learners import NoChangeClassifier
from streams.batch import Batch
from streams.memory import BatchSource
from tests.engine.test_engine import ListSink, StopAt


def events() -> Batch:
    rng = np.random.default_rng(2)
    late = np.arange(1200)[:, None] >= 700
    x = rng.normal(size=(1200, 2)) + 4 * late
    return Batch.from_arrays(x, rng.random((1200, 4)) < np.where(late, 0.8, 0.1))


def engine(detector: str = "page-hinkley:threshold=10", **settings: Any) -> Engine:
    settings.setdefault(
        "watch",
        StreamWatch(
            [
                PriorShift(reference_size=200, window_size=100, clock=50),
                CardinalityDrift(),
                KolmogorovSmirnovDrift(reference_size=100, window_size=60, clock=20),
            ]
        ),
    )
    track = Track("no-change", NoChangeClassifier(), detector=detector)
    return Engine(BatchSource(events(), "events"), [track], batch_size=64, **settings)


class Notes(NoProgress):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def test_alarms_go_to_the_sink_and_are_noted() -> None:
    sink, progress = ListSink(), Notes()
    one = engine(outputs=Outputs(events=sink), progress=progress)
    assert one.run()
    messages = [json.loads(message) for message in sink.messages]
    alarms = [message for message in messages if message["model"] is None]
    assert [{key: value for key, value in alarm.items() if key != "model"} for alarm in alarms] == one.watch.alarms
    assert {alarm["kind"] for alarm in alarms} == {"labels-prior", "labels-cardinality", "features"}
    drifts = [message for message in messages if message["model"] == "no-change"]
    assert drifts == [{"model": "no-change", **drift} for drift in one.tracks[0].drifts]
    assert drifts[0]["detector"] == "PageHinkley"
    first = one.watch.alarms[0]
    assert progress.notes[0] == f"events: {first['kind']} drift at event {first['event']:,} ({first['detector']})"
    assert len(progress.notes) == len(alarms)


def test_labels_that_come_later_are_watched_when_they_come() -> None:
    at_once, later = engine(), engine(delay=30)
    assert at_once.run()
    assert later.run()
    assert sorted(later.watch.alarms, key=str) == sorted(at_once.watch.alarms, key=str)


@pytest.mark.parametrize("delay", [0, 30])
def test_stopped_and_resumed_is_the_same(tmp_path: Path, delay: int) -> None:
    whole_sink, sink = ListSink(), ListSink()
    whole = engine(outputs=Outputs(events=whole_sink), delay=delay, metrics_every=256)
    assert whole.run()
    store = CheckpointStore(tmp_path)
    first = engine(outputs=Outputs(events=sink), delay=delay, store=store, metrics_every=256)
    first.progress = StopAt(first, 768)
    assert not first.run()
    second = engine(outputs=Outputs(events=sink), delay=delay, store=store, metrics_every=256)
    assert second.run(resume=True)
    assert second.watch.alarms == whole.watch.alarms
    assert second.tracks[0].drifts == whole.tracks[0].drifts
    assert sink.messages == whole_sink.messages
    for one, other in (
        (second.watch.get_state(), whole.watch.get_state()),
        (second.tracks[0].detector.get_state(), whole.tracks[0].detector.get_state()),
    ):
        assert {name: array.tobytes() for name, array in one.items()} == {
            name: array.tobytes() for name, array in other.items()
        }


def test_other_detectors_do_not_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    assert engine(store=store).run()
    with pytest.raises(CheckpointError, match=r"detectors must be those of the checkpoint, .*PageHinkley.*got .*ADWIN"):
        engine("adwin", store=store).resume()
    with pytest.raises(CheckpointError, match=r"watch must be those of the checkpoint, .*PriorShift.*got \[\]"):
        engine(store=store, watch=None).resume()


def test_a_checkpoint_of_an_earlier_release_had_one_detector_and_no_watch(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    one = engine("adwin", store=store, watch=None)
    one.progress = StopAt(one, 512)
    assert not one.run()
    _, manifest, arrays = store.latest()
    for key in ("detectors", "watch", "told"):
        del manifest[key]
    store.clear()
    store.save(manifest["counts"]["read"], {k: v for k, v in manifest.items() if k != "version"}, arrays)
    again = engine("adwin", store=store, watch=None)
    assert again.run(resume=True)
    whole = engine("adwin", watch=None)
    assert whole.run()
    assert again.tracks[0].drifts == whole.tracks[0].drifts
