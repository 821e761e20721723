"""Detectors of change by the text that users write, a name with parameters or ``river:...``, and what alarms tell."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from drift import LOSS as LOSS
from ihomer import specs
from ihomer.specs import SpecError

LABELS = {
    "prior-shift": "drift.prior_shift:PriorShift",
    "cardinality": "drift.cardinality:CardinalityDrift",
    "label-dependency": "drift.label_dependency:LabelDependencyDrift",
}
"""Detectors of change in label sets."""

FEATURES = {
    "kolmogorov-smirnov": "drift.kolmogorov_smirnov:KolmogorovSmirnovDrift",
    "mmd": "drift.mmd:MMDDrift",
    "population-stability": "drift.population_stability:PopulationStabilityDrift",
    "principal-components": "drift.principal_components:PrincipalComponentDrift",
}
"""Detectors of change in rows of features."""

DETECTORS = {**LOSS, **LABELS, **FEATURES}
"""Every detector that has a name, and where its class is."""

GROUPS = {"labels": tuple(LABELS), "features": ("kolmogorov-smirnov",)}
"""What can be watched in one word, and the detectors that it stands for."""

EVENT_KINDS = {
    "prior-shift": "labels-prior",
    "cardinality": "labels-cardinality",
    "label-dependency": "label-dependency",
    **dict.fromkeys(FEATURES, "features"),
}
"""What an alarm of a detector that watches the stream is called."""


_EVIDENCE = ("statistic", "threshold")


@runtime_checkable
class AnyDetector(Protocol):
    """What every detector of change can do, whatever it takes in."""

    @property
    def drift_detected(self) -> bool:
        """Whether the last value raised the alarm."""

    def update_many(self, values: Any) -> NDArray[np.int64]:
        """Take in values in order; positions of those that raised the alarm."""

    def get_state(self) -> dict[str, NDArray[Any]]:
        """Everything held, as copies."""

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take over what ``get_state`` gave."""

    def clone(self) -> Any:
        """A detector with the same parameters that has seen nothing."""


def build(text: str, among: Mapping[str, str] = DETECTORS) -> AnyDetector:
    """The detector of a specification, fresh.

    Parameters
    ----------
    text
        A name, or a name and parameters, or a detector of river, in the form that `specs.parse` reads.
    among
        Those that are allowed: `LOSS`, `LABELS`, `FEATURES` or all.

    Raises
    ------
    SpecError
        No such detector is called so, or it refuses a parameter.

    Examples
    --------
    >>> build("page-hinkley:threshold=20,mode=up").threshold
    20.0
    """
    spec = specs.parse(text)
    if spec.name.startswith(specs.RIVER) and LOSS.items() <= among.items():
        return _river_detector(spec.name)
    cls = _class(spec, among)
    inner = spec.params.get("detector", "none")
    return specs.make(spec, cls, objects={} if inner == "none" else {"detector": build(inner, LOSS)})


def fresh(detector: str | AnyDetector, among: Mapping[str, str] = DETECTORS) -> AnyDetector:
    """A detector that has seen nothing, of a specification or with the parameters of another detector.

    Raises
    ------
    TypeError
        It is neither text nor a detector.
    SpecError
        As from `build`.
    """
    if isinstance(detector, str):
        return build(detector, among)
    if isinstance(detector, type) or not isinstance(detector, AnyDetector):
        raise TypeError(f"detector must be a name or a detector of the room drift, got {detector!r}")
    if among is LOSS and kind_of(detector) != "loss":
        raise TypeError(f"detector must be one of change in a number, got {type(detector).__name__}")
    return cast(AnyDetector, detector.clone())


def watched(watch: str | Sequence[str | AnyDetector]) -> list[str | AnyDetector]:
    """Specifications and detectors, each word of `GROUPS` replaced by those that it stands for; each once.

    Raises
    ------
    SpecError
        A specification is not of a detector of labels or features, or is given twice.

    Examples
    --------
    >>> watched("features,mmd:seed=3")
    ['kolmogorov-smirnov', 'mmd:seed=3']
    """
    given = specs.split(watch) if isinstance(watch, str) and watch.strip() else watch or ()
    found: list[str | AnyDetector] = []
    for item in given:
        if not isinstance(item, str):
            found.append(item)
            continue
        for text in GROUPS.get(item, (item,)):
            if text in found:
                raise SpecError(text, "a detector must be given once, got it twice")
            build(text, {**LABELS, **FEATURES})
            found.append(text)
    return found


def describe(name: str) -> dict[str, Any]:
    """What a detector is and takes, as `specs.describe` tells it of learners, with ``watches``: loss, labels or
    features."""
    spec = specs.parse(name)
    if name.startswith(specs.RIVER):
        return specs.describe(name) | {"watches": "loss"}
    watches = "loss" if name in LOSS else "labels" if name in LABELS else "features"
    return specs.describe_class(name, _class(spec, DETECTORS)) | {"watches": watches}


def parameters(detector: AnyDetector) -> dict[str, Any]:
    """Class and parameters of a detector as a JSON object."""
    from drift.river_detector import RiverDetector

    cls = type(detector)
    if isinstance(detector, RiverDetector):
        told = detector.text or repr(detector.detector)
        return {"class": f"{cls.__module__}:{cls.__qualname__}", "params": {"detector": told}}
    values = {name: getattr(detector, name) for name in inspect.signature(cls).parameters}
    return {
        "class": f"{cls.__module__}:{cls.__qualname__}",
        "params": {
            name: parameters(value) if isinstance(value, AnyDetector) else _plain(value)
            for name, value in values.items()
        },
    }


def kind_of(detector: AnyDetector) -> str:
    """What an alarm of a detector is called: ``loss`` for those of numbers."""
    cls = type(detector)
    place = f"{cls.__module__}:{cls.__qualname__}"
    return next((EVENT_KINDS.get(name, "loss") for name, known in DETECTORS.items() if known == place), "loss")


def name_of(detector: AnyDetector) -> str:
    """What events call a detector: its class."""
    from drift.river_detector import RiverDetector

    return type(detector.detector if isinstance(detector, RiverDetector) else detector).__name__


def of_losses(detector: AnyDetector, losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Losses in [0, 1] as a detector takes them: FHDDM, ours and river's, watches a share of right answers for its
    fall, the others errors."""
    from drift import FHDDM

    counts_right = isinstance(detector, FHDDM) or name_of(detector) == "FHDDM"
    return 1.0 - losses if counts_right else losses


def evidence(detector: AnyDetector) -> dict[str, float]:
    """``statistic`` and ``threshold`` of the last alarm or check, of a detector that tells both."""
    if hasattr(detector, "evidence"):
        return dict(zip(_EVIDENCE, detector.evidence or (), strict=False))
    if not all(hasattr(detector, name) for name in _EVIDENCE):
        return {}
    return {name: float(getattr(detector, name)) for name in _EVIDENCE}


def _plain(value: Any) -> Any:
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)


def _river_detector(text: str) -> AnyDetector:
    from drift.river_detector import RiverDetector
    from ihomer.river_spec import build as build_river

    found = build_river(text)
    try:
        return RiverDetector(found, text=text)
    except TypeError as error:
        raise SpecError(text, str(error)) from error


def _class(spec: specs.LearnerSpec, among: Mapping[str, str]) -> type[AnyDetector]:
    place = among.get(spec.name)
    if place is None:
        known = ", ".join(sorted(among))
        raise SpecError(str(spec), f"detector must be one of {known}{specs.did_you_mean(spec.name, among)}")
    module, _, name = place.partition(":")
    return cast("type[AnyDetector]", getattr(importlib.import_module(module), name))
