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
    from drift import CUSUM as CUSUM
    from drift import DDM as DDM
    from drift import ECDD as ECDD
    from drift import EDDM as EDDM
    from drift import FHDDM as FHDDM
    from drift import HDDM_A as HDDM_A
    from drift import HDDM_W as HDDM_W
    from drift import KSWIN as KSWIN
    from drift import STEPD as STEPD
    from drift import ADWINBank as ADWINBank
    from drift import CardinalityDrift as CardinalityDrift
    from drift import CUSUMBank as CUSUMBank
    from drift import DDMBank as DDMBank
    from drift import DetectionScore as DetectionScore
    from drift import ECDDBank as ECDDBank
    from drift import EDDMBank as EDDMBank
    from drift import FHDDMBank as FHDDMBank
    from drift import HDDM_ABank as HDDM_ABank
    from drift import HDDM_WBank as HDDM_WBank
    from drift import KolmogorovSmirnovDrift as KolmogorovSmirnovDrift
    from drift import KSWINBank as KSWINBank
    from drift import LabelDependencyDrift as LabelDependencyDrift
    from drift import MMDDrift as MMDDrift
    from drift import PageHinkley as PageHinkley
    from drift import PageHinkleyBank as PageHinkleyBank
    from drift import PopulationStabilityDrift as PopulationStabilityDrift
    from drift import PrincipalComponentDrift as PrincipalComponentDrift
    from drift import PriorShift as PriorShift
    from drift import STEPDBank as STEPDBank
    from drift import score_alarms as score_alarms
    from drift.pickled import trusting_pickle as trusting_pickle
    from ihomer.checkpoint import load as load
    from ihomer.checkpoint import save as save
    from ihomer.classifier import IHOMERClassifier as IHOMERClassifier
    from ihomer.cluster_learners import ClusterLearners as ClusterLearners
    from ihomer.ensemble import IHOMEREnsemble as IHOMEREnsemble
    from ihomer.evaluation.continual import evaluate_continual as evaluate_continual
    from ihomer.evaluation.metrics import MultiLabelMetrics as MultiLabelMetrics
    from ihomer.evaluation.prequential import evaluate as evaluate
    from ihomer.evaluation.ranking import RankingMetrics as RankingMetrics
    from ihomer.evaluation.repeats import evaluate_repeats as evaluate_repeats
    from ihomer.evaluation.result import Result as Result
    from ihomer.evaluation.river_metrics import river_metric as river_metric
    from ihomer.evaluation.seeds import compare_seeds as compare_seeds
    from ihomer.evaluation.significance import compare_learners as compare_learners
    from ihomer.evaluation.single_label import SingleLabelMetrics as SingleLabelMetrics
    from ihomer.hierarchy import LabelHierarchy as LabelHierarchy
    from ihomer.label_parallel.classifier import LabelParallelIHOMER as LabelParallelIHOMER
    from ihomer.single_label import SingleLabel as SingleLabel
    from learners import AdaptiveRandomForestClassifier as AdaptiveRandomForestClassifier
    from learners import ADWINBaggingClassifier as ADWINBaggingClassifier
    from learners import AutoHead as AutoHead
    from learners import BaggingEnsemble as BaggingEnsemble
    from learners import BalancedRidgeClassifier as BalancedRidgeClassifier
    from learners import BernoulliNBClassifier as BernoulliNBClassifier
    from learners import ClassifierChain as ClassifierChain
    from learners import ExtraTreesClassifier as ExtraTreesClassifier
    from learners import GaussianClassifier as GaussianClassifier
    from learners import GaussianNBClassifier as GaussianNBClassifier
    from learners import HoeffdingAdaptiveTreeClassifier as HoeffdingAdaptiveTreeClassifier
    from learners import HoeffdingTreeClassifier as HoeffdingTreeClassifier
    from learners import KNNClassifier as KNNClassifier
    from learners import LinearClassifier as LinearClassifier
    from learners import MajorityClassifier as MajorityClassifier
    from learners import MLHATClassifier as MLHATClassifier
    from learners import NCMClassifier as NCMClassifier
    from learners import NoChangeClassifier as NoChangeClassifier
    from learners import RanPACClassifier as RanPACClassifier
    from learners import RidgeClassifier as RidgeClassifier
    from learners import RLSClassifier as RLSClassifier
    from learners import SLDAClassifier as SLDAClassifier
    from learners import TEENClassifier as TEENClassifier
    from learners.array_style import ArrayLearner as ArrayLearner
    from learners.partial_fit import from_partial_fit as from_partial_fit
    from learners.river_model import from_river as from_river
    from streams import KafkaSink as KafkaSink
    from streams import KafkaSource as KafkaSource
    from streams import SiBlurry as SiBlurry
    from streams.batch import Batch as Batch
    from streams.batch import Prediction as Prediction
    from streams.batch import Rows as Rows
    from streams.batch import Schema as Schema
    from streams.extraction.pool import ExtractionPool as ExtractionPool
    from streams.multiflow import from_skmultiflow_stream as from_skmultiflow_stream
    from streams.multiflow import to_skmultiflow_stream as to_skmultiflow_stream
    from streams.opening import open_sink as open_sink
    from streams.opening import open_source as open_source
    from streams.river_dataset import to_river as to_river
    from streams.synthetic import SyntheticSource as SyntheticSource
    from streams.writing import write_events as write_events

