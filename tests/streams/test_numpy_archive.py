"""NumPy archives: what arrays mean, every complaint about one that means nothing, and the way back."""

import os
import zipfile

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st

from streams.batch import COMPLETE, NUMERIC, PARTIAL, UNLABELLED, Batch, Rows, Schema
from streams.memory import read_all
from streams.npz_arrays import NpzArrays
from streams.numpy_archive import NumpySource, NumpyWriter
from streams.opening import open_source
from streams.source import DecodeError
from streams.wire import EventDecoder
from streams.writing import write_events
from tests.streams.places import assert_same_batch, data_folder, drained

X = np.array([[1, 2], [3, np.nan], [0, -0.5]])


@pytest.fixture
def saved(tmp_path):
    """Saves arrays and opens the archive."""

    def save(pack=np.savez, options=None, **arrays):
        path = tmp_path / "toy.npz"
        pack(path, **arrays)
        return NumpySource(path, **(options or {}))

    return save


def labels_of(batch):
    names = batch.schema.label_names
    return [[names[label] for label in batch.y.row(i)] for i in range(len(batch))]


@pytest.mark.parametrize("pack", [np.savez, np.savez_compressed])
@pytest.mark.parametrize("kind", ["<f4", ">f8", "<f2", "F"])
def test_a_matrix_with_nan_for_missing(saved, pack, kind):
    x = np.asfortranarray(X) if kind == "F" else X.astype(kind)
    source = saved(pack, x=x)
    assert (source.name, source.n_events) == ("toy", 3)
    batch = drained(source, (2,))
    assert np.array_equal(batch.x, X.astype(np.float32), equal_nan=True)
    assert batch.x.dtype == np.float32
    assert (batch.schema.feature_names, batch.schema.kinds) == (["x0", "x1"], [NUMERIC] * 2)
    assert (batch.label_state == UNLABELLED).all()
    assert batch.offset.tolist() == [0, 1, 2]


def test_stored_arrays_are_mapped_and_compressed_ones_read(saved, tmp_path):
    for pack, mapped in ((np.savez, True), (np.savez_compressed, False)):
        saved(pack, x=X, empty=X[:0])
        arrays = NpzArrays(tmp_path / "toy.npz")
        assert isinstance(arrays["x"], np.memmap) == mapped
        assert np.array_equal(arrays["x"], X, equal_nan=True)
        assert arrays["empty"].shape == (0, 2)
        arrays.close()
        arrays.close()


def test_further_dimensions_are_laid_side_by_side(saved):
    images = np.arange(24, dtype=np.uint8).reshape(2, 3, 2, 2)
    assert saved(x=images).next_batch().x.tolist() == images.reshape(2, 12).tolist()
    assert saved(x=np.arange(3)).next_batch().x.tolist() == [[0], [1], [2]]
    assert saved(X=X[:, :0]).next_batch().x.shape == (3, 0)


def test_a_matrix_of_labels(saved):
    y = np.array([[1, 0, 1], [0, np.nan, 1], [np.nan] * 3])
    batch = drained(saved(x=X, y=y), (1,))
    assert batch.schema.label_names == ["y0", "y1", "y2"]
    assert [batch.y.row(i).tolist() for i in range(3)] == [[0, 2], [2], []]
    assert batch.label_state.tolist() == [COMPLETE, PARTIAL, UNLABELLED]
    assert [batch.known.row(i).tolist() for i in range(3)] == [[], [0, 2], []]
    batch = saved(x=X, y=y > 0, options={"labels": "a, b,c"}).next_batch()
    assert labels_of(batch) == [["a", "c"], ["c"], []]
    assert labels_of(saved(x=X, y=np.array([True, False, True])).next_batch()) == [["y0"], [], ["y0"]]


