"""``ihomer data convert``."""

import json
from functools import partial

import pytest

from streams import open_source, read_all

TABLE = "size,text,ripe\n1,a b,1\n2,c d,0\nx,e f,1\n3,g h,0\n" + "4,i j,1\n" * 10


@pytest.fixture
def command(command, tmp_path):
    """Runs ``ihomer data convert`` beside a table."""
    (tmp_path / "toy.csv").write_text(TABLE)
    return partial(command, "data", "convert")


def test_a_table_becomes_another_file(command, tmp_path):
    code, out, err = command("toy.csv", "toy.parquet", "--labels", "ripe", "--payload", "text", "--on-error", "skip")
    assert (code, out, err) == (0, "toy.parquet: 13 events, 1 unreadable left out\n", "")
    batch = read_all(open_source(tmp_path / "toy.parquet"))
    assert batch.schema.feature_names == ["size"]
    assert (batch.payload[:2], batch.x[:3].ravel().tolist()) == (["a b", "c d"], [1, 2, 3])
    code, out, _ = command("toy.parquet", "toy.jsonl.gz", "--max-events", "5", "--json")
    assert code == 0
    assert json.loads(out) == {
        "source": "toy.parquet", "path": "toy.jsonl.gz", "n_events": 5, "n_dead": 0, "n_features": 1, "n_labels": 1,
    }  # fmt: skip


def test_an_event_that_cannot_be_read_ends_it(command, tmp_path):
    code, out, err = command("toy.csv", "toy.jsonl", "--labels", "ripe")
    assert (code, out) == (1, "")
    assert err.startswith("ihomer: toy.csv:4: feature 'size' must be a finite number")
    assert not (tmp_path / "toy.jsonl").exists()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["toy.csv", "toy.doc"], "a file to write must end with .jsonl,"),
        (["toy.csv", "toy.csv"], "toy.csv: is there already; --force replaces it"),
        (["nothing.csv", "toy.jsonl"], "a source must be a file, a URL or a known data set, found none called"),
        (["toy.csv", "toy.jsonl", "--on-error", "hide"], "--on-error: must be fail or skip, got 'hide'"),
        (["toy.csv", "toy.jsonl", "--labels", "rope"], "a label must be a column of the table, got 'rope'"),
        (["toy.csv", "no/toy.jsonl", "--labels", "ripe"], "no/toy.jsonl: the folder of a file to write must be there"),
        (["toy.csv", "toy.jsonl", "--max-events", "0"], "Invalid value for '--max-events'"),
    ],
)
def test_wrong_usage(command, words, complaint):
    code, out, err = command(*words)
    assert out == ""
    assert complaint in err
    assert code == 2


def test_a_file_is_replaced_when_asked(command, tmp_path):
    (tmp_path / "toy.jsonl").write_text("old")
    words = ["toy.csv", "toy.jsonl", "--labels", "ripe", "--on-error", "skip"]
    assert command(*words)[0] == 2
    assert command(*words, "--force")[0] == 0
    assert open_source(tmp_path / "toy.jsonl").n_events == 13
