"""Detectors of change against river's: a whole series, a value at a time, and a bank of many series."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

import drift
from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.targets import Ratio

_ARRAYS, _SINGLE = "ihomer, arrays", "ihomer, a value at a time"
_CHUNK = 1000
"""Values after which a loop in Python tells the clock how far it is."""

DETECTORS = {
    "ADWIN": "ADWIN",
    "DDM": "binary.DDM",
    "EDDM": "binary.EDDM",
    "FHDDM": "binary.FHDDM",
    "HDDM_A": "binary.HDDMA",
    "HDDM_W": "binary.HDDMW",
    "KSWIN": "KSWIN",
    "PageHinkley": "PageHinkley",
}
"""Ours, and where river has its own."""

SLOW_AT_RIVER = {"KSWIN": 4_000}
"""Values of the series where 100,000 would take minutes."""

BANK_SERIES, BANK_ROWS, RIVER_BANK_ROWS = 1_000, 100_000, 1_000


def cells() -> list[Cell]:
    """A cell for every detector that river has too, and one for a bank of ADWINs."""
    series = [
        Cell(
            group="drift",
            workload=f"{name}_errors_v1",
            build=partial(_build_series, name),
            targets=[
                Ratio(_ARRAYS, "river", at_least=20 if name == "KSWIN" else 5),
                Ratio(_SINGLE, "river", at_least=0.5),
            ],
            metrics=("alarms",),
            agreement=0.0,
        )
        for name in DETECTORS
    ]
    bank = Cell(
        group="drift-bank",
        workload=f"ADWIN_{BANK_SERIES}x{BANK_ROWS}_v1",
        build=_build_bank,
        targets=[Ratio(_ARRAYS, "river", at_least=10)],
        metrics=("alarms",),
        repeats=3,
        quick=False,
    )
    return [*series, bank]


def _errors(n: int, k: int = 1) -> NDArray[np.float64]:
    """Errors at rates that jump every 2,000 events."""
    rng = np.random.default_rng(1)
    rates = np.repeat(rng.uniform(0.05, 0.5, (n // 2000 + 1, k)), 2000, axis=0)[:n]
    return (rng.random((n, k)) < rates).astype(np.float64)


def _rivers(name: str) -> Callable[[], Any]:
    import river.drift.binary

    found: Any = river.drift
    for part in DETECTORS[name].split("."):
        found = getattr(found, part)
    return partial(found, seed=0) if name == "KSWIN" else found


def _one_by_one(make: Callable[[], Any], values: Sequence[float], clock: Clock) -> Quality:
    detector, alarms = make(), 0
    with clock:
        for start in range(0, len(values), _CHUNK):
            chunk = values[start : start + _CHUNK]
            for value in chunk:
                detector.update(value)
                alarms += detector.drift_detected
            clock.count(len(chunk))
    return {"alarms": alarms}


def _build_series(name: str, setting: Setting) -> Sequence[Contestant]:
    n = SLOW_AT_RIVER.get(name, 100_000)
    values = _errors(n // 4 if setting.quick else n)[:, 0]
    single, ours = values.tolist(), getattr(drift, name)

    def arrays(clock: Clock) -> Quality:
        detector = ours()
        with clock:
            alarms = detector.update_many(values)
            clock.count(len(values))
        return {"alarms": len(alarms)}

    return [
        Contestant(_ARRAYS, arrays, lambda: ours().update_many(values)),
        Contestant(_SINGLE, partial(_one_by_one, ours, single), lambda: _one_by_one(ours, single[:100], Clock())),
        Contestant("river", partial(_one_by_one, _rivers(name), single), note="one `update` a value"),
    ]


def _build_bank(setting: Setting) -> Sequence[Contestant]:
    values = _errors(BANK_ROWS, BANK_SERIES)
    few = values[:RIVER_BANK_ROWS].tolist()

    def arrays(clock: Clock) -> Quality:
        bank = drift.ADWINBank(BANK_SERIES)
        with clock:
            alarms = bank.update_many(values)
            clock.count(len(values))
        return {"alarms": len(alarms)}

    def river(clock: Clock) -> Quality:
        bank, alarms = [_rivers("ADWIN")() for _ in range(BANK_SERIES)], 0
        with clock:
            for row in few:
                for detector, value in zip(bank, row, strict=True):
                    detector.update(value)
                    alarms += detector.drift_detected
                clock.count(1)
        return {"alarms": alarms}

    note = f"its speed is that over the first {RIVER_BANK_ROWS} rows, with {BANK_SERIES} objects"
    return [
        Contestant(_ARRAYS, arrays, lambda: drift.ADWINBank(BANK_SERIES).update_many(values[:100])),
        Contestant("river", river, note=note),
    ]
