"""``ihomer siblurry --encoder``: features made once, learners of payloads beside learners of features, and refusals."""

from __future__ import annotations

import io
import json
import sys
import tarfile
from functools import partial

import numpy as np
import pytest

from ihomer.evaluation.result import Result
from streams.extraction.training.record import TrainingRecord, digests, read_record, whole_digest
from streams.siblurry.images import read_tar
from streams.siblurry.labelled import load_events

CLASSES = ("ant", "bee", "cow", "dog")

TOYS = '''
import numpy as np
from learners.baselines import MajorityClassifier

CALLS = []


def lengths(payloads):
    CALLS.append(len(payloads))
    return np.array([[len(payload), payload[0]] for payload in payloads], np.float32)


def pixels(payloads):
    return np.array([payload.reshape(-1, 3).mean(0) for payload in payloads])


class Reader(MajorityClassifier):
    """Takes payloads."""

    reads_payload = True
    seen = []

    def _run(self, batch, learn):
        Reader.seen += [(type(payload).__name__, batch.x.shape[1]) for payload in batch.payload]
        return super()._run(batch, learn)
'''


@pytest.fixture
def command(command, monkeypatch, tmp_path):
    """Runs ``ihomer siblurry``, with toys to import."""
    monkeypatch.delitem(sys.modules, "payload_toys", raising=False)
    (tmp_path / "payload_toys.py").write_text(TOYS)
    yield partial(command, "siblurry")
    sys.modules.pop("payload_toys", None)


@pytest.fixture
def texts(tmp_path):
    words = [["wing", "nest", "egg"], ["hive", "honey", "sting"], ["milk", "grass", "horn"], ["bark", "bone", "leash"]]
    random = np.random.default_rng(0)
    rows = [f"{' '.join(random.choice(words[row % 4], 3))} the a,{CLASSES[row % 4]}" for row in range(160)]
    path = tmp_path / "texts.csv"
    path.write_text("\n".join(["text,kind", *rows]) + "\n")
    return path


@pytest.fixture
def folder(tmp_path):
    """Files whose first byte tells their class."""
    place = tmp_path / "photos"
    for number, name in enumerate(CLASSES):
        (place / name).mkdir(parents=True)
        for turn in range(20):
            (place / name / f"{turn:02}.bin").write_bytes(bytes([10 * number]) * (turn + 1))
    return place


def test_text_is_turned_into_features_once(command, texts):
    words = ["--data", texts, "--payload", "text", "--labels", "tags:kind", "--learner", "ncm,majority", "--seeds", 2]
    code, _, err = command(*words, "--encoder", "hashing:dim=256,words=1", "--out", "results")
    assert code == 0
    assert "texts, features" in err
    assert "extraction: 160 payloads" in err
    runs = Result.load("results/result.json").runs
    assert len(runs) == 4
    for run in runs:
        assert run.data["encoder"].startswith("hashing-1:dim=256")
        assert run.data["n_features"] == 256
    assert {run.metrics["a_last"] for run in runs if run.learner_name == "ncm"} == {1.0}
    # All is done: nothing is extracted again. With another encoder all is to be done.
    _, _, err = command(*words, "--encoder", "hashing:dim=256,words=1", "--out", "results", "--resume")
    assert "extraction: 0 payloads" in err
    assert command(*words, "--encoder", "hashing:dim=128,words=1", "--out", "results", "--resume", "-q")[0] == 0
    assert [run.data["n_features"] for run in Result.load("results/result.json").runs] == [256] * 4 + [128] * 4


def test_workers_give_the_same_features(command, texts):
    words = ["--data", texts, "--payload", "text", "--labels", "tags:kind", "--learner", "ncm", "--seeds", 1, "-q"]
    found = [
        json.loads(command(*words, "--encoder", "hashing:dim=64,words=1", "--json", "--workers", n)[1])["runs"]
        for n in (0, 1)
    ]
    assert found[0][0]["metrics"] == found[1][0]["metrics"]


