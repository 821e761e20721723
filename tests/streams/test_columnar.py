"""Parquet and Arrow files: what columns are, positions in them, and every complaint about a row or a file."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet as pq
import pytest

from streams import columnar, open_source, open_writer
from streams.batch import COMPLETE, NOMINAL, NUMERIC, PARTIAL, UNDECIDED, UNLABELLED
from streams.columnar import ColumnarSource
from streams.source import DecodeError, Source
from streams.table_kernels import rows_of_columns, rows_of_ones
from tests.streams.places import assert_same_batch, drained
from tests.streams.tables import random_batch

nan = np.nan


def saved(folder, table, ending=".parquet", **options):
    path = folder / f"toy{ending}"
    if ending == ".parquet":
        pq.write_table(table, path, **options)
    else:
        pyarrow.feather.write_feather(table, path, **options)
    return path


TABLE = pa.table(
    {
        "f": pa.array([1.5, None, -2.0], pa.float64()),
        "i": pa.array([1, 2, None], pa.int64()),
        "b": pa.array([True, None, False]),
        "s": pa.array(["red", "blue", None]),
        "d": pa.array(["y", "x", None]).dictionary_encode(),
        "when": pa.array([1, 2, None], pa.timestamp("ms")),
        "l": pa.array([True, False, None]),
        "m": pa.array([0, None, None], pa.int8()),
    }
)


@pytest.mark.parametrize("ending", [".parquet", ".feather"])
def test_columns_are_told_by_their_types(tmp_path, ending):
    source = open_source(saved(tmp_path, TABLE, ending), labels="last:2")
    assert isinstance(source, Source)
    batch = drained(source)
    schema = source.schema
    assert schema.kinds == [NUMERIC, NUMERIC, NUMERIC, NOMINAL, NOMINAL, UNDECIDED]
    assert schema.categories == {3: ["red", "blue"], 4: ["y", "x"]}
    assert schema.ignored == {5}
    expected = [[1.5, 1, 1, 0, 0, nan], [nan, 2, nan, 1, 1, nan], [-2, nan, 0, nan, nan, nan]]
    assert np.array_equal(batch.x, np.array(expected, np.float32), equal_nan=True)
    assert batch.label_state.tolist() == [COMPLETE, PARTIAL, UNLABELLED]
    assert batch.y.to_dense(2).tolist() == [[1, 0], [0, 0], [0, 0]]
    assert (source.name, source.n_events, batch.offset.tolist()) == ("toy", 3, [0, 1, 2])
    declared = open_source(saved(tmp_path, TABLE, ending), labels="last:2")
    assert declared.schema.n_features == 6
    columns = {"when": "time", "i": "key", "f": "unused", "s": "text"}
    batch = drained(ColumnarSource(tmp_path / f"toy{ending}", labels="l,m", columns=columns))
    assert (batch.key, batch.time.tolist()) == (["1", "2", None], [1, 2, 0])
    assert batch.schema.feature_names == ["b", "s", "d"]


@pytest.mark.parametrize(
    ("tags", "names"),
    [
        (pa.array([["a", "b"], [], None, ["b", "c", "b"]]), ["a", "b", "c"]),
        (pa.array([[7, 3], [], None, [3, 5]], pa.large_list(pa.int16())), [7, 3, 5]),
        (pa.array(["a b", "", None, "b; c|b"]), ["a", "b", "c"]),
        (pa.array(["a b", "", None, "b; c|b"]).dictionary_encode(), ["a", "b", "c"]),
    ],
)
def test_tags(tmp_path, tags, names):
    path = saved(tmp_path, pa.table({"n": [1, 2, 3, 4], "tags": tags}))
    batch = drained(ColumnarSource(path, labels="tags:tags"))
    assert batch.schema.label_names == names
    assert [batch.y.row(i).tolist() for i in range(4)] == [[0, 1], [], [], [1, 2]]
    assert batch.label_state.tolist() == [COMPLETE, COMPLETE, UNLABELLED, COMPLETE]


BROKEN = [
    ("f", nan, "feature 'f' must be a finite number of at most 3.4028235e38 in size or missing, found nan"),
    ("f", -np.inf, "feature 'f' must be a finite number .*, found -inf"),
    ("f", 1e39, r"feature 'f' must be a finite number .*, found 1e\+39"),
    ("l", 2.0, "label 'l' must be 0, 1 or missing, found 2.0"),
    ("w", 0.0, "weight 'w' must be a positive number, found 0.0"),
]


@pytest.mark.parametrize(("column", "value", "reason"), BROKEN)
@pytest.mark.parametrize("ending", [".parquet", ".arrow"])
def test_a_broken_row_is_told_or_kept(tmp_path, ending, column, value, reason):
    values = {"f": [1.0, None, 2.0, 3.0], "l": [0.0, 1.0, None, 1.0], "w": [1.0, 2.0, 3.0, None]}
    values[column][2] = value
    path = saved(tmp_path, pa.table(values), ending)
    options = {"labels": "l", "columns": {"w": "weight"}}
    source = ColumnarSource(path, **options)
    assert len(source.next_batch()) == 2
    with pytest.raises(DecodeError, match=rf"toy{ending}:2: {reason}"):
        source.next_batch()
    batch = drained(ColumnarSource(path, on_error="skip", **options))
    assert batch.offset.tolist() == [0, 1, 3]
    (letter,) = batch.dead
    assert (letter.source, letter.offset, letter.line) == ("toy", 2, None)
    assert json.loads(letter.raw)[column] in (value, pytest.approx(value, nan_ok=True))


def broken_table(n):
    chance = np.random.default_rng(3)
    values = chance.normal(size=n)
    values[::17] = np.inf
    colours = [["red", None, f"c{i // 40}"][i % 3] for i in range(n)]
    tags = [[f"t{i // 30}", f"t{chance.integers(5)}"] if i % 4 else None for i in range(n)]
    return pa.table({"f": values, "colour": pa.array(colours), "tags": pa.array(tags)})


@pytest.mark.parametrize("ending", [".parquet", ".feather"])
def test_resuming_anywhere_goes_on_as_if_never_stopped(tmp_path, ending, monkeypatch):
    options = {"row_group_size": 70} if ending == ".parquet" else {"chunksize": 70}
    path = saved(tmp_path, broken_table(400), ending, **options)

    def opened():
        return ColumnarSource(path, labels="tags:tags", on_error="skip", columns={"colour": "nominal"})

    whole = drained(opened())
    assert (len(whole), len(whole.dead)) == (376, 24)
    assert_same_batch(whole, drained(opened(), sizes=(1, 7, 50)))
    monkeypatch.setattr(columnar, "MOST_ROWS", 33)
    assert_same_batch(whole, drained(opened()))
    monkeypatch.setattr(columnar, "WHOLE_GROUP", 0)
    assert_same_batch(whole, drained(opened()))
    chance = np.random.default_rng(5)
    for stop in [*chance.integers(1, 399, size=5).tolist(), 400]:
        source = opened()
        first = source.next_batch(int(stop))
        position = json.loads(json.dumps(source.position()))
        again = opened()
        again.resume(position)
        if stop == 400:
            assert again.next_batch() is None
            continue
        expected = whole[len(first) :]
        expected.dead = whole.dead[len(first.dead) :]
        assert_same_batch(expected, drained(again))
    with pytest.raises(ValueError, match=r"position must lie in the 400 rows, got 401"):
        opened().resume({"offset": 401, "schema": whole.schema.to_json()})


def test_cells_of_sparse_rows_are_checked(tmp_path):
    batch = random_batch(50, sparse=True, extras=False)
    path = tmp_path / "toy.parquet"
    writer = open_writer(path, batch.schema)
    writer.write(batch)
    writer.close()
    table = pq.read_table(path)
    assert table.column_names == ["features", "labels", "known"]
    good = table["features"].to_pylist()
    for number, cells in [
        (3, [{"index": 2, "value": 1.0}, {"index": 2, "value": 1.0}]),
        (7, [{"index": 4, "value": 1.0}]),
        (9, [{"index": -1, "value": 1.0}]),
        (12, [{"index": 0, "value": float("inf")}]),
        (13, [{"index": None, "value": 1.0}]),
    ]:
        good[number] = cells
    broken = table.set_column(0, table.schema.field(0), pa.array(good, table.schema.field(0).type))
    pq.write_table(broken, path)
    found = drained(ColumnarSource(path, on_error="skip"))
    assert [letter.offset for letter in found.dead] == [3, 7, 9, 12, 13]
    assert "features" in json.loads(found.dead[0].raw)
    assert found.dead[0].reason.startswith("cells 'features' must list ascending columns of the schema")


def naive_rows(columns):
    """Cell by cell."""
    rows = [[columns[j][i] for j in range(len(columns))] for i in range(columns.shape[1])]
    return rows, sum(not np.isfinite(value) for row in rows for value in row)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (1, 1), (3, 100), (100, 3), (33, 65)])
def test_columns_become_rows(shape):
    chance = np.random.default_rng(1)
    columns = chance.normal(size=shape).astype(np.float32)
    columns[chance.random(shape) < 0.1] = nan
    columns[chance.random(shape) < 0.1] = np.inf
    before = columns.copy()
    rows, n_odd = rows_of_columns(columns)
    expected, n_expected = naive_rows(columns)
    assert rows.shape == shape[::-1]
    assert np.array_equal(rows, np.array(expected, np.float32).reshape(shape[::-1]), equal_nan=True)
    assert n_odd == n_expected
    assert np.array_equal(columns, before, equal_nan=True)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (1, 1), (3, 100), (100, 3)])
def test_ones_become_lists(shape):
    cells = np.random.default_rng(2).integers(0, 3, shape).astype(np.uint8)
    rows = rows_of_ones(cells)
    assert [rows.row(i).tolist() for i in range(len(rows))] == [
        [column for column, cell in enumerate(row) if cell == 1] for row in cells.tolist()
    ]


def test_what_cannot_be_opened(tmp_path):
    path = saved(tmp_path, TABLE)
    with pytest.raises(DecodeError, match=r"toy.parquet:0: labels of a table must be told by its metadata or by"):
        ColumnarSource(path)
    for options, reason in [
        ({"labels": "s"}, "label 's' must be a column of truth values, 0 and 1, got string"),
        ({"labels": "tags:f"}, "tags 'f' must be a column of text, or lists of texts or whole numbers, got double"),
        ({"labels": "l", "payload": "f"}, "payload 'f' must be a column of text or bytes, got double"),
        ({"labels": "l", "columns": {"s": "numeric"}}, "numeric feature 's' must be a column of numbers, got string"),
        ({"labels": "l", "columns": {"f": "nominal"}}, "nominal feature 'f' must be a column of text, got double"),
        ({"labels": "l", "columns": {"f": "key"}}, "key 'f' must be a column of text or whole numbers, got double"),
        ({"labels": "l", "columns": {"s": "time"}}, "time 's' must be a column of whole numbers, dates or timestamps"),
        ({"labels": "l", "columns": {"s": "weight"}}, "weight 's' must be a column of numbers, got string"),
        ({"labels": "l", "on_error": "warn"}, "on_error must be 'fail' or 'skip', got 'warn'"),
        ({"labels": "l", "rows": "few"}, "rows must be 'dense', 'sparse' or None, got 'few'"),
        ({"labels": "k"}, "a label must be a column of the table, got 'k'"),
    ]:
        with pytest.raises(ValueError, match=reason):
            ColumnarSource(path, **options)
    with pytest.raises(ValueError, match=r"max_events must be at least 1, got 0"):
        ColumnarSource(path, labels="l").next_batch(0)
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(b"hello world")
    with pytest.raises(DecodeError, match=r"bad.parquet:0: a file must be Parquet or Arrow IPC, found b'hello '"):
        ColumnarSource(bad)
    bad.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DecodeError, match=r"bad.parquet:0: a file must be intact, found"):
        ColumnarSource(bad)
    assert drained(open_source(path.rename(tmp_path / "toy.dat"), labels="l")).offset.tolist() == [0, 1, 2]


def test_damage_within_is_told_or_ends_the_file(tmp_path):
    values = np.random.default_rng(1).normal(size=4000)
    path = saved(tmp_path, pa.table({"f": values, "l": values > 0}), row_group_size=1000, compression="gzip")
    raw = bytearray(path.read_bytes())
    group = pq.ParquetFile(path).metadata.row_group(2).column(0)
    start = group.dictionary_page_offset or group.data_page_offset
    raw[start : start + group.total_compressed_size] = bytes(group.total_compressed_size)
    path.write_bytes(raw)
    source = ColumnarSource(path, labels="l", on_error="skip")
    batch = drained(source, (100,))
    assert len(batch) <= 2000
    assert len(batch.dead) == 1
    assert batch.dead[0].reason.startswith("a file must be intact, found")
    with pytest.raises(DecodeError, match="a file must be intact, found"):
        drained(ColumnarSource(path, labels="l"))
