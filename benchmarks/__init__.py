"""Benchmarks: each suite answers a question that somebody asked, with one command, from a checkout.

::

    python -m benchmarks --list              what there is
    python -m benchmarks speed --quick       a look, within minutes
    python -m benchmarks speed               the figures that README and docs state
    python -m benchmarks --markdown docs/benchmarks.md     put those figures where the page marks their place
    python -m benchmarks speed --compare OLD.json          say what got worse than in an older result file

A suite is a list of *cells*, and a cell is a workload and its contestants. How a cell is measured, and when a ratio may
be stated, is written in `benchmarks.frame`; how results are kept and a broken run goes on, in `benchmarks.results`.

A new suite is a module with a docstring, a function ``cells() -> list[Cell]`` and, where the common table does not
serve, ``tables(result) -> dict[str, str]``; it is entered in ``SUITES``.
"""

__all__ = ["SUITES"]

SUITES = {
    "ablation": "benchmarks.ablation",
    "accuracy": "benchmarks.accuracy",
    "curves": "benchmarks.curves",
    "deep": "benchmarks.deep",
    "drift": "benchmarks.drift",
    "extraction": "benchmarks.extraction",
    "kafka": "benchmarks.kafka",
    "memory": "benchmarks.memory",
    "recovery": "benchmarks.recovery",
    "regression": "benchmarks.regression",
    "scale": "benchmarks.scale",
    "siblurry": "benchmarks.siblurry",
    "single-label": "benchmarks.single_label",
    "speed": "benchmarks.speed",
}
"""Name of a suite to the module that defines it."""
