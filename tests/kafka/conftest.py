"""One real Apache Kafka for all tests of this folder, or the one that KAFKA_BOOTSTRAP names."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator

import pytest

from benchmarks.broker import Cluster, missing
from tests.kafka.running import create_topic

WHY = "no Kafka: KAFKA_BOOTSTRAP names no broker, and one cannot be started here, since"


def skip_without_broker() -> None:
    """Skip, or fail where IHOMER_KAFKA_REQUIRED says so, if no broker can be started here."""
    why = missing()
    if why is not None and os.environ.get("IHOMER_KAFKA_REQUIRED"):
        pytest.fail(f"{WHY} {why}")
    if why is not None:
        pytest.skip(f"{WHY} {why}")


@pytest.fixture(scope="session")
def bootstrap(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Addresses of a broker; skips, with the reason, where there is none."""
    outside = os.environ.get("KAFKA_BOOTSTRAP")
    if outside:
        yield outside
        return
    skip_without_broker()
    with Cluster(tmp_path_factory.mktemp("kafka")) as cluster:
        yield cluster.bootstrap


@pytest.fixture
def new_topic(bootstrap: str) -> Callable[..., str]:
    """Makes a topic of a name that no other test has, and gives its URL."""

    def make(partitions: int = 1, **settings: str) -> str:
        name = f"t-{uuid.uuid4().hex[:12]}"
        create_topic(bootstrap, name, partitions, **settings)
        return f"kafka://{bootstrap}/{name}"

    return make
