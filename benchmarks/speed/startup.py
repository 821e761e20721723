"""How long a user waits: for ``import ihomer``, and in a second process for the first prediction."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial

from benchmarks.frame import Cell, Clock, Contestant, Quality, Setting
from benchmarks.peers import run_process, until_line
from benchmarks.targets import Below

_IMPORT = """
import json, time
began = time.perf_counter()
import ihomer
print(json.dumps({"seconds": time.perf_counter() - began}))
"""

_FIRST = """
import ihomer
source = ihomer.open_source("yeast")
ihomer.{learner}().test_then_train(source.next_batch(256))
print("answered", flush=True)
"""

_LEARNERS = {"ihomer": "IHOMERClassifier", "linear": "LinearClassifier"}


def cells() -> list[Cell]:
    """The import alone, and from the start of a process to its first 256 answers, compiled code being cached."""
    return [
        Cell("start", "import_v1", _build_import, unit="s", targets=[Below("ihomer", 0.5)]),
        Cell("start", "first_answers_v1", _build_first, unit="s", targets=[Below(name, 2.0) for name in _LEARNERS]),
    ]


def _build_import(setting: Setting) -> Sequence[Contestant]:
    def attempt(clock: Clock) -> Quality:
        clock.report(run_process([sys.executable, "-c", _IMPORT], clock)["seconds"])
        return {}

    return [Contestant("ihomer", attempt, lambda: attempt(Clock()), "`import ihomer`, in a new process each time")]


def _build_first(setting: Setting) -> Sequence[Contestant]:
    def attempt(learner: str, clock: Clock) -> Quality:
        clock.report(until_line([sys.executable, "-c", _FIRST.format(learner=learner)], "answered", clock))
        return {}

    note = "from the start of a process to its first 256 answers on yeast"
    return [
        Contestant(name, partial(attempt, learner), partial(attempt, learner, Clock()), note)
        for name, learner in _LEARNERS.items()
    ]
