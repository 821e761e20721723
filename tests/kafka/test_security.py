"""Logins and certificates on a real broker: who may comes in, who may not is told so soon, and no password is shown."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.request import urlopen

import pytest

from benchmarks.broker import Cluster
from streams.topics.address import Address
from streams.topics.client import KafkaUnavailableError, Outgoing, make_consumer, make_producer
from streams.topics.source import KafkaSource
from tests.kafka.conftest import skip_without_broker
from tests.kafka.running import made_events, wait_for

BACKENDS = ("kafka-python", "confluent")
LISTENERS = ("SASL_PLAINTEXT", "SASL_SSL", "SSL")
PASSWORD, WRONG, KEY_PASSWORD = "open-sesame-1", "open-barley-2", "open-key-3"
PLAIN = {
    "SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "SASL_MECHANISM": "PLAIN",
    "SASL_PLAIN_USERNAME": "alice",
    "SASL_PLAIN_PASSWORD": PASSWORD,
}
SOON_S = 15.0


class Secured:
    """A broker with a listener for each security protocol, and what clients need to be let in."""

    def __init__(self, cluster: Cluster, keys: Path) -> None:
        self.cluster, self.keys = cluster, keys

    def url(self, protocol: str, topic: str, backend: str) -> str:
        """The address of a topic."""
        return f"kafka://{self.cluster.address(protocol)}/{topic}?backend={backend}"

    def mutual(self) -> dict[str, str]:
        """Settings of a client that shows a certificate."""
        return {
            "SECURITY_PROTOCOL": "SSL",
            "SSL_CAFILE": str(self.keys / "ca.pem"),
            "SSL_CERTFILE": str(self.keys / "client.pem"),
            "SSL_KEYFILE": str(self.keys / "client.key"),
            "SSL_PASSWORD": KEY_PASSWORD,
        }

    def scram(self) -> dict[str, str]:
        """Settings of a client that logs in over TLS."""
        changed = {"SECURITY_PROTOCOL": "SASL_SSL", "SASL_MECHANISM": "SCRAM-SHA-256"}
        return {**PLAIN, **changed, "SSL_CAFILE": str(self.keys / "ca.pem")}


def make_keys(folder: Path) -> None:
    """A certificate authority, another one, and certificates of the first for a broker and a client, as PEM."""

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    new = ("req", "-newkey", "rsa:2048", "-subj", "/CN=test")
    for name in ("ca", "stranger"):
        openssl(*new, "-x509", "-days", "2", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.pem")
    (folder / "names").write_text("subjectAltName=IP:127.0.0.1\n")
    for name, key in (("broker", ("-nodes",)), ("client", ("-passout", f"pass:{KEY_PASSWORD}"))):
        openssl(*new, *key, "-keyout", f"{name}.key", "-out", f"{name}.csr")
        signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-extfile", "names")
        openssl("x509", "-req", "-in", f"{name}.csr", "-out", f"{name}.pem", *signed)
    whole = (folder / "broker.key").read_text() + (folder / "broker.pem").read_text()
    (folder / "broker-store.pem").write_text(whole)


def settings(keys: Path) -> list[str]:
    """Lines of ``server.properties`` for the listeners."""
    package = "org.apache.kafka.common.security"
    lines = [
        "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256",
        "ssl.keystore.type=PEM",
        f"ssl.keystore.location={keys / 'broker-store.pem'}",
        "ssl.truststore.type=PEM",
        f"ssl.truststore.location={keys / 'ca.pem'}",
        "listener.name.ssl.ssl.client.auth=required",
    ]
    for listener in ("sasl_plaintext", "sasl_ssl"):
        name = f"listener.name.{listener}"
        lines += [
            f'{name}.plain.sasl.jaas.config={package}.plain.PlainLoginModule required user_alice="{PASSWORD}";',
            f"{name}.scram-sha-256.sasl.jaas.config={package}.scram.ScramLoginModule required;",
        ]
    return lines


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    from kafka.admin import KafkaAdminClient, UserScramCredentialUpsertion

    skip_without_broker()
    keys = tmp_path_factory.mktemp("keys")
    make_keys(keys)
    with Cluster(tmp_path_factory.mktemp("secured"), settings=settings(keys), listeners=LISTENERS) as cluster:
        admin = KafkaAdminClient(bootstrap_servers=cluster.bootstrap)
        admin.alter_user_scram_credentials([UserScramCredentialUpsertion("alice", "SCRAM-SHA-256", PASSWORD)])
        admin.close()
        cluster.create_topic("events", 2)
        yield Secured(cluster, keys)


def environment(chosen: Mapping[str, str]) -> dict[str, str]:
    """Settings as they stand in the environment."""
    return {f"IHOMER_KAFKA_{name}": value for name, value in chosen.items()}


def ihomer(chosen: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """Run the command with security settings in its environment."""
    command = [sys.executable, "-m", "ihomer", *words]
    return subprocess.run(command, env={**os.environ, **environment(chosen)}, capture_output=True, text=True)


def written(folder: Path) -> bytes:
    """All that stands in the files of a folder."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