@pytest.mark.parametrize(
    ("y", "names", "expected"),
    [
        (np.array([30, -1, 30]), None, (["-1", "30"], [["30"], ["-1"], ["30"]])),
        (np.array([3.0, np.nan, 1.0]), None, (["1", "3"], [["3"], [], ["1"]])),
        (np.array(["b", "a", "é"]), None, (["a", "b", "é"], [["b"], ["a"], ["é"]])),
        (np.array(["b", "a", "é"]).astype("U5"), ["é", "b", "a"], (["é", "b", "a"], [["b"], ["a"], ["é"]])),
        (np.array([b"b", b"a", b"b"]), None, (["a", "b"], [["b"], ["a"], ["b"]])),
        (np.array([2, 0, 2], np.uint8), ["p", "q", "r"], (["p", "q", "r"], [["r"], ["p"], ["r"]])),
    ],
)
def test_one_class_an_event(saved, y, names, expected):
    arrays = {} if names is None else {"label_names": np.array(names)}
    batch = drained(saved(x=X, y=y, **arrays), (2, 1))
    assert (batch.schema.label_names, labels_of(batch)) == expected
    assert (batch.label_state == COMPLETE).tolist() == [bool(labels) for labels in expected[1]]


def test_compressed_rows(saved):
    arrays = {"x_indptr": [0, 2, 2, 4], "x_indices": [3, 0, 1, 2], "x_data": [1.5, 2, 0, np.nan]}
    labels = {"y_indptr": [0, 1, 1, 3], "y_indices": [1, 1, 0]}
    batch = drained(saved(**arrays, **labels), (1,))
    assert batch.schema.sparse
    assert batch.schema.n_features == 4
    assert batch.x.indices.tolist() == [0, 3, 2]
    assert np.array_equal(batch.x.data, np.array([2, 1.5, np.nan], np.float32), equal_nan=True)
    assert [batch.y.row(i).tolist() for i in range(3)] == [[1], [], [0, 1]]
    dense = saved(**arrays, **labels, x_shape=[3, 6], options={"rows": "dense"}).next_batch()
    assert np.array_equal(dense.x, batch.x.to_dense(6), equal_nan=True)
    sparse = saved(x=X, options={"rows": "sparse"}).next_batch()
    assert np.array_equal(sparse.x.to_dense(2), X.astype(np.float32), equal_nan=True)
    assert sparse.schema.sparse
    y = {"y_indptr": [0, 1, 2], "y_indices": [0, 1], "y_data": [1, 0]}
    assert labels_of(saved(x=X[:2], **y).next_batch()) == [["y0"], []]


def test_matrices_of_scipy(saved, tmp_path):
    matrix = scipy.sparse.random(20, 9, 0.3, "csr", random_state=1)
    scipy.sparse.save_npz(tmp_path / "csr.npz", matrix)
    batch = drained(NumpySource(tmp_path / "csr.npz"), (6,))
    assert np.array_equal(batch.x.to_dense(9), matrix.toarray().astype(np.float32))
    scipy.sparse.save_npz(tmp_path / "csc.npz", matrix.tocsc())
    with pytest.raises(DecodeError, match=r"^csc.npz:0: a matrix of scipy must be in CSR format, found b'csc'$"):
        NumpySource(tmp_path / "csc.npz")


def test_parts_of_a_data_set(saved):
    arrays = {"x_train": X, "y_train": [0, 1, 0], "x_test": X[:2], "y_test": [1, 1], "classes": ["cat", "dog"]}
    assert labels_of(saved(**arrays).next_batch()) == [["cat"], ["dog"], ["cat"]]
    assert labels_of(saved(**arrays, options={"part": "test"}).next_batch()) == [["dog"], ["dog"]]
    rows = {"x_test_indptr": [0, 1], "x_test_indices": [1], "x_test_data": [2]}
    assert saved(**rows, options={"part": "test"}).next_batch().x.to_dense(2).tolist() == [[0, 2]]
    with pytest.raises(DecodeError) as error:
        saved(x_test=X)
    assert str(error.value) == "toy.npz:0: an archive must hold an array x or x_train, found x_test"


