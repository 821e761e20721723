"""Events in, results out: formats, transports and the named data sets."""

from __future__ import annotations

import importlib
from typing import Any

_HOMES = {
    "ArffSource": "arff",
    "Batch": "batch",
    "BatchSource": "memory",
    "ColumnarSource": "columnar",
    "DatasetInfo": "datasets",
    "DeadLetter": "batch",
    "DecodeError": "source",
    "DelimitedSource": "delimited",
    "EventDecoder": "wire",
    "EventWriter": "writing",
    "ExtractedSource": "extraction.source",
    "ExtractionPool": "extraction.pool",
    "ExtremeSource": "extreme",
    "JSONLinesSource": "jsonl",
    "KafkaSink": "topics.sink",
    "KafkaSource": "topics.source",
    "LibsvmSource": "libsvm",
    "LinesSink": "files",
    "MultiflowSource": "multiflow",
    "MultiflowStream": "multiflow",
    "NumpySource": "numpy_archive",
    "Position": "source",
    "Prediction": "batch",
    "RiverSource": "river_source",
    "Rows": "batch",
    "Schema": "batch",
    "SiBlurry": "siblurry",
    "Sink": "source",
    "Source": "source",
    "Topic": "source",
    "TopicPartitions": "topics.source",
    "SyntheticSource": "synthetic",
    "UnknownDatasetError": "registry",
    "dataset_path": "registry",
    "describe": "registry",
    "encode_dead_letter": "wire",
    "encode_events": "wire",
    "encode_predictions": "wire",
    "fetch": "registry",
    "find_dataset": "registry",
    "from_skmultiflow_stream": "multiflow",
    "list_datasets": "registry",
    "open_sink": "opening",
    "open_source": "opening",
    "open_writer": "writing",
    "read_all": "memory",
    "shuffled": "memory",
    "to_skmultiflow_stream": "multiflow",
    "write_events": "writing",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'streams' has no attribute {name!r}")
    return getattr(importlib.import_module(f"streams.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return __all__
