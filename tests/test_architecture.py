"""The rooms of the house and who may import whom, read from the import statements themselves."""

from __future__ import annotations

import ast
import configparser
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("ihomer", "streams", "learners", "drift", "benchmarks", "tests")
ALLOWED = {
    "drift": set(),
    "streams": set(),
    "learners": {"drift", "streams.batch"},
    "ihomer": {"drift", "streams", "learners"},
    "benchmarks": {"drift", "streams", "learners", "ihomer"},
}


def imported_modules(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, at its top or inside a function."""
    modules = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports must be absolute"
            modules.add(node.module)
    return modules


def sideways(room: str, module: str) -> bool:
    """Whether ``module`` lies in a room that ``room`` may not import."""
    target = module.split(".")[0]
    if target == room or target not in ROOMS:
        return False
    return target not in ALLOWED[room] and module not in ALLOWED[room]


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_point_down(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    wrong = {f"{p.relative_to(ROOT)} imports {m}" for p in files for m in imported_modules(p) if sideways(room, m)}
    assert not wrong


@pytest.mark.parametrize(
    ("room", "module", "wrong"),
    [
        ("streams", "learners.base", True),
        ("drift", "streams.batch", True),
        ("learners", "streams.source", True),
        ("learners", "streams.batch", False),
        ("learners", "ihomer", True),
        ("ihomer", "benchmarks.frame", True),
        ("ihomer", "streams.arff", False),
        ("drift", "numpy", False),
    ],
)
def test_the_rule_itself(room: str, module: str, wrong: bool) -> None:
    assert sideways(room, module) is wrong


def test_top_level_is_fixed() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    folders = {line.split("/")[0] for line in tracked.stdout.splitlines() if "/" in line}
    assert folders <= {*ROOMS, "docs", ".ci"}


def test_pyproject_holds_the_build_system_alone() -> None:
    import tomllib

    assert set(tomllib.loads((ROOT / "pyproject.toml").read_text())) == {"build-system"}


def test_every_shipped_room_is_typed() -> None:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    for room in ("ihomer", "streams", "learners", "drift"):
        assert (ROOT / room / "py.typed").exists()
        assert "py.typed" in config["options.package_data"][room]


def test_front_door_is_light() -> None:
    """What takes long to import, or is optional, is left until it is used."""
    heavy = ("numba", "pandas", "matplotlib", "pyarrow", "torch", "ray", "kafka", "confluent_kafka")
    code = f"import ihomer, sys; print([m for m in {heavy!r} if m in sys.modules])"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == "[]"


def test_front_door_gives_every_name_it_promises() -> None:
    import ihomer

    for name in ihomer.__all__:
        assert getattr(ihomer, name) is not None
    with pytest.raises(AttributeError, match="module 'ihomer' has no attribute 'nothing'"):
        _ = ihomer.nothing