def test_learners_of_payloads_stand_beside_learners_of_features(command, folder):
    words = ["--data", folder, "--learner", "ncm,payload_toys:Reader", "--seeds", 2, "--json", "-q"]
    code, out, _ = command(*words, "--encoder", "payload_toys:lengths", "--encoder-batch", 16)
    assert code == 0
    toys = sys.modules["payload_toys"]
    assert sum(toys.CALLS) == 80
    assert max(toys.CALLS) == 16
    assert set(toys.Reader.seen) == {("bytes", 0)}
    runs = json.loads(out)["runs"]
    assert [run["data"].get("encoder", "none").partition("#")[0] for run in runs] == [
        "payload_toys:lengths",
        "none",
    ] * 2
    # Both are on the same streams.
    for first, second in (runs[:2], runs[2:]):
        assert first["data"]["scenario"] == second["data"]["scenario"]
        assert first["data"]["n_test"] == second["data"]["n_test"]


def test_a_learner_of_payloads_needs_no_encoder(command, folder):
    assert command("--data", folder, "--learner", "payload_toys:Reader", "--seeds", 1, "-q")[0] == 0


def test_images_of_an_archive_are_payloads_where_they_are_wanted(command, tmp_path):
    random = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 15).astype(np.uint8)
    x = (60 * y[:, None, None, None] + random.integers(0, 20, (60, 4, 4, 3))).astype(np.uint8)
    np.savez(tmp_path / "tiny.npz", x_train=x, y_train=y, x_test=x[::3], y_test=y[::3], classes=np.array(CLASSES))
    words = ["--data", "tiny.npz", "--seeds", 1, "--json", "-q"]
    code, out, _ = command(*words, "--learner", "ncm", "--encoder", "payload_toys:pixels")
    assert code == 0
    run = json.loads(out)["runs"][0]
    assert (run["data"]["n_features"], run["data"]["n_test"], run["counts"]["read"]) == (3, 20, 60)
    assert {entry["label"] for entry in run["per_label"]} == set(CLASSES)
    run = json.loads(command(*words, "--learner", "ncm")[1])["runs"][0]
    assert run["data"]["n_features"] == 48
    events = load_events(tmp_path / "tiny.npz", images=True)
    assert (events.batch.payload[17] == x[17]).all()
    assert [events.batch.schema.label_names[label] for label in events.test.y.indices[:6]] == ["ant"] * 5 + ["bee"]
    # What is no image stays features.
    np.savez(tmp_path / "plain.npz", x=np.eye(4), y=[0, 1, 0, 1])
    assert load_events(tmp_path / "plain.npz", images=True).batch.payload is None


def test_an_archive_of_a_folder_is_read_like_the_folder(tmp_path, folder, monkeypatch):
    path = tmp_path / "some.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for part in ("train", "test"):
            archive.add(folder, f"some/{part}")
    events, plain = read_tar(path), load_events(folder)
    assert (events.name, events.path) == ("some", path)
    assert events.batch.key == events.test.key == plain.batch.key
    assert events.batch.payload == [file.read_bytes() for file in plain.batch.payload]
    assert events.batch.schema.label_names == list(CLASSES)
    monkeypatch.setenv("IHOMER_DATA", str(tmp_path))
    assert load_events("some").path == path
    with tarfile.open(tmp_path / "flat.tar", "w") as archive:
        entry = tarfile.TarInfo("cat/a.jpg")
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"a"))
    flat = load_events(tmp_path / "flat.tar")
    assert (flat.batch.key, flat.test) == (["cat/a.jpg"], None)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--learner", "ncm"],
            "photos: events must have features for ncm, got payloads alone; --encoder says what makes features of them",
        ),
        (
            ["--learner", "ncm,payload_toys:Reader"],
            "photos: events must have features for ncm, got payloads alone; --encoder says",
        ),
        (["--learner", "ncm", "--workers", "1"], "--workers: must be left out without an encoder, got 1"),
    ],
)
def test_features_have_to_come_from_somewhere(command, folder, words, message):
    code, _, err = command("--data", folder, *words)
    assert code == 2
    assert message in err


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["--learner", "ncm", "--encoder", "payload_toys:lengths"], "payload_toys:lengths"),
        (["--learner", "ncm,payload_toys:Reader"], "payload_toys:Reader"),
    ],
)
def test_payloads_have_to_be_there(command, tmp_path, words, wanted):
    np.savez(tmp_path / "plain.npz", x=np.eye(4), y=[0, 1, 0, 1])
    code, _, err = command("--data", "plain.npz", *words)
    assert code == 2
    assert f"plain: events must have payloads for {wanted}, got none; --payload FIELD names" in err


