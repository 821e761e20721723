"""The command line of the benchmarks: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import import_module, metadata
from pathlib import Path
from types import ModuleType
from typing import Any

from matplotlib import rc_context
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.text import Text

from benchmarks import SUITES
from benchmarks.frame import LIMIT_S, Cell, measure
from benchmarks.page import page
from benchmarks.results import Journal, MixtureError, load, save, to_result, worse_than
from benchmarks.tables import amount, common_tables, included, provenance, score, verdict
from ihomer.evaluation.result import machine_info, version_info

RESULTS = Path("benchmarks/results")
PEERS = ("scipy", "scikit-learn", "liac-arff", "llvmlite")
"""Packages beside those of every result file on which figures here depend."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; 0 done, 1 a cell failed or something got worse, 2 wrong usage, 130 stopped by the user."""
    parser = _parser()
    options = parser.parse_args(arguments)
    console = Console(stderr=True)
    if options.list:
        _list(options)
        return 0
    if options.markdown:
        return _write_markdown(options, console)
    if not options.suite:
        parser.error("a SUITE, --list or --markdown is needed")
    try:
        return run(options, console)
    except (MixtureError, ValueError, FileNotFoundError) as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 2
    except KeyboardInterrupt:
        console.print("stopped; the cells that are done are kept, the same command goes on")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Benchmark suites. Results are files; a broken run goes on where it stopped.",
    )
    parser.add_argument("suite", nargs="?", choices=sorted(SUITES), metavar="SUITE", help=", ".join(sorted(SUITES)))
    parser.add_argument("--list", action="store_true", help="list the suites, or the cells of SUITE")
    parser.add_argument("--names", action="store_true", help="with --list: names of the suites alone")
    parser.add_argument("--quick", action="store_true", help="a look within minutes: fewer repeats, smaller workloads")
    parser.add_argument("--out", type=Path, metavar="DIR", help=f"where results go ({RESULTS}, quick ones quick/)")
    parser.add_argument("--fresh", action="store_true", help="measure again what is there already")
    parser.add_argument("--only", metavar="TEXT", help="only cells whose name contains TEXT")
    parser.add_argument("--limit", type=float, default=LIMIT_S, metavar="S", help="seconds a contestant has for a cell")
    parser.add_argument(
        "--compare", type=Path, metavar="FILE", help="fail if anything is worse than in this result file"
    )
    parser.add_argument(
        "--markdown",
        type=Path,
        metavar="FILE",
        help="fill the marked places of a page, and make tables and pictures of its suites anew",
    )
    return parser


def _list(options: argparse.Namespace) -> None:
    for name in [options.suite] if options.suite else sorted(SUITES):
        if options.names:
            print(name)
            continue
        suite = import_module(SUITES[name])
        print(f"{name:12} {str(suite.__doc__).splitlines()[0]}")
        for cell in suite.cells() if options.suite else ():
            print(f"    {cell.name}{'' if cell.quick else '   (not with --quick)'}")


def run(options: argparse.Namespace, console: Console) -> int:
    """Measure what is not there yet, tell what was found, write the files."""
    suite = import_module(SUITES[options.suite])
    folder = options.out or (RESULTS / "quick" if options.quick else RESULTS)
    every: list[Cell] = [cell for cell in suite.cells() if cell.quick or not options.quick]
    wanted = [cell for cell in every if not options.only or options.only in cell.name]
    if not wanted:
        raise ValueError(f"--only must be part of a cell's name, got {options.only!r}; --list SUITE has them")
    old = _older(options) if options.compare else None
    head = header(options.suite, quick=options.quick)
    journal = Journal(folder / f"{options.suite}.jsonl", head, fresh=options.fresh)
    with Progress(
        SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console
    ) as progress:
        task = progress.add_task(options.suite, total=len(wanted))
        for cell in wanted:
            if cell.name not in journal.cells:

                def advance(name: str, repeat: int, repeats: int, cell: Cell = cell) -> None:
                    turn = f"{repeat} of {repeats}" if repeat else "warming"
                    progress.update(task, description=f"{cell.name}: {name}, {turn}")

                progress.update(task, description=f"{cell.name}: building")
                journal.add(measure(cell, quick=options.quick, limit_s=options.limit, advance=advance))
            progress.console.print(told(journal.cells[cell.name]), soft_wrap=True)
            progress.advance(task)
    kept = folder / f"{options.suite}.json"
    save(to_result(journal, [cell.name for cell in every]), kept)
    # Tables are of the figures as they are kept, so that they can be made again.
    result = load(kept)
    write(suite, result, folder)
    verdicts = Counter(target["verdict"] for cell in result["cells"] for target in cell["targets"])
    counts = "".join(f", {n} {verdict}" for verdict, n in sorted(verdicts.items()))
    print(f"{len(result['cells'])} of {len(every)} cells{counts}; {folder / options.suite}.json, .md, .html")
    failures = [f"{cell['cell']}: {failure}" for cell in result["cells"] for failure in cell["failures"]]
    if old is not None:
        failures += worse_than(old, result, getattr(suite, "TOLERANCE", 0.0))
    for failure in failures:
        console.print(f"FAILED {failure}", style="bold red", markup=False, soft_wrap=True)
    return 1 if failures else 0


