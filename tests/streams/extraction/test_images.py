"""Images from bytes and arrays, and networks in the ONNX format."""

import io
import sys

import numpy as np
import pytest
from PIL import Image

from streams.extraction.encoders.images import image_of
from streams.extraction.encoders.onnx import OnnxEncoder
from streams.extraction.encoding import EncoderError, encode
from streams.extraction.pool import ExtractionPool


def bytes_of(image, kind="PNG", **settings):
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


PIXELS = np.arange(2 * 4 * 3, dtype=np.uint8).reshape(2, 4, 3) * 10


@pytest.mark.parametrize(
    "payload",
    [
        bytes_of(Image.fromarray(PIXELS)),
        bytearray(bytes_of(Image.fromarray(PIXELS), "BMP")),
        PIXELS,
        PIXELS.astype(np.int64),
        PIXELS / 255.0,
    ],
    ids=["png", "bmp", "uint8", "int64", "float"],
)
def test_pixels_come_out_as_they_went_in(payload):
    found = image_of(payload)
    assert found.dtype == np.float32
    assert np.allclose(found, PIXELS / 255, atol=1e-6)


def test_grey_transparent_and_turned_images():
    grey = np.array([[0, 255]], np.uint8)
    assert image_of(grey).tolist() == image_of(bytes_of(Image.fromarray(grey))).tolist() == [[[0, 0, 0], [1, 1, 1]]]
    clear = Image.new("RGBA", (1, 1), (0, 0, 0, 0))
    assert image_of(bytes_of(clear)).tolist() == [[[0, 0, 0]]]
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned
    turned = image_of(bytes_of(Image.fromarray(PIXELS), exif=exif))
    assert np.allclose(turned, np.rot90(PIXELS, -1) / 255, atol=1e-6)


def test_images_are_brought_to_a_size():
    assert image_of(PIXELS, (5, 7)).shape == (5, 7, 3)
    assert np.allclose(image_of(np.full((9, 3, 3), 51, np.uint8), (4, 4)), 0.2)


def test_what_is_no_image_is_a_fault_of_its_payload():
    for payload, error in (
        (b"no image", OSError),
        (b"", OSError),
        ("text", TypeError),
        (None, TypeError),
        (np.zeros((2, 2, 5)), ValueError),
        (np.zeros(3), ValueError),
    ):
        with pytest.raises(error):
            image_of(payload)
    good = bytes_of(Image.fromarray(PIXELS))
    found = encode(lambda many: [[image_of(one).mean()] for one in many], [good, b"bad", good[:40], good])
    assert sorted(found.faults) == [1, 2]
    assert len(found.rows) == 2


# Networks.


def test_a_network_must_be_there(tmp_path, monkeypatch):
    with pytest.raises(EncoderError, match=r"^path must be a file of ONNX, found none: 'no\.onnx'$"):
        OnnxEncoder("no.onnx")
    (tmp_path / "a.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match=r"^limit must be at least 1, got 0$"):
        OnnxEncoder(str(tmp_path / "a.onnx"), limit=0)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r"^a network of ONNX needs the extra 'onnx': pip install ihomer\[onnx\]"):
        ExtractionPool(OnnxEncoder(str(tmp_path / "a.onnx")))


def network(path, nodes, inputs, outputs, constants):
    """Write a network of these operations."""
    pytest.importorskip("onnxruntime", reason="needs ONNX Runtime")
    onnx = pytest.importorskip("onnx", reason="needs onnx")
    helper, kinds = onnx.helper, {"float": onnx.TensorProto.FLOAT, "int64": onnx.TensorProto.INT64}
    graph = helper.make_graph(
        [helper.make_node(operation, given, made, **settings) for operation, given, made, settings in nodes],
        "toy",
        [helper.make_tensor_value_info(name, kinds[kind], shape) for name, kind, shape in inputs],
        [helper.make_tensor_value_info(name, kinds["float"], shape) for name, shape in outputs],
        [onnx.numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(path))
    return str(path)


@pytest.mark.deep
def test_arrays_go_through_a_network(tmp_path):
    weight = np.arange(12, dtype=np.float32).reshape(4, 3)
    path = network(
        tmp_path / "linear.onnx",
        [("MatMul", ["x", "w"], ["first"], {}), ("Neg", ["first"], ["second"], {})],
        [("x", "float", ["n", 4])],
        [("first", ["n", 3]), ("second", ["n", 3])],
        {"w": weight},
    )
    x = np.random.default_rng(0).normal(size=(50, 4)).astype(np.float32)
    for workers in (0, 2):
        with ExtractionPool(OnnxEncoder(path), workers, batch_size=8) as pool:
            assert np.allclose(np.array(list(pool.map(x))), x @ weight, atol=1e-5)
    assert np.allclose(OnnxEncoder(path, output="second")(list(x)), -(x @ weight), atol=1e-5)
    prints = {OnnxEncoder(path).fingerprint, OnnxEncoder(path, output="second").fingerprint}
    assert len(prints) == 2


@pytest.mark.deep
def test_images_go_through_a_network(tmp_path):
    path = network(
        tmp_path / "mean.onnx",
        [("ReduceMean", ["x"], ["y"], {"axes": [2, 3], "keepdims": 0})],
        [("x", "float", ["n", 3, 8, 6])],
        [("y", ["n", 3])],
        {},
    )
    colour = np.full((5, 5, 3), [255, 51, 0], np.uint8)
    scale = (np.array([1, 0.2, 0]) - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    assert np.allclose(OnnxEncoder(path)([bytes_of(Image.fromarray(colour)), colour]), [scale, scale], atol=1e-5)
    (tmp_path / "preprocessor_config.json").write_text('{"image_mean": [0, 0, 0], "image_std": [1, 1, 0.5]}')
    assert np.allclose(OnnxEncoder(path)([colour]), [[1, 0.2, 0]], atol=1e-5)


@pytest.mark.deep
def test_texts_go_through_a_network_and_are_averaged(tmp_path):
    tokenizers = pytest.importorskip("tokenizers", reason="needs tokenizers")
    words = {"[UNK]": 0, "a": 1, "b": 2, "c": 3}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    table = np.array([[9, 9], [1, 0], [0, 1], [4, 4]], np.float32)
    path = network(
        tmp_path / "embedding.onnx",
        [("Gather", ["table", "input_ids"], ["y"], {})],
        [("input_ids", "int64", ["n", "m"])],
        [("y", ["n", "m", 2])],
        {"table": table},
    )
    encoder = OnnxEncoder(path, limit=3)
    expected = [[1, 0], [0.5, 0.5], [5 / 3, 5 / 3], [4, 4]]
    assert np.allclose(encoder(["a", "a b", "a b c c c", b"c"]), expected)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(EncoderError, match=r"texts need a tokenizer\.json beside the network, found none$"):
        OnnxEncoder(path, payloads="texts")(["a"])
