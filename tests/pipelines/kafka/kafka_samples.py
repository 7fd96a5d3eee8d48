"""Client settings as a pipeline file may have them, for the tests of this folder."""

import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from verdict.pipelines.errors import KafkaError
from verdict.pipelines.kafka.clients import Clients, clients
from verdict.pipelines.spec.settings import Settings

PASSWORD = r"""p"w\d;='{ ü$"""
SASL = {
    "security.protocol": "sasl_ssl",
    "sasl.mechanism": "PLAIN",
    "sasl.username": "alice",
    "sasl.password": {"env": "TEST_PASSWORD"},
}
SSL = {"security.protocol": "ssl"}
CERTIFICATE = {"ssl.certificate.location": "client.pem", "ssl.key.location": "client.key"}
STORE = {"ssl.keystore.location": "client.p12", "ssl.keystore.password": {"env": "TEST_PASSWORD"}}

SAMPLES: Mapping[str, Mapping[str, Any]] = {
    "bootstrap.servers": {"bootstrap.servers": "a:9092, [::1]:9093"},
    "client.id": {"client.id": "fraud"},
    "client.rack": {"client.rack": "west"},
    "client.dns.lookup": {"client.dns.lookup": "resolve_canonical_bootstrap_servers_only"},
    "security.protocol": SSL,
    "sasl.mechanism": {**SASL, "sasl.mechanism": "SCRAM-SHA-512"},
    "sasl.username": SASL,
    "sasl.password": {**SASL, "security.protocol": "sasl_plaintext"},
    "ssl.ca.location": {**SSL, "ssl.ca.location": "ca.pem"},
    "ssl.ca.pem": {**SSL, "ssl.ca.pem": {"file": "ca.pem"}},
    "ssl.certificate.location": {**SSL, **CERTIFICATE},
    "ssl.certificate.pem": {
        **SSL,
        "ssl.certificate.pem": {"file": "client.pem"},
        "ssl.key.pem": {"file": "client.key"},
    },
    "ssl.key.location": {**SSL, **CERTIFICATE},
    "ssl.key.pem": {
        **SSL,
        "ssl.certificate.location": "client.pem",
        "ssl.key.pem": {"file": "client.key"},
    },
    "ssl.key.password": {
        **SSL,
        "ssl.certificate.location": "client.pem",
        "ssl.key.location": "encrypted.key",
        "ssl.key.password": {"env": "TEST_PASSWORD"},
    },
    "ssl.keystore.location": {**SSL, **STORE},
    "ssl.keystore.password": {**SSL, **STORE},
    "ssl.endpoint.identification.algorithm": {
        **SSL,
        "ssl.endpoint.identification.algorithm": "none",
    },
    "socket.timeout.ms": {"socket.timeout.ms": 20_000},
    "socket.connection.setup.timeout.ms": {"socket.connection.setup.timeout.ms": 4000},
    "socket.send.buffer.bytes": {"socket.send.buffer.bytes": 0},
    "socket.receive.buffer.bytes": {"socket.receive.buffer.bytes": 65_536},
    "connections.max.idle.ms": {"connections.max.idle.ms": 60_000},
    "reconnect.backoff.ms": {"reconnect.backoff.ms": 20},
    "reconnect.backoff.max.ms": {"reconnect.backoff.max.ms": 2000},
    "retry.backoff.ms": {"retry.backoff.ms": 50},
    "retry.backoff.max.ms": {"retry.backoff.max.ms": 2000},
    "metadata.max.age.ms": {"metadata.max.age.ms": 60_000},
    "message.max.bytes": {"message.max.bytes": 2_000_000},
    "isolation.level": {"isolation.level": "read_uncommitted"},
    "fetch.min.bytes": {"fetch.min.bytes": 1000},
    "fetch.wait.max.ms": {"fetch.wait.max.ms": 20},
    "fetch.max.bytes": {"fetch.max.bytes": 10_000_000},
    "max.partition.fetch.bytes": {"max.partition.fetch.bytes": 2_000_000},
    "check.crcs": {"check.crcs": True},
    "linger.ms": {"linger.ms": 3},
    "batch.size": {"batch.size": 100_000},
    "compression.type": {"compression.type": "lz4"},
    "compression.level": {"compression.type": "gzip", "compression.level": 3},
    "message.timeout.ms": {"message.timeout.ms": 4000, "linger.ms": 5},
    "retries": {"retries": 7},
    "max.in.flight.requests.per.connection": {"max.in.flight.requests.per.connection": 2},
    "queue.buffering.max.kbytes": {"queue.buffering.max.kbytes": 4096},
    "transaction.timeout.ms": {"transaction.timeout.ms": 60_000},
}
"""Setting -> a pipeline's settings that hold it."""


def make(settings: Mapping[str, Any], folder: Path = Path()) -> Clients:
    kafka = {"bootstrap.servers": "127.0.0.1:1", **settings}
    return clients(Settings.model_validate({"kafka": kafka}), folder)


def refusal(settings: Mapping[str, Any], folder: Path = Path()) -> str:
    with pytest.raises(KafkaError) as refused:
        make(settings, folder)
    return str(refused.value)


def name() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"
