"""``python -m benchmarks.broker``: a broker on loopback until Ctrl-C."""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from pathlib import Path

from benchmarks.broker.cluster import Cluster


def main() -> int:
    """Start a broker, say where it is, and stop it at Ctrl-C or SIGTERM."""
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    print("Starting Apache Kafka; the first time its jars are fetched ...", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="ihomer-kafka-") as folder, Cluster(Path(folder)) as cluster:
        print(f"kafka://{cluster.bootstrap}", flush=True)
        print("Ctrl-C stops it and removes its data.", file=sys.stderr)
        over.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
