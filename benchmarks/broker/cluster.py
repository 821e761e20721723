"""Brokers as processes of their own: started, stopped and killed by their PIDs, on free ports of this machine."""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from platformdirs import user_cache_path

KAFKA = "4.1.0"
_JARS = "IHOMER_KAFKA_JARS"
_READY_S = 90.0
_POM = Path(__file__).with_name("pom.xml")


def missing() -> str | None:
    """Why no broker can be started here, or None where one can."""
    if shutil.which("java") is None:
        return "java is not installed"
    if not _is_complete(_jar_folder()) and shutil.which("mvn") is None:
        return f"neither is mvn installed nor are the broker's jars in {_jar_folder()}"
    return None


def _jar_folder() -> Path:
    return Path(os.environ.get(_JARS) or user_cache_path("ihomer") / f"kafka-{KAFKA}")


def _is_complete(folder: Path) -> bool:
    return (folder / f"kafka_2.13-{KAFKA}.jar").exists() and (folder / ".complete").exists()


def jars() -> Path:
    """The folder of the broker's jars, fetched by Maven when they are first asked for.

    Raises
    ------
    RuntimeError
        Java or Maven is missing, or Maven failed.
    """
    why = missing()
    if why is not None:
        raise RuntimeError(f"a broker needs Java, and Maven once to fetch it: {why}")
    folder = _jar_folder()
    if not _is_complete(folder):
        folder.mkdir(parents=True, exist_ok=True)
        # Two Mavens at once damage each other's files: one process fetches, others wait until it has.
        with (folder / ".lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_complete(folder):
                _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    command = ["mvn", "-q", "-B", "-f", str(_POM), "dependency:copy-dependencies", "-DincludeScope=runtime"]
    found = subprocess.run([*command, f"-DoutputDirectory={folder}"], capture_output=True, text=True)
    if found.returncode:
        raise RuntimeError(f"mvn could not fetch Apache Kafka {KAFKA}: {(found.stdout + found.stderr)[-2000:]}")
    (folder / ".complete").touch()


class Cluster:
    """Brokers that make one cluster, each a controller too.

    Parameters
    ----------
    folder
        Where brokers keep their data and logs; made where missing.
    n_brokers
        Replication of topics, offsets and transactions is the number of brokers, at most 3.
    settings
        Lines of ``server.properties`` beside those that make it work here.
    listeners
        Security protocols that clients are served by beside PLAINTEXT, such as ``SASL_SSL``; what they need (keys,
        mechanisms, users) stands in ``settings``.

    Notes
    -----
    A broker holds about 310 MB and is ready after about 6 s, or up to 20 s where it was killed before.
    """

    def __init__(
        self, folder: Path, n_brokers: int = 1, settings: Sequence[str] = (), listeners: Sequence[str] = ()
    ) -> None:
        self.folder, self.n_brokers, self._settings = folder, n_brokers, tuple(settings)
        ports = iter(_free_ports((2 + len(listeners)) * n_brokers))
        self._ports, self._controllers, *further = (list(islice(ports, n_brokers)) for _ in range(2 + len(listeners)))
        self._listeners = {"PLAINTEXT": self._ports, **dict(zip(listeners, further, strict=True))}
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._classpath = f"{jars()}/*"
        self._format()

    @property
    def bootstrap(self) -> str:
        """Addresses for clients, parted by commas."""
        return self.address("PLAINTEXT")

    def address(self, protocol: str) -> str:
        """Addresses for clients of a security protocol, parted by commas."""
        return ",".join(f"127.0.0.1:{port}" for port in self._listeners[protocol])

    def start(self, *nodes: int) -> None:
        """Start brokers, by number from 0 (none: all that do not run), and wait until they answer."""
        for node in nodes or range(self.n_brokers):
            if node not in self._processes:
                with open(self._node_folder(node) / "broker.log", "ab") as log:
                    command = ["java", "-Xmx512m", "-cp", self._classpath, "kafka.Kafka", str(self._properties(node))]
                    self._processes[node] = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + _READY_S
        for node in nodes or range(self.n_brokers):
            while not self._answers(node):
                if self._processes[node].poll() is not None or time.monotonic() > deadline:
                    log_text = (self._node_folder(node) / "broker.log").read_text(errors="replace")
                    raise RuntimeError(f"broker {node} did not get ready: {log_text[-2000:]}")
                time.sleep(0.1)

    def kill(self, *nodes: int) -> None:
        """SIGKILL brokers, by number (none: all)."""
        self._end(signal.SIGKILL, nodes)

    def stop(self, *nodes: int) -> None:
        """SIGTERM brokers, by number (none: all), and wait until they are gone."""
        self._end(signal.SIGTERM, nodes)

    def _end(self, how: signal.Signals, nodes: Sequence[int]) -> None:
        ending = [self._processes.pop(node) for node in nodes or list(self._processes)]
        for process in ending:
            process.send_signal(how)
        for process in ending:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def __enter__(self) -> Cluster:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def create_topic(self, name: str, partitions: int = 1, **settings: str) -> None:
        """Make a topic, replicated on every broker; settings are those of topics, ``_`` for ``.``."""
        from kafka.admin import KafkaAdminClient, NewTopic

        admin = KafkaAdminClient(bootstrap_servers=self.bootstrap.split(","))
        configs = {key.replace("_", "."): value for key, value in settings.items()}
        try:
            admin.create_topics([NewTopic(name, partitions, min(3, self.n_brokers), topic_configs=configs)])
        finally:
            admin.close()

    def _answers(self, node: int) -> bool:
        """Whether a broker serves clients: it has an open port and knows its cluster."""
        try:
            socket.create_connection(("127.0.0.1", self._ports[node]), 1).close()
        except OSError:
            return False
        from kafka.admin import KafkaAdminClient
        from kafka.errors import KafkaError

        try:
            admin = KafkaAdminClient(bootstrap_servers=f"127.0.0.1:{self._ports[node]}", request_timeout_ms=5000)
        except KafkaError:
            return False
        try:
            return bool(admin.describe_cluster()["brokers"])
        except KafkaError:
            return False
        finally:
            admin.close()

    def _node_folder(self, node: int) -> Path:
        return self.folder / f"broker-{node}"

    def _properties(self, node: int) -> Path:
        return self._node_folder(node) / "server.properties"

    def _format(self) -> None:
        run = ["java", "-cp", self._classpath, "kafka.tools.StorageTool"]
        cluster_id = subprocess.run([*run, "random-uuid"], capture_output=True, text=True, check=True).stdout.strip()
        for node in range(self.n_brokers):
            self._node_folder(node).mkdir(parents=True, exist_ok=True)
            self._properties(node).write_text("\n".join(self._lines(node)) + "\n", encoding="utf-8")
            how = ["format", "-t", cluster_id, "-c", str(self._properties(node)), "--ignore-formatted"]
            subprocess.run([*run, *how], capture_output=True, check=True)

    def _lines(self, node: int) -> list[str]:
        voters = ",".join(f"{k + 1}@127.0.0.1:{port}" for k, port in enumerate(self._controllers))
        served = ",".join(f"{name}://127.0.0.1:{ports[node]}" for name, ports in self._listeners.items())
        protocols = ",".join(f"{name}:{name}" for name in self._listeners)
        replication = min(3, self.n_brokers)
        in_sync = 1 if replication < 3 else 2
        return [
            "process.roles=broker,controller",
            f"node.id={node + 1}",
            f"listeners={served},CONTROLLER://127.0.0.1:{self._controllers[node]}",
            f"advertised.listeners={served}",
            "controller.listener.names=CONTROLLER",
            f"listener.security.protocol.map={protocols},CONTROLLER:PLAINTEXT",
            f"controller.quorum.voters={voters}",
            f"log.dirs={self._node_folder(node) / 'data'}",
            "num.partitions=4",
            # Events here have times of their own, some of which are years ago.
            "log.retention.ms=-1",
            f"default.replication.factor={replication}",
            f"min.insync.replicas={in_sync}",
            "group.initial.rebalance.delay.ms=0",
            "offsets.topic.num.partitions=4",
            "transaction.state.log.num.partitions=4",
            *(
                f"{topic}.replication.factor={replication}"
                for topic in ("offsets.topic", "transaction.state.log", "share.coordinator.state.topic")
            ),
            *(f"{topic}.min.isr={in_sync}" for topic in ("transaction.state.log", "share.coordinator.state.topic")),
            *self._settings,
        ]


def _free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()
