"""Data sets by name: where to find them on this machine, and how to fetch those that are not there."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from streams.datasets import DATASETS, DOWNLOADS, TABLES, DatasetInfo
from streams.opening import BINARY, READERS
from streams.source import Source
from streams.text import COMPRESSED_ENDINGS, GZIP_MAGIC, stem
from streams.text_source import OnError, RowKind

ENDINGS = tuple(
    ending + compression
    for ending in READERS
    for compression in ("", *COMPRESSED_ENDINGS)
    if not compression or ending not in BINARY
)
"""Endings of files that are found by name, in the order in which they are looked for."""

Progress = Callable[[int, "int | None"], None]
"""Told while something is fetched: bytes so far, and bytes in all where that is known."""


class UnknownDatasetError(LookupError):
    """No data set has this name."""


def list_datasets() -> list[DatasetInfo]:
    """All data sets in the table, wherever they are."""
    return list(DATASETS)


def find_dataset(name: str) -> DatasetInfo:
    """What the table says of a name.

    Raises
    ------
    UnknownDatasetError
        The table does not hold it; the message has names like it.
    """
    for info in DATASETS:
        if info.name == name:
            return info
    names = [*(info.name for info in DATASETS), *TABLES]
    close = get_close_matches(name.lower(), names, 3, 0.5)
    hint = f"did you mean {' or '.join(close)}?" if close else f"known are {', '.join(names)}"
    raise UnknownDatasetError(f"a data set must be a file or a known name, got {name!r}; {hint}")


def folders() -> list[Path]:
    """Where data sets are looked for, in order: ``IHOMER_DATA``, ``../shared/data`` seen from the checkout and from
    the working directory, and the user's cache."""
    chosen = os.environ.get("IHOMER_DATA")
    shared = [folder.parent / "shared" / "data" for folder in (Path(__file__).resolve().parents[1], Path.cwd())]
    found = [*([Path(chosen)] if chosen else []), *shared, cache_folder()]
    return list(dict.fromkeys(found))


def cache_folder() -> Path:
    """Where fetched data sets are kept."""
    import platformdirs

    return platformdirs.user_cache_path("ihomer") / "data"


def dataset_path(name: str) -> Path | None:
    """The file of this name in one of the folders, in the table or not, or None."""
    if not name or os.sep in name:
        return None
    return next(
        (path for folder in folders() for ending in ENDINGS if (path := folder / (name + ending)).is_file()), None
    )


def is_known(name: str) -> bool:
    """Whether a name is in the table or a file in one of the folders."""
    return any(info.name == name for info in DATASETS) or dataset_path(name) is not None


def open_known(
    name: str,
    *,
    labels: str | Sequence[str] | None = None,
    on_error: OnError = "fail",
    payload: str | None = None,
    rows: RowKind | None = None,
) -> Source:
    """The events of a data set; fetched if it is in the table and nowhere on this machine."""
    from streams.arff import ArffSource
    from streams.opening import open_source
    from streams.text import TextReader

    info = next((info for info in DATASETS if info.name == name), None)
    path = dataset_path(name)
    text = _yeast_of_river() if path is None and name == "yeast" else None
    n_events = info.n_events if info is not None else None
    if text is not None:
        reader = TextReader(io.BytesIO(text), "yeast.csv.gz")
        return ArffSource(reader, labels=labels, on_error=on_error, payload=payload, rows=rows, n_events=n_events)
    path = path or fetch(name)
    if name in TABLES and (path.suffixes[:1] in ([".csv"], [".tsv"])) and labels is None:
        from streams.delimited import DelimitedSource

        options: dict[str, Any] = {**TABLES[name], **({} if payload is None else {"payload": payload})}
        return DelimitedSource(path, on_error=on_error, rows=rows, **options)
    if info is None or ".arff" not in path.suffixes:
        return open_source(path, labels=labels, on_error=on_error, payload=payload, rows=rows)
    if labels is None and not path.with_name(stem(path) + ".xml").is_file():
        labels = info.labels
    # A plain file's events are counted; a compressed one's would have to be decompressed for that.
    known = n_events if path.suffix != ".arff" else None
    return ArffSource(path, labels=labels, on_error=on_error, payload=payload, rows=rows, n_events=known)


