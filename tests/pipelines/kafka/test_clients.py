"""Client settings of a pipeline file: what is wrong is said, and secrets are not."""

import pickle
import re
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.pipelines.kafka.kafka_samples import (
    CERTIFICATE,
    PASSWORD,
    SASL,
    SSL,
    make,
    name,
    refusal,
)
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.clients import LOCAL_BROKER, clients
from verdict.pipelines.kafka.secret import Secret
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.spec.settings import Settings


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"lingr.ms": 5}, "settings.kafka.lingr.ms is not .* Did you mean 'linger.ms'?"),
        ({"fetch.max.wait.ms": 5}, "Flink's client; write 'fetch.wait.max.ms'."),
        ({"sasl.jaas.config": "x"}, "Flink's client; write 'sasl.username' or 'sasl.password'."),
        ({"debug": "all"}, "settings.kafka.debug .* docs/operations.md lists the settings$"),
        ({"acks": 1}, "settings.kafka.acks is not for a pipeline to set: `all`; "),
        ({"linger.ms": 5, "queue.buffering.max.ms": 5}, "the same as 'linger.ms'; write one"),
        ({"linger.ms": 0.5}, "settings.kafka.linger.ms: '0.5' is not a whole number"),
        ({"linger.ms": "5 s"}, "'5 s' is not a whole number"),
        ({"linger.ms": 10**9}, "settings.kafka.linger.ms: librdkafka refuses '1000000000': .*0.."),
        (
            {"message.max.bytes": 262_143},
            "dead letter may take 212,992 bytes; write 262144 at least",
        ),
        ({"check.crcs": "perhaps"}, "settings.kafka.check.crcs: librdkafka refuses 'perhaps'"),
        ({"isolation.level": "x"}, "settings.kafka.isolation.level: librdkafka refuses 'x'"),
        ({"compression.codec": "rar"}, "settings.kafka.compression.type: librdkafka refuses"),
        ({"compression.type": "zstd"}, "compression.type: Flink's client comes without zstd"),
        ({"retries": 0}, "librdkafka refuses them: .* `retries` must be set >= 1"),
        ({"bootstrap.servers": "localhost"}, "bootstrap.servers: 'localhost' is not host:port"),
        ({"ssl.ca.location": "nowhere.pem"}, r"ssl.ca.location: there is no file /.*nowhere.pem"),
        ({"ssl.key.password": "x"}, r"ssl.key.password: no secrets in plain text; write {env: "),
        ({"sasl.username": "a"}, "has no effect while 'security.protocol' is plaintext; write sas"),
        ({"security.protocol": "sasl_ssl"}, "sasl.mechanism: None is none of PLAIN, SCRAM"),
        ({**SASL, "sasl.mechanism": "GSSAPI"}, "sasl.mechanism: 'GSSAPI' is none of PLAIN, SCRAM"),
        (
            {"security.protocol": "sasl_plaintext", "sasl.mechanism": "PLAIN"},
            "sasl.username: is missing; PLAIN needs one",
        ),
        (
            {"security.protocol": "sasl_ssl", "sasl.mechanism": "PLAIN", "sasl.username": "a"},
            "sasl.username: goes with 'sasl.password', which is missing",
        ),
        (
            {**SSL, "ssl.key.pem": {"env": "TEST_PASSWORD"}},
            "ssl.key.pem: goes with 'ssl.certificate.location', which is missing",
        ),
    ],
)
def test_what_is_wrong_is_said(settings: dict[str, Any], says: str) -> None:
    assert re.search(says, refusal(settings))


def test_brokers_that_are_not_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("VERDICT_BOOTSTRAP", raising=False)
    assert clients(Settings()).servers == "127.0.0.1:9092"
    (tmp_path / LOCAL_BROKER).parent.mkdir(parents=True)
    (tmp_path / LOCAL_BROKER).write_text('{"pid": 1, "bootstrap": "127.0.0.1:20001"}')
    assert clients(Settings()).servers == "127.0.0.1:20001"
    monkeypatch.setenv("VERDICT_BOOTSTRAP", "127.0.0.1:20002")
    assert clients(Settings()).servers == "127.0.0.1:20002"


def test_old_keys_are_refused_with_what_to_do(keys: Path) -> None:
    settings = {**SSL, **CERTIFICATE, "ssl.key.location": "old.key"}
    assert "ssl.key.location: Flink's client takes PKCS#8 alone; 'openssl" in refusal(
        settings, keys
    )


def test_a_missing_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TEST_PASSWORD")
    assert refusal(SASL) == (
        "settings.kafka.sasl.password: the environment variable TEST_PASSWORD is not set"
    )
    settings = {**SASL, "sasl.password": {"file": "run/password"}}
    wanted = f"cannot read the secret {tmp_path / 'run/password'}: No such file or directory"
    assert refusal(settings, tmp_path) == f"settings.kafka.sasl.password: {wanted}"


def test_secrets_are_resolved_and_never_shown(keys: Path, tmp_path: Path) -> None:
    (tmp_path / "user").write_text("alice-of-the-file\n")
    (tmp_path / "key").write_bytes((keys / "client.key").read_bytes())
    settings = {
        **SASL,
        "sasl.username": {"file": "user"},
        "ssl.certificate.location": str(keys / "client.pem"),
        "ssl.key.pem": {"file": "key"},
    }
    made = make(settings, tmp_path)
    assert made.consumer["sasl.username"] == "alice-of-the-file"
    assert made.producer["sasl.password"] == PASSWORD
    assert "alice-of-the-file" in made.java["sasl.jaas.config"]
    shown = f"{made!r} {made.java} {[{**made.consumer, 'group.id': 'g'}]} {vars(made)}"
    assert "'sasl.password': '***'" in shown
    for secret in ("alice-of-the-file", PASSWORD[:3], PASSWORD[-6:], "PRIVATE KEY"):
        assert secret not in shown
    assert pickle.loads(pickle.dumps(made)) == made
    assert isinstance(pickle.loads(pickle.dumps(made)).admin["sasl.password"], Secret)


def test_a_refused_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_PASSWORD", "top-secret")
    for setting in ("isolation.level", "linger.ms", "ssl.endpoint.identification.algorithm"):
        said = refusal({**SSL, setting: {"env": "TEST_PASSWORD"}})
        assert f"settings.kafka.{setting}: " in said
        assert "'***'" in said
        assert "top-secret" not in said


def test_what_a_producer_took_back_is_not_read(kafka: LocalKafka) -> None:
    made, topic = make({"bootstrap.servers": kafka.bootstrap}), name()
    create_topics(made, [topic])
    producer = Producer({**made.producer, "transactional.id": topic})
    producer.init_transactions(20)
    for value, end in ((b"taken back", "abort"), (b"kept", "commit")):
        producer.begin_transaction()
        producer.produce(topic, value)
        producer.flush(10)
        getattr(producer, f"{end}_transaction")(20)
    consumer = Consumer({**made.consumer, "group.id": topic})
    consumer.assign([TopicPartition(topic, 0, 0)])
    record = None
    deadline = time.monotonic() + 20
    while record is None and time.monotonic() < deadline:
        record = consumer.poll(0.5)
    consumer.close()
    assert record is not None
    assert record.value() == b"kept"
