"""Incremental learners: arrays in, arrays out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from learners.array_style import ArrayLearner
    from learners.bagging import BaggingEnsemble
    from learners.base import LabelSet, Learner
    from learners.baselines import MajorityClassifier, NoChangeClassifier
    from learners.chain import ClassifierChain
    from learners.deep.dualprompt import DualPromptClassifier
    from learners.deep.finetune import FineTuneClassifier, ReplayClassifier
    from learners.deep.l2p import L2PClassifier
    from learners.deep.mvp import MVPClassifier
    from learners.heads.auto import AutoHead
    from learners.heads.cosine import CosineSoftmaxClassifier
    from learners.heads.gaussian import GaussianClassifier
    from learners.heads.loki import LokiClassifier
    from learners.heads.mvp import MVPLightClassifier
    from learners.heads.ncm import NCMClassifier
    from learners.heads.ranpac import RanPACClassifier
    from learners.heads.ridge import BalancedRidgeClassifier, RidgeClassifier
    from learners.heads.rls import RLSClassifier
    from learners.heads.slda import SLDAClassifier
    from learners.heads.subprototypes import SubPrototypeClassifier
    from learners.heads.teen import TEENClassifier
    from learners.knn import KNNClassifier
    from learners.linear import LinearClassifier
    from learners.naive_bayes import BernoulliNBClassifier, GaussianNBClassifier
    from learners.partial_fit import from_partial_fit
    from learners.trees.adaptive import HoeffdingAdaptiveTreeClassifier
    from learners.trees.adwin_bagging import ADWINBaggingClassifier
    from learners.trees.extra_trees import ExtraTreesClassifier
    from learners.trees.forest import AdaptiveRandomForestClassifier
    from learners.trees.hoeffding import HoeffdingTreeClassifier
    from learners.trees.mlhat import MLHATClassifier

__all__ = [
    "ADWINBaggingClassifier",
    "AdaptiveRandomForestClassifier",
    "ArrayLearner",
    "AutoHead",
    "BaggingEnsemble",
    "BalancedRidgeClassifier",
    "BernoulliNBClassifier",
    "ClassifierChain",
    "CosineSoftmaxClassifier",
    "DualPromptClassifier",
    "ExtraTreesClassifier",
    "FineTuneClassifier",
    "GaussianClassifier",
    "GaussianNBClassifier",
    "HoeffdingAdaptiveTreeClassifier",
    "HoeffdingTreeClassifier",
    "KNNClassifier",
    "L2PClassifier",
    "LabelSet",
    "Learner",
    "LinearClassifier",
    "LokiClassifier",
    "MLHATClassifier",
    "MVPClassifier",
    "MVPLightClassifier",
    "MajorityClassifier",
    "NCMClassifier",
    "NoChangeClassifier",
    "RLSClassifier",
    "RanPACClassifier",
    "ReplayClassifier",
    "RidgeClassifier",
    "SLDAClassifier",
    "SubPrototypeClassifier",
    "TEENClassifier",
    "from_partial_fit",
]

_MODULE_OF = {
    "ADWINBaggingClassifier": "learners.trees.adwin_bagging",
    "AdaptiveRandomForestClassifier": "learners.trees.forest",
    "ArrayLearner": "learners.array_style",
    "AutoHead": "learners.heads.auto",
    "BaggingEnsemble": "learners.bagging",
    "BalancedRidgeClassifier": "learners.heads.ridge",
    "BernoulliNBClassifier": "learners.naive_bayes",
    "ClassifierChain": "learners.chain",
    "CosineSoftmaxClassifier": "learners.heads.cosine",
    "DualPromptClassifier": "learners.deep.dualprompt",
    "ExtraTreesClassifier": "learners.trees.extra_trees",
    "FineTuneClassifier": "learners.deep.finetune",
    "GaussianClassifier": "learners.heads.gaussian",
    "GaussianNBClassifier": "learners.naive_bayes",
    "HoeffdingAdaptiveTreeClassifier": "learners.trees.adaptive",
    "HoeffdingTreeClassifier": "learners.trees.hoeffding",
    "KNNClassifier": "learners.knn",
    "L2PClassifier": "learners.deep.l2p",
    "LabelSet": "learners.base",
    "Learner": "learners.base",
    "LinearClassifier": "learners.linear",
    "LokiClassifier": "learners.heads.loki",
    "MLHATClassifier": "learners.trees.mlhat",
    "MVPClassifier": "learners.deep.mvp",
    "MVPLightClassifier": "learners.heads.mvp",
    "MajorityClassifier": "learners.baselines",
    "NCMClassifier": "learners.heads.ncm",
    "NoChangeClassifier": "learners.baselines",
    "RLSClassifier": "learners.heads.rls",
    "RanPACClassifier": "learners.heads.ranpac",
    "ReplayClassifier": "learners.deep.finetune",
    "RidgeClassifier": "learners.heads.ridge",
    "SLDAClassifier": "learners.heads.slda",
    "SubPrototypeClassifier": "learners.heads.subprototypes",
    "TEENClassifier": "learners.heads.teen",
    "from_partial_fit": "learners.partial_fit",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'learners' has no attribute {name!r}")
    return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return __all__