_WHERE = {
    "ADWIN": "drift",
    "ADWINBaggingClassifier": "learners",
    "ADWINBank": "drift",
    "AdaptiveRandomForestClassifier": "learners",
    "ArrayLearner": "learners.array_style",
    "AutoHead": "learners",
    "BalancedRidgeClassifier": "learners",
    "Batch": "streams.batch",
    "BaggingEnsemble": "learners",
    "BernoulliNBClassifier": "learners",
    "CUSUM": "drift",
    "CUSUMBank": "drift",
    "CardinalityDrift": "drift",
    "ClassifierChain": "learners",
    "ClusterLearners": "ihomer.cluster_learners",
    "DDM": "drift",
    "DDMBank": "drift",
    "DetectionScore": "drift",
    "ECDD": "drift",
    "ECDDBank": "drift",
    "EDDM": "drift",
    "EDDMBank": "drift",
    "ExtraTreesClassifier": "learners",
    "ExtractionPool": "streams.extraction.pool",
    "FHDDM": "drift",
    "FHDDMBank": "drift",
    "GaussianClassifier": "learners",
    "GaussianNBClassifier": "learners",
    "HDDM_A": "drift",
    "HDDM_ABank": "drift",
    "HDDM_W": "drift",
    "HDDM_WBank": "drift",
    "HoeffdingAdaptiveTreeClassifier": "learners",
    "HoeffdingTreeClassifier": "learners",
    "IHOMERClassifier": "ihomer.classifier",
    "IHOMEREnsemble": "ihomer.ensemble",
    "KNNClassifier": "learners",
    "KSWIN": "drift",
    "KSWINBank": "drift",
    "KafkaSink": "streams",
    "KafkaSource": "streams",
    "KolmogorovSmirnovDrift": "drift",
    "LabelDependencyDrift": "drift",
    "LabelHierarchy": "ihomer.hierarchy",
    "LabelParallelIHOMER": "ihomer.label_parallel.classifier",
    "LinearClassifier": "learners",
    "MLHATClassifier": "learners",
    "MMDDrift": "drift",
    "MajorityClassifier": "learners",
    "MultiLabelMetrics": "ihomer.evaluation.metrics",
    "NCMClassifier": "learners",
    "NoChangeClassifier": "learners",
    "PageHinkley": "drift",
    "PageHinkleyBank": "drift",
    "PopulationStabilityDrift": "drift",
    "Prediction": "streams.batch",
    "PrincipalComponentDrift": "drift",
    "PriorShift": "drift",
    "RLSClassifier": "learners",
    "RanPACClassifier": "learners",
    "RankingMetrics": "ihomer.evaluation.ranking",
    "Result": "ihomer.evaluation.result",
    "RidgeClassifier": "learners",
    "Rows": "streams.batch",
    "SLDAClassifier": "learners",
    "STEPD": "drift",
    "STEPDBank": "drift",
    "Schema": "streams.batch",
    "SiBlurry": "streams",
    "SingleLabel": "ihomer.single_label",
    "SingleLabelMetrics": "ihomer.evaluation.single_label",
    "SyntheticSource": "streams.synthetic",
    "TEENClassifier": "learners",
    "compare_learners": "ihomer.evaluation.significance",
    "compare_seeds": "ihomer.evaluation.seeds",
    "evaluate": "ihomer.evaluation.prequential",
    "evaluate_continual": "ihomer.evaluation.continual",
    "evaluate_repeats": "ihomer.evaluation.repeats",
    "from_partial_fit": "learners.partial_fit",
    "from_river": "learners.river_model",
    "from_skmultiflow_stream": "streams.multiflow",
    "load": "ihomer.checkpoint",
    "open_sink": "streams.opening",
    "open_source": "streams.opening",
    "river_metric": "ihomer.evaluation.river_metrics",
    "save": "ihomer.checkpoint",
    "score_alarms": "drift",
    "to_river": "streams.river_dataset",
    "to_skmultiflow_stream": "streams.multiflow",
    "trusting_pickle": "drift.pickled",
    "write_events": "streams.writing",
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
