"""Ray itself, where it is installed, and the way to a cluster of it."""

from __future__ import annotations

import os
from pathlib import Path
from socket import create_connection
from typing import Any
from urllib.parse import urlsplit

_PATIENCE_S = 5


def load_ray(who: str = "the backend 'ray'") -> Any:
    """The module of Ray.

    Raises
    ------
    ImportError
        It is not installed; ``who`` needs it.
    """
    try:
        import ray
    except ImportError as error:
        raise ImportError(f"{who} needs the extra 'ray': pip install ihomer[ray] ({error})") from error
    return ray


def connect(ray: Any, address: str, n_actors: int) -> None:
    """Join the cluster at an address; ``local``, and ``auto`` where none is at hand: begin one on this machine that has
    room for so many actors.

    At hand is the cluster of the variable ``RAY_ADDRESS``, or else the one that ``ray start`` left a note of, if it
    answers.

    Raises
    ------
    ConnectionError
        Nothing answers at the address.
    """
    quiet = {"log_to_driver": False, "configure_logging": False}
    joined = _at_hand() if address == "auto" else address
    if joined is None or joined == "local":
        # Without the word local, Ray would join any cluster that some process of this machine has begun for itself.
        ray.init(address="local", num_cpus=max(n_actors, os.cpu_count() or 1), include_dashboard=False, **quiet)
    elif _answers(joined):
        ray.init(address=joined, **quiet)
    else:
        raise ConnectionError(f"a cluster of Ray must answer within {_PATIENCE_S} s, got nothing at {joined!r}")


def _at_hand() -> str | None:
    if named := os.environ.get("RAY_ADDRESS"):
        return named
    folder = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp"
    note = Path(folder, "ray", "ray_current_cluster")
    noted = note.read_text().strip() if note.exists() else ""
    # The note of a cluster that was killed stays.
    return noted if noted and _answers(noted) else None


def _answers(address: str) -> bool:
    """Ray itself would try for a quarter of an hour."""
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        with create_connection((parts.hostname, parts.port), _PATIENCE_S):
            return True
    except (OSError, ValueError):
        return False
