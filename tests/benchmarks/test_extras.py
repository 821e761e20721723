"""Packages that a suite brings: from here, or from an environment of their own."""

import sys

import pytest

from benchmarks import extras


def test_packages_that_are_missing_are_looked_for_in_an_environment_of_their_own(monkeypatch, tmp_path):
    class Environment:
        def __init__(self, name, requirements):
            assert (name, requirements) == ("extra-ray", extras.PACKAGES["ray"])

        def python(self):
            return tmp_path / "bin" / "python"

    monkeypatch.setattr(extras, "Environment", Environment)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setenv("PYTHONPATH", "before")
    monkeypatch.setitem(extras.MODULES, "ray", ("no_such_module",))
    extras.have("ray")
    assert sys.path[-1].startswith(str(tmp_path / "lib" / "python3."))
    assert extras.os.environ["PYTHONPATH"] == f"before:{sys.path[-1]}"
    monkeypatch.setattr(extras, "Environment", pytest.fail)
    monkeypatch.setitem(extras.MODULES, "ray", ("json",))
    extras.have("ray")
