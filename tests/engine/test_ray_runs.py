"""Actors that learn partitions, looked after: what is counted, merged and told, and what an actor's death leaves."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ihomer.checkpoint import CheckpointError
from ihomer.cli import main
from ihomer.config import ConfigError, resolve
from ihomer.plans import RunPlan
from ihomer.ray_cluster import ray_cluster
from ihomer.ray_runs import Member, of_member, run_on_ray
from ihomer.topic_runs import run_topic
from tests.engine.fake_ray import FakeRay, exceptions
from tests.kafka.running import left_behind, read_counts, wait_for

N, PARTITIONS = 1200, 3


class Told:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.counts: list[int] = [0]
        self.metrics: dict[str, Any] = {}

    def begin(self, title: str, total: int | None = None) -> None:
        self.title = title

    def advance(self, n_events: int, metrics: Callable[[], dict[str, Any]]) -> None:
        self.counts.append(n_events)
        self.metrics = metrics()

    def note(self, text: str) -> None:
        self.notes.append(text)

    def end(self) -> None:
        pass


@pytest.fixture
def ray(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeRay:
    """A stand-in for Ray, on a machine without a cluster, and a topic in the working directory."""
    fake = FakeRay()
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setitem(sys.modules, "ray", fake)  # type: ignore[arg-type]
    monkeypatch.setattr("ihomer.ray_runs._ASK_S", 0.05)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events").mkdir()
    rng = np.random.default_rng(0)
    for partition in range(PARTITIONS):
        x = rng.normal(size=(N // PARTITIONS, 3)).round(3)
        lines = [
            json.dumps({"x": {"a": a, "b": b}, "y": [name for name, on in (("p", a > 0), ("q", c > 0.5)) if on]})
            for a, b, c in x.tolist()
        ]
        (tmp_path / f"events/partition-{partition:04d}.jsonl").write_text("\n".join([*lines, ""]))
    return fake


def plan(**settings: Any) -> RunPlan:
    settings = {"learner": "naive-bayes", "checkpoint": "state", "until_end": True, "checkpoint_every": 100, **settings}
    return resolve(RunPlan, {"source": "log:events", "ray": "auto", "workers": 2, **settings})


def alone(**settings: Any) -> RunPlan:
    return plan(ray=None, workers=0, checkpoint="alone", **settings)


def test_actors_leave_what_one_process_does(ray: FakeRay) -> None:
    told = Told()
    found = run_on_ray(plan(gpus=0.25, merge=500, predictions="answers.jsonl"), told)
    expected = run_topic(alone(merge=500, predictions="expected.jsonl"), Told())
    assert left_behind(Path("state")) == left_behind(Path("alone"))
    for partition in range(PARTITIONS):
        names = (f"answers-{partition:04d}.jsonl", f"expected-{partition:04d}.jsonl")
        assert Path(names[0]).read_bytes() == Path(names[1]).read_bytes()
    for mine, theirs in zip(found.runs, expected.runs, strict=True):
        assert (mine.learner, mine.counts, mine.metrics) == (theirs.learner, theirs.counts, theirs.metrics)
        assert not mine.interrupted
    assert found.runs[0].data["actors"] == 2
    assert found.runs[0].data["merged"]["rule"] == "exact"
    assert found.runs[0].data["merged"]["events"] == N
    assert told.title == "events"
    assert told.counts[-1] == N
    assert told.metrics["naive-bayes"] == expected.runs[0].metrics
    # Each has the partitions of its number, and they are spread by Ray, which begins them anew for ever.
    ours = re.findall(r"actor (\d): events: partition (\d) is ours", "\n".join(told.notes))
    assert sorted(ours) == [("0", "0"), ("0", "2"), ("1", "1")]
    assert (ray.options["num_gpus"], ray.options["max_restarts"], ray.options["max_task_retries"]) == (0.25, -1, -1)
    assert ray.options["scheduling_strategy"] == "SPREAD"
    assert ray.addresses == ["local"]
    assert not ray.running
    assert all(actor.killed for actor in ray.actors)
    assert not list(Path("state").glob("run-*"))


def test_an_actor_that_dies_goes_on_from_its_checkpoints(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ihomer.pipeline._TURN_S", 0.0)
    monkeypatch.setattr(Member, "_mine", slowly(Member._mine))
    told = Told()

    def kill() -> None:
        wait_for(lambda: read_counts(Path("state")) >= N // 4, 30, "the first events")
        ray.actors[0].die()

    killer = threading.Thread(target=kill)
    killer.start()
    found = run_on_ray(plan(batch_size=4, checkpoint_every=20), told)
    killer.join()
    run_topic(alone(), Told())
    assert "actor 0: begun anew" in told.notes
    assert left_behind(Path("state")) == left_behind(Path("alone"))
    assert found.runs[0].counts["learned"] == N


def slowly(mine: Any) -> Any:
    """So that there is something left to do when it dies."""

    def take_on(self: Member, partition: int) -> bool:
        time.sleep(0.3 * partition)
        return bool(mine(self, partition))

    return take_on


def test_told_to_stop_all_leave_checkpoints_and_go_on_from_there(ray: FakeRay) -> None:
    def stop() -> None:
        wait_for(lambda: read_counts(Path("state")) == N, 30, "all that there is")
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop)
    stopper.start()
    found = run_on_ray(plan(until_end=False), Told())
    stopper.join()
    assert found.interrupted
    assert found.runs[0].counts["read"] == N
    before = left_behind(Path("state"))
    again = run_on_ray(plan(resume=True), Told())
    assert not again.interrupted
    assert left_behind(Path("state")) == before
    # And without that, all begins anew.
    anew = run_on_ray(plan(learner="majority"), Told())
    assert anew.runs[0].counts["read"] == N
    assert list(left_behind(Path("state"))) == [f"partition-{partition:04d}" for partition in range(PARTITIONS)]


def test_an_error_of_an_actor_ends_the_run_as_it_is(ray: FakeRay) -> None:
    with open("events/partition-0001.jsonl", "a") as file:
        file.write("no event\n")
    with pytest.raises(ValueError, match="events/1:"):
        run_on_ray(plan(on_error="fail"), Told())
    assert all(actor.killed for actor in ray.actors)


def test_an_actor_that_ray_cannot_begin_ends_the_run(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    def get(call: Any) -> Any:
        raise exceptions.RayError("no module named ihomer")

    monkeypatch.setattr(ray, "get", get)
    with pytest.raises(RuntimeError, match=r"actor [01]: Ray must be able to begin it, got no module named ihomer"):
        run_on_ray(plan(), Told())


def test_an_actor_without_a_place_is_told_of_and_not_waited_for(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ihomer.ray_runs._SILENT_S", 1.0)
    monkeypatch.setattr("ihomer.ray_runs._LEAVE_S", 1.0)
    never = threading.Event()
    run, report = Member.run, Member.report
    monkeypatch.setattr(Member, "run", lambda self: run(self) if self._number == 0 else never.wait(60))
    monkeypatch.setattr(
        Member, "report", lambda self, stop: report(self, stop) if self._number == 0 else never.wait(60)
    )
    told = Told()

    def stop() -> None:
        wait_for(lambda: any("actor 1: no answer" in note for note in told.notes), 30, "the note")
        os.kill(os.getpid(), signal.SIGTERM)

    stopper = threading.Thread(target=stop)
    stopper.start()
    found = run_on_ray(plan(), told)
    stopper.join()
    never.set()
    assert "actor 1: no answer; it is dead, or the cluster has no room for it" in told.notes
    assert found.interrupted
    assert [run.data["name"] for run in found.runs if run.learner["name"] == "majority"][1:] == ["events/0", "events/2"]


def test_a_run_that_is_stopped_before_it_read_anything_has_no_result(
    ray: FakeRay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Member, "run", lambda self: self._stop.wait(60) and {})
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(KeyboardInterrupt):
        run_on_ray(plan(), Told())


def test_a_call_that_ray_repeats_learns_nothing_twice(ray: FakeRay, tmp_path: Path) -> None:
    Path("state").mkdir()
    Path("state/mark").touch()
    member = Member(plan(), 0, "mark", str(tmp_path), {})
    found: list[Any] = []
    calls = [threading.Thread(target=lambda: found.append(member.run())) for _ in range(2)]
    for call in calls:
        call.start()
    wait_for(lambda: read_counts(Path("state")) == N * 2 // PARTITIONS, 30, "all that is its own")
    member.report(True)
    for call in calls:
        call.join()
    assert found[0] is found[1]
    assert sorted(found[0]) == [0, 2]


# Where actors are.


def test_a_folder_of_checkpoints_must_be_the_same_for_all(ray: FakeRay, tmp_path: Path) -> None:
    member = Member(plan(), 0, "run-of-another-machine", str(tmp_path), {"IHOMER_TOLD": "so"})
    with pytest.raises(CheckpointError, match="state: must be one folder for all machines, found another on "):
        member.run()
    assert os.environ.pop("IHOMER_TOLD") == "so"


def test_each_static_member_has_a_name_of_its_own() -> None:
    source = "kafka://h:1/t?group=g&instance=a&schema=x%2Fy.json"
    assert of_member(plan(source=source), 3).source == "kafka://h:1/t?group=g&instance=a-3&schema=x%2Fy.json"
    assert of_member(plan(), 3).source == "log:events"
    assert of_member(plan(), 3).resume


def test_a_group_has_shared_partitions_out_already(ray: FakeRay) -> None:
    shared = Member(plan(source="kafka://h:1/t?group=g"), 0, "", ".", {})
    assert [shared._mine(partition) for partition in range(3)] == [True, True, True]
    without = Member(plan(source="kafka://h:1/t"), 1, "", ".", {})
    assert [without._mine(partition) for partition in range(3)] == [False, True, False]


def test_a_cluster_is_joined_or_begun_and_left_as_it_was(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    with ray_cluster("auto", 2) as found:
        assert found is ray
        assert ray.addresses == ["local"]
        with ray_cluster("auto", 2):
            assert ray.addresses == ["local"]
        assert ray.running
    assert not ray.running
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        with ray_cluster("auto", 2):
            assert ray.addresses == ["local", address]
    with pytest.raises(ConnectionError, match=f"got nothing at '{address}'"), ray_cluster(address, 2):
        pass


# What is refused.


def test_without_ray_the_command_names_the_extra(
    ray: FakeRay, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # type: ignore[arg-type]
    words = ["run", "--source", "log:events", "--ray", "auto", "--workers", "2", "--checkpoint", "state"]
    with pytest.raises(SystemExit) as left:
        main(words)
    assert left.value.code == 2
    assert "--ray: needs the extra 'ray': pip install ihomer[ray]" in capsys.readouterr().err
    assert not Path("state").exists()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"workers": 0}, "--workers: must be at least 1 with ray, got 0"),
        ({"checkpoint": None}, "--checkpoint: must be a folder that all actors of Ray see, got none"),
        ({"model_per": "topic"}, "--model-per: must be partition where actors of Ray learn, got topic"),
        ({"metrics_port": 9100}, "--metrics-port: must be 0 where each actor of Ray finds its own, got 9100"),
        ({"predictions": "-"}, "must be a file or a topic where actors of Ray write, got '-'"),
        ({"source": "events.jsonl"}, "--workers: must be left out without an encoder, got 2"),
    ],
)
def test_plans_that_do_not_suit_actors_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        plan(**settings)


def test_with_an_encoder_workers_encode() -> None:
    assert not plan(encoder="hashing:dim=16", payload="text").actors_learn
    assert plan().actors_learn
