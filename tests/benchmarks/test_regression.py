"""The gate: what learners, heads and detectors reached once must not be lost."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.__main__ import RESULTS, main
from benchmarks.results import load, worse_than

COMMITTED = Path(__file__).parents[2] / RESULTS / "regression.json"


@pytest.mark.slow
def test_no_quality_has_fallen(tmp_path: Path) -> None:
    assert main(["regression", "--out", str(tmp_path), "--compare", str(COMMITTED)]) == 0


@pytest.mark.parametrize(
    ("group", "metric", "by", "worse"),
    [
        ("learners", "micro_f1", -0.1, True),
        ("learners", "micro_f1", 0.1, False),
        ("learners", "hamming_loss", 0.1, True),
        ("learners", "hamming_loss", -0.1, False),
        ("detectors", "n_false_alarms", 1, True),
        ("detectors", "n_false_alarms", -1, False),
        ("detectors", "mean_delay", 30.0, True),
        ("detectors", "n_missed", 1, True),
    ],
)
def test_what_counts_as_worse(group: str, metric: str, by: float, worse: bool) -> None:
    old, new = load(COMMITTED), load(COMMITTED)
    cell = next(cell for cell in new["cells"] if cell["group"] == group)
    side = next(side for side in cell["contestants"] if metric in side["quality"])
    side["quality"][metric] += by
    found = worse_than(old, new, 0.005)
    assert [metric in line for line in found] == ([True] if worse else [])
