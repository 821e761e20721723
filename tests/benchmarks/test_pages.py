"""Pages show what the committed result files hold, and nothing that was written by hand."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from benchmarks import SUITES, __main__
from benchmarks.results import load
from benchmarks.tables import included, provenance

ROOT = Path(__file__).parents[2]
PAGES = [
    path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
    if "<!-- benchmark " in path.read_text()
]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_tables_are_those_of_the_result_files(page: Path) -> None:
    def tables_of(suite: str) -> dict[str, str]:
        result = load(ROOT / __main__.RESULTS / f"{suite}.json")
        return {**__main__.tables(import_module(SUITES[suite]), result), "provenance": provenance(result)}

    text = page.read_text()
    assert included(text, tables_of) == text


@pytest.mark.parametrize("suite", SUITES)
def test_every_suite_has_a_result_and_its_tables(suite: str) -> None:
    result = load(ROOT / __main__.RESULTS / f"{suite}.json")
    assert not result["quick"]
    assert (ROOT / __main__.RESULTS / f"{suite}.md").read_text() == __main__.as_markdown(
        import_module(SUITES[suite]), result
    )