@pytest.mark.parametrize("backend", ["kafka-python", pytest.param("confluent", marks=pytest.mark.slow)])
def test_a_pipeline_logs_in_and_shows_its_password_nowhere(secured: Secured, tmp_path: Path, backend: str) -> None:
    topics = {name: f"{name}-{backend}" for name in ("in", "out")}
    for topic in topics.values():
        secured.cluster.create_topic(topic, 2)
    urls = {name: secured.url("SASL_PLAINTEXT", topic, backend) for name, topic in topics.items()}
    history = tmp_path / "history.jsonl"
    history.write_text("".join(json.dumps(event) + "\n" for event in made_events(200)))
    state, report = tmp_path / "state", tmp_path / "report.html"
    outputs = ("--sink", urls["out"], "--checkpoint", str(state), "--report", str(report), "--log-format", "json")
    done = [
        ihomer(PLAIN, "produce", "--source", str(history), "--sink", urls["in"]),
        ihomer(PLAIN, "run", "--source", f"{urls['in']}&group=g", "--learner", "linear", *outputs, "--until-end"),
        ihomer(PLAIN, "tail", urls["out"], "-n", "1000"),
    ]
    for one in done:
        assert one.returncode == 0, one.stderr
        assert PASSWORD not in one.stdout + one.stderr
    assert set(re.findall(r"\be\d+\b", done[-1].stdout)) == {f"e{i}" for i in range(200)}
    assert report.exists()
    assert list(state.rglob("*.ckpt"))
    assert PASSWORD.encode() not in written(tmp_path)


def test_metrics_and_the_log_of_a_live_pipeline_show_no_password(secured: Secured, tmp_path: Path) -> None:
    log = tmp_path / "log"
    url = secured.url("SASL_PLAINTEXT", "events", "kafka-python")
    words = [sys.executable, "-m", "ihomer", "--debug", "run", "--source", url, "--learner", "linear"]
    with open(log, "wb") as file:
        running = subprocess.Popen(
            [*words, "--metrics-port", "0"], stdout=file, stderr=file, env={**os.environ, **environment(PLAIN)}
        )
    try:
        wait_for(lambda: "/metrics" in log.read_text() and "is ours" in log.read_text(), 30, "the pipeline")
        address = next(word for word in log.read_text().split() if word.endswith("/metrics"))
        with urlopen(address) as answer:
            metrics = answer.read().decode()
        assert "ihomer" in metrics
        assert PASSWORD not in metrics
        running.terminate()
        assert running.wait(30) == 130
    finally:
        running.kill()
        running.wait()
    assert PASSWORD not in log.read_text()


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_most_talkative_log_shows_no_password(
    secured: Secured, caplog: pytest.LogCaptureFixture, backend: str
) -> None:
    address = Address.parse(secured.url("SASL_PLAINTEXT", "events", backend), environment(PLAIN))
    with caplog.at_level("DEBUG"):
        consumer = make_consumer(address)
        assert consumer.partitions() == [0, 1]
        consumer.close()
    assert PASSWORD not in caplog.text
    assert "kafka.net" in caplog.text or backend == "confluent"


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_wrong_password_ends_soon_with_an_error_that_names_the_broker(secured: Secured, backend: str) -> None:
    url, begun = secured.url("SASL_PLAINTEXT", "events", backend), time.monotonic()
    wrong = {**PLAIN, "SASL_PLAIN_PASSWORD": WRONG}
    ended = ihomer(wrong, "run", "--source", url, "--learner", "linear", "--until-end")
    assert time.monotonic() - begun < SOON_S
    assert ended.returncode == 1
    assert f"kafka://{secured.cluster.address('SASL_PLAINTEXT')}/events: connecting must work" in ended.stderr
    assert "Authentication failed" in ended.stderr
    assert WRONG not in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("way", ["scram", "mutual"])
