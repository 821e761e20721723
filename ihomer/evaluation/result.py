"""What an evaluation leaves behind: `Run`, one learner on one stream, and `Result`, the runs of one evaluation."""

from __future__ import annotations

import hashlib
import io
import json
import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from streams.whole_file import write_whole

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

    from ihomer.evaluation.significance import Significance

FORMAT = "ihomer-result"
VERSION = 1
CURVES = "curves.parquet"

SCOPES = ("cumulative", "window", "fading")
"""What a point of a curve is taken over: all events so far, the last ``window_size``, or all with fading weight."""


@dataclass(frozen=True, slots=True)
class Metric:
    """How a number is called, read and printed."""

    key: str
    title: str
    better: Literal["higher", "lower"]
    digits: int = 4
    meaning: str = ""

    def text(self, value: float | None) -> str:
        """``value`` with its digits; a dash for a value that is not there."""
        return "–" if value is None else f"{value:,.{self.digits}f}"

    def rounded(self, value: float) -> float:
        """``value`` as far as it is printed: numbers that print alike count as equal."""
        return round(value, self.digits)

    def is_better(self, a: float, b: float) -> bool:
        """Whether ``a`` is better than ``b``."""
        return a > b if self.better == "higher" else a < b


METRICS: dict[str, Metric] = {
    metric.key: metric
    for metric in (
        Metric("micro_f1", "micro-F1", "higher", 4, "F1 of all cells (events × labels) counted together."),
        Metric(
            "macro_f1",
            "macro-F1",
            "higher",
            4,
            "Mean F1 of all labels known at the end; one never seen and never predicted counts 0.",
        ),
        Metric(
            "example_f1",
            "example-F1",
            "higher",
            4,
            "F1 of each event's label set, averaged; an event with no label that is answered with none counts 0.",
        ),
        Metric(
            "subset_accuracy",
            "subset accuracy",
            "higher",
            4,
            "Share of events whose predicted label set equals the true one.",
        ),
        Metric("hamming_loss", "Hamming loss", "lower", 4, "Share of cells (events × labels) answered wrongly."),
        Metric("micro_precision", "micro-precision", "higher"),
        Metric("micro_recall", "micro-recall", "higher"),
        Metric("macro_precision", "macro-precision", "higher"),
        Metric("macro_recall", "macro-recall", "higher"),
        Metric("macro_f1_seen", "macro-F1 of labels seen", "higher"),
        Metric("example_precision", "example-precision", "higher"),
        Metric("example_recall", "example-recall", "higher"),
        Metric("example_jaccard", "example-Jaccard", "higher"),
        Metric("example_f1_empty1", "example-F1 (empty is 1)", "higher"),
        Metric("example_precision_empty1", "example-precision (empty is 1)", "higher"),
        Metric("example_recall_empty1", "example-recall (empty is 1)", "higher"),
        Metric("example_jaccard_empty1", "example-Jaccard (empty is 1)", "higher"),
        Metric("log_loss", "log loss", "lower"),
        Metric("brier", "Brier score", "lower"),
        Metric(
            "ece",
            "calibration error",
            "lower",
            4,
            "Distance of the probabilities from the shares present, averaged over all cells in bins of probability.",
        ),
        *(
            Metric(f"{key}_at_{k}", f"{title}@{k}", "higher", 4, meaning)
            for key, title, meaning in (
                ("precision", "precision", "Share of true labels among the k most probable, of events with a label."),
                ("ndcg", "nDCG", "Gain of the k most probable labels, discounted by rank, of the best possible."),
                ("psp", "PS precision", "Precision at k in which rare labels weigh more, of the best possible."),
                ("psndcg", "PS nDCG", "Discounted gain in which rare labels weigh more, of the best possible."),
            )
            for k in (1, 3, 5)
        ),
        Metric("accuracy", "accuracy", "higher", 4, "Share of events whose one class was answered."),
        Metric("kappa", "kappa", "higher", 4, "Accuracy above what chance reaches with the same answers."),
        Metric("kappa_temporal", "kappa-temporal", "higher", 4, "Accuracy above that of repeating the last class."),
        Metric("kappa_m", "kappa-M", "higher", 4, "Accuracy above that of the most frequent class so far."),
        Metric("a_auc", "A_auc", "higher", 4, "Mean any-time accuracy: of held-out events of the classes seen so far."),
        Metric("a_avg", "A_avg", "higher", 4, "Mean any-time accuracy at the ends of the sessions."),
        Metric("a_last", "A_last", "higher", 4, "Any-time accuracy at the end."),
        Metric("f_last", "F_last", "lower", 4, "Fall of a class's accuracy from its best session's end to the last."),
        Metric("a_auc_balanced", "A_auc, balanced", "higher", 4, "A_auc as the mean over classes."),
        Metric("a_avg_balanced", "A_avg, balanced", "higher", 4, "A_avg as the mean over classes."),
        Metric("a_last_balanced", "A_last, balanced", "higher", 4, "A_last as the mean over classes."),
        Metric("f_last_balanced", "F_last, balanced", "lower", 4, "F_last, which is a mean over classes anyway."),
        Metric("anytime_accuracy", "any-time accuracy", "higher", 4, "Of held-out events of the classes seen so far."),
        Metric("anytime_accuracy_balanced", "any-time accuracy, balanced", "higher", 4, "Its mean over classes."),
        Metric("prequential_accuracy", "prequential accuracy", "higher", 4, "Of the stream, answered, then learned."),
    )
}
"""Every metric of an evaluation, in the order in which tables show them."""