def fetch(name: str, progress: Progress | None = None) -> Path:
    """The file of a data set, downloaded into the cache if it is nowhere on this machine.

    Raises
    ------
    UnknownDatasetError
        The table does not hold the name.
    FileNotFoundError
        It is neither on this machine nor to be had; the message tells where it was looked for.
    ValueError
        What came is not what the table's checksum says.
    """
    path = dataset_path(name)
    if path is not None:
        return path
    info = find_dataset(name)
    if name == "yeast" and (text := _yeast_of_river()) is not None:
        return _keep(cache_folder() / "yeast.arff", text)
    url = DOWNLOADS + info.url
    try:
        content = b"".join(_download(url, progress))
    except (urllib.error.URLError, OSError) as error:
        looked = ", ".join(map(str, folders()))
        reason = getattr(error, "reason", error)
        raise FileNotFoundError(
            f"data set {name!r} must be in one of the folders {looked} or at {url}, found neither ({reason})"
        ) from None
    text = gzip.decompress(content) if content.startswith(GZIP_MAGIC) else content
    found = hashlib.sha256(text).hexdigest()
    if found != info.sha256:
        raise ValueError(f"data set {name!r} from {url} must have sha256 {info.sha256}, found {found}")
    return _keep(cache_folder() / (name + ".arff.gz" if text is not content else name + ".arff"), content)


def describe(spec: Any, *, labels: str | Sequence[str] | None = None, on_error: OnError = "fail") -> dict[str, Any]:
    """Read a whole stream and count: ``n_events``, ``n_features``, ``n_labels``, ``cardinality``, ``n_dead``.

    Cardinality is over the events whose labels are known, wholly or in part. Where the stream knows its drifts, they
    are in ``drifts``, a JSON object each.

    Raises
    ------
    ValueError
        A synthetic stream has no end.
    """
    from streams.batch import UNLABELLED
    from streams.opening import open_source

    source = open_source(spec, labels=labels, on_error=on_error)
    drifts = [asdict(drift) for drift in getattr(source, "drifts", ())]
    if source.n_events is None and hasattr(source, "drifts"):
        raise ValueError(f"{spec}: events must be above 0 for a stream to be counted, got one without end")
    n_events = n_dead = n_labelled = n_present = 0
    try:
        while (batch := source.next_batch(4096)) is not None:
            n_events += len(batch)
            n_dead += len(batch.dead)
            n_labelled += int((batch.label_state != UNLABELLED).sum())
            n_present += len(batch.y.indices)
    finally:
        source.close()
    return {
        "n_events": n_events,
        "n_features": source.schema.n_features,
        "n_labels": source.schema.n_labels,
        "cardinality": n_present / n_labelled if n_labelled else 0.0,
        "n_dead": n_dead,
    } | ({"drifts": drifts} if drifts else {})


def _download(url: str, progress: Progress | None) -> Iterator[bytes]:
    with urllib.request.urlopen(url, timeout=30) as answer:
        length = answer.headers.get("Content-Length")
        done = 0
        while block := answer.read(1 << 16):
            done += len(block)
            if progress is not None:
                progress(done, int(length) if length else None)
            yield block


def _keep(path: Path, content: bytes) -> Path:
    """Write a file so that another process sees all of it or nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)
    return path


def _yeast_of_river() -> bytes | None:
    """The copy of yeast in river's wheel as ARFF; its rows are those of the Mulan file, byte for byte."""
    river = importlib.util.find_spec("river")
    if river is None or not river.submodule_search_locations:
        return None
    path = Path(river.submodule_search_locations[0]) / "datasets" / "yeast.csv.gz"
    if not path.is_file():
        return None
    names, rows = gzip.decompress(path.read_bytes()).split(b"\n", 1)
    attributes = [
        f"@attribute {name} {'{0,1}' if name.startswith('Class') else 'numeric'}"
        for name in names.decode().strip().split(",")
    ]
    return "\n".join(["@relation 'yeast: -C -14'", *attributes, "@data", ""]).encode() + rows