def test_tls_with_an_authority_of_ones_own(secured: Secured, backend: str, way: str) -> None:
    chosen = secured.scram() if way == "scram" else secured.mutual()
    secured.cluster.create_topic(f"{way}-{backend}", 1)
    url = secured.url(chosen["SECURITY_PROTOCOL"], f"{way}-{backend}", backend)
    address = Address.parse(url, environment(chosen))
    producer = make_producer(address, f"{way}-{backend}")
    producer.begin()
    producer.send(Outgoing(b'{"id": "a", "x": {"f": 1.0}, "y": []}', 0))
    producer.commit(1, "{}")
    assert producer.committed() == (1, "{}")
    producer.close()
    source = KafkaSource(address, until_end=True)
    batch = source.next_batch(10, 10.0)
    source.close()
    assert batch is not None
    assert batch.key == ["a"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("chosen", "why"),
    [
        pytest.param({"SSL_CAFILE": ""}, "certificate verify failed", id="no authority"),
        pytest.param({"SSL_CAFILE": "stranger.pem"}, "certificate verify failed", id="another authority"),
        pytest.param({"SASL_PLAIN_PASSWORD": WRONG}, "Authentication failed", id="wrong password"),
        pytest.param({"SASL_MECHANISM": "SCRAM-SHA-512"}, "Unsupported ?Sasl ?Mechanism", id="other mechanism"),
    ],
)
def test_who_is_not_let_in_is_told_why_soon(secured: Secured, backend: str, chosen: dict[str, str], why: str) -> None:
    changed = dict(chosen)
    if changed.get("SSL_CAFILE"):
        changed["SSL_CAFILE"] = str(secured.keys / changed["SSL_CAFILE"])
    found = {name: value for name, value in {**secured.scram(), **changed}.items() if value}
    address = Address.parse(secured.url("SASL_SSL", "events", backend), environment(found))
    makers = (lambda: make_consumer(address).partitions(), lambda: make_producer(address, "refused"))
    for make in makers:
        begun = time.monotonic()
        with pytest.raises(KafkaUnavailableError, match=f"(?i){why}") as refused:
            make()
        assert time.monotonic() - begun < SOON_S / 2
        assert str(address) in str(refused.value)
        assert not any(secret in str(refused.value) for secret in (PASSWORD, WRONG))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("kafka-io")]


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_broker_must_have_the_name_of_its_certificate_unless_told_otherwise(secured: Secured, backend: str) -> None:
    url = secured.url("SASL_SSL", "events", backend).replace("127.0.0.1", "localhost")
    strict, lenient = (
        Address.parse(url, environment({**secured.scram(), "SSL_CHECK_HOSTNAME": check})) for check in ("true", "false")
    )
    with pytest.raises(KafkaUnavailableError, match=r"(?i)certificate verify failed"):
        make_producer(strict, None)
    producer = make_producer(lenient, None)
    assert producer.partitions() == 2
    producer.close()