EVENTS_PER_SECOND = Metric("events_per_s", "events/s", "higher", 0)
MODEL_BYTES = Metric("model_bytes", "model bytes", "lower", 0)

SHOWN = ("micro_f1", "macro_f1", "example_f1", "subset_accuracy", "hamming_loss")
"""Metrics of the short tables and of the curves."""

SHOWN_SINGLE = ("accuracy", "kappa", "kappa_temporal", "kappa_m")
"""The same of streams in which every event has exactly one class."""

SHOWN_CONTINUAL = ("a_auc", "a_avg", "a_last", "f_last", "a_auc_balanced", "a_last_balanced", "prequential_accuracy")
"""Metrics of the short tables of continual evaluations."""

CURVES_CONTINUAL = ("anytime_accuracy", "anytime_accuracy_balanced", "prequential_accuracy")
"""Metrics of their curves."""


@dataclass(slots=True)
class Run:
    """One learner on one stream.

    Parameters
    ----------
    data
        ``name``, ``sha256``, ``n_events``, ``n_features``, ``n_labels``, ``order`` (``file`` or ``shuffled:SEED``);
        ``repeat``, its number from 0 on, where a learner went through the data several times; ``drifts``, where the
        source itself knows its ``event``, ``width`` and ``kind``; ``encoder``, the fingerprint of what made the
        features, where they were extracted, and ``encoder_training``, what that was trained on, where it is known.
        Where the stream itself was watched:
        ``watch``, the names of the detectors, and ``alarms``, JSON objects as `StreamWatch` has them.
    learner
        ``name``, ``params``, ``seed``; ``detector``, class and parameters of what watched its loss, where that was not
        `drift.ADWIN` with its defaults.
    metrics
        Over the whole stream, keyed as in `METRICS`; a metric that cannot be told is left out.
    counts
        Events ``read``, ``scored``, ``learned``, ``unlabelled``, ``pending``, ``dead``.
    time
        ``wall_s`` and ``cpu_s`` of the learner's own work, ``events_per_s``.
    model_bytes
        Bytes of the learner's state at the end.
    drifts, restructures
        JSON objects with at least ``event`` (scored, or learned, events by then) and ``kind``.
    baseline
        Whether the learner ran for comparison only.
    per_label
        ``label``, ``support``, ``predicted``, ``precision``, ``recall``, ``f1`` of every label. Where the learner gave
        probabilities, and the label is one of the first thousand: ``f1_at_half``, had it been answered from one half
        on; ``threshold`` and ``f1_at_threshold``, the cut-off that would have been best, and what it would have
        reached (null where none would have found it once); ``ece``; and for the hundred labels most often present
        ``calibration``, with the columns of the run's ``calibration``.
    window, window_size
        Metrics over the last ``window_size`` scored events.
    calibration
        Of all cells with a probability: ``n_cells``, ``ece``, and a column a key, an entry a bin that is not empty:
        ``low``, ``high`` (the edges of the bin), ``n``, ``mean_probability``, ``share_present``. None without
        probabilities.
    ranking
        ``n_ranked``: events that the means of the metrics at k are over; ``n_without_label``: events left out of
        them, having no label. Empty without probabilities.
    hierarchy
        Root of the tree of label clusters: ``id``, ``labels`` (all below), ``children``, ``diameter``, ``n_events``.
    interrupted
        Whether the run was stopped before the end of the stream: its numbers hold for what was scored by then.
    curve
        Points over the stream: ``event`` and a dictionary of metrics under each of `SCOPES`. Kept out of the JSON file.
    """

    data: dict[str, Any]
    learner: dict[str, Any]
    metrics: dict[str, float]
    counts: dict[str, int] = field(default_factory=dict)
    time: dict[str, float] = field(default_factory=dict)
    model_bytes: int = 0
    drifts: list[dict[str, Any]] = field(default_factory=list)
    restructures: list[dict[str, Any]] = field(default_factory=list)
    baseline: bool = False
    per_label: list[dict[str, Any]] = field(default_factory=list)
    window: dict[str, float] = field(default_factory=dict)
    window_size: int = 0
    calibration: dict[str, Any] | None = None
    ranking: dict[str, int] = field(default_factory=dict)
    hierarchy: dict[str, Any] | None = None
    interrupted: bool = False
    curve: list[dict[str, Any]] = field(default_factory=list)

    @property
    def stream(self) -> tuple[str, str]:
        """Name and order of the data: runs that agree in both can be compared."""
        return str(self.data.get("name", "?")), str(self.data.get("order", "file"))

    @property
    def learner_name(self) -> str:
        """What results call the learner."""
        return str(self.learner.get("name", "?"))

    def value(self, metric: Metric) -> float | None:
        """The run's number for a metric, or None where it has none."""
        value: float | None
        if metric is EVENTS_PER_SECOND:
            value = self.time.get("events_per_s")
        elif metric is MODEL_BYTES:
            value = self.model_bytes
        else:
            value = self.metrics.get(metric.key)
        return None if value is None or not math.isfinite(value) else float(value)

    def text(self, metric: Metric) -> str:
        """The run's number for a metric as tables print it."""
        return metric.text(self.value(metric))

    def to_json(self) -> dict[str, Any]:
        """Everything but the curve, as a JSON object; a number that is not finite becomes null, or absent in
        ``metrics`` and ``window``."""
        value = {item.name: _plain(getattr(self, item.name)) for item in fields(self) if item.name != "curve"}
        for key in ("metrics", "window"):
            value[key] = {name: number for name, number in value[key].items() if number is not None}
        return value

    @classmethod
    def from_json(cls, value: Any) -> Run:
        """The run that ``to_json`` wrote; `msgspec.ValidationError` for anything else."""
        if isinstance(value, dict):
            value = {key: item for key, item in value.items() if key != "curve"}
            for key in ("metrics", "window"):
                if isinstance(value.get(key), dict):
                    value[key] = {name: number for name, number in value[key].items() if number is not None}
        return msgspec.convert(value, cls)


