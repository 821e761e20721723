"""Models of partitions become one: exactly where the learner can, an ensemble elsewhere, and never to their harm."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ihomer
from ihomer.checkpoint import CheckpointStore, describe, nested, read
from ihomer.cli import main
from ihomer.config import ConfigError, resolve
from ihomer.partition_ensemble import PartitionEnsemble
from ihomer.partition_merge import PartitionMerge, merged
from ihomer.plans import RunPlan
from learners import GaussianNBClassifier, LinearClassifier, MajorityClassifier, NCMClassifier, NoChangeClassifier
from learners.base import Learner
from streams.batch import Batch, Schema

N, LABELS = 240, 4


def events(seed: int, labels: list[str], n: int = N) -> Batch:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    truth = np.stack([x[:, k % 3] + 0.2 * rng.normal(size=n) > 0 for k in range(len(labels))], 1)
    return Batch.from_arrays(x, truth, schema=Schema(["a", "b", "c"], labels))


def learned(model: Learner, batch: Batch) -> Learner:
    model.learn_batch(batch)
    return model


def checkpoints(folder: Path, models: list[Learner], read_by: list[int]) -> RunPlan:
    """Checkpoints of partitions that a run of these models would leave, and its plan."""
    for partition, (model, n) in enumerate(zip(models, read_by, strict=True)):
        manifest = {"kind": "run", "learners": [{"name": "x", **describe(model)}], "counts": {"read": n}}
        arrays = nested("0/model", model.get_state())
        CheckpointStore(folder, f"partition-{partition:04d}").save(n, manifest, arrays)
    return resolve(RunPlan, {"source": "log:events", "checkpoint": str(folder), "merge": 100, "learner": "linear"})


# Which rule.


def test_what_can_be_merged_is_one_model_of_all_events() -> None:
    parts = [events(seed, ["p", "q"]) for seed in range(3)]
    models = [learned(GaussianNBClassifier(), part) for part in parts]
    before = [model.get_state() for model in models]
    model, why = merged(models)
    assert (type(model), why) == (GaussianNBClassifier, "")
    whole = GaussianNBClassifier()
    for part in parts:
        whole.learn_batch(part)
    asked = events(9, ["p", "q"])
    np.testing.assert_allclose(model.predict_batch(asked).proba, whole.predict_batch(asked).proba, atol=1e-9)
    for one, state in zip(models, before, strict=True):
        assert all(np.array_equal(array, state[name]) for name, array in one.get_state().items())


@pytest.mark.parametrize(
    ("make", "fresh", "why"),
    [
        (LinearClassifier, True, "LinearClassifier cannot be merged"),
        (
            lambda: NCMClassifier(normalise="batch"),
            True,
            "normalise must be one of none, l2, layer to merge, got 'batch'",
        ),
        (GaussianNBClassifier, False, "all models began with what one had learned"),
    ],
)
def test_what_cannot_be_merged_becomes_an_ensemble_and_says_why(
    make: Callable[[], Learner], fresh: bool, why: str
) -> None:
    models = [learned(make(), events(seed, ["p", "q"])) for seed in range(2)]
    model, told = merged(models, fresh=fresh)
    assert isinstance(model, PartitionEnsemble)
    assert told == why
    assert model.members_ == models


# On a schedule, from checkpoints.


def test_a_merge_is_made_whenever_so_many_more_events_are_in_checkpoints(tmp_path: Path) -> None:
    models: list[Learner] = [learned(LinearClassifier(), events(seed, ["p", "q"])) for seed in range(2)]
    plan = checkpoints(tmp_path, models, [50, 30])
    told: list[str] = []
    merging = PartitionMerge(plan, told.append)
    merging.look(80)
    assert not told
    assert not (tmp_path / "merged.ckpt").exists()
    checkpoints(tmp_path, models, [150, 30])
    merging.look(180)
    checkpoints(tmp_path, models, [160, 30])
    merging.look(190)
    file = tmp_path / "merged.ckpt"
    expected = f"2 models of 180 events put into an ensemble, since LinearClassifier cannot be merged: {file}"
    assert told == [expected]
    merging.merge()
    merging.merge()
    assert len(told) == 2
    assert merging.latest is not None
    assert merging.latest.as_dict() == read(file)[0]["merged"]
    assert merging.latest.events == 190
    model = ihomer.load(file)
    asked = events(9, ["p", "q"])
    mean = np.mean([one.predict_batch(asked).proba for one in models], axis=0)
    np.testing.assert_allclose(model.predict_batch(asked).proba, mean, atol=1e-7)


def test_nothing_is_merged_before_there_is_a_checkpoint(tmp_path: Path) -> None:
    told: list[str] = []
    plan = checkpoints(tmp_path, [], [])
    (tmp_path / "partition-0000").mkdir()
    PartitionMerge(plan, told.append).look(1000)
    assert not told
    assert [path.name for path in tmp_path.iterdir()] == ["partition-0000"]


def test_partitions_that_contradict_each_other_have_no_common_model(tmp_path: Path) -> None:
    models: list[Learner] = [LinearClassifier(), LinearClassifier()]
    models[0].learn_one({"a": 1.0}, {"p": True})
    models[1].learn_one({"a": "red"}, {"p": True})
    told: list[str] = []
    merging = PartitionMerge(checkpoints(tmp_path, models, [1, 1]), told.append)
    merging.merge()
    assert merging.latest is None
    assert told[0].startswith("no model of all partitions: ")
    assert not (tmp_path / "merged.ckpt").exists()


# The ensemble.


def test_a_label_that_some_members_never_met_is_left_to_the_others() -> None:
    first, second = events(1, ["p", "q"]), events(2, ["q", "r"])
    models = [learned(LinearClassifier(), first), learned(LinearClassifier(), second)]
    model = PartitionEnsemble.of(models)
    asked = events(3, ["p"])
    proba = np.asarray(model.predict_batch(asked).proba)
    theirs = [np.asarray(one.predict_batch(asked).proba) for one in models]
    assert model.schema_.label_names == ["p", "q", "r"]
    expected = np.stack([theirs[0][:, 0], (theirs[0][:, 1] + theirs[1][:, 0]) / 2, theirs[1][:, 1]], 1)
    np.testing.assert_allclose(proba, expected, atol=1e-7)


def test_an_ensemble_answers_as_many_labels_as_its_members_do() -> None:
    def answering(batch: Batch, *model: Learner) -> PartitionEnsemble:
        for one in model:
            one.learn_batch(batch)
        return PartitionEnsemble.of(model)

    one_each = Batch.from_arrays(np.eye(3), np.eye(3), schema=Schema(["a", "b", "c"], ["p", "q", "r"]))
    head = answering(one_each, NCMClassifier(), NCMClassifier())
    assert np.diff(head.predict_batch(events(1, ["p", "q", "r"])).labels.indptr).tolist() == [1] * N
    # Without probabilities a member says 0 or 1, and two of three are more than one.
    models = [NoChangeClassifier() for _ in range(3)]
    for model, present in zip(models, ("p", "p", "q"), strict=True):
        model.learn_one({}, {name: name == present for name in "pq"})
    ensemble = PartitionEnsemble.of(models)
    assert ensemble.predict_one({}) == {"p": True, "q": False}
    assert ensemble.predict_proba_one({})["p"][True] == pytest.approx(2 / 3)


def test_an_ensemble_that_learns_on_teaches_every_member() -> None:
    models = [learned(LinearClassifier(), events(seed, ["p"])) for seed in range(2)]
    twins = [learned(LinearClassifier(), events(seed, ["p"])) for seed in range(2)]
    ensemble, more = PartitionEnsemble.of(models), events(5, ["p", "s"])
    for part in (more[:100], more[100:]):
        ensemble.learn_batch(part)
    for member, twin in zip(ensemble.members_, twins, strict=True):
        twin.learn_batch(more)
        assert member.get_state()["weights"].tobytes() == twin.get_state()["weights"].tobytes()
    # Both know the label by now, from the event behind the one that brought it.
    again = PartitionEnsemble(LinearClassifier())
    again.set_state(ensemble.get_state())
    asked = events(6, ["s", "p"])
    mean = np.mean([one.predict_batch(asked).proba for one in twins], axis=0)
    np.testing.assert_allclose(again.predict_batch(asked).proba, mean, atol=1e-7)


def test_an_ensemble_of_many_labels_is_handled_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    model = PartitionEnsemble.of([learned(LinearClassifier(), events(seed, ["p", "q"])) for seed in range(2)])
    asked = events(5, ["p", "q"])
    whole = model.predict_batch(asked)
    monkeypatch.setattr("ihomer.partition_ensemble._ROOM", 20)
    parts = model.predict_batch(asked)
    assert np.asarray(whole.proba).tobytes() == np.asarray(parts.proba).tobytes()


def test_an_ensemble_refuses_what_it_cannot_be() -> None:
    with pytest.raises(ValueError, match="n_members must be at least 1, got 0"):
        PartitionEnsemble(MajorityClassifier(), 0)
    state = PartitionEnsemble(MajorityClassifier(), 3).get_state()
    with pytest.raises(ValueError, match="state 'members' must hold 2 members, got 3"):
        PartitionEnsemble(MajorityClassifier()).set_state(state)


# The command.


@pytest.fixture
def topic(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A topic of two partitions in the working directory."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events").mkdir()
    batch = events(0, ["p", "q"], 300)
    for partition in range(2):
        lines = [
            json.dumps(
                {
                    "x": dict(zip("abc", map(float, batch.x[i]), strict=True)),
                    "y": [n for n, on in zip("pq", row, strict=True) if on],
                }
            )
            for i, row in enumerate(batch.y.to_dense(2).tolist())
            if i % 2 == partition
        ]
        (tmp_path / f"events/partition-{partition:04d}.jsonl").write_text("\n".join([*lines, ""]))
    return tmp_path


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["run", "--source", "log:events", *words])
    found = capsys.readouterr()
    return int(left.value.code or 0), found.out, found.err


def test_a_run_merges_at_its_end_and_another_begins_with_that(topic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = ("--until-end", "--checkpoint-every", "50", "--sink")
    plain = run(capsys, "--learner", "linear", "--checkpoint", "plain", *more, "plain.jsonl", "--json", "--quiet")
    code, out, err = run(
        capsys, "--learner", "linear", "--checkpoint", "state", "--merge", "100", *more, "merged.jsonl", "--json"
    )
    assert (plain[0], code) == (0, 0)
    data = json.loads(out)["runs"][0]["data"]
    assert data["merged"] == {
        "rule": "ensemble",
        "why": "LinearClassifier cannot be merged",
        "events": 300,
        "partitions": 2,
        "file": "state/merged.ckpt",
    }
    assert "2 models of 300 events put into an ensemble, since LinearClassifier cannot be merged" in err
    for partition in range(2):
        names = [f"{sink}-{partition:04d}.jsonl" for sink in ("plain", "merged")]
        assert (topic / names[0]).read_bytes() == (topic / names[1]).read_bytes()
    words = ("--learner", "linear", "--warm-start", "state/merged.ckpt", "--until-end", "--json", "--quiet")
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert json.loads(out)["runs"][0]["learner"]["class"] == "ihomer.partition_ensemble:PartitionEnsemble"
    code, _, err = run(capsys, *words[2:], "--learner", "knn")
    assert code == 1
    assert "learner must be that of the checkpoint" in err


def test_a_run_of_a_learner_that_merges_leaves_its_like(topic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--learner", "naive-bayes", "--checkpoint", "state", "--merge", "1000", "--until-end", "--json", "--quiet")
    code, out, _ = run(capsys, *words)
    assert code == 0
    data, batch = json.loads(out)["runs"][0]["data"], events(0, ["p", "q"], 300)
    assert data["merged"]["rule"] == "exact"
    assert data["cardinality"] == pytest.approx(batch.y.to_dense(2).sum() / 300)
    whole = GaussianNBClassifier()
    whole.learn_batch(batch)
    model, asked = ihomer.load("state/merged.ckpt"), events(4, ["p", "q"])
    columns = [model.schema_.find_label(name) for name in "pq"]
    mine = np.asarray(model.predict_batch(asked).proba)[:, columns]
    np.testing.assert_allclose(mine, whole.predict_batch(asked).proba, atol=1e-9)
    warm = ("--learner", "naive-bayes", "--warm-start", "state/merged.ckpt", "--until-end", "--json", "--quiet")
    assert run(capsys, *warm)[0] == 0


def test_the_run_on_a_topic_tells_of_all_its_partitions(topic: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (topic / "labels").mkdir()
    for partition in range(2):
        name = f"partition-{partition:04d}.jsonl"
        told = [json.loads(line) for line in (topic / "events" / name).read_text().splitlines()]
        for what, field in (("events", "x"), ("labels", "y")):
            lines = [json.dumps({"id": f"{i}", "ts": i, field: event[field]}) for i, event in enumerate(told)]
            (topic / what / name).write_text("\n".join([*lines, ""]))
    words = ("--learner", "majority", "--label-source", "log:labels", "--until-end", "--json", "--quiet")
    code, out, _ = run(capsys, *words)
    assert code == 0
    assert json.loads(out)["runs"][0]["data"]["join"]["joined"] == 300


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "events.jsonl", "merge": 5}, "merge: must be left out without a model for each partition, got 5"),
        (
            {"source": "log:e", "merge": 5, "model_per": "topic"},
            "merge: must be left out without a model for each partition, got 5",
        ),
        ({"source": "log:e", "merge": 5}, "merge: must come with a folder of checkpoints, got 5 and none"),
        (
            {"source": "log:e", "merge": 5, "checkpoint": "s", "learner": "river:linear_model.LogisticRegression()"},
            "merge: must come with trust_pickle for a model of river, got 5 and false",
        ),
    ],
)
def test_what_cannot_be_merged_is_refused_at_the_start(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(RunPlan, settings)