def test_rows_must_not_depend_on_those_before(command, texts):
    words = ["--data", texts, "--payload", "text", "--labels", "tags:kind", "--learner", "ncm"]
    code, _, err = command(*words, "--encoder", "hashing:idf=true")
    assert code == 1
    assert "an encoder must make a row of its payload alone here, got hashing-1:" in err


def test_what_cannot_be_encoded_ends_the_run(command, folder):
    (folder / "ant" / "00.bin").write_bytes(b"")
    code, _, err = command("--data", folder, "--learner", "ncm", "--encoder", "payload_toys:lengths")
    assert code == 1
    assert "IndexError" in err


# What an encoder was trained on.


def record(**changes):
    settings = {
        "data": "photos",
        "digest": "0",
        "objective": "supervised",
        "classes": ["bee", "elk"],
        "labelled_classes": ["bee", "elk"],
        "held_out": ["fox"],
        "n_images": 1234,
        "size": "tiny",
        "patch": 8,
        "image_size": 32,
        "seed": 3,
        "batch_size": 64,
        "epochs": 2,
        "steps": 40,
        "finished": True,
        "loss": [2.0, 1.0],
    }
    return TrainingRecord(**{**settings, **changes})


@pytest.fixture
def model(tmp_path):
    place = tmp_path / "model"
    place.mkdir()
    (place / "config.json").write_text("{}")
    return place


def test_a_record_comes_back(model):
    record().save(model, digests([b"a", b"b"]))
    assert read_record(model) == record()
    assert record().text == (
        "trained on 1,234 images of photos and their labels (objective supervised, classes bee, elk, classes fox left "
        "out), 2 epochs, seed 3"
    )
    assert "and no labels (objective views, classes bee, elk), 2 epochs (stopped before its end), seed 3" in (
        record(objective="views", held_out=[], finished=False).text
    )
    assert whole_digest(digests([b"a", b"b"])) == whole_digest(digests([b"b", b"a"]))
    assert read_record(model / "nothing") is None
    (model / "training.json").write_text("{}")
    with pytest.raises(ValueError, match=r"training\.json: must be the record of an encoder's training: .*data"):
        read_record(model)
    record(version=2).save(model, digests([]))
    with pytest.raises(ValueError, match=r"must be 'ihomer-encoder' version 1, got 'ihomer-encoder' 2"):
        read_record(model)


def test_labels_of_evaluated_classes_are_a_leak(command, folder, model):
    record().save(model, digests([]))
    code, _, err = command("--data", folder, "--learner", "ncm", "--encoder", f"transformers:{model},device=cpu")
    assert code == 2
    assert (
        "photos: an encoder must not know the labels of classes that are evaluated, got "
        f"{model}, trained with those of bee"
    ) in err


def test_the_result_tells_what_the_encoder_was_trained_on(command, folder, model, monkeypatch):
    seen = [folder / "ant" / f"{turn:02}.bin" for turn in range(5)]
    record(objective="views", labelled_classes=[]).save(model, digests([file.read_bytes() for file in seen]))
    code = command("--data", folder, "--learner", "ncm", "--encoder", f"transformers:{model}", "--dry-run")[0]
    assert code == 0
    toys = "streams.extraction.encoders.transformers.TransformersEncoder"
    monkeypatch.setattr(f"{toys}.__call__", lambda self, payloads: [[len(p), p[0]] for p in payloads])
    monkeypatch.setattr(f"{toys}.warm_up", lambda self: None)
    words = ["--data", folder, "--learner", "ncm", "--encoder", f"transformers:{model}", "--seeds", 1, "-q"]
    assert command(*words, "--out", "results")[0] == 0
    told = Result.load("results/result.json").runs[0].data["encoder_training"]
    assert told == f"{record(objective='views').text}; among the images were 5 of the 80 events"
    with open("results/report.html") as page:
        assert "among the images were 5 of the 80 events" in page.read()
