"""Streaming multi-label learning: the front door, through which every public name of the house can be had.

Names are imported when they are first used, so that ``import ihomer`` is quick.

Examples
--------
>>> import ihomer
>>> model = ihomer.IHOMERClassifier(seed=1)
>>> model.learn_one({"f1": 0.3}, {"a": True, "b": False})
>>> model.predict_one({"f1": 0.1})["unheard of"]
False
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drift import ADWIN as ADWIN
    from drift import ADWINBank as ADWINBank
    from ihomer.checkpoint import load as load
    from ihomer.checkpoint import save as save
    from ihomer.classifier import IHOMERClassifier as IHOMERClassifier
    from ihomer.evaluation.metrics import MultiLabelMetrics as MultiLabelMetrics
    from ihomer.evaluation.prequential import evaluate as evaluate
    from ihomer.evaluation.result import Result as Result
    from ihomer.hierarchy import LabelHierarchy as LabelHierarchy
    from ihomer.single_label import SingleLabel as SingleLabel
    from learners import LinearClassifier as LinearClassifier
    from learners import MajorityClassifier as MajorityClassifier
    from learners import NoChangeClassifier as NoChangeClassifier
    from streams.batch import Batch as Batch
    from streams.batch import Prediction as Prediction
    from streams.batch import Rows as Rows
    from streams.batch import Schema as Schema
    from streams.opening import open_sink as open_sink
    from streams.opening import open_source as open_source

_WHERE = {
    "ADWIN": "drift",
    "ADWINBank": "drift",
    "Batch": "streams.batch",
    "IHOMERClassifier": "ihomer.classifier",
    "LabelHierarchy": "ihomer.hierarchy",
    "LinearClassifier": "learners",
    "MajorityClassifier": "learners",
    "MultiLabelMetrics": "ihomer.evaluation.metrics",
    "NoChangeClassifier": "learners",
    "Prediction": "streams.batch",
    "Result": "ihomer.evaluation.result",
    "Rows": "streams.batch",
    "Schema": "streams.batch",
    "SingleLabel": "ihomer.single_label",
    "evaluate": "ihomer.evaluation.prequential",
    "load": "ihomer.checkpoint",
    "open_sink": "streams.opening",
    "open_source": "streams.opening",
    "save": "ihomer.checkpoint",
}

__all__ = [*_WHERE, "__version__"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version("ihomer")
    if name not in _WHERE:
        raise AttributeError(f"module 'ihomer' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_WHERE[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
