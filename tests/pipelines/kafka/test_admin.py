"""Brokers and their topics: looked up, made, and what is said where that fails."""

import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer

from tests.pipelines.kafka.kafka_samples import CERTIFICATE, SASL, make, name
from verdict.pipelines.errors import KafkaError
from verdict.pipelines.kafka import admin
from verdict.pipelines.kafka.admin import connect, create_topics, require
from verdict.pipelines.local.broker import LocalKafka


def test_a_broker_that_is_not_there(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(admin, "ANSWER_S", 0.5)
    made = make({})
    with pytest.raises(KafkaError) as refused:
        require(made, ["transactions"])
    assert str(refused.value) == (
        "no broker answers at 127.0.0.1:1 (Connection refused); "
        "start one with 'verdict up' or mend settings.kafka 'bootstrap.servers'"
    )
    consumer = Consumer({**made.consumer, "group.id": "g"})
    consumer.subscribe(["transactions"])
    producer = Producer(made.producer)
    producer.produce("decisions", b"")
    consumer.poll(0.5)
    producer.flush(0.5)
    producer.purge()
    consumer.close()
    assert capfd.readouterr() == ("", "")


def test_topics_are_created_once(kafka: LocalKafka) -> None:
    made = make({"bootstrap.servers": kafka.bootstrap})
    one, two, three = name(), name(), name()
    with pytest.raises(KafkaError) as missing:
        require(made, [one])
    assert str(missing.value) == (
        f"topic '{one}' does not exist at {kafka.bootstrap}; "
        "'verdict topics create PIPELINE' makes it"
    )
    assert create_topics(made, [one], config={"retention.ms": "1000"}) == [one]
    with pytest.raises(KafkaError, match=f"topics '{two}', '{three}' do not exist"):
        require(made, [one, two, three])
    assert create_topics(made, [one, two, two, three], partitions=3) == [two, three]
    assert create_topics(made, [one, two]) == []
    assert require(made, [three, one]) == {three: 3, one: 1}
    assert require(made, []) == {}


def test_a_topic_that_kafka_refuses(kafka: LocalKafka) -> None:
    made = make({"bootstrap.servers": kafka.bootstrap})
    with pytest.raises(KafkaError, match=r"topic 'a/b' cannot be created at .*: .*invalid"):
        create_topics(made, ["a/b"])
    with pytest.raises(KafkaError, match=r"cannot be created at .*[Rr]eplication"):
        create_topics(made, [name()], replication=3)


def test_a_wrong_password(
    secure: Any, keys: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    monkeypatch.setenv("TEST_PASSWORD", "wrong-password")
    where = {"bootstrap.servers": secure.secure, "ssl.ca.location": "ca.pem"}
    started = time.monotonic()
    with pytest.raises(KafkaError) as refused:
        connect(make({**CERTIFICATE, **SASL, **where}, keys))
    assert time.monotonic() - started < 4  # waiting would not mend it
    assert f"the broker at {secure.secure} does not let us in (" in str(refused.value)
    assert "wrong-password" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


def test_a_broker_that_nobody_vouches_for(secure: Any, keys: Path) -> None:
    where = {"bootstrap.servers": secure.secure, "ssl.ca.location": "client.pem"}
    with pytest.raises(KafkaError, match=r"no TLS with the broker at .* \(.*certificate.*\); mend"):
        connect(make({**CERTIFICATE, **SASL, **where}, keys))
