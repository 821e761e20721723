"""The wheel, installed in a clean environment and used from another folder, does the engine's main job."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: str | Path, cwd: Path) -> str:
    """What a command printed; its output is shown where it fails."""
    clean = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "IHOMER_DATA")}
    done = subprocess.run(command, cwd=cwd, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    files = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    if files.returncode:
        pytest.skip("not a git checkout")
    for name in files.stdout.splitlines():
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, copy, cwd=folder)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_the_four_rooms_and_their_files(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names if ".dist-info" not in name}
    assert tops == {"ihomer", "streams", "learners", "drift"}
    for room in tops:
        shipped = {path.relative_to(ROOT).as_posix() for path in (ROOT / room).rglob("*") if path.is_file()}
        missing = {name for name in shipped - set(names) if "__pycache__" not in name}
        assert not missing


# Where nothing is compiled yet, compiling iHOMER's loops takes minutes.
@pytest.mark.parametrize("learner", ["linear", pytest.param("ihomer", marks=pytest.mark.slow)])
def test_evaluate_runs_from_a_clean_environment_and_another_folder(wheel: Path, tmp_path: Path, learner: str) -> None:
    venv.create(tmp_path / "env", with_pip=True)
    python, elsewhere = tmp_path / "env" / "bin" / "python", tmp_path / "elsewhere"
    elsewhere.mkdir()
    constraints = ROOT / "constraints.txt"
    run(python, "-m", "pip", "install", "--quiet", "--constraint", constraints, wheel, cwd=elsewhere)
    command = [tmp_path / "env" / "bin" / "ihomer", "evaluate", "--data", "yeast", "--out", "report", "--quiet"]
    run(*command, "--learner", learner, cwd=elsewhere)
    run(python, "-c", "import ihomer; [getattr(ihomer, name) for name in ihomer.__all__]", cwd=elsewhere)
    runs = json.loads((elsewhere / "report" / "result.json").read_text())["runs"]
    assert [run["learner"]["name"] for run in runs] == [learner, "no-change", "majority"]
    assert all(run["counts"]["scored"] == run["counts"]["read"] == 2417 for run in runs)
    assert runs[0]["metrics"]["micro_f1"] > max(run["metrics"]["micro_f1"] for run in runs[1:])
    assert (elsewhere / "report" / "curves.parquet").stat().st_size > 0
    assert "<svg" in (elsewhere / "report" / "report.html").read_text()
