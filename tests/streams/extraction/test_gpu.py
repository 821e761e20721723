"""The path through a GPU, on a machine that takes the time of one: what overlaps, is pinned, finds no room."""

import sys
import time
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from streams.extraction.encoders import torch_device
from streams.extraction.encoders.devices import DeviceFullError, overlapped
from streams.extraction.encoders.sentence import SentenceEncoder
from streams.extraction.encoders.torch_device import TorchDevice
from streams.extraction.encoders.transformers import TransformersEncoder
from streams.extraction.pool import ExtractionPool
from tests.naive.transformer import embedded
from tests.streams.extraction import fake_torch, models

LINEARS = 6 * models.LAYERS
"""Multiplications of a pass."""


@pytest.fixture
def machine(monkeypatch):
    """A GPU that every encoder of a test finds."""
    made = fake_torch.Machine()
    monkeypatch.setitem(sys.modules, "torch", fake_torch.module(made))
    return made


def encoder_on(folder, tokenize_s=0.0, **settings):
    """An encoder on the GPU whose network is the small one."""
    encoder = SentenceEncoder(str(models.written(folder)), device="cuda", **settings)
    device = TorchDevice("cuda", half=settings.get("half", False))
    encoder._network = models.Tokenizer(tokenize_s), device, device.load(models.weights())
    return encoder


def texts_of(n, length=6):
    return [" ".join(f"w{number}{place}" for place in range(length)) for number in range(n)]


def expected(texts):
    rows = [
        embedded(models.weights(), models.ids_of(text), models.LAYERS, models.HEADS, models.EPSILON) for text in texts
    ]
    return np.array(rows)


def test_rows_are_those_of_the_naive_network(machine, tmp_path):
    texts = ["so it goes", "", "a b c d e f g h i j k", "one", " ".join(map(str, range(100)))]
    encoder = encoder_on(tmp_path)
    assert np.allclose(encoder(texts), expected(texts), atol=2e-6)
    assert len(machine.times("linear")) % LINEARS == 0


def test_in_half_precision_weights_and_layers_are_and_rows_are_not(machine, tmp_path):
    encoder = encoder_on(tmp_path, half=True)
    _, _, weights = encoder._network
    assert {weight.dtype for weight in weights.values()} == {np.dtype(np.float16)}
    rows = encoder(texts_of(20))
    assert rows.dtype == np.float32
    assert np.allclose(rows, expected(texts_of(20)), atol=2e-2)
    assert not np.allclose(rows, expected(texts_of(20)), atol=1e-6)


