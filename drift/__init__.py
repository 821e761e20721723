"""Detectors of change, for one series or many at once."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from drift.adwin import ADWIN, ADWINBank
    from drift.cardinality import CardinalityDrift
    from drift.cusum import CUSUM, CUSUMBank
    from drift.ddm import DDM, DDMBank
    from drift.ecdd import ECDD, ECDDBank
    from drift.eddm import EDDM, EDDMBank
    from drift.fhddm import FHDDM, FHDDMBank
    from drift.hddm_a import HDDM_A, HDDM_ABank
    from drift.hddm_w import HDDM_W, HDDM_WBank
    from drift.kolmogorov_smirnov import KolmogorovSmirnovDrift
    from drift.kswin import KSWIN, KSWINBank
    from drift.label_dependency import LabelDependencyDrift
    from drift.mmd import MMDDrift
    from drift.page_hinkley import PageHinkley, PageHinkleyBank
    from drift.population_stability import PopulationStabilityDrift
    from drift.principal_components import PrincipalComponentDrift
    from drift.prior_shift import PriorShift
    from drift.scoring import DetectionScore, score_alarms
    from drift.stepd import STEPD, STEPDBank

LOSS = {
    "adwin": "drift.adwin:ADWIN",
    "cusum": "drift.cusum:CUSUM",
    "ddm": "drift.ddm:DDM",
    "ecdd": "drift.ecdd:ECDD",
    "eddm": "drift.eddm:EDDM",
    "fhddm": "drift.fhddm:FHDDM",
    "hddm-a": "drift.hddm_a:HDDM_A",
    "hddm-w": "drift.hddm_w:HDDM_W",
    "kswin": "drift.kswin:KSWIN",
    "page-hinkley": "drift.page_hinkley:PageHinkley",
    "stepd": "drift.stepd:STEPD",
}
"""Detectors of change in one number, such as a loss, by the names that they have in texts, and where they are."""

__all__ = [
    "ADWIN",
    "CUSUM",
    "DDM",
    "ECDD",
    "EDDM",
    "FHDDM",
    "HDDM_A",
    "HDDM_W",
    "KSWIN",
    "STEPD",
    "ADWINBank",
    "CUSUMBank",
    "CardinalityDrift",
    "DDMBank",
    "DetectionScore",
    "ECDDBank",
    "EDDMBank",
    "FHDDMBank",
    "HDDM_ABank",
    "HDDM_WBank",
    "KSWINBank",
    "KolmogorovSmirnovDrift",
    "LabelDependencyDrift",
    "MMDDrift",
    "PageHinkley",
    "PageHinkleyBank",
    "PopulationStabilityDrift",
    "PrincipalComponentDrift",
    "PriorShift",
    "STEPDBank",
    "score_alarms",
]

_MODULES = {
    "ADWIN": "drift.adwin",
    "ADWINBank": "drift.adwin",
    "CUSUM": "drift.cusum",
    "CUSUMBank": "drift.cusum",
    "CardinalityDrift": "drift.cardinality",
    "DDM": "drift.ddm",
    "DDMBank": "drift.ddm",
    "DetectionScore": "drift.scoring",
    "ECDD": "drift.ecdd",
    "ECDDBank": "drift.ecdd",
    "EDDM": "drift.eddm",
    "EDDMBank": "drift.eddm",
    "FHDDM": "drift.fhddm",
    "FHDDMBank": "drift.fhddm",
    "HDDM_A": "drift.hddm_a",
    "HDDM_ABank": "drift.hddm_a",
    "HDDM_W": "drift.hddm_w",
    "HDDM_WBank": "drift.hddm_w",
    "KSWIN": "drift.kswin",
    "KSWINBank": "drift.kswin",
    "KolmogorovSmirnovDrift": "drift.kolmogorov_smirnov",
    "LabelDependencyDrift": "drift.label_dependency",
    "MMDDrift": "drift.mmd",
    "PageHinkley": "drift.page_hinkley",
    "PageHinkleyBank": "drift.page_hinkley",
    "PopulationStabilityDrift": "drift.population_stability",
    "PrincipalComponentDrift": "drift.principal_components",
    "PriorShift": "drift.prior_shift",
    "STEPD": "drift.stepd",
    "STEPDBank": "drift.stepd",
    "score_alarms": "drift.scoring",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first asked for, so that importing the room costs nothing."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
