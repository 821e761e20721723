"""Readers over the same uncompressed files: ARFF, CSV and Parquet; and the memory of ours as a file grows."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.peers import run_process
from benchmarks.targets import Growth, Ratio
from benchmarks.workloads import BATCH_SIZE, plain_copy
from ihomer import open_source
from streams.memory import read_all
from streams.registry import fetch

NAMES = ("rows", "feature_sum", "label_sum")

_LABELS = {"yeast": 14, "scene": 6, "tmc2007-500": 22, "delicious": 983}
"""How many of the last attributes are labels."""

_MEMORY_FACTOR, _MEMORY_GROWTH = {"yeast": 4, "tmc2007-500": 4}, 10


_TABLES = {"yeast": 8, "scene": 4, "electricity": 4}
"""Sets that are read as tables, how many times over."""

_LARGE_BATCH = 4096
"""Events at a time where the reader is timed and not the handing over of its batches."""


def cells() -> list[Cell]:
    """ARFF against river, scipy and liac-arff, tables against what pyarrow itself takes for them; and memory."""
    dense = [Ratio("ihomer", "river", at_least=5), Ratio("ihomer", "scipy", at_least=3), Ratio("ihomer", "liac-arff")]
    sparse = [Ratio("ihomer", "liac-arff", at_least=3)]
    speed = [
        Cell("readers", name, partial(_build, name), targets=targets, metrics=NAMES, agreement=1e-6)
        for name, targets in (("yeast", dense), ("scene", dense), ("tmc2007-500", sparse), ("delicious", sparse))
    ]
    memory = [
        Cell(
            "readers-memory",
            f"{name}_x{factor}_v1",
            partial(_build_memory, name, factor),
            unit="bytes",
            repeats=2,
            targets=[Growth("the file", f"{_MEMORY_GROWTH} times the file", at_most=1.1)],
        )
        for name, factor in _MEMORY_FACTOR.items()
    ]
    tables = [
        Cell(
            f"readers-{ending}",
            f"{name}_x{times}_v1",
            partial(_build_table, name, times, ending),
            targets=[
                Ratio("ihomer", "pyarrow", at_least=0.6),
                Ratio("ihomer", "pyarrow, one thread", at_least=0.6),
                Ratio("ihomer, batches of 256", "pyarrow, one thread"),
            ],
            metrics=NAMES,
            agreement=1e-5,
        )
        for ending in ("csv", "parquet")
        for name, times in _TABLES.items()
    ]
    return [*speed, *tables, *memory]


def _build(name: str, setting: Setting) -> Sequence[Contestant]:
    path, n_labels = setting.folder / f"{name}.arff", _LABELS[name]
    plain_copy(fetch(name), path)
    dense = name in ("yeast", "scene")
    readers = {"ihomer": _Ihomer, **({"river": _River, "scipy": _Scipy} if dense else {}), "liac-arff": _LiacArff}
    return _contestants({label: make(path, n_labels, dense) for label, make in readers.items()})


def _build_table(name: str, times: int, ending: str, setting: Setting) -> Sequence[Contestant]:
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    path = setting.folder / f"{name}-{times}.{ending}"
    batch = read_all(open_source(name))
    assert not batch.is_sparse
    schema, y = batch.schema, batch.y.to_dense(batch.schema.n_labels)
    columns = {str(feature): batch.x[:, column] for column, feature in enumerate(schema.feature_names)}
    kind = bool if ending == "parquet" else np.int8
    columns |= {f"label {column}": y[:, column].astype(kind) for column in range(schema.n_labels)}
    table = pa.concat_tables([pa.table(columns)] * times)
    if ending == "csv":
        pyarrow.csv.write_csv(table, path)
    else:
        pyarrow.parquet.write_table(table, path)
    peers = {"pyarrow": True, "pyarrow, one thread": False}
    return _contestants(
        {
            "ihomer": _Ihomer(path, schema.n_labels, True, _LARGE_BATCH),
            "ihomer, batches of 256": _Ihomer(path, schema.n_labels, True),
            **{label: _Pyarrow(path, schema.n_labels, threads) for label, threads in peers.items()},
        }
    )


def _contestants(readers: dict[str, _Reader]) -> list[Contestant]:
    def contestant(name: str) -> Contestant:
        reader = readers[name]
        quality: dict[str, float] = {}

        def warm() -> None:
            counts = np.array([reader.count(part) for part in reader.read()])
            quality.update(zip(NAMES, map(float, counts.sum(0)), strict=True))

        def attempt(clock: Clock) -> Quality:
            with clock:
                for _ in reader.read():
                    clock.count(0)
            clock.report(clock.seconds / quality["rows"], int(quality["rows"]))
            return quality

        return Contestant(name, attempt, warm, reader.note)

    return [contestant(name) for name in readers]


class _Reader:
    """A way to read a file: ``read`` yields pieces, and ``count`` says what was in one.

    A count is the number of rows, the sum of all features and the number of present labels.
    """

    note = ""

    def __init__(self, path: Path, n_labels: int, dense: bool) -> None:
        self.path, self.n_labels, self.dense = path, n_labels, dense

    def read(self) -> Iterator[Any]:
        raise NotImplementedError

    def count(self, part: Any) -> tuple[int, float, int]:
        raise NotImplementedError


class _Ihomer(_Reader):
    note = "batches of arrays, labels apart from features"

    def __init__(self, path: Path, n_labels: int, dense: bool, batch_size: int = BATCH_SIZE) -> None:
        super().__init__(path, n_labels, dense)
        self.batch_size = batch_size
        if batch_size != BATCH_SIZE:
            self.note += f", of {batch_size:,} events; the engine takes {BATCH_SIZE} at a time"

    def read(self) -> Iterator[Any]:
        source = open_source(str(self.path), labels=f"last:{self.n_labels}")
        while (batch := source.next_batch(self.batch_size)) is not None:
            yield batch
        source.close()

    def count(self, part: Any) -> tuple[int, float, int]:
        values = part.x.data if part.is_sparse else part.x
        return len(part), float(values.sum(dtype=np.float64)), len(part.y.indices)


class _River(_Reader):
    note = "`stream.iter_arff`: a pair of dictionaries a row"

    def __init__(self, path: Path, n_labels: int, dense: bool) -> None:
        super().__init__(path, n_labels, dense)
        from scipy.io.arff import loadarff

        self.labels = loadarff(path)[1].names()[-n_labels:]

    def read(self) -> Iterator[Any]:
        from river.stream import iter_arff

        return iter(iter_arff(str(self.path), target=self.labels))

    def count(self, part: Any) -> tuple[int, float, int]:
        x, y = part
        return 1, sum(x.values()), sum(map(int, y.values()))


class _Scipy(_Reader):
    note = "`io.arff.loadarff`: one structured array, the whole file in memory"

    def read(self) -> Iterator[Any]:
        from scipy.io.arff import loadarff

        yield loadarff(self.path)

    def count(self, part: Any) -> tuple[int, float, int]:
        data, meta = part
        features, labels = meta.names()[: -self.n_labels], meta.names()[-self.n_labels :]
        present = sum(int((data[name] == b"1").sum()) for name in labels)
        return len(data), float(sum(data[name].sum() for name in features)), present


class _LiacArff(_Reader):
    note = "a generator: a list a row, or a dictionary where the file is sparse"

    def read(self) -> Iterator[Any]:
        import arff

        with self.path.open() as file:
            content = arff.load(file, return_type=arff.DENSE_GEN if self.dense else arff.LOD_GEN)
            self.n_features = len(content["attributes"]) - self.n_labels
            yield from content["data"]

    def count(self, part: Any) -> tuple[int, float, int]:
        cells = list(enumerate(part)) if self.dense else list(part.items())
        features = sum(float(value) for column, value in cells if column < self.n_features)
        return 1, features, sum(int(value) for column, value in cells if column >= self.n_features)


class _Pyarrow(_Reader):
    note = "the whole file in memory, an array of numpy a column"

    def __init__(self, path: Path, n_labels: int, threads: bool) -> None:
        super().__init__(path, n_labels, True)
        self.threads = threads

    def read(self) -> Iterator[Any]:
        import pyarrow.csv
        import pyarrow.parquet

        if self.path.suffix == ".csv":
            options = pyarrow.csv.ReadOptions(use_threads=self.threads)
            table = pyarrow.csv.read_csv(self.path, read_options=options)
        else:
            table = pyarrow.parquet.read_table(self.path, use_threads=self.threads)
        yield [column.to_numpy() for column in table.columns]

    def count(self, part: Any) -> tuple[int, float, int]:
        features, labels = part[: -self.n_labels], part[-self.n_labels :]
        return len(part[0]), sum(float(f.sum(dtype=np.float64)) for f in features), int(sum(map(np.sum, labels)))


_READ_ALL = """
import json, sys
from ihomer import open_source
source = open_source(sys.argv[1], labels="last:" + sys.argv[2])
n = 0
while (batch := source.next_batch(256)) is not None:
    n += len(batch)
for line in open("/proc/self/status"):
    if line.startswith("VmHWM"):
        print(json.dumps({"events": n, "bytes": 1024 * int(line.split()[1])}))
"""
"""Reads a file and prints the most memory that its process ever held. Not ``ru_maxrss``: that is inherited."""


def _build_memory(name: str, factor: int, setting: Setting) -> Sequence[Contestant]:
    if not Path("/proc/self/status").exists():
        raise OSError("peak memory is read from /proc/self/status, which this system does not have")

    def contestant(label: str, times: int) -> Contestant:
        path = setting.folder / f"{name}-{times}.arff"
        plain_copy(fetch(name), path, times)
        command = [sys.executable, "-c", _READ_ALL, str(path), str(_LABELS[name])]

        def attempt(clock: Clock) -> Quality:
            report = run_process(command, clock)
            clock.report(report["bytes"], report["events"])
            return {}

        # The first run may compile, which takes memory of its own; the second contestant finds the code cached.
        return Contestant(label, attempt, (lambda: attempt(Clock())) if times == factor else None)

    growth = f"{_MEMORY_GROWTH} times the file"
    return [contestant("the file", factor), contestant(growth, factor * _MEMORY_GROWTH)]