def test_images_of_the_shared_data():
    source = NumpySource(data_folder() / "cifar10-mini.npz")
    assert (source.n_events, source.schema.n_features, source.schema.n_labels) == (4000, 3072, 10)
    batch = read_all(source)
    assert batch.schema.label_names[:2] == ["airplane", "automobile"]
    assert np.bincount(batch.y.indices).tolist() == [400] * 10
    assert batch.x.min() == 0
    assert batch.x.max() == 255


def test_everything_else_that_events_have(saved):
    batch = saved(
        x=X,
        y=np.diag([1, 1, 0]),
        label_state=[COMPLETE, PARTIAL, UNLABELLED],
        known_indptr=[0, 1, 3, 3],
        known_indices=[0, 2, 1],
        weight=[1, 2.5, 1],
        time=np.array(["1970-01-01T00:00:05", "2000-01-01", "2000-01-02"], "M8[s]"),
        key=[7, 8, 9],
        text=["one", "two", ""],
        text_missing=[False, False, True],
        feature_names=["a", "b"],
        label_names=[b"l", b"m", b"n"],
        options={"payload": "text"},
    ).next_batch()
    assert batch.label_state.tolist() == [COMPLETE, PARTIAL, UNLABELLED]
    assert [batch.known.row(i).tolist() for i in range(3)] == [[], [1, 2], []]
    assert batch.weight.tolist() == [1, 2.5, 1]
    assert batch.time.tolist() == [5000, 946684800000, 946771200000]
    assert batch.key == ["7", "8", "9"]
    assert batch.payload == ["one", "two", None]
    assert (batch.schema.feature_names, batch.schema.label_names) == (["a", "b"], ["l", "m", "n"])


SPARSE = {"x_indptr": [0, 1, 3], "x_data": [1, 2, 3]}


@pytest.mark.parametrize(
    ("arrays", "row", "reason"),
    [
        ({"x": [[1, np.inf]]}, 0, "feature 'x1' must be finite as a float32, or NaN, found inf"),
        ({"x": [[1, 2], [1e39, 2]]}, 1, "feature 'x0' must be finite as a float32, or NaN, found 1e+39"),
        ({"x": [[1]], "y": [[2]]}, 0, "label 'y0' must be 0, 1 or NaN, found 2"),
        ({"x": [[1]] * 3, "y": [0.0, 1.5, 2]}, 1, "a class must be an integer, from 0 to 1, found 1.5"),
        (
            {"x": [[1]], "y": [3], "label_names": ["a", "b"]},
            0,
            "a class must be an integer, from 0 to 1, found 3",
        ),
        ({"x": [[1]], "y": ["c"], "label_names": ["a", "b"]}, 0, "a class must be one of the labels, found 'c'"),
        ({"x": [[1], [2]], "weight": [1, 0]}, 1, "weight must be positive and finite, found 0.0"),
        ({"x": [[1], [2]], "weight": [1, np.nan]}, 1, "weight must be positive and finite, found nan"),
        ({"x": [[1], [2]], "time": np.array([0, "NaT"], "M8[s]")}, 1, "time must be known, found NaT"),
        ({"x": [[1]], "label_state": [3]}, 0, "label_state must be 0, 1 or 2, found 3"),
        (
            {"x": [[1]], "y": [[1, 1]], "label_state": [1], "known_indptr": [0, 1], "known_indices": [0]},
            0,
            "labels that are present must be known, found one that is not",
        ),
        (
            {"x": [[1]], "y": [[1, 1]], "label_state": [0]},
            0,
            "labels that are present must be known, found one that is not",
        ),
        ({**SPARSE, "x_indices": [0, 2, 2]}, 1, "column numbers of a row must differ, found 2 twice"),
        ({**SPARSE, "x_indices": [0, -1, 2]}, 1, "column numbers must be from 0 to 2, found -1"),
        ({**SPARSE, "x_indices": [0, 5, 2], "x_shape": [2, 5]}, 1, "column numbers must be from 0 to 4, found 5"),
        (
            {**SPARSE, "x_indices": [0, 1, 2], "x_data": [1, 2, np.inf]},
            1,
            "feature 'x2' must be finite as a float32, or NaN, found inf",
        ),
        (
            {"x": [[1]], "y_indptr": [0, 1], "y_indices": [0], "y_data": [2]},
            0,
            "label 'y0' must be 0 or 1, found 2.0",
        ),
    ],
)
@pytest.mark.parametrize("rows", [None, "dense", "sparse"])
def test_a_malformed_row_is_told_or_kept(saved, arrays, row, reason, rows):
    source = saved(**arrays, options={"rows": rows})
    if row:
        assert source.next_batch().offset.tolist() == list(range(row))
    for _ in range(2):
        with pytest.raises(DecodeError) as error:
            source.next_batch()
        assert str(error.value) == f"toy.npz:{row}: {reason}"
    source = saved(**arrays, options={"rows": rows, "on_error": "skip"})
    batch = source.next_batch()
    assert [(d.source, d.offset, d.line, d.reason) for d in batch.dead] == [("toy", row, None, reason)]
    assert row not in batch.offset
    if "x" in arrays:
        assert batch.dead[0].raw == np.asarray(arrays["x"])[row].tobytes()


