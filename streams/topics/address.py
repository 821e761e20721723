"""Where a topic is and how it is read or written: ``kafka://host:port/topic?group=g&format=json`` or ``log:DIR``."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

SCHEMES = ("kafka:", "log:")

SECURITY: dict[str, Callable[[str], Any]] = {
    "security_protocol": str,
    "sasl_mechanism": str,
    "sasl_plain_username": str,
    "sasl_plain_password": str,
    "sasl_kerberos_service_name": str,
    "ssl_cafile": str,
    "ssl_certfile": str,
    "ssl_keyfile": str,
    "ssl_password": str,
    "ssl_check_hostname": lambda text: text.lower() in ("1", "true", "yes"),
}
"""Settings that are taken from the environment, as ``IHOMER_KAFKA_`` and their name, and what makes their values."""

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")

_CHOICES = {
    "format": ("json", "binary", "arrow"),
    "backend": ("kafka-python", "confluent"),
    "delivery": ("exactly-once", "at-least-once"),
    "start": ("earliest", "latest"),
    "isolation": ("read_committed", "read_uncommitted"),
    "rows": ("dense", "sparse"),
}
_TEXTS = ("group", "instance", "client", "schema", "transactional_id")
_COUNTS = ("session_timeout_ms", "max_poll_interval_ms", "partitions", "pack")


@dataclass(frozen=True)
class Address:
    """A topic on a cluster, and the options of its URL.

    Attributes
    ----------
    servers
        ``host:port`` of brokers to ask first.
    topic
        Its name.
    options
        By name: ``group`` (members of a group share the partitions; none: all of them), ``instance`` (static
        membership), ``client``, ``format`` (json, binary, arrow), ``schema`` (file with the names behind binary
        events), ``backend`` (kafka-python, confluent), ``start`` (earliest, latest: where a partition without a
        checkpoint begins), ``isolation``, ``rows`` (dense, sparse), ``session_timeout_ms``,
        ``max_poll_interval_ms``; for sinks ``delivery`` (exactly-once, at-least-once), ``transactional_id``, ``pack``
        (messages in one record), ``partitions`` (of a folder that is to be made).
    directory
        The folder of a topic that is one, else None.
    security
        TLS and SASL settings; they do not show when an address is printed.
    """

    servers: tuple[str, ...]
    topic: str
    options: Mapping[str, str] = field(default_factory=dict)
    directory: Path | None = None
    security: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def parse(cls, url: str, environment: Mapping[str, str] | None = None) -> Address:
        """The address that a URL names; TLS and SASL settings come from the environment (default: the process's).

        Raises
        ------
        ValueError
            It has another form, or an option that is not known or has a wrong value, or so has a TLS or SASL setting.
        FileNotFoundError
            A certificate or key is not there.

        Examples
        --------
        >>> address = Address.parse("kafka://localhost:9092/events?group=g", {})
        >>> address.servers, address.topic, address.options["group"]
        (('localhost:9092',), 'events', 'g')
        """
        if url.startswith("log:"):
            return cls._of_folder(url)
        parts = urlsplit(url)
        topic = parts.path.strip("/")
        if parts.scheme != "kafka" or not parts.netloc or not topic or "/" in topic:
            raise ValueError(f"a topic must be written as kafka://host:port/topic?option=value, got {_shown(url)!r}")
        if "@" in parts.netloc:
            raise ValueError(
                "credentials must stand in IHOMER_KAFKA_SASL_PLAIN_USERNAME and IHOMER_KAFKA_SASL_PLAIN_PASSWORD,"
                f" got some in the address of topic {topic!r}"
            )
        servers = tuple(server if ":" in server else f"{server}:9092" for server in parts.netloc.split(","))
        options = _options(parts.query)
        return cls(servers, topic, options, security=_security(os.environ if environment is None else environment))

    @classmethod
    def _of_folder(cls, url: str) -> Address:
        path, _, query = url.removeprefix("log:").partition("?")
        if not path:
            raise ValueError(f"a topic in a folder must be written as log:DIR, got {url!r}")
        directory = Path(path)
        return cls((), directory.name or str(directory), _options(query), directory)

    def alone(self) -> Address:
        """The same topic for one that reads all of its partitions, whatever the group."""
        kept = {name: value for name, value in self.options.items() if name not in ("group", "instance")}
        return replace(self, options=kept)

    @property
    def group(self) -> str | None:
        """The consumer group, or None."""
        return self.options.get("group")

    def get(self, name: str) -> str:
        """A choice among several, the first of which is the default."""
        return self.options.get(name, _CHOICES[name][0])

    def count(self, name: str, default: int) -> int:
        """A number."""
        return int(self.options.get(name, default))

    def __str__(self) -> str:
        if self.directory is not None:
            return f"log:{self.directory}"
        return f"kafka://{','.join(self.servers)}/{self.topic}"


def is_topic(text: str) -> bool:
    """Whether what a user wrote names a topic."""
    return text.startswith(SCHEMES)


def _options(query: str) -> dict[str, str]:
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name, value in options.items():
        _check(name, value)
    return options


def _check(name: str, value: str) -> None:
    if name in _CHOICES:
        if value not in _CHOICES[name]:
            raise ValueError(f"{name} of a topic must be one of {', '.join(_CHOICES[name])}, got {value!r}")
    elif name in _COUNTS:
        if not value.isdigit() or int(value) < 1:
            raise ValueError(f"{name} of a topic must be a whole number of at least 1, got {value!r}")
    elif name not in _TEXTS:
        known = ", ".join(sorted((*_CHOICES, *_COUNTS, *_TEXTS)))
        raise ValueError(f"an option of a topic must be one of {known}, got {name!r}")


def _security(environment: Mapping[str, str]) -> dict[str, Any]:
    """TLS and SASL settings of an environment, looked at as far as that can be done without a broker."""
    variables = {name: f"IHOMER_KAFKA_{name.upper()}" for name in SECURITY}
    found = {name: environment[variable] for name, variable in variables.items() if environment.get(variable)}
    protocol = found.get("security_protocol", _PROTOCOLS[0])
    if protocol not in _PROTOCOLS:
        raise ValueError(f"{variables['security_protocol']} must be one of {', '.join(_PROTOCOLS)}, got {protocol!r}")
    needed = ["sasl_mechanism"] if protocol.startswith("SASL") else []
    if needed and found.get("sasl_mechanism", "").startswith(("PLAIN", "SCRAM")):
        needed += ["sasl_plain_username", "sasl_plain_password"]
    for name in needed:
        if name not in found:
            raise ValueError(f"{variables[name]} must be set for {protocol}, found nothing")
    for name in ("ssl_cafile", "ssl_certfile", "ssl_keyfile"):
        if name in found and not Path(found[name]).is_file():
            raise FileNotFoundError(f"{variables[name]} must be a file, got {found[name]!r}")
    return {name: SECURITY[name](text) for name, text in found.items()}


def _shown(url: str) -> str:
    """``url`` without what may be a password."""
    before, at, after = url.rpartition("@")
    return f"kafka://…{at}{after}" if at and before else url
