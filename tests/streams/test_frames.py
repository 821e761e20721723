"""Frames of pandas and polars, and Arrow tables: the same events, whatever holds them."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from streams import open_source
from streams.batch import COMPLETE, NOMINAL, NUMERIC, PARTIAL, UNDECIDED
from streams.frames import frame_batch
from tests.streams.places import assert_same_batch, drained

VALUES = {
    "a": [1.0, None, 2.5],
    "i": [1, 2, 3],
    "c": ["red", None, "blue"],
    "t": [True, False, True],
    "l": [1, 0, 1],
    "m": [None, 1.0, 0.0],
}


def polars_frame(values):
    return pytest.importorskip("polars").DataFrame(values)


@pytest.mark.parametrize("make", [pd.DataFrame, polars_frame, pa.table])
def test_the_same_events_from_every_frame(make):
    source = open_source(make(VALUES), labels="last:2")
    batch = drained(source)
    assert (source.name, source.n_events) == ("frame", 3)
    assert source.schema.feature_names == ["a", "i", "c", "t"]
    assert source.schema.kinds == [NUMERIC, NUMERIC, NOMINAL, NUMERIC]
    expected = [[1, 1, 0, 1], [np.nan, 2, np.nan, 0], [2.5, 3, 1, 1]]
    assert np.array_equal(batch.x, np.array(expected, np.float32), equal_nan=True)
    assert batch.label_state.tolist() == [PARTIAL, COMPLETE, COMPLETE]
    assert_same_batch(batch, drained(open_source(pd.DataFrame(VALUES), labels="l,m")))


def test_kinds_of_pandas_columns():
    frame = pd.DataFrame(
        {
            "categorical": pd.Categorical(["b", "a", "b"], categories=["c", "b", "a"]),
            "numbers": pd.Categorical([3, 1, 3]),
            "nullable": pd.array([1, None, 3], dtype="Int64"),
            "truth": pd.array([True, None, False], dtype="boolean"),
            "words": ["x" * 70, "y", "z"],
            "when": pd.to_datetime(["2020-01-01", None, "2020-01-02"]),
            7: [1, 2, 3],
            "l": [True, False, True],
        }
    )
    batch = frame_batch(frame, "l", columns={"when": "time"}, payload="words")
    assert batch.schema.feature_names == ["categorical", "numbers", "nullable", "truth", 7]
    assert batch.schema.categories == {0: ["c", "b", "a"]}
    expected = [[1, 3, 1, 1, 1], [2, 1, np.nan, np.nan, 2], [1, 3, 3, 0, 3]]
    assert np.array_equal(batch.x, np.array(expected, np.float32), equal_nan=True)
    assert batch.payload == ["x" * 70, "y", "z"]
    assert batch.time.tolist() == [1577836800000, 0, 1577923200000]
    assert frame_batch(frame, "l").schema.kinds[4:6] == [UNDECIDED, UNDECIDED]


def test_tags_in_frames():
    frame = pd.DataFrame({"n": [1, 2, 3], "tags": [["p", "q"], [], ["q"]]})
    batch = frame_batch(frame, "tags:tags")
    assert batch.schema.label_names == ["p", "q"]
    assert [batch.y.row(i).tolist() for i in range(3)] == [[0, 1], [], [1]]


def test_what_frames_cannot_hold():
    frame = pd.DataFrame({"a": [1.0, np.inf], "l": [0, 1], "m": [0, 3]})
    with pytest.raises(ValueError, match=r"feature 'a' must be a finite number .*, found inf in row 1"):
        frame_batch(frame, "l")
    with pytest.raises(ValueError, match="label 'm' must be 0, 1 or missing, found 3 in row 1"):
        frame_batch(frame[["l", "m"]], "m")
    with pytest.raises(ValueError, match="column 'o' of a frame must hold values of one type, got"):
        frame_batch(pd.DataFrame({"o": [1, "a"], "l": [0, 1]}), "l")


def test_frames_with_many_categories_and_text():
    n = 3000
    frame = pd.DataFrame(
        {"c": [f"c{i % 90}" for i in range(n)], "id": [f"r{i}" for i in range(n)], "l": [i % 2 for i in range(n)]}
    )
    batch = frame_batch(frame, "l")
    assert batch.schema.kinds == [NOMINAL, UNDECIDED]
    assert len(batch.schema.categories[0]) == 90
    assert batch.schema.ignored == {1}
    assert batch.x[:100, 0].tolist() == [i % 90 for i in range(100)]


def test_polars_is_not_imported_for_others():
    program = (
        "import sys, pandas as pd\nfrom streams import open_source\n"
        "open_source(pd.DataFrame({'a': [1.0], 'l': [1]}), labels='l')\nprint('polars' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout == "False\n"