def test_a_category_that_is_none(saved):
    schema = Schema(["colour"], ["l"])
    schema.make_nominal(0, ["red", "blue"])
    for rows in ("dense", "sparse"):
        options = {"on_error": "skip", "rows": rows}
        batch = saved(x=[[1], [2], [0.5], [np.nan], [-1]], schema=schema.to_array(), options=options).next_batch()
        assert batch.offset.tolist() == [0, 3]
        assert [letter.reason for letter in batch.dead] == [
            f"feature 'colour' must be the number of a category, from 0 to 1, found {value}"
            for value in ("2.0", "0.5", "-1.0")
        ]


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"z": X}, "an archive must hold an array x or x_train, found z"),
        (
            {"x": np.array([1, None], object)},
            "array 'x' must be intact, found: Python objects, which are never unpickled",
        ),
        ({"x": ["a"]}, "array 'x' must hold numbers, found <U1 of shape (1,)"),
        ({"x": 5}, "array 'x' must hold numbers, found int64 of shape ()"),
        ({"x": X, "y": [1, 2]}, "array 'y' must hold strings or numbers, 3 of them, found int64 of shape (2,)"),
        ({"x": X, "y": np.zeros((3, 1, 1))}, "array 'y' must be classes or a matrix, found float64 of shape (3, 1, 1)"),
        ({"x": X, "y": [["a"]] * 3}, "array 'y' must be classes or a matrix, found <U1 of shape (3, 1)"),
        (
            {"x": X, "weight": [[1]] * 3},
            "array 'weight' must hold numbers in 1 dimension, 3 of them, found int64 of shape (3, 1)",
        ),
        ({"x": X, "feature_names": ["a"]}, "names of features must be 2, one for each, found 1"),
        ({"x": X, "y": np.eye(3), "label_names": ["a"]}, "names of labels must be 3, one for each, found 1"),
        (
            {"x": X, "y_indptr": [0, 1], "y_indices": [0]},
            "labels must be there for each of the 3 events, found 1",
        ),
        ({"x": X, "feature_names": ["a", "a"]}, "feature names must differ, got 'a' twice"),
        (
            {"x": X, "label_state": [1] * 3, "known_indptr": [0, 1], "known_indices": [0]},
            "known labels must be there for 3 events, found 1",
        ),
        ({"x_indptr": [0, 2]}, "array 'x_indices' must be there, found x_indptr"),
        (
            {"x_indptr": [0, 2], "x_indices": [0]},
            "array 'x_indptr' must ascend from 0 to the 1 indices, found [0 2]",
        ),
        (
            {"x_indptr": [0, 1], "x_indices": [0], "x_data": [1, 2]},
            "array 'x_data' must hold numbers in 1 dimension, 1 of them, found int64 of shape (2,)",
        ),
        ({"x": X, "label_names": [b"\xff"], "y": [0, 0, 0]}, "names must be UTF-8, found b'\\xff'"),
        ({"x": X, "schema": [1]}, "the schema must be one that a writer left, found: Expecting value"),
    ],
)
def test_arrays_that_mean_nothing_are_told_at_opening(saved, arrays, reason):
    with pytest.raises(DecodeError) as error:
        saved(**arrays)
    assert str(error.value).startswith(f"toy.npz:0: {reason}")


