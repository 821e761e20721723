"""``make kafka-demo``: events, late labels, answers and scores, through topics of a real broker."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.broker.cluster import Cluster

_IHOMER = (sys.executable, "-m", "ihomer")


def main() -> int:
    """Start a broker, replay yeast with labels a little later, run iHOMER on it, show what came out, and stop."""
    with tempfile.TemporaryDirectory(prefix="ihomer-demo-") as folder, Cluster(Path(folder) / "kafka") as cluster:
        for topic in ("events", "labels", "answers", "drifts", "dead"):
            cluster.create_topic(topic, 2)
        events, labels, answers, drifts, dead = (
            f"kafka://{cluster.bootstrap}/{topic}" for topic in ("events", "labels", "answers", "drifts", "dead")
        )
        produce = ["produce", "--source", "yeast", "--rate", "1000"]
        run = ["run", "--learner", "ihomer", "--until-end", "--report", "kafka-demo-report.html"]
        inputs = ["--source", f"{events}?group=demo", "--label-source", labels, "--checkpoint", f"{folder}/state"]
        outputs = ["--sink", answers, "--events-sink", drifts, "--dead-letters", dead]
        for words in (
            [*produce, "--sink", events, "--label-sink", labels, "--label-delay", "0.05"],
            [*run, *inputs, *outputs],
            ["tail", answers, "-n", "5"],
        ):
            print("\n$ ihomer " + " ".join(words), flush=True)
            subprocess.run([*_IHOMER, *words], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
