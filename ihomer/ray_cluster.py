"""A cluster of Ray for a while: joined, or begun on this machine, and left as it was found."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ihomer.config import ConfigError
from streams.extraction.ray_connection import connect, load_ray


@contextmanager
def ray_cluster(address: str, n_actors: int) -> Iterator[Any]:
    """Ray, connected to the cluster at an address, or to the one that this process is connected to already.

    ``local`` begins a cluster on this machine, with room for so many actors, that ends with the context; ``auto`` joins
    the one that this machine belongs to, or else begins such a one.

    Raises
    ------
    ConfigError
        Ray is not installed.
    ConnectionError
        There is no cluster at the address.
    """
    try:
        ray = load_ray("--ray:")
    except ImportError as error:
        raise ConfigError(str(error)) from error
    if ray.is_initialized():
        yield ray
        return
    connect(ray, address, n_actors)
    try:
        yield ray
    finally:
        ray.shutdown()
