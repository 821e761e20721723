"""How a run tells people that it gets on: a live line in a terminal, now and then a line of text elsewhere."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol, TextIO

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.live import Live
    from rich.text import Text

Metrics = Callable[[], Mapping[str, Mapping[str, float]]]
"""Gives the cumulative metrics of every learner by its name; called only when they are about to be shown."""

REFERENCE = "no-change"
"""The learner that every other one is shown against."""

BASELINES = (REFERENCE, "majority")
"""Learners that never lead while another one runs."""

_METRIC, _METRIC_NAME = "micro_f1", "micro-F1"
_REDRAW_S = 0.1
_LOG_S = 5.0
_MEMORY_S = 3.0
"""Speed is averaged over the past with weights that fall to 1/e in this time."""


class Progress(Protocol):
    """What the engine tells while it runs; every call is cheap."""

    def begin(self, title: str, total: int | None = None) -> None:
        """A stream starts; ``total`` is how many events it will have, where that is known."""

    def advance(self, n_events: int, metrics: Metrics) -> None:
        """``n_events`` of the stream have been read by now."""

    def note(self, text: str) -> None:
        """Something worth a line of its own."""

    def beside(self, tell: Callable[[], str]) -> None:
        """Something works beside the stream from now on; ``tell``, called when it is shown, says how it gets on."""

    def end(self) -> None:
        """The stream has ended or was stopped; may be called twice."""


class NoProgress:
    """Says nothing."""

    def begin(self, title: str, total: int | None = None) -> None:
        """Do nothing."""

    def advance(self, n_events: int, metrics: Metrics) -> None:
        """Do nothing."""

    def note(self, text: str) -> None:
        """Do nothing."""

    def beside(self, tell: Callable[[], str]) -> None:
        """Do nothing."""

    def end(self) -> None:
        """Do nothing."""


class JsonProgress:
    """Lines of JSON for what collects logs: where a run begins and ends, its notes, and every few seconds how it is.

    Parameters
    ----------
    stream
        Where to write; None: standard error.
    every_s
        Seconds between two lines on how the run gets on.
    """

    def __init__(self, stream: TextIO | None = None, every_s: float = _LOG_S) -> None:
        self._stream, self._every_s = stream or sys.stderr, every_s
        self._title, self._n_events = "", 0
        self._metrics: Metrics = dict
        self._beside: Callable[[], str] | None = None
        self._running, self._said = False, 0.0

    def begin(self, title: str, total: int | None = None) -> None:
        """Say that a stream starts."""
        self.end()
        self._title, self._n_events, self._running, self._said = title, 0, True, time.monotonic()
        self._say("begin", total=total)

    def advance(self, n_events: int, metrics: Metrics) -> None:
        """Say how far the stream is, if that is due."""
        self._n_events, self._metrics = n_events, metrics
        if time.monotonic() - self._said >= self._every_s:
            self._said = time.monotonic()
            beside = {} if self._beside is None else {"beside": self._beside()}
            self._say("progress", events=n_events, metrics=metrics(), **beside)

    def note(self, text: str) -> None:
        """Say it."""
        self._say("note", text=text)

    def beside(self, tell: Callable[[], str]) -> None:
        """Say it with how far the stream is."""
        self._beside = tell

    def end(self) -> None:
        """Say what the stream came to."""
        if self._running:
            self._running = False
            self._say("end", events=self._n_events, metrics=self._metrics())

    def _say(self, what: str, **more: Any) -> None:
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = {"time": now, "event": what, "stream": self._title, **more}
        print(json.dumps(line, ensure_ascii=False), file=self._stream, flush=True)


class RichProgress:
    """A line on standard error, alive where that is a terminal and repeated every few seconds where it is not.

    Parameters
    ----------
    console
        Where to draw; None: standard error.
    clock
        Seconds, from anywhere.

    Notes
    -----
    In a terminal the line is drawn ten times a second by a thread of its own, so that it stays alive while code is
    compiled. It leaves one line behind for every stream.
    """

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.perf_counter) -> None:
        from rich.console import Console

        self._console = console or Console(stderr=True, highlight=False)
        self._clock = clock
        self._live: Live | None = None
        self._running = False
        self._metrics: Metrics = dict
        self._beside: Callable[[], str] | None = None
        self._shown: Mapping[str, Mapping[str, float]] = {}

    def begin(self, title: str, total: int | None = None) -> None:
        """Start the line of a stream."""
        self.end()
        self._title, self._total, self._n_events = title, total, 0
        self._metrics, self._shown = dict, {}
        self._begun = self._logged = self._clock()
        self._sampled: tuple[float, int] | None = None
        self._events_then = self._seconds_then = 0.0
        self._running = True
        if self._console.is_terminal:
            from rich.live import Live

            self._live = Live(self, console=self._console, refresh_per_second=1 / _REDRAW_S, transient=True)
            self._live.start()

    def advance(self, n_events: int, metrics: Metrics) -> None:
        """Note how far the stream is; metrics are read when the line is due."""
        self._n_events, self._metrics = n_events, metrics
        now = self._clock()
        if self._sampled is None:
            self._sampled = now, n_events
        seconds = now - self._sampled[0]
        if seconds < _REDRAW_S:
            return
        fade = math.exp(-seconds / _MEMORY_S)
        self._events_then = self._events_then * fade + n_events - self._sampled[1]
        self._seconds_then = self._seconds_then * fade + seconds
        self._sampled = now, n_events
        if self._live is not None:
            self._shown = metrics()
        elif now - self._logged >= _LOG_S:
            self._shown, self._logged = metrics(), now
            self._say(f"{self._title}: {', '.join(part.plain for _, part in self._parts())}")

    def note(self, text: str) -> None:
        """Print a line above the live one."""
        self._say(text)

    def beside(self, tell: Callable[[], str]) -> None:
        """Show it at the end of the line, where there is room."""
        self._beside = tell

    def end(self) -> None:
        """Take the live line away and leave what it came to."""
        if not self._running:
            return
        self._running = False
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._shown = self._metrics()
        self._console.print(self._summary(), soft_wrap=True)

    def _say(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    @property
    def rate(self) -> float | None:
        """Events a second of late, or None before that is known."""
        return self._events_then / self._seconds_then if self._seconds_then > 0 else None

    def _parts(self) -> Iterator[tuple[int, Text]]:
        """What the line says from left to right, each with its rank: where room is short the highest goes first."""
        from rich.text import Text

        if self._n_events == 0:
            yield 0, Text("starting", "dim")
            return
        if self._total is None:
            yield 0, Text(f"{self._n_events:,} events")
        else:
            share = self._n_events / max(self._total, 1)
            yield 0, Text.assemble(f"{self._n_events:,}", (f" of {self._total:,}", "dim"), f" {share:.0%}")
        if self.rate is not None:
            yield 3, Text(f"{self.rate:,.0f} events/s", "cyan")
        if self._total is None:
            yield 2, Text(_duration(self._clock() - self._begun), "dim")
        elif self.rate:
            yield 2, Text(f"{_duration(max(0, self._total - self._n_events) / self.rate)} left", "dim")
        score = self._score()
        if score.plain:
            yield 1, score
        if self._beside is not None:
            yield 4, Text(self._beside(), "dim")

    def _score(self) -> Text:
        """The metric of the leading learner and that of no-change."""
        from rich.text import Text

        values = {name: metrics[_METRIC] for name, metrics in self._shown.items() if _METRIC in metrics}
        reference = values.pop(REFERENCE, None)
        rivals = {name: value for name, value in values.items() if name not in BASELINES} or values
        text = Text()
        if rivals:
            leader = max(rivals, key=lambda name: rivals[name])
            style = "bold green" if reference is None or rivals[leader] > reference else "bold yellow"
            text.append(f"{_METRIC_NAME} {leader} ").append(f"{rivals[leader]:.3f}", style)
            n_drifts = int(self._shown[leader].get("drifts", 0))
            if n_drifts:
                text.append(f", {n_drifts:,} drift{'' if n_drifts == 1 else 's'}", "dim")
        if reference is not None:
            text.append(f" · {REFERENCE} " if text else f"{_METRIC_NAME} {REFERENCE} ", "dim")
            text.append(f"{reference:.3f}", "dim" if text else "")
        return text

    def _summary(self) -> Text:
        """The line that a stream leaves behind."""
        from rich.text import Text

        # Where the length is not known, neither is whether this was the end.
        head, style = ("read", "bold") if self._total is None else ("done", "bold green")
        of_total = ""
        if self._total is not None and self._n_events < self._total:
            head, style, of_total = "stopped", "bold yellow", f" of {self._total:,}"
        seconds = self._clock() - self._begun
        text = Text.assemble(
            (f"{head} ", style),
            (self._title, "bold"),
            f"  {self._n_events:,}{of_total} events in {seconds:.1f} s",
        )
        score = self._score()
        return text.append("  ").append_text(score) if score else text

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """The live line, fitted to the width of the terminal."""
        from rich.text import Text

        ascii_only = options.ascii_only
        frames = "|/-\\" if ascii_only else "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
        frame = frames[int(self._clock() / _REDRAW_S) % len(frames)]
        title = Text.assemble((frame, "cyan"), " ", (self._title, "bold"))
        title.truncate(max(12, options.max_width // 4), overflow="ellipsis")
        parts = list(self._parts())
        gap = 2

        def room() -> int:
            return options.max_width - 1 - title.cell_len - sum(gap + part.cell_len for _, part in parts)

        while room() < 0 and len(parts) > 1:
            parts.remove(max(parts, key=lambda part: part[0]))
        pieces = [title]
        bar = min(30, room() - gap)
        if self._total and bar >= 8:
            pieces.append(_bar(min(1.0, self._n_events / self._total), bar, ascii_only))
        pieces += [part for _, part in parts]
        line = Text(" " * gap).join(pieces)
        line.truncate(options.max_width - 1)
        yield line


def _bar(share: float, width: int, ascii_only: bool) -> Text:
    from rich.text import Text

    done, rest = "#-" if ascii_only else "━━"
    full = int(share * width)
    return Text.assemble((done * full, "cyan"), (rest * (width - full), "grey30"))


def _duration(seconds: float) -> str:
    """Hours, minutes and seconds, as 1:02:03 or 2:03."""
    minutes, second = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"
