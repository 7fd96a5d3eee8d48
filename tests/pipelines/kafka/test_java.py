"""Client settings translated for Flink's Java client, which takes them, and means the same."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.pipelines.kafka.kafka_samples import CERTIFICATE, SAMPLES, SASL, STORE, make, name
from verdict.pipelines.kafka.admin import create_topics, require
from verdict.pipelines.kafka.java import LOGIN_MODULES
from verdict.pipelines.kafka.settings import JAVA, SETTINGS
from verdict.pipelines.local.broker import LocalKafka

NOT_IN_BROKERS_CLIENT = {"client.id.prefix"}
"""Names of the Kafka connector's own."""


@pytest.mark.parametrize("setting", SETTINGS)
def test_flinks_client_takes_every_setting(setting: str, keys: Path, java: Any) -> None:
    made = make(SAMPLES[setting], keys).java
    new = {each for each, value in made.items() if JAVA.get(each) != value}
    assert set(made) - NOT_IN_BROKERS_CLIENT <= java.names()
    assert new & set(SETTINGS[setting].java or {setting})
    known = {each for other in SAMPLES[setting] for each in SETTINGS[other].java or (other,)}
    assert new <= known | {"bootstrap.servers"}
    # Java checks the values, reads the files and decrypts the keys.
    if setting == "bootstrap.servers":
        made["bootstrap.servers"] = made["bootstrap.servers"].replace("a:", "127.0.0.1:")
    java.consumer(made).close()
    java.producer(made).close()


@pytest.mark.parametrize("mechanism", LOGIN_MODULES)
def test_the_login_modules_are_in_flinks_jar(mechanism: str, java: Any) -> None:
    loader = java.jvm.java.lang.ClassLoader.getSystemClassLoader()
    loader.loadClass(LOGIN_MODULES[mechanism])


def test_both_clients_send_a_key_to_one_partition(kafka: LocalKafka, java: Any) -> None:
    made, topic = make({"bootstrap.servers": kafka.bootstrap}), name()
    create_topics(made, [topic], partitions=7)
    sent: dict[bytes, int] = {}
    producer = Producer(made.producer)
    for number in range(50):
        producer.produce(
            topic,
            key=b"card-%d" % number,
            on_delivery=lambda _, record: sent.update({record.key(): record.partition()}),
        )
    assert producer.flush(10) == 0
    other = java.producer(made.java)
    record = java.clients.producer.ProducerRecord
    for key, partition in sent.items():
        assert other.send(record(topic, key, b"")).get().partition() == partition
    other.close()
    assert len(set(sent.values())) == 7


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4"])
def test_each_client_reads_what_the_other_compressed(
    codec: str, kafka: LocalKafka, java: Any
) -> None:
    made, topic = make({"bootstrap.servers": kafka.bootstrap, "compression.type": codec}), name()
    create_topics(made, [topic])
    value = b"much the same " * 100
    producer = Producer(made.producer)
    producer.produce(topic, value)
    assert producer.flush(10) == 0
    other = java.producer(made.java)
    other.send(java.clients.producer.ProducerRecord(topic, b"", value)).get()
    other.close()

    consumer = Consumer({**made.consumer, "group.id": topic})
    consumer.assign([TopicPartition(topic, 0, 0)])
    read = consumer.consume(2, 20)
    consumer.close()
    assert [record.value() for record in read] == [value, value]
    reader = java.consumer(made.java)
    reader.assign([java.kafka.common.TopicPartition(topic, 0)])
    wait = java.jvm.java.time.Duration.ofSeconds(20)
    count = 0
    while count < 2 and not (records := reader.poll(wait)).isEmpty():
        each = records.iterator()
        while each.hasNext():
            assert bytes(each.next().value()) == value
            count += 1
    reader.close()
    assert count == 2


def test_java_gets_what_librdkafka_means() -> None:
    java = make({"message.timeout.ms": 4000, "linger.ms": 5}).java
    assert (java["delivery.timeout.ms"], java["request.timeout.ms"]) == ("4000", "3995")
    assert make({"message.timeout.ms": 0}).java["delivery.timeout.ms"] == "2147483647"
    assert make({"queue.buffering.max.kbytes": 4}).java["buffer.memory"] == "4096"
    assert make({"socket.send.buffer.bytes": 0}).java["send.buffer.bytes"] == "-1"
    assert make({"compression.level": 3}).java.keys() == make({}).java.keys()
    assert make({"check.crcs": False}).java["check.crcs"] == "false"
    assert make({}).java["isolation.level"] == make({}).consumer["isolation.level"]


@pytest.mark.parametrize(
    "own",
    [
        CERTIFICATE,
        {"ssl.certificate.location": "client-both.pem", "ssl.key.location": "client-both.pem"},
        SAMPLES["ssl.key.password"],
        STORE,
    ],
    ids=["files", "one-file", "encrypted", "pkcs12"],
)
def test_both_clients_get_into_a_secure_broker(
    own: Mapping[str, Any], secure: Any, keys: Path, java: Any
) -> None:
    where = {"bootstrap.servers": secure.secure, "ssl.ca.location": "ca.pem"}
    made, topic = make({**own, **SASL, **where}, keys), name()
    create_topics(made, [topic])
    assert require(made, [topic]) == {topic: 1}
    consumer = java.consumer(made.java)
    assert topic in consumer.listTopics()
    consumer.close()
