"""What of deep learners needs no PyTorch: the words without it, models on disk, payloads in a state, the memory."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import numpy as np
import pytest

import learners
from ihomer.specs import LEARNERS, SpecError, build, describe
from learners.deep.memory import SEEN, STORED, Entry, Memory, pack_entries, unpack_entries
from learners.deep.payloads import digest, pack, text_of, unpack
from learners.deep.pretrained import Pretrained, find_model, require_packages

DEEP = {name: place for name, place in LEARNERS.items() if place.startswith("learners.deep.")}


@pytest.fixture
def without_torch(monkeypatch):
    """As it is where PyTorch is not installed."""
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else find_spec(name, *rest)
    )


def write_model(folder, *, tokenizer=True, **config):
    folder.mkdir(parents=True, exist_ok=True)
    told = {"model_type": "bert", "hidden_size": 16, "num_hidden_layers": 3, "max_position_embeddings": 40, **config}
    (folder / "config.json").write_text(json.dumps({name: value for name, value in told.items() if value is not None}))
    (folder / "model.safetensors").write_bytes(b"weights")
    if tokenizer:
        (folder / "tokenizer.json").write_text("{}")
    return folder


def test_every_deep_learner_has_a_name():
    assert sorted(DEEP) == ["dualprompt", "finetune", "l2p", "mvp", "replay"]


@pytest.mark.parametrize("name", DEEP)
def test_it_can_be_looked_at_without_torch(name):
    """In a process of its own, which has loaded none of it in the end."""
    code = (
        "import sys, ihomer.specs as s; told = s.describe(sys.argv[1]); assert told['summary'], told;"
        "assert all(p['meaning'] for p in told['parameters'] if p['name'] == 'model');"
        "print([m for m in ('torch', 'transformers', 'tokenizers', 'PIL') if m in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code, name], capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


@pytest.mark.parametrize("name", DEEP)
def test_without_torch_the_extra_is_named(name, without_torch, tmp_path):
    cls = getattr(learners, DEEP[name].partition(":")[2])
    with pytest.raises(
        ImportError, match=rf"{cls.__name__} needs the extra 'deep': pip install ihomer\[deep\] \(found no .*torch"
    ):
        cls(str(write_model(tmp_path)))
    with pytest.raises(SpecError, match=rf"{name}:model=here: {cls.__name__} needs the extra 'deep'"):
        build(f"{name}:model=here")


def test_parameters_say_what_they_mean():
    for name in DEEP:
        meanings = {entry["name"]: entry["meaning"] for entry in describe(name)["parameters"]}
        assert all(meanings.values()), name


def test_a_package_that_is_there_is_enough(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    require_packages("MVPClassifier")


# Models on disk.


def test_a_model_is_found_in_a_folder_or_a_package(tmp_path, monkeypatch):
    folder = write_model(tmp_path / "a_package_of_weights" / "model")
    (folder.parent / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    assert find_model(str(folder)) == folder
    assert find_model("a-package-of-weights").samefile(folder)


@pytest.mark.parametrize("name", ["no-such-package", "no/such/folder", "json"])
def test_a_model_that_is_nowhere_is_refused_with_how_to_get_one(name):
    rule = r"model must be a folder with config.json and model.safetensors, .*; save_pretrained .*nothing is fetched"
    with pytest.raises(ValueError, match=rule):
        find_model(name)


def test_what_a_model_says_of_itself(tmp_path):
    text = Pretrained(str(write_model(tmp_path / "text")))
    assert (text.width, text.n_blocks, text.sees, text.takes_first_token) == (16, 3, False, False)
    assert (text.limit, text.most_tokens) == (40, 40)
    image = Pretrained(str(write_model(tmp_path / "image", tokenizer=False, patch_size=4, image_size=8)))
    assert (image.sees, image.takes_first_token) == (True, True)
    small = Pretrained(
        str(write_model(tmp_path / "distil", hidden_size=None, num_hidden_layers=None, dim=8, n_layers=2))
    )
    assert (small.width, small.n_blocks) == (8, 2)
    roberta = Pretrained(str(write_model(tmp_path / "roberta", model_type="roberta", pad_token_id=1)))
    assert roberta.most_tokens == 38


def test_a_pooling_and_a_limit_beside_the_model_count(tmp_path):
    folder = write_model(tmp_path, max_position_embeddings=512)
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_cls_token": true}')
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 256}')
    found = Pretrained(str(folder))
    assert (found.takes_first_token, found.limit) == (True, 256)


def test_a_model_of_which_too_little_is_known_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"model must have a tokenizer.json to read texts, found none in"):
        Pretrained(str(write_model(tmp_path / "a", tokenizer=False)))
    folder = write_model(tmp_path / "b")
    (folder / "config.json").write_text('{"model_type": "bert", "hidden_size": 4}')
    with pytest.raises(
        ValueError,
        match=r"model must have num_hidden_layers or n_layers in its config.json, got \['hidden_size', 'model_type'\]",
    ):
        Pretrained(str(folder))


def test_other_weights_have_another_fingerprint(tmp_path):
    first = Pretrained(str(write_model(tmp_path / "a")))
    same = Pretrained(str(write_model(tmp_path / "b")))
    assert first.fingerprint == same.fingerprint
    (tmp_path / "b" / "model.safetensors").write_bytes(b"others, and longer")
    assert first.fingerprint != same.fingerprint


# Payloads.


def test_payloads_come_back_from_a_state():
    payloads = ["größer", b"\x00\xff", "", np.arange(12, dtype=np.uint8).reshape(2, 2, 3), np.float32([[0.5]]), b""]
    packed = pack("block", payloads)
    assert sorted(packed) == ["block_bytes", "block_ends", "block_kinds"]
    back = unpack("block", packed)
    for before, after in zip(payloads, back, strict=True):
        assert type(before) is type(after)
        np.testing.assert_array_equal(before, after)
    assert unpack("block", pack("block", [])) == []


def test_payloads_of_another_kind_are_refused():
    with pytest.raises(ValueError, match="payload must be a text, bytes or an array, got NoneType"):
        pack("block", [None])
    with pytest.raises(ValueError, match="payload must be a text, or one in bytes, got ndarray"):
        text_of(np.zeros(2))
    assert text_of("a") == text_of(b"a") == "a"


def test_a_digest_tells_contents_and_kinds_apart():
    assert digest("a") == digest("a")
    assert len({digest(payload) for payload in ("a", b"a", "b", np.uint8([97]))}) == 4


# Memory.


def entries(rows):
    return [Entry(f"p{number}", row, 1.0) for number, row in enumerate(rows)]


def filled(size, rows, *, balanced, seed=0):
    memory = Memory(size, balanced=balanced, seed=seed)
    for number, entry in enumerate(entries(rows)):
        memory.offer(entry, number)
    return memory


def test_everything_is_kept_while_there_is_room():
    for balanced in (False, True):
        memory = filled(5, [0, 1, 0], balanced=balanced)
        assert [entry.payload for entry in memory.entries] == ["p0", "p1", "p2"]
        assert memory.counts[:, STORED].tolist() == [2, 1]
    assert filled(0, [0, 1], balanced=True).entries == []


def test_a_uniform_memory_keeps_every_event_with_the_same_chance():
    kept = np.zeros(30)
    for seed in range(400):
        for entry in filled(6, [0] * 30, balanced=False, seed=seed).entries:
            kept[int(entry.payload[1:])] += 1
    assert kept.sum() == 6 * 400
    assert np.abs(kept / 400 - 0.2).max() < 0.08


def test_a_balanced_memory_has_about_as_many_of_each_class():
    rows = np.random.default_rng(0).choice(3, 600, p=[0.9, 0.08, 0.02])
    memory = filled(30, rows.tolist(), balanced=True)
    stored = np.bincount([entry.row for entry in memory.entries], minlength=3)
    assert stored.tolist() == memory.counts[:3, STORED].tolist()
    assert memory.counts[:3, SEEN].tolist() == np.bincount(rows).tolist()
    assert stored.min() >= 8


def test_what_is_drawn_depends_on_the_turn_alone():
    memory = filled(20, [0] * 20, balanced=False)
    first = [entry.payload for entry in memory.drawn(8, 3)]
    assert first == [entry.payload for entry in memory.drawn(8, 3)]
    assert first != [entry.payload for entry in memory.drawn(8, 4)]
    assert len(set(first)) == 8
    assert len(memory.drawn(50, 0)) == 20
    assert Memory(4, balanced=True, seed=0).drawn(3, 0) == []


def test_a_memory_goes_on_where_it_was():
    rows = np.random.default_rng(1).integers(0, 4, 200).tolist()
    for balanced in (False, True):
        straight, stopped = filled(12, rows, balanced=balanced), filled(12, rows[:90], balanced=balanced)
        other = Memory(12, balanced=balanced, seed=0)
        other.set_state(stopped.get_state(4))
        for number, entry in enumerate(entries(rows)[90:], 90):
            other.offer(Entry(f"p{number}", entry.row, 1.0), number)
        assert other.entries == straight.entries
        np.testing.assert_array_equal(other.counts, straight.counts)


def test_a_memory_with_too_much_is_refused():
    with pytest.raises(ValueError, match="memory must be at least 0, got -1"):
        Memory(-1, balanced=True, seed=0)
    state = filled(5, [0] * 5, balanced=True).get_state(1)
    with pytest.raises(ValueError, match="state 'memory_rows' must have at most 3 rows, got 5"):
        Memory(3, balanced=True, seed=0).set_state(state)


def test_entries_come_back_from_a_state():
    before = [Entry("a", 1, 0.5), Entry(b"b", 0, 2.0, np.zeros(2, np.float32))]
    assert unpack_entries("block", pack_entries("block", before)) == before
