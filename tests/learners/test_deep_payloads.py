"""What a transformer is given of payloads: tokens of texts, and pixels of images of any kind."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest

from learners.deep.payloads import Reader
from learners.deep.pretrained import Pretrained
from tests.learners.tiny_transformers import SIZE, images, save_bert

pytestmark = pytest.mark.deep


@pytest.fixture(autouse=True)
def pillow():
    return pytest.importorskip("PIL.Image", reason="needs Pillow")


def reader(folder, *, preprocessor=None, **config) -> Reader:
    """For images of 8 x 8 pixels."""
    told = {"hidden_size": 16, "num_hidden_layers": 2, "patch_size": 4, "image_size": SIZE, **config}
    (folder / "config.json").write_text(json.dumps(told))
    (folder / "model.safetensors").write_bytes(b"")
    if preprocessor is not None:
        (folder / "preprocessor_config.json").write_text(json.dumps(preprocessor))
    return Reader(Pretrained(str(folder)), None)


def file_of(pillow, pixels, kind="PNG", **how) -> bytes:
    written = io.BytesIO()
    pillow.fromarray(pixels).save(written, kind, **how)
    return written.getvalue()


def test_pixels_are_brought_to_mean_and_deviation(tmp_path):
    [image] = images(1)
    told = {"image_mean": [0.1, 0.2, 0.3], "image_std": [0.5, 0.25, 0.2]}
    [found] = reader(tmp_path, preprocessor=told)([image])
    expected = (image / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.25, 0.2]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.transpose(2, 0, 1), rtol=1e-5, atol=1e-5)


def test_without_a_word_it_is_one_half(tmp_path):
    white = np.full((SIZE, SIZE, 3), 255, np.uint8)
    np.testing.assert_array_equal(reader(tmp_path)([white, white - 255]), [np.ones((3, 8, 8)), -np.ones((3, 8, 8))])
    plain = reader(tmp_path, preprocessor={"do_normalize": False})
    np.testing.assert_array_equal(plain([white])[0], np.ones((3, 8, 8)))


def test_a_file_is_the_same_as_its_pixels(tmp_path, pillow):
    [image] = images(1)
    read = reader(tmp_path)
    from_pixels, from_file, from_shares = read([image, file_of(pillow, image), image / 255.0])
    np.testing.assert_array_equal(from_file, from_pixels)
    np.testing.assert_array_equal(from_shares, from_pixels)


def test_a_file_is_turned_as_its_exif_says(tmp_path, pillow):
    [image] = images(1)
    exif = pillow.Exif()
    exif[0x0112] = 3  # upside down
    turned, expected = reader(tmp_path)([file_of(pillow, image, exif=exif), np.ascontiguousarray(image[::-1, ::-1])])
    np.testing.assert_array_equal(turned, expected)


def test_grey_and_transparent_images_have_three_channels(tmp_path):
    grey = images(1)[0][:, :, 0]
    read = reader(tmp_path)
    from_grey, from_three = read([grey, np.repeat(grey[:, :, np.newaxis], 3, 2)])
    np.testing.assert_array_equal(from_grey, from_three)
    assert read([np.zeros((SIZE, SIZE, 4), np.uint8)])[0].shape == (3, SIZE, SIZE)


def test_a_model_of_one_channel_sees_grey(tmp_path):
    [image] = images(1)
    assert reader(tmp_path, num_channels=1)([image])[0].shape == (1, SIZE, SIZE)
    with pytest.raises(ValueError, match="model must take images of 1 or 3 channels, got 4"):
        reader(tmp_path, num_channels=4)


def test_an_image_of_another_size_is_brought_to_that_of_the_model(tmp_path):
    flat = np.full((20, 30, 3), 51, np.uint8)
    [found] = reader(tmp_path, image_size=[4, 8])([flat])
    assert found.shape == (3, 4, 8)
    np.testing.assert_allclose(found, (0.2 - 0.5) / 0.5, rtol=1e-6)


def test_what_is_no_image_is_refused(tmp_path):
    read = reader(tmp_path)
    with pytest.raises(ValueError, match="payload must be the bytes of an image or an array, got str"):
        read(["a text"])
    with pytest.raises(ValueError, match=r"payload must have shape \(h, w\), \(h, w, 3\) or .*, got \(8, 8, 2\)"):
        read([np.zeros((8, 8, 2))])
    with pytest.raises(OSError, match="cannot identify image file"):
        read([b"no image"])


def test_a_text_is_its_tokens_up_to_the_limit(tmp_path):
    pytest.importorskip("transformers", reason="needs transformers")
    pretrained = Pretrained(save_bert(tmp_path))
    [found, in_bytes, unknown] = Reader(pretrained, None)(["w0 w2", b"w0 w2", "unheard"])
    assert found.tolist() == in_bytes.tolist() == [2, 4, 6, 3]
    assert unknown.tolist() == [2, 1, 3]
    [cut] = Reader(pretrained, 5)(["w1 " * 20])
    assert len(cut) == 5
    assert len(Reader(pretrained, None)(["w1 " * 90])[0]) == 40
