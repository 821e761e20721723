"""Models that the library transformers has saved: small ones with random weights, made here."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from streams.extraction.encoders.transformers import TransformersEncoder
from streams.extraction.encoding import EncoderError
from streams.extraction.pool import ExtractionPool


def test_a_model_must_be_there(tmp_path, monkeypatch):
    with pytest.raises(
        EncoderError, match=r"^path must be a folder with a model of transformers, found no config\.json"
    ):
        TransformersEncoder(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(ValueError, match=r"^device must be 'auto', 'cpu' or 'cuda', got 'tpu'$"):
        TransformersEncoder(str(tmp_path), device="tpu")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(
        ImportError, match=r"^a model of transformers needs the extra 'deep': pip install ihomer\[deep\]"
    ):
        ExtractionPool(TransformersEncoder(str(tmp_path)))


@pytest.fixture(scope="module")
def library():
    pytest.importorskip("torch", reason="needs PyTorch")
    return pytest.importorskip("transformers", reason="needs transformers")


@pytest.fixture(scope="module")
def vision(library, tmp_path_factory):
    """A vision transformer of images of 16 x 16 pixels."""
    folder = tmp_path_factory.mktemp("vision")
    config = library.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16, image_size=16, patch_size=8
    )
    library.ViTModel(config).save_pretrained(folder)
    library.ViTImageProcessor(size={"height": 16, "width": 16}).save_pretrained(folder)
    return str(folder)


@pytest.mark.deep
def test_images_become_rows(vision):
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, size=(20, 30, 3), dtype=np.uint8) for _ in range(6)]
    file = io.BytesIO()
    Image.fromarray(images[0]).save(file, "PNG")
    encoder = TransformersEncoder(vision, device="cpu")
    with ExtractionPool(encoder, on_error="skip", batch_size=4) as pool:
        rows = list(pool.map([file.getvalue(), *images, b"no image"]))
    assert rows[-1] is None
    assert rows[0].shape == (16,)
    assert np.allclose(rows[0], rows[1], atol=1e-6)
    assert not np.allclose(rows[1], rows[2], atol=1e-3)


@pytest.mark.deep
def test_workers_give_the_same_rows(vision):
    images = list(np.random.default_rng(1).integers(0, 255, size=(40, 16, 16, 3), dtype=np.uint8))
    encoder = TransformersEncoder(vision, device="cpu")
    found = []
    for workers in (0, 2):
        with ExtractionPool(encoder, workers, batch_size=8) as pool:
            found.append(np.array(list(pool.map(images))))
    assert np.allclose(found[0], found[1], atol=1e-6)


@pytest.mark.deep
def test_texts_become_means_over_their_tokens(library, tmp_path):
    import torch

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "so", "it", "goes"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    library.BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    config = library.BertConfig(
        vocab_size=len(words), hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    model = library.BertModel(config).eval()
    model.save_pretrained(tmp_path)
    rows = TransformersEncoder(str(tmp_path), device="cpu")(["so it goes", "so"])
    with torch.inference_mode():
        hidden = model(torch.tensor([[2, 5, 3]])).last_hidden_state[0].mean(0).numpy()
    assert np.allclose(rows[1], hidden, atol=1e-5)


@pytest.mark.deep
def test_a_gpu_that_is_not_there_is_said_aloud(vision):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.warns(RuntimeWarning, match="found none: the CPU encodes"):
        TransformersEncoder(vision, device="cuda", half=True).warm_up()


@pytest.mark.deep
def test_a_fingerprint_is_that_of_the_files(vision, tmp_path):
    before = TransformersEncoder(vision).fingerprint
    assert before == TransformersEncoder(vision, device="cpu").fingerprint
    assert before != TransformersEncoder(vision, half=True).fingerprint
