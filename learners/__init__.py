"""Incremental learners: arrays in, arrays out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learners.base import LabelSet, Learner
    from learners.baselines import MajorityClassifier, NoChangeClassifier
    from learners.chain import ClassifierChain
    from learners.knn import KNNClassifier
    from learners.linear import LinearClassifier
    from learners.naive_bayes import BernoulliNBClassifier, GaussianNBClassifier

__all__ = [
    "BernoulliNBClassifier",
    "ClassifierChain",
    "GaussianNBClassifier",
    "KNNClassifier",
    "LabelSet",
    "Learner",
    "LinearClassifier",
    "MajorityClassifier",
    "NoChangeClassifier",
]

_MODULE_OF = {
    "BernoulliNBClassifier": "learners.naive_bayes",
    "ClassifierChain": "learners.chain",
    "GaussianNBClassifier": "learners.naive_bayes",
    "KNNClassifier": "learners.knn",
    "LabelSet": "learners.base",
    "Learner": "learners.base",
    "LinearClassifier": "learners.linear",
    "MajorityClassifier": "learners.baselines",
    "NoChangeClassifier": "learners.baselines",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'learners' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