def _older(options: argparse.Namespace) -> dict[str, Any]:
    """The result file to compare with, less the cells that are not wanted."""
    old = load(options.compare)
    if old["quick"] != options.quick:
        raise ValueError(f"{options.compare}: quick must be {options.quick} as in this run, got {old['quick']}")
    old["cells"] = [cell for cell in old["cells"] if not options.only or options.only in cell["cell"]]
    return old


def told(record: Mapping[str, Any]) -> Text:
    """A few lines about a cell; what did not take part or was not reached stands out."""
    lines = Text(f"{record['cell']}\n", style="bold")
    if "absent" in record:
        lines.append(f"  {record['absent']}\n", style="red")
    for side in record["contestants"]:
        if side["status"] == "ok":
            figure = f"{amount(side['best'], record['unit'])} {record['unit']}".removesuffix(" bytes")
            scores = "".join(f", {metric} {score(value)}" for metric, value in side["quality"].items())
            spread = f", spread {100 * side['spread']:.0f} %" if len(side["costs"]) > 1 else ""
            lines.append(f"  {side['name']}: {figure}{spread}{scores}\n", style="not bold")
        else:
            lines.append(f"  {side['name']}: {side['reason']}\n", style="red")
    for target in record["targets"]:
        style = "not bold" if target["verdict"] in ("reached", "stated") else "red"
        about = target.get("peer", target["ours"])
        lines.append(f"  {about}: {verdict(target, record['unit']).replace('**', '')}\n", style=style)
    lines.rstrip()
    return lines


def tables(suite: ModuleType, result: Mapping[str, Any]) -> dict[str, str]:
    """The Markdown tables of a result by name: the suite's own, or one a group."""
    return dict(getattr(suite, "tables", common_tables)(result))


def write(suite: ModuleType, result: Mapping[str, Any], folder: Path) -> None:
    """A result as Markdown, as pictures and as a page for a browser."""
    name, about = result["suite"], str(suite.__doc__).splitlines()[0]
    (folder / f"{name}.md").write_text(as_markdown(suite, result), encoding="utf-8")
    drawn = {path.stem: path.read_text(encoding="utf-8") for path in draw(suite, result, folder)}
    whole = page(name, about, provenance(result), tables(suite, result), drawn, quick=result["quick"])
    (folder / f"{name}.html").write_text(whole, encoding="utf-8")


def as_markdown(suite: ModuleType, result: Mapping[str, Any]) -> str:
    """A result as a page of tables."""
    found = (f"## {title}\n\n{text}" for title, text in tables(suite, result).items())
    return "\n\n".join([f"# {result['suite']}", provenance(result), *found]) + "\n"


def draw(suite: ModuleType, result: Mapping[str, Any], folder: Path) -> list[Path]:
    """The suite's pictures of a result, where it has any, as ``SUITE-NAME.svg``."""
    paths = []
    # The same result gives the same bytes.
    with rc_context({"svg.hashsalt": "ihomer"}):
        for name, figure in getattr(suite, "pictures", lambda result: {})(result).items():
            paths.append(folder / f"{result['suite']}-{name}.svg")
            figure.savefig(paths[-1], metadata={"Date": None})
    return paths


def header(suite: str, *, quick: bool) -> dict[str, Any]:
    """What all cells of a result file have in common."""
    versions = version_info() | {package: _version(package) for package in PEERS}
    return {"suite": suite, "quick": quick, "code": code_digest(), "machine": machine_info(), "versions": versions}


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def code_digest() -> str:
    """First digits of the SHA-256 over all code of the rooms and of the benchmarks, in the order of its paths."""
    root = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for room in ("benchmarks", "drift", "ihomer", "learners", "streams"):
        for path in sorted((root / room).rglob("*.py")):
            digest.update(path.relative_to(root).as_posix().encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def _write_markdown(options: argparse.Namespace, console: Console) -> int:
    folder = options.out or RESULTS
    results: dict[str, dict[str, Any]] = {}

    def tables_of(name: str) -> Mapping[str, str]:
        if name not in SUITES:
            raise ValueError(f"a benchmark must be of a suite among {sorted(SUITES)}, got {name!r}")
        result = results.setdefault(name, load(folder / f"{name}.json"))
        return {**tables(import_module(SUITES[name]), result), "provenance": provenance(result)}

    try:
        text = options.markdown.read_text(encoding="utf-8")
        options.markdown.write_text(included(text, tables_of), encoding="utf-8")
    except (ValueError, FileNotFoundError) as error:
        console.print(f"error: {error}", style="red", markup=False)
        return 2
    for name, result in results.items():
        write(import_module(SUITES[name]), result, folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