def test_files_that_are_no_archives(tmp_path):
    path = tmp_path / "toy.npz"
    path.write_bytes(b"something else")
    with pytest.raises(DecodeError, match=r"^toy.npz:0: a NumPy archive must be a zip file, found: File is not a zip"):
        NumpySource(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00v\x00" + b"nonsense" * 20)
    with pytest.raises(DecodeError, match=r"^toy.npz:0: array 'x' must be intact, found: "):
        NumpySource(path)
    np.save(tmp_path / "x.npy", X)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", (tmp_path / "x.npy").read_bytes()[:-8])
    with pytest.raises(DecodeError, match=r"found: 40 bytes for shape \(3, 2\) of float64$"):
        NumpySource(path)
    with pytest.raises(FileNotFoundError):
        NumpySource(tmp_path / "none.npz")


def test_options_that_are_wrong(saved):
    schema = {"schema": Schema(["a", "b"]).to_array()}
    for arrays, options, error_type, reason in [
        ({}, {"on_error": "warn"}, ValueError, "on_error must be 'fail' or 'skip', got 'warn'"),
        ({}, {"rows": "wide"}, ValueError, "rows must be 'dense', 'sparse' or None, got 'wide'"),
        ({}, {"n_events": 3}, ValueError, "n_events must be None, for the archive tells them, got 3"),
        ({}, {"labels": "last:2"}, ValueError, "labels of a NumPy archive must be names, got 'last:2'"),
        (schema, {"labels": ["a"]}, ValueError, "labels must be None, for the archive holds a schema, got ['a']"),
        (
            {},
            {"payload": "text"},
            DecodeError,
            "toy.npz:0: payload 'text' must be an array of strings, found none of that name",
        ),
    ]:
        with pytest.raises(error_type) as error:
            saved(x=X, **arrays, options=options)
        assert str(error.value) == reason


def test_positions(saved):
    chance = np.random.default_rng(1)
    x = chance.normal(size=(500, 3))
    x[chance.random(500) < 0.1, 1] = np.inf
    y = np.where(chance.random((500, 4)) < 0.1, np.nan, chance.random((500, 4)) < 0.3)
    whole = drained(saved(x=x, y=y, options={"on_error": "skip"}), (1000,))
    assert len(whole) + len(whole.dead) == 500
    assert_same_batch(whole, drained(saved(x=x, y=y, options={"on_error": "skip"}), (1, 64, 7)))
    source = saved(x=x, y=y, options={"on_error": "skip"})
    for start in (0, 3, 250, 500):
        source.resume({"offset": start})
        rest = read_all(source)
        assert rest.offset.tolist() == [i for i in whole.offset.tolist() if i >= start]
    with pytest.raises(ValueError, match=r"^position must lie in the 500 events, got 501$"):
        source.resume({"offset": 501})


def everything(sparse):
    """Events of every kind that a batch can hold."""
    decoder = EventDecoder(Schema(["declared"], ["late", 7], sparse=sparse))
    for message in (
        '{"x": {"n": 0.1, "colour": "red"}, "y": ["a", "b"], "id": "e1", "ts": 5, "w": 2}',
        '{"x": {"n": null, "colour": "blue"}, "y": {"a": true, "b": false, "c": null}}',
        '{"x": {"n": 0}, "payload": "text é"}',
        '{"x": {}, "y": [], "id": ""}',
    ):
        decoder.decode(message.encode())
    batch = decoder.take()
    batch.source = "toy"
    return batch


@pytest.mark.parametrize("sparse", [True, False])
def test_what_was_written_is_read_back(tmp_path, sparse):
    batch = everything(sparse)
    path = tmp_path / "toy.npz"
    writer = NumpyWriter(path, batch.schema)
    for start in range(0, 4, 3):
        writer.write(batch[start : start + 3])
    assert not path.exists()
    writer.close()
    writer.close()
    assert os.listdir(tmp_path) == ["toy.npz"]
    assert_same_batch(batch, drained(NumpySource(path), (3,)))
    assert_same_batch(batch, drained(NumpySource(path), (1,)))
    first = path.read_bytes()
    again = NumpyWriter(path, batch.schema)
    again.write(batch)
    again.discard()
    assert path.read_bytes() == first
    with pytest.raises(ValueError, match=r"^toy.npz: a writer must be open to be written, got one that is closed$"):
        again.write(batch)


@pytest.mark.parametrize("name", ["flags", "yeast", "slashdot"])
def test_real_sets_are_read_back(tmp_path, name):
    batch = read_all(open_source(data_folder() / f"{name}.arff"))
    write_events(batch, tmp_path / f"{name}.npz")
    assert_same_batch(batch, drained(open_source(tmp_path / f"{name}.npz")))


def test_no_events_and_growing_columns(tmp_path):
    schema = Schema(["a"], ["l"])
    schema.decide(0, NUMERIC)
    NumpyWriter(tmp_path / "none.npz", schema).close()
    source = NumpySource(tmp_path / "none.npz")
    assert (source.next_batch(), source.schema) == (None, schema)
    writer = NumpyWriter(tmp_path / "toy.npz", schema)
    writer.write(Batch.from_arrays(np.ones((1, 1)), np.ones((1, 1)), schema=schema))
    schema.decide(schema.feature_id("late"), NUMERIC)
    writer.close()
    assert np.array_equal(NumpySource(tmp_path / "toy.npz").next_batch().x, [[1, np.nan]], equal_nan=True)


@pytest.mark.parametrize("value", [b"bytes", "text\0"])
def test_a_text_that_an_array_cannot_hold_is_refused(tmp_path, value):
    batch = Batch.from_arrays(X, np.eye(3))
    batch.payload = ["a", None, value]
    writer = NumpyWriter(tmp_path / "toy.npz", batch.schema)
    with pytest.raises(ValueError) as error:  # noqa: PT011 (the text is what the next line looks at)
        writer.write(batch)
    assert str(error.value) == f"toy.npz: row 2: payload must be a text that an array can hold, got {value!r}"
    assert os.listdir(tmp_path) == []


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.floats(0, 1), st.binary(min_size=1, max_size=4)), min_size=1, max_size=3), st.booleans())
def test_damaged_archives_tell_so_or_give_events(tmp_path_factory, damage, compressed):
    path = tmp_path_factory.getbasetemp() / "damaged.npz"
    pack = np.savez_compressed if compressed else np.savez
    rows = Rows.from_dense(X, values=True)
    pack(path, x_indptr=rows.indptr, x_indices=rows.indices, x_data=rows.data, y=[1, 0, 1])
    raw = bytearray(path.read_bytes())
    for place, piece in damage:
        at = int(place * len(raw))
        raw[at : at + len(piece)] = piece
    path.write_bytes(raw)
    try:
        source = NumpySource(path, on_error="skip")
        n = 0
        while (batch := source.next_batch(2)) is not None:
            n += len(batch) + len(batch.dead)
        assert n == source.n_events
    except DecodeError:
        pass
