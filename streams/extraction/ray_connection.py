"""Ray itself, where it is installed, and the way to a cluster of it."""

from __future__ import annotations

import os
from typing import Any


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
    """Join the cluster at an address; ``local``, and ``auto`` where there is none at hand: begin one on this machine
    that has room for so many actors."""
    quiet = {"log_to_driver": False, "configure_logging": False}
    if address != "local":
        try:
            ray.init(address=address, **quiet)
            return
        except ConnectionError:
            if address != "auto":
                raise
    # Without the word local, the address of a cluster that died would be tried once more.
    ray.init(address="local", num_cpus=max(n_actors, os.cpu_count() or 1), include_dashboard=False, **quiet)
