"""The progress line: what it says, how it fits, and that it stays out of the way."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from ihomer.progress import JsonProgress, NoProgress, Progress, RichProgress

LEADING = {
    "linear": {"micro_f1": 0.5},
    "ihomer": {"micro_f1": 0.6},
    "no-change": {"micro_f1": 0.4},
    "majority": {"micro_f1": 0.7},
}


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def drawn(progress: RichProgress, width: int = 120, encoding: str = "utf-8") -> str:
    """The live line as it stands."""
    screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=screen, width=width, color_system=None, legacy_windows=False).print(progress)
    screen.flush()
    return screen.buffer.getvalue().decode(encoding).rstrip("\n")


class Shown:
    """A progress on a screen of text, with its clock."""

    def __init__(self, *, terminal: bool, width: int = 120, total: int | None = 2000) -> None:
        self.screen, self.clock = io.StringIO(), Clock()
        console = Console(file=self.screen, force_terminal=terminal, width=width, color_system=None)
        self.width = width
        self.progress = RichProgress(console, self.clock)
        self.progress.begin("yeast", total)
        self.asked = 0

    def metrics(self):
        self.asked += 1
        return LEADING

    def advance(self, n_events: int, seconds: float) -> None:
        self.clock.now += seconds
        self.progress.advance(n_events, self.metrics)

    def line(self) -> str:
        return drawn(self.progress, self.width)


@pytest.fixture
def shown(request):
    made = []

    def make(**options):
        made.append(Shown(**options))
        return made[-1]

    yield make
    for one in made:
        one.progress.end()


def test_the_line_before_the_first_event(shown):
    assert shown(terminal=True).line().endswith("starting")


def test_the_line_under_way(shown):
    one = shown(terminal=True, width=140)
    one.advance(100, 1.0)
    one.advance(600, 1.0)
    line = one.line()
    assert " yeast  ━━━" in line
    assert line.endswith("600 of 2,000 30%  500 events/s  0:03 left  micro-F1 ihomer 0.600 · no-change 0.400")


def test_a_stream_without_an_end_shows_time_passed(shown):
    one = shown(terminal=True, total=None)
    one.advance(100, 1.0)
    one.advance(1100, 3724.0)
    line = one.line()
    assert "1,100 events  0 events/s  1:02:05  micro-F1 ihomer 0.600" in line
    assert "━" not in line


def test_speed_is_that_of_late(shown):
    one = shown(terminal=True)
    one.advance(0, 0.0)
    for step in range(1, 11):
        one.advance(100 * step, 1.0)
    assert one.progress.rate == pytest.approx(100)
    for step in range(1, 31):
        one.advance(1000 + 10 * step, 1.0)
    assert one.progress.rate == pytest.approx(10, rel=0.01)


def test_events_of_a_resumed_run_do_not_count_as_speed(shown):
    one = shown(terminal=True, total=20_000)
    one.advance(10_000, 0.5)
    one.advance(10_100, 1.0)
    assert one.progress.rate == pytest.approx(100)


@pytest.mark.parametrize("width", [20, 30, 40, 60, 80, 100, 200])
def test_the_line_fits_the_terminal(shown, width):
    one = shown(terminal=True, width=width)
    one.advance(100, 1.0)
    one.advance(600, 1.0)
    line = one.line()
    assert "\n" not in line
    assert len(line) < width
    assert ("micro-F1" in line) == (width >= 80)


def test_metrics_are_read_ten_times_a_second_at_most(shown):
    one = shown(terminal=True)
    for step in range(1, 1001):
        one.advance(step, 0.001)
    assert 5 <= one.asked <= 10


def test_a_stream_leaves_one_line(shown):
    one = shown(terminal=False)
    one.advance(500, 0.2)
    one.advance(2000, 0.4)
    one.progress.end()
    one.progress.end()
    assert one.screen.getvalue() == "done yeast  2,000 events in 0.6 s  micro-F1 ihomer 0.600 · no-change 0.400\n"


def test_a_stopped_stream_says_so(shown):
    one = shown(terminal=False)
    one.advance(500, 0.2)
    one.progress.end()
    assert one.screen.getvalue().startswith("stopped yeast  500 of 2,000 events in 0.2 s")


def test_a_stream_of_unknown_length_is_neither_done_nor_stopped(shown):
    one = shown(terminal=False, total=None)
    one.advance(500, 0.2)
    one.progress.end()
    assert one.screen.getvalue().startswith("read yeast  500 events in 0.2 s")


def test_without_a_terminal_a_line_comes_every_few_seconds(shown):
    one = shown(terminal=False)
    for step in range(1, 13):
        one.advance(100 * step, 1.0)
    one.progress.note("yeast: drift [at] event 1,100")
    lines = one.screen.getvalue().splitlines()
    assert lines == [
        "yeast: 500 of 2,000 25%, 100 events/s, 0:15 left, micro-F1 ihomer 0.600 · no-change 0.400",
        "yeast: 1,000 of 2,000 50%, 100 events/s, 0:10 left, micro-F1 ihomer 0.600 · no-change 0.400",
        "yeast: drift [at] event 1,100",
    ]
    assert one.asked == 2


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        ({"majority": {"micro_f1": 0.3}, "no-change": {"micro_f1": 0.4}}, "micro-F1 majority 0.300 · no-change 0.400"),
        ({"no-change": {"micro_f1": 0.4}}, "micro-F1 no-change 0.400"),
        ({"linear": {"micro_f1": 0.4}}, "micro-F1 linear 0.400"),
        ({"linear": {"subset_accuracy": 0.4}}, "in 0.0 s"),
        ({}, "in 0.0 s"),
    ],
)
def test_which_scores_are_shown(shown, metrics, text):
    one = shown(terminal=False)
    one.progress.advance(2000, lambda: metrics)
    one.progress.end()
    assert one.screen.getvalue().endswith(f"{text}\n")


def test_a_screen_without_unicode_gets_a_bar_of_signs(shown):
    one = shown(terminal=True, total=100)
    one.progress.advance(50, dict)
    assert "###############---------------" in drawn(one.progress, encoding="ascii")


def test_nothing_is_said_where_nothing_is_wanted(capfd):
    progress: Progress = NoProgress()
    progress.begin("yeast", 3)
    progress.advance(3, dict)
    progress.note("something")
    progress.end()
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(("n_drifts", "said"), [(0, ""), (1, ", 1 drift"), (1200, ", 1,200 drifts")])
def test_the_line_tells_the_drifts_of_the_leading_learner(n_drifts: int, said: str) -> None:
    shown = Shown(terminal=True)
    metrics = {"linear": {"micro_f1": 0.5, "drifts": n_drifts}, "no-change": {"micro_f1": 0.4, "drifts": 7}}
    for n_events in (500, 1000):
        shown.clock.now += 1
        shown.progress.advance(n_events, lambda: metrics)
    assert f"micro-F1 linear 0.500{said} · no-change 0.400" in shown.line()
    shown.progress.end()


def test_what_works_beside_the_stream_is_told_where_there_is_room(shown) -> None:
    for width, seen in ((160, True), (90, False)):
        one = shown(terminal=True, width=width)
        one.progress.beside(lambda: "encoders 80% busy")
        one.advance(100, 1.0)
        one.advance(600, 1.0)
        assert one.line().endswith("encoders 80% busy") == seen
        assert "micro-F1 ihomer 0.600" in one.line()
    screen = io.StringIO()
    told: Progress = JsonProgress(screen, every_s=0.0)
    told.begin("yeast")
    told.advance(1, dict)
    told.beside(lambda: "encoders 80% busy")
    told.advance(2, dict)
    lines = [json.loads(line) for line in screen.getvalue().splitlines()]
    assert [line.get("beside") for line in lines] == [None, None, "encoders 80% busy"]