def test_copies_are_from_pinned_memory_and_beside_the_work(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(torch_device, "_TOKENS", 64)
    encoder = encoder_on(tmp_path)
    machine.done.clear()
    machine.blocked = 0
    machine.linear_s, machine.copy_s = 0.002, 0.005
    begun = time.perf_counter()
    encoder(texts_of(96))
    seconds = time.perf_counter() - begun
    assert machine.blocked == 0
    work, there, back = (machine.times(what) for what in ("linear", "there", "back"))
    n_parts = len(back)
    assert n_parts == len(work) / LINEARS == len(there) / 2 == 12
    streams = {what: {number for number, kind, _, _ in machine.done if kind == what} for what in ("there", "back")}
    assert streams["there"].isdisjoint(streams["back"])
    # All but the first and the last copies are made while the GPU computes.
    beside = [any(low < end and begun < high for begun, end in work) for low, high in (*there, *back)]
    assert sum(beside) >= len(beside) - 4
    assert seconds < n_parts * (LINEARS * 0.002 + 3 * 0.005)


def test_the_gpu_is_busy_while_texts_are_tokenized(machine, tmp_path, monkeypatch):
    monkeypatch.setattr(torch_device, "_TOKENS", 64)
    monkeypatch.setattr(torch_device, "_TEXTS", 24)
    encoder = encoder_on(tmp_path, tokenize_s=0.001)
    machine.linear_s, machine.copy_s = 0.004, 0.002
    with ExtractionPool(encoder, batch_size=160) as pool:
        before = pool.metrics()["workers"][0]["device_s"]
        begun = time.perf_counter()
        rows = np.array(list(pool.map(texts_of(320))))
        seconds = time.perf_counter() - begun
        told = pool.metrics()
    busy_s = told["workers"][0]["device_s"] - before
    assert busy_s == pytest.approx(40 * LINEARS * 0.004, rel=0.05)
    # All texts of a block first would have left it idle for a seventh of the time.
    assert busy_s >= 0.9 * seconds
    assert told["device_share"] >= 0.9
    assert np.allclose(rows[::8], expected(texts_of(320)[::8]), atol=2e-6)


def test_two_workers_keep_two_gpus_busy(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    with ExtractionPool(fake_torch.OneOfTwo(0.01), 2, batch_size=32) as pool:
        pool.wait(pool.submit(range(128)))
        before = pool.metrics()["workers"]
        begun = time.perf_counter()
        rows = np.array(list(pool.map(range(32 * 8))))
        seconds = time.perf_counter() - begun
        told = pool.metrics()["workers"]
    assert rows[:, 1].tolist() == [number + device for number, device in enumerate(rows[:, 0].tolist())]
    assert set(rows[:, 0].tolist()) == {4, 7}
    busy = [now["device_s"] - then["device_s"] for then, now in zip(before, told, strict=True)]
    assert sum(busy) == pytest.approx(32 * 8 * 0.01, rel=0.1)
    assert min(busy) >= 0.9 * seconds


def test_what_finds_no_room_is_halved_and_smaller_parts_come_after_it(machine, tmp_path):
    encoder = encoder_on(tmp_path)
    machine.room = 100
    texts = texts_of(64)  # 8 tokens each, those at the ends among them
    assert np.allclose(encoder(texts), expected(texts), atol=2e-6)
    assert machine.refused[:3] == [512, 256, 128]
    assert machine.emptied == len(machine.refused) < 16
    machine.refused.clear()
    assert np.allclose(encoder(texts), expected(texts), atol=2e-6)
    assert machine.refused == []


def test_a_text_alone_that_finds_no_room_is_left_out(machine, tmp_path):
    encoder = encoder_on(tmp_path)
    machine.room = 10
    texts = [*texts_of(5), *texts_of(1, 20), *texts_of(5)]
    with ExtractionPool(encoder, on_error="skip") as pool:
        rows = list(pool.map(texts))
        job = pool.submit(texts)
        pool.wait(job)
    assert [number for number, row in enumerate(rows) if row is None] == [5]
    assert job.result().faults == {5: "DeviceFullError: CUDA out of memory. Tried to allocate 2.00 GiB."}


def test_what_is_under_way_is_waited_for_before_a_part_is_halved():
    begun = []

    def begin(part):
        # The second part finds no room until the first has been taken away.
        if len(part) > 2 and begun and begun[-1] not in taken:
            raise DeviceFullError("full")
        begun.append(part)
        return part

    taken = []

    def rows_of(part):
        taken.append(part)
        return np.array(part)

    rows = overlapped(begin, rows_of, [[1, 2, 3], [4, 5, 6], [7]])
    assert [row.tolist() for row in rows] == [[1, 2, 3], [4, 5, 6], [7]]
    assert begun == [[1, 2, 3], [4, 5, 6], [7]]


class Library(ModuleType):
    """What the encoders use of transformers: a model whose rows are the means of what it is given."""

    def __init__(self, machine):
        super().__init__("transformers")
        self.half = False
        self.calls = []
        library = self

        class Model:
            def eval(self):
                return self

            def to(self, device):
                assert device.type == "cuda"
                assert not library.shows_progress
                return self

            def half(self):
                library.half = True
                return self

            def __call__(self, pixel_values):
                if len(pixel_values) > machine.room:
                    raise fake_torch.OutOfMemoryError("CUDA out of memory.")
                machine.takes("linear", machine.linear_s)
                library.calls.append((len(pixel_values), pixel_values.dtype))
                return SimpleNamespace(pooler_output=pixel_values.reshape(len(pixel_values), -1, 3).mean(1))

        def prepare(images, return_tensors):
            assert return_tensors == "pt"
            tensors = sys.modules["torch"].from_numpy(np.stack(images).astype(np.float32) / 255)
            return {"pixel_values": tensors}

        self.AutoModel = SimpleNamespace(from_pretrained=lambda folder, **_: Model())
        self.AutoImageProcessor = SimpleNamespace(from_pretrained=lambda folder, **_: prepare)
        self.AutoTokenizer = None
        self.shows_progress = True
        self.utils = ModuleType("transformers.utils")
        self.utils.logging = SimpleNamespace(
            is_progress_bar_enabled=lambda: self.shows_progress,
            disable_progress_bar=lambda: setattr(self, "shows_progress", False),
            enable_progress_bar=lambda: setattr(self, "shows_progress", True),
        )


@pytest.mark.parametrize("half", [False, True])
def test_images_go_through_a_vision_model_in_parts(machine, tmp_path, monkeypatch, half):
    library = Library(machine)
    monkeypatch.setitem(sys.modules, "transformers", library)
    monkeypatch.setitem(sys.modules, "transformers.utils", library.utils)
    for name in ("config.json", "preprocessor_config.json"):
        (tmp_path / name).write_text("{}")
    images = np.random.default_rng(0).integers(0, 255, size=(600, 12, 12, 3), dtype=np.uint8)
    encoder = TransformersEncoder(str(tmp_path), device="cuda", half=half)
    machine.linear_s, machine.copy_s = 0.05, 0.005
    encoder.warm_up()
    assert library.shows_progress
    library.calls.clear()
    before, begun = encoder.device_s, time.perf_counter()
    rows = encoder(list(images))
    share = (encoder.device_s - before) / (time.perf_counter() - begun)
    assert rows.dtype == np.float32
    assert np.allclose(rows, images.reshape(600, -1, 3).mean(1) / 255, atol=2e-3)
    assert library.half == half
    dtype = np.dtype(np.float16 if half else np.float32)
    assert library.calls == [(64, dtype)] * 9 + [(24, dtype)]
    assert machine.blocked == 0
    assert share >= 0.9
    machine.room = 20
    assert np.allclose(encoder(list(images[:64])), rows[:64], atol=1e-6)
