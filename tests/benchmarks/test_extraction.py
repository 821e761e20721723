"""The suite on the pool: nothing is lost where workers are killed, and what is missing is said."""

from benchmarks import extraction
from benchmarks.frame import Clock, Setting, measure
from streams.extraction.pool import ExtractionPool


def cell_of(group):
    return next(cell for cell in extraction.cells() if cell.group == group)


def test_workers_are_killed_and_no_row_is_wrong(monkeypatch):
    monkeypatch.setattr(extraction, "_KILL_EVERY_S", 0.7)
    record = measure(cell_of("kills"), quick=True)
    assert record["failures"] == []
    left_alone, killed = (side["quality"] for side in record["contestants"])
    assert left_alone == {"rows": 5000, "wrong_rows": 0}
    assert killed.pop("deaths") >= 1
    assert killed == left_alone


def test_wrong_rows_are_counted(tmp_path, monkeypatch):
    class Pool(ExtractionPool):
        """Encodes here."""

        def __init__(self, encoder, workers, **settings):
            super().__init__(lambda payloads: [[payload + (payload == 7), payload % 97] for payload in payloads])

    monkeypatch.setattr(extraction, "ExtractionPool", Pool)
    attempt = extraction._build_kills(Setting(True, tmp_path))[0].attempt
    assert attempt(Clock()) == {"rows": 5000, "wrong_rows": 1}


def test_a_gpu_that_is_not_there_is_said(monkeypatch, tmp_path):
    monkeypatch.setattr(extraction, "have", lambda extra: None)
    monkeypatch.setattr(extraction, "_texts", lambda n: ["text"] * n)
    monkeypatch.setattr(extraction.importlib.util, "find_spec", lambda name: None)
    record = measure(cell_of("gpu"), quick=True)
    assert record["failures"] == []
    reasons = {side["reason"] for side in record["contestants"]}
    assert reasons == {"peer not available: needs a GPU and torch (extra 'deep')"}