@dataclass(slots=True)
class Result:
    """The runs of an evaluation, with what is needed to believe them.

    Parameters
    ----------
    runs
        In the order in which they are shown.
    versions, machine
        As told by `version_info` and `machine_info`; of this process unless given.
    started
        When the evaluation began, as ISO 8601 text.
    command
        The command line that can be typed to repeat it.
    significance
        By metric, whether the learners differ over the data sets, where that was asked for.

    Examples
    --------
    >>> run = Run({"name": "toy", "order": "file"}, {"name": "linear"}, {"micro_f1": 0.5})
    >>> result = Result([run])
    >>> result.to_frame()[["data", "learner", "micro_f1"]].values.tolist()
    [['toy', 'linear', 0.5]]
    """

    runs: list[Run]
    versions: dict[str, str] = field(default_factory=lambda: version_info())
    machine: dict[str, Any] = field(default_factory=lambda: machine_info())
    started: str | None = None
    command: str | None = None
    significance: dict[str, Significance] = field(default_factory=dict)

    @property
    def interrupted(self) -> bool:
        """Whether a run was stopped before the end of its stream."""
        return any(run.interrupted for run in self.runs)

    def streams(self) -> dict[tuple[str, str], list[int]]:
        """Numbers of the runs on each stream: learners first, baselines last."""
        numbers: dict[tuple[str, str], list[int]] = {}
        for number, run in enumerate(self.runs):
            numbers.setdefault(run.stream, []).append(number)
        return {stream: sorted(found, key=lambda i: self.runs[i].baseline) for stream, found in numbers.items()}

    def stream_titles(self) -> dict[tuple[str, str], str]:
        """What to call each stream: its name, and its order where that is not the file's."""
        names = dict.fromkeys(run.stream for run in self.runs)
        return {(name, order): name if order == "file" else f"{name} ({order})" for name, order in names}

    def learner_titles(self) -> list[str]:
        """What to call each run's learner: its name, and what sets it apart from others of that name on one stream."""
        titles = [run.learner_name for run in self.runs]
        for numbers in self.streams().values():
            alike: dict[str, list[int]] = {}
            for number in numbers:
                alike.setdefault(titles[number], []).append(number)
            for name, twins in alike.items():
                if len(twins) > 1:
                    settings = [_settings(self.runs[number].learner) for number in twins]
                    for place, number in enumerate(twins):
                        titles[number] = f"{name}:{_difference(settings, place)}"
        return titles

    def best(self, metric: Metric, numbers: Iterable[int]) -> set[int]:
        """Those of the runs ``numbers`` that are best in ``metric``, as far as it is printed.

        Empty where fewer than two runs have the number or all are equal. Baselines take part in quality, where beating
        them is the point, but not in speed and size, where doing nothing always wins.
        """
        cost = metric in (EVENTS_PER_SECOND, MODEL_BYTES)
        values = {}
        for number in numbers:
            value = self.runs[number].value(metric)
            if value is not None and not (cost and self.runs[number].baseline):
                values[number] = metric.rounded(value)
        if len(set(values.values())) < 2:
            return set()
        best = max(values.values()) if metric.better == "higher" else min(values.values())
        return {number for number, value in values.items() if value == best}

    def table(self, metrics: Sequence[str] | None = None) -> Table:
        """A table for the terminal: a row per run, the best of each stream bold, baselines dimmed and last.

        Repeats of a run are one row: their means, with the standard deviation. The metrics are those of `shown` unless
        given.
        """
        from rich.markup import escape
        from rich.table import Table

        from ihomer.evaluation.repeats import averaged

        columns = [EVENTS_PER_SECOND, *(_metric(key) for key in metrics or shown(self.runs))]
        table = Table(title="interrupted: numbers hold for the events scored" if self.interrupted else None)
        table.add_column("data")
        table.add_column("learner")
        table.add_column("events", justify="right")
        for metric in columns:
            table.add_column(f"{metric.title} {'↓' if metric.better == 'lower' else '↑'}", justify="right")
        means = averaged(self)
        titles, streams = means.learner_titles(), means.stream_titles()
        for stream, numbers in means.streams().items():
            best = {metric.key: means.best(metric, numbers) for metric in columns}
            for place, number in enumerate(numbers):
                run = means.runs[number]
                table.add_row(
                    escape(streams[stream]) if place == 0 else "",
                    escape(titles[number]) + (" (interrupted)" if run.interrupted else ""),
                    f"{run.counts.get('scored', 0):,}",
                    *(
                        f"[bold not dim]{run.text(metric)}[/]" if number in best[metric.key] else run.text(metric)
                        for metric in columns
                    ),
                    style="dim" if run.baseline else None,
                    end_section=place == len(numbers) - 1,
                )
        return table

    def to_frame(self) -> pd.DataFrame:
        """One row per run: what it was, its counts, time, bytes and metrics; windowed ones start with ``window_``."""
        import pandas as pd

        rows: list[dict[str, Any]] = []
        for run in self.runs:
            name, order = run.stream
            row: dict[str, Any] = {"data": name, "order": order, "learner": run.learner_name}
            row |= {"seed": run.learner.get("seed"), "baseline": run.baseline, "interrupted": run.interrupted}
            row |= {key: run.data.get(key) for key in ("n_events", "n_features", "n_labels")}
            row |= {**run.counts, **run.time, "model_bytes": run.model_bytes, **run.metrics}
            row |= {f"window_{key}": value for key, value in run.window.items()}
            rows.append(row)
        return pd.DataFrame(rows)

    def curves_frame(self) -> pd.DataFrame:
        """One row per run, scope and point: ``run`` (number), ``data``, ``learner``, ``event``, ``scope``, metrics."""
        import pandas as pd

        rows = [
            {"run": number, "data": run.stream[0], "learner": title, "event": point["event"], "scope": scope}
            | dict(point[scope])
            for number, (run, title) in enumerate(zip(self.runs, self.learner_titles(), strict=True))
            for scope in SCOPES
            for point in run.curve
            if scope in point
        ]
        head = ["run", "data", "learner", "event", "scope"]
        found = {key for row in rows for key in row} - set(head)
        known = [key for key in METRICS if key in found]
        return pd.DataFrame(rows, columns=[*head, *known, *sorted(found - set(known))])

    def to_json(self) -> dict[str, Any]:
        """The result file's object."""
        value: dict[str, Any] = {"format": FORMAT, "version": VERSION, "runs": [run.to_json() for run in self.runs]}
        return value | {
            "versions": dict(self.versions),
            "machine": _plain(self.machine),
            "started": self.started,
            "command": self.command,
            "significance": {key: _plain(found.to_json()) for key, found in self.significance.items()},
        }

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the result file: whole or not at all. The curves are left out."""
        return self._write(Path(path), None)

    def save_all(self, directory: str | os.PathLike[str], *, report: bool = True) -> Path:
        """Write ``result.json``, ``curves.parquet`` and, unless told not to, ``report.html`` to a folder, made where
        missing."""
        directory = Path(directory)
        directory.mkdir(parents=True, exist_ok=True)
        buffer = io.BytesIO()
        self.curves_frame().to_parquet(buffer, index=False)
        curves = buffer.getvalue()
        write_whole(directory / CURVES, curves)
        self._write(directory / "result.json", {"file": CURVES, "sha256": hashlib.sha256(curves).hexdigest()})
        if report:
            self.report(directory / "report.html")
        return directory

    def _write(self, path: Path, curves: dict[str, str] | None) -> Path:
        value = self.to_json() | ({} if curves is None else {"curves": curves})
        # A lone surrogate in a name has no UTF-8; the escape that stands in for it is JSON's own.
        write_whole(path, _file_text(value).encode("utf-8", "backslashreplace"))
        return path

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write one page that shows everything and opens without a network."""
        from ihomer.report import render

        write_whole(Path(path), render(self).encode("utf-8", "xmlcharrefreplace"))
        return Path(path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Result:
        """Read a result file, and the curves beside it if it was saved with them and they are still there.

        Raises
        ------
        ValueError
            Not a result file, one of another version, or curves that are not those of this file.
        """
        path = Path(path)
        try:
            value = json.loads(path.read_bytes())
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path}: must be JSON, got {error}") from error
        if not isinstance(value, dict) or value.get("format") != FORMAT:
            found = value.get("format") if isinstance(value, dict) else type(value).__name__
            raise ValueError(f"{path}: format must be {FORMAT!r}, got {found!r}")
        if value.get("version") != VERSION:
            raise ValueError(f"{path}: version must be {VERSION}, got {value.get('version')!r}")
        runs = value.get("runs")
        if not isinstance(runs, list):
            raise ValueError(f"{path}: runs must be a list, got {type(runs).__name__}")
        result = cls([], value.get("versions") or {}, value.get("machine") or {})
        result.started, result.command = value.get("started"), value.get("command")
        for number, run in enumerate(runs):
            try:
                result.runs.append(Run.from_json(run))
            except msgspec.ValidationError as error:
                raise ValueError(f"{path}: runs[{number}] must be a run, got {error}") from error
        if value.get("significance"):
            result._load_significance(path, value["significance"])
        if isinstance(value.get("curves"), dict):
            result._load_curves(path.with_name(CURVES), value["curves"].get("sha256"))
        return result

    def _load_significance(self, path: Path, found: Any) -> None:
        from ihomer.evaluation.significance import Significance

        try:
            self.significance = {key: Significance.from_json(item) for key, item in dict(found).items()}
        except (msgspec.ValidationError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: significance must be a comparison by metric, got {error}") from error

    def _load_curves(self, path: Path, sha256: Any) -> None:
        if not path.exists():
            return
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != sha256:
            raise ValueError(f"{path}: sha256 must be {sha256}, got {found}: these are another result's curves")
        import pandas as pd

        points: dict[tuple[int, int], dict[str, Any]] = {}
        head = {"run", "data", "learner", "event", "scope"}
        for row in pd.read_parquet(path).to_dict("records"):
            key = int(row["run"]), int(row["event"])
            metrics = {str(name): value for name, value in row.items() if name not in head and not math.isnan(value)}
            points.setdefault(key, {"event": key[1]})[row["scope"]] = metrics
        for (number, _), point in sorted(points.items(), key=lambda item: item[0]):
            self.runs[number].curve.append(point)

    @classmethod
    def merge(cls, results: Iterable[Result]) -> Result:
        """The runs of several results, one after the other.

        Raises
        ------
        ValueError
            They come from different machines or versions: their times do not belong in one table.
        """
        parts = list(results)
        if not parts:
            raise ValueError("results must hold at least one result, got none")
        first = parts[0]
        for part in parts[1:]:
            for thing, mine, theirs in (
                ("machine", first.machine, part.machine),
                ("versions", first.versions, part.versions),
            ):
                if mine != theirs:
                    raise ValueError(f"{thing} must be the same in all results, got {mine} and {theirs}")
        commands = list(dict.fromkeys(part.command for part in parts if part.command))
        return cls(
            [run for part in parts for run in part.runs],
            first.versions,
            first.machine,
            min((part.started for part in parts if part.started), default=None),
            "\n".join(commands) or None,
        )


def version_info() -> dict[str, str]:
    """Versions of Python and of the packages that numbers depend on; a package that is not installed is left out."""
    versions = {"python": platform.python_version()}
    for package in ("ihomer", "numpy", "numba", "river", "pandas", "pyarrow"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def machine_info() -> dict[str, Any]:
    """Processor, cores that this process may use, bytes of memory and kind of system; no names, no paths."""
    model = platform.processor()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                model = value.strip()
                break
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    machine: dict[str, Any] = {"cpu": model or platform.machine(), "cores": cores}
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        machine["memory_bytes"] = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return machine | {"system": platform.system(), "architecture": platform.machine()}


def shown(runs: Iterable[Run]) -> tuple[str, ...]:
    """Metrics of the short tables: those of single labels where every event of every run had exactly one class, and
    others of continual evaluations."""
    runs = list(runs)
    if runs and all("scenario" in run.data for run in runs):
        return SHOWN_CONTINUAL
    single = [SHOWN_SINGLE[0] in run.metrics for run in runs]
    return SHOWN_SINGLE if single and all(single) else SHOWN


def _metric(key: str) -> Metric:
    if key not in METRICS:
        raise ValueError(f"metrics must be among {', '.join(METRICS)}, got {key!r}")
    return METRICS[key]


def _settings(learner: Mapping[str, Any]) -> dict[str, str]:
    settings = {**(learner.get("params") or {}), "seed": learner.get("seed")}
    return {str(key): str(value) for key, value in settings.items()}


def _difference(settings: Sequence[Mapping[str, str]], place: int) -> str:
    """What sets one learner apart from its twins of the same name; its number where nothing does."""
    mine = settings[place]
    keys = sorted({key for one in settings for key in one})
    unequal = [key for key in keys if len({one.get(key) for one in settings}) > 1]
    text = ",".join(f"{key}={mine[key]}" for key in unequal if key in mine)
    alike = [number for number, one in enumerate(settings) if one == mine]
    return text if text and len(alike) == 1 else f"{text}#{alike.index(place) + 1}"


def _file_text(value: Mapping[str, Any]) -> str:
    """JSON with a line for each part of each run: short enough to be read, and no longer than its numbers."""

    def line(part: Any) -> str:
        return json.dumps(part, ensure_ascii=False, allow_nan=False)

    def block(parts: Mapping[str, str], indent: str) -> str:
        lines = (f"{indent} {line(key)}: {text}" for key, text in parts.items())
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"

    runs = [block({key: line(part) for key, part in run.items()}, "  ") for run in value["runs"]]
    texts = {key: line(part) for key, part in value.items()}
    texts["runs"] = "[" + ", ".join(runs) + "]"
    if value["significance"]:
        texts["significance"] = block({key: line(part) for key, part in value["significance"].items()}, " ")
    return block(texts, "") + "\n"


def _plain(value: Any) -> Any:
    """``value`` as JSON has it: no NumPy types, null for a number that is not finite."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    # Loops, because a comprehension would double the depth of calls and trees of labels can be deep.
    if isinstance(value, Mapping):
        pairs = {}
        for key, item in value.items():
            pairs[str(key)] = _plain(item)
        return pairs
    if isinstance(value, (list, tuple)):
        items = []
        for item in value:
            items.append(_plain(item))
        return items
    if hasattr(value, "tolist"):
        return _plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    raise TypeError(f"a result must hold numbers, text, lists and dictionaries, got {value!r}")
