"""Peers that need an environment of their own: built once with pinned versions, run as processes."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import platformdirs

from benchmarks.frame import Clock, PeerMissingError

PROCESSES = Path(__file__).parent / "processes"
"""Programs that peers run; they import nothing of this house."""

_BUILD_LIMIT_S = 600


class Environment:
    """A virtual environment with pinned packages, in the user's cache folder.

    Parameters
    ----------
    name
        Of the peer.
    requirements
        As pip takes them, each with its exact version.
    cache
        Folder for environments; None: the user's.
    """

    def __init__(self, name: str, requirements: Sequence[str], cache: Path | None = None) -> None:
        self.requirements = list(requirements)
        key = hashlib.sha256(repr((self.requirements, sys.version)).encode()).hexdigest()[:12]
        self.folder = (cache or platformdirs.user_cache_path("ihomer") / "peers") / f"{name}-{key}"

    def python(self) -> Path:
        """Its interpreter; the environment is built where it is missing or was left half done.

        Raises
        ------
        PeerMissingError
            It cannot be built here.
        """
        python, complete = self.folder / "bin" / "python", self.folder / "complete"
        if not complete.exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            _must([sys.executable, "-m", "venv", "--without-pip", str(self.folder)])
            pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(python)]
            _must([*pip, "install", "--quiet", "--only-binary", ":all:", *self.requirements])
            complete.touch()
        return python


def _must(command: Sequence[str]) -> None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_BUILD_LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerMissingError(str(error)) from error
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise PeerMissingError(lines[-1] if lines else f"exit status {done.returncode} of {command[0]}")


def run_process(command: Sequence[str], clock: Clock) -> dict[str, Any]:
    """Run a program that prints one JSON object as its last line, and return that.

    The program is killed when the contestant's time is up.

    Raises
    ------
    StoppedError
        The time was up.
    RuntimeError
        It ended with an error.
    """
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        while True:
            try:
                output, errors = process.communicate(timeout=min(1.0, max(0.01, clock.seconds_left)))
                break
            except subprocess.TimeoutExpired:
                clock.count(0)
    finally:
        process.kill()
        process.wait()
    if process.returncode:
        lines = errors.strip().splitlines()
        raise RuntimeError(f"{Path(command[-1]).name} must end well, got status {process.returncode}: {lines[-1:]}")
    report: dict[str, Any] = json.loads(output.splitlines()[-1])
    return report


def until_line(command: Sequence[str], line: str, clock: Clock) -> float:
    """Seconds from starting a program until it prints ``line``; its end is awaited and not counted.

    The program is killed when the contestant's time is up.

    Raises
    ------
    StoppedError
        The time was up.
    RuntimeError
        It ended without having printed the line.
    """
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    timer = threading.Timer(clock.seconds_left, process.kill)
    timer.start()
    seconds = None
    assert process.stdout is not None
    try:
        for found in process.stdout:
            if found.strip() == line:
                seconds = time.perf_counter() - began
                break
        errors = process.communicate()[1].strip().splitlines()
    finally:
        timer.cancel()
        process.kill()
        process.wait()
    clock.count(0)
    if seconds is None:
        raise RuntimeError(f"the program must print {line!r}, got the end of its output: {errors[-1:]}")
    return seconds
