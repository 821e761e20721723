"""Training an image encoder: what it sees, that it learns, that it can be stopped, and what it must not use."""

from __future__ import annotations

import importlib.util
import io
import json
import signal
import sys

import numpy as np
import pytest
from PIL import Image

from ihomer.config import command_line, resolve
from ihomer.plans import EncoderPlan
from streams.extraction.training.pictures import decoded
from streams.extraction.training.record import digests, n_seen, read_record
from streams.extraction.training.responses import contrast, responses, whitened_patches
from streams.extraction.training.settings import TrainingSettings
from streams.siblurry.labelled import load_events

CLASSES = ("ant", "bee", "cow")
N_EACH = 40


def picture(random, code):
    """Stripes whose direction and colour tell the class."""
    place = np.arange(16)
    wave = np.sin(place / (1.5 + code) + random.uniform(0, 6))
    grid = wave[:, None] if code == 0 else wave[None, :] if code == 1 else wave[:, None] * wave[None, :]
    colour = np.roll([200, 90, 40], code)
    return np.clip((grid[:, :, None] * 0.4 + 0.5) * colour + random.normal(0, 12, (16, 16, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of images, in parts."""
    random = np.random.default_rng(0)
    place = tmp_path_factory.mktemp("data") / "photos"
    for part, count in (("train", N_EACH), ("test", 5)):
        for code, name in enumerate(CLASSES):
            (place / part / name).mkdir(parents=True)
            for number in range(count):
                Image.fromarray(picture(random, code)).save(place / part / name / f"{number:02}.png")
    return place


# Without PyTorch.


def test_without_the_extra_it_is_named(command, photos, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    code, _, err = command("encoder", "train", "--data", photos, "--out", "vit")
    assert code == 1
    assert "training an encoder needs the extra 'deep': pip install ihomer[deep]" in err


def test_help_names_every_option(command):
    code, out, _ = command("encoder", "train", "--help")
    assert code == 0
    for flag in ("data", "out", "epochs", "size", "patch", "seed", "device", "objective", "max-minutes", "resume"):
        assert f"--{flag}" in out
    assert "train" in command("encoder", "--help")[1]


def test_a_plan_is_a_command_line():
    plan = resolve(EncoderPlan, {"data": "photos", "out": "vit", "hold_out": "cat,dog", "patch": 4})
    assert plan.hold_out == ["cat", "dog"]
    assert command_line(plan) == "ihomer encoder train --data photos --out vit --hold-out cat,dog --patch 4"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["--patch", 5],
            "--patch: must be at least 2 and divide the size of an image, which is at least 8, got 5 and 32",
        ),
        (["--classes", "a", "--hold-out", "b"], "--classes: must be left out where classes are held out, got both"),
        (["--size", "large"], "--size: must be tiny or small, got 'large'"),
        (["--objective", "luck"], "--objective: must be responses, views or supervised, got 'luck'"),
        (["--max-minutes", 0], "--max-minutes: must be positive, got 0"),
    ],
)
def test_wrong_usage(command, photos, words, message):
    code, _, err = command("encoder", "train", "--data", photos, "--out", "vit", *words)
    assert code == 2
    assert message in err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"objective": "luck"}, "objective must be one of responses, views, supervised, got 'luck'"),
        ({"size": "large"}, "size must be one of tiny, small, got 'large'"),
        ({"patch": 3}, "patch must be at least 2 and divide the image size of at least 8, got 3 and 32"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
    ],
)
def test_wrong_settings(changes, message):
    with pytest.raises(ValueError, match=message):
        TrainingSettings(**changes)


def test_epochs_make_a_number_of_views():
    assert TrainingSettings().epochs_of(20_000) == 5
    assert TrainingSettings().epochs_of(10**6) == 1
    assert TrainingSettings(epochs=7).epochs_of(20_000) == 7


def test_images_come_without_those_set_aside_or_held_out(photos):
    events = load_events(photos)
    told = []
    found = decoded(events, 8, hold_out=["bee"], advance=lambda n: told.append(n) or True)
    assert found.pixels.shape == (2 * N_EACH, 8, 8, 3)
    assert (found.classes, found.held_out) == (["ant", "cow"], ["bee"])
    assert found.codes.tolist() == [0] * N_EACH + [1] * N_EACH
    assert told == [2 * N_EACH]
    kept = [(photos / "train" / name / f"{number:02}.png").read_bytes() for name in CLASSES for number in range(N_EACH)]
    assert set(found.seen.tolist()) == set(digests(kept[:N_EACH] + kept[2 * N_EACH :]).tolist())
    chosen = decoded(events, 16, classes=["cow"])
    assert (chosen.classes, chosen.held_out) == (["cow"], ["ant", "bee"])
    with Image.open(photos / "train" / "cow" / "03.png") as image:
        assert (chosen.pixels[3] == np.asarray(image)).all()


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"classes": ["elk"]}, "photos: a class must be one of ant, bee, cow, got 'elk'"),
        ({"hold_out": list(CLASSES)}, "photos: images to train on must be at least 2, got 0"),
        (
            {"classes": ["ant"], "hold_out": ["bee"]},
            "photos: classes must be given or held out, got both, ant and bee",
        ),
    ],
)
def test_wrong_classes(photos, choice, message):
    with pytest.raises(ValueError, match=message):
        decoded(load_events(photos), 8, **choice)


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "ant").mkdir()
    for name in ("a", "b"):
        (tmp_path / "ant" / f"{name}.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"ant/a\.png: must be an image: cannot identify image file"):
        decoded(load_events(tmp_path), 8)


def test_patches_are_white():
    random = np.random.default_rng(0)
    pixels = np.cumsum(random.integers(0, 9, (200, 12, 12, 3)), axis=1).astype(np.uint8)
    mean, whiten, patches = whitened_patches(pixels, 3, 10, np.random.default_rng(1), contrast)
    assert np.linalg.norm(patches, axis=1) == pytest.approx(np.ones(10), rel=1e-4)
    cut = np.stack(
        [pixels[i, j : j + 3, k : k + 3].transpose(2, 0, 1) for i in range(200) for j in (0, 5) for k in (2, 8)]
    )
    white = (contrast(cut.reshape(len(cut), -1).astype(np.float32)) - mean) @ whiten
    values = np.linalg.eigvalsh(np.cov(white.T))
    assert values.max() < 1.5
    assert contrast(np.full((1, 4), 7, np.float32)).tolist() == [[0, 0, 0, 0]]


def test_responses_are_components_at_one_scale():
    random = np.random.default_rng(0)
    pixels = np.stack([picture(random, code) for code in random.integers(0, 3, 150)])
    found = responses(pixels, 32, 16, np.random.default_rng(1))
    assert found.shape == (150, 16)
    assert found.dtype == np.float32
    assert found.std() == pytest.approx(1, rel=1e-4)
    covariance = np.cov(found.T)
    assert np.abs(covariance - np.diag(np.diag(covariance))).max() < 1e-2 * np.diag(covariance).max()
    # The more important a component was, the larger it stays.
    assert (np.diff(np.diag(covariance)) < 1e-3).all()
    assert responses(pixels, 32, 16, np.random.default_rng(1), lambda n: False) is None
    # Images that are all alike have none to tell them apart by.
    assert not responses(np.full((5, 8, 8, 3), 9, np.uint8), 4, 4, np.random.default_rng(1)).any()


# With PyTorch.


def run(command, photos, *words):
    tiny = ["--size", "tiny", "--patch", 8, "--image-size", 16, "--epochs", 2]
    return command("encoder", "train", "--data", photos, *tiny, *words)


@pytest.fixture(scope="module")
def library():
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield pytest.importorskip("transformers", reason="needs transformers")
    torch.set_num_threads(before)


@pytest.mark.deep
@pytest.mark.parametrize("objective", ["responses", "views", "supervised"])
def test_it_learns_and_loads(command, photos, library, tmp_path, objective):
    from streams.extraction.encoders.transformers import TransformersEncoder

    words = ["--objective", objective, "--hold-out", "cow", "--epochs", 6, "--out", "vit", "--json", "-q"]
    code, out, err = run(command, photos, *words)
    assert (code, err) == (0, "")
    told = json.loads(out)
    assert told["finished"] is True
    assert told["loss"][-1] < told["loss"][0]
    record = read_record(tmp_path / "vit")
    assert (record.n_images, record.classes, record.held_out) == (2 * N_EACH, ["ant", "bee"], ["cow"])
    assert record.labelled_classes == (["ant", "bee"] if objective == "supervised" else [])
    # Not one of the images set aside was seen.
    aside = [file.read_bytes() for file in sorted((photos / "test").rglob("*.png"))]
    assert n_seen(tmp_path / "vit", aside) == 0
    assert n_seen(tmp_path / "vit", [(photos / "train" / "ant" / "00.png").read_bytes(), *aside]) == 1
    encoder = TransformersEncoder(str(tmp_path / "vit"), device="cpu")
    rows = encoder(aside)
    assert rows.shape == (15, 128)
    assert np.isfinite(rows).all()
    # The pooled output is the first token, so that whatever loads it has the features that were trained.
    import torch

    model = library.ViTModel.from_pretrained(tmp_path / "vit").eval()
    with torch.inference_mode():
        found = model(torch.zeros(1, 3, 16, 16))
    assert torch.equal(found.pooler_output, found.last_hidden_state[:, 0])


def content(folder):
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.deep
def test_the_same_seed_is_the_same_bytes(command, photos, library, tmp_path):
    for out, seed in (("one", 3), ("two", 3), ("other", 4)):
        assert run(command, photos, "--out", out, "--seed", seed, "-q")[0] == 0
    one, two, other = (content(tmp_path / name) for name in ("one", "two", "other"))
    assert one == two
    assert one["model.safetensors"] != other["model.safetensors"]
    assert not (tmp_path / "one.training").exists()


@pytest.mark.deep
@pytest.mark.parametrize("objective", ["responses", "views"])
def test_going_on_equals_never_having_stopped(command, photos, library, tmp_path, monkeypatch, objective):
    from streams.extraction.training.training import Training

    words = ["--objective", objective, "-q"]
    assert run(command, photos, *words, "--out", "whole")[0] == 0
    original = Training.step
    steps = []

    def interrupted(self):
        original(self)
        steps.append(self.steps)
        if len(steps) == 1:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Training, "step", interrupted)
        code, _, err = run(command, photos, *words, "--out", "parts")
    assert code == 130
    assert "Stopped before its end. To go on:\nihomer encoder train" in err
    assert read_record(tmp_path / "parts").finished is False
    assert "(stopped before its end)" in read_record(tmp_path / "parts").text
    code, _, err = run(command, photos, *words, "--out", "parts", "--resume", "--seed", 9)
    assert code == 2
    assert "seed must be that of the training to go on with, 0, got 9" in err
    assert run(command, photos, *words, "--out", "parts", "--resume")[0] == 0
    assert content(tmp_path / "parts") == content(tmp_path / "whole")
    _, _, err = run(command, photos, *words[:-1], "--out", "parts", "--resume")
    assert "photos: done before" in err
    assert content(tmp_path / "parts") == content(tmp_path / "whole")


@pytest.mark.deep
def test_the_limit_of_time_keeps_the_encoder(command, photos, library, tmp_path):
    code, out, err = run(command, photos, "--epochs", 100_000, "--max-minutes", 0.05, "--out", "vit", "--json")
    assert code == 0
    assert json.loads(out)["finished"] is False
    assert "To go on:" in err
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "training.json"} <= set(
        content(tmp_path / "vit")
    )
    assert (tmp_path / "vit.training" / "state.pt").is_file()


@pytest.mark.deep
def test_labels_that_were_used_are_a_leak(command, photos, library, tmp_path):
    _, _, err = run(command, photos, "--objective", "supervised", "--out", "vit")
    assert "labels of all classes are used: this encoder is for data of other classes alone" in err
    code, _, err = command("siblurry", "--data", photos, "--encoder", "transformers:vit", "--learner", "ncm")
    assert code == 2
    assert (
        "an encoder must not know the labels of classes that are evaluated, got vit, trained with those of ant" in err
    )


@pytest.mark.deep
def test_an_evaluation_tells_what_the_encoder_was_trained_on(command, photos, library):
    assert run(command, photos, "--out", "vit", "--classes", "ant,bee", "-q")[0] == 0
    words = ["--data", photos, "--encoder", "transformers:vit,device=cpu", "--learner", "ncm,majority", "--seeds", 1]
    code, out, _ = command("siblurry", *words, "--json", "-q")
    assert code == 0
    runs = json.loads(out)["runs"]
    told = runs[0]["data"]["encoder_training"]
    assert told.startswith("trained on 80 images of photos and no labels (objective responses, classes ant, bee, ")
    assert told.endswith("; among the images were 80 of the 120 events")
    # Random patches and a few steps are enough to tell stripes apart.
    assert runs[0]["metrics"]["a_last"] > runs[1]["metrics"]["a_last"] + 0.3


@pytest.mark.deep
def test_deep_learners_load_it_beside_heads_on_its_features(command, photos, library):
    assert run(command, photos, "--out", "vit", "-q")[0] == 0
    learners = "ncm,mvp:model=vit,block=16,steps=1,device=cpu"
    words = ["--data", photos, "--encoder", "transformers:vit,device=cpu", "--learner", learners, "--seeds", 1]
    code, out, _ = command("siblurry", *words, "--json", "-q")
    assert code == 0
    head, deep = json.loads(out)["runs"]
    assert (head["learner"]["name"], deep["learner"]["name"]) == ("ncm", "mvp")
    assert head["data"]["scenario"] == deep["data"]["scenario"]
    assert (head["data"]["n_features"], deep["data"]["n_features"]) == (128, 0)
    assert "encoder" not in deep["data"]
    assert head["data"]["encoder_training"] == deep["data"]["encoder_training"]


@pytest.mark.deep
def test_another_folder_is_left_alone(command, photos, library, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    code, _, err = run(command, photos, "--out", "mine")
    assert code == 2
    assert "mine: must be a new folder or one with an encoder that was trained here, got another" in err


@pytest.mark.deep
def test_data_must_be_images(command, library, tmp_path):
    np.savez(tmp_path / "plain.npz", x=np.eye(4), y=[0, 1, 0, 1])
    code, _, err = command("encoder", "train", "--data", "plain.npz", "--out", "vit")
    assert code == 2
    assert "plain: data must be images, a folder with a folder of them for each class, say" in err


@pytest.mark.deep
def test_views_are_images_of_the_same_scale(library):
    import torch

    from streams.extraction.training.views import rate, scaled, viewed

    random = np.random.default_rng(0)
    pixels = torch.from_numpy(np.stack([picture(random, code) for code in (0, 1, 2)]).transpose(0, 3, 1, 2).copy())
    before = pixels.clone()
    one, same, other = (viewed(pixels, torch.Generator().manual_seed(seed), smallest=0.3) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == pixels.shape
    assert one.min() >= -2
    assert one.max() <= 2
    assert torch.equal(pixels, before)
    assert scaled(torch.tensor([0.0, 255.0])).tolist() == [-2, 2]
    rates = [rate(step, 200, 1.0) for step in range(200)]
    assert rates[0] == pytest.approx(0.1, rel=0.01)
    assert max(rates) == pytest.approx(1, rel=0.01)
    assert rates[-1] < 0.01


@pytest.mark.deep
def test_spread_and_covariance_by_hand(library):
    import torch

    from streams.extraction.training.objectives import covariance, spread

    rows = torch.tensor([[1.0, 2.0], [-1.0, -2.0]])
    # Deviations are the roots of 2 and 8, both above 1; the covariance of the two columns is 4.
    assert float(spread(rows)) == 0
    assert float(spread(rows / 10)) == pytest.approx(1 - (np.sqrt(0.0201) + np.sqrt(0.0801)) / 2, rel=1e-4)
    assert float(covariance(rows)) == pytest.approx((4**2 + 4**2) / 2)


@pytest.mark.skipif(importlib.util.find_spec("torch") is not None, reason="PyTorch is there")
def test_the_engine_trains_nothing_without_pytorch():
    with pytest.raises(ImportError):
        importlib.import_module("streams.extraction.training.training")


def test_bytes_of_an_image_are_its_digest():
    file = io.BytesIO()
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(file, "PNG")
    assert digests([file.getvalue()]).tolist() == digests([bytearray(file.getvalue())]).tolist()
