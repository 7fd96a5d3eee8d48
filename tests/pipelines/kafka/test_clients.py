"""Client settings, held against librdkafka, Flink's Java client and real brokers."""

import datetime
import ipaddress
import logging
import pickle
import re
import socket
import subprocess
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyflink
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID
from py4j.java_gateway import GatewayParameters, JavaGateway

from verdict.pipelines.errors import KafkaError
from verdict.pipelines.kafka import admin
from verdict.pipelines.kafka import clients as module
from verdict.pipelines.kafka.admin import connect, create_topics, require
from verdict.pipelines.kafka.clients import LOCAL_BROKER, Clients, clients
from verdict.pipelines.kafka.java import LOGIN_MODULES
from verdict.pipelines.kafka.secret import Secret
from verdict.pipelines.kafka.settings import ALIASES, JAVA, OURS, SETTINGS, reference
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.local.java import flink_jars, java_home
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

NOT_IN_BROKERS_CLIENT = {"client.id.prefix"}
"""Names of the Kafka connector's own."""


def make(settings: Mapping[str, Any], folder: Path = Path()) -> Clients:
    kafka = {"bootstrap.servers": "127.0.0.1:1", **settings}
    return clients(Settings.model_validate({"kafka": kafka}), folder)


def refusal(settings: Mapping[str, Any], folder: Path = Path()) -> str:
    with pytest.raises(KafkaError) as refused:
        make(settings, folder)
    return str(refused.value)


def name() -> str:
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture(autouse=True)
def password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_PASSWORD", PASSWORD)


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority, a broker's and a client's certificate, and their keys."""
    folder = tmp_path_factory.mktemp("keys")

    def write(file: str, content: bytes) -> None:
        (folder / file).write_bytes(content)

    def pem(key: ec.EllipticCurvePrivateKey, password: str | None = None) -> bytes:
        encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
        if password is not None:
            encryption = serialization.BestAvailableEncryption(password.encode())
        return key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        )

    authority, authority_key = _certificate("authority", None, None)
    write("ca.pem", authority.public_bytes(serialization.Encoding.PEM))
    for who in ("broker", "client"):
        certificate, key = _certificate(who, authority, authority_key)
        chain = certificate.public_bytes(serialization.Encoding.PEM)
        write(f"{who}.pem", chain)
        write(f"{who}.key", pem(key))
        write(f"{who}-both.pem", pem(key) + chain)
    write("encrypted.key", pem(key, PASSWORD))
    write(
        "old.key",
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        ),
    )
    encryption = serialization.BestAvailableEncryption(PASSWORD.encode())
    write(
        "client.p12",
        pkcs12.serialize_key_and_certificates(b"c", key, certificate, [authority], encryption),
    )
    return folder


def _certificate(
    who: str, issuer: x509.Certificate | None, issuer_key: ec.EllipticCurvePrivateKey | None
) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, who)])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.BasicConstraints(ca=issuer is None, path_length=None), critical=True)
        .add_extension(names, critical=False)
        .sign(issuer_key or key, hashes.SHA256())
    )
    return certificate, key


class Java:
    """Kafka's Java client as Flink has it, shaded, in a JVM of its own."""

    def __init__(self, log: Path) -> None:
        flink = Path(pyflink.__file__).parent
        jars = [*flink.glob("opt/flink-python-*.jar"), *flink_jars(), *flink.glob("lib/*.jar")]
        server = "org.apache.flink.api.python.shaded.py4j.GatewayServer"
        command = [str(java_home() / "bin/java"), "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]
        command += ["-cp", ":".join(map(str, jars)), server, "--die-on-broken-pipe", "0"]
        with log.open("w") as errors:
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
            )
        assert self.process.stdout is not None
        port = int(self.process.stdout.readline())
        self.gateway = JavaGateway(
            gateway_parameters=GatewayParameters(port=port, auto_convert=True)
        )
        self.jvm = self.gateway.jvm
        self.kafka = self.jvm.org.apache.flink.kafka.shaded.org.apache.kafka
        self.clients = self.kafka.clients

    def names(self) -> set[str]:
        return set(self.clients.consumer.ConsumerConfig.configNames()) | set(
            self.clients.producer.ProducerConfig.configNames()
        )

    def consumer(self, settings: Mapping[str, str]) -> Any:
        codec = f"{self.kafka._fqn}.common.serialization.ByteArrayDeserializer"
        plain = {key: str(value) for key, value in settings.items()}
        coding = {"key.deserializer": codec, "value.deserializer": codec}
        return self.clients.consumer.KafkaConsumer({**plain, **coding})

    def producer(self, settings: Mapping[str, str]) -> Any:
        codec = f"{self.kafka._fqn}.common.serialization.ByteArraySerializer"
        plain = {key: str(value) for key, value in settings.items()}
        coding = {"key.serializer": codec, "value.serializer": codec}
        return self.clients.producer.KafkaProducer({**plain, **coding})

    def close(self) -> None:
        self.gateway.shutdown()
        self.process.terminate()
        self.process.communicate()


@pytest.fixture(scope="session")
def java(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Java]:
    gateway = Java(tmp_path_factory.mktemp("java") / "log")
    yield gateway
    gateway.close()


def test_the_table_is_whole() -> None:
    assert set(SAMPLES) == set(SETTINGS)
    assert all(setting in sample for setting, sample in SAMPLES.items())
    assert set(ALIASES.values()) <= set(SETTINGS)
    assert not set(ALIASES) & set(SETTINGS)
    assert not set(OURS) & set(SETTINGS)
    for each in (*SETTINGS, *ALIASES, *OURS):
        assert f"`{each}`" in reference()


@pytest.mark.parametrize("setting", SETTINGS)
def test_librdkafka_takes_every_setting(
    setting: str, keys: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    made = make(SAMPLES[setting], keys)
    taken = {"consumer": made.consumer, "producer": made.producer, "admin": made.admin}
    of = {"all": set(taken)}.get(SETTINGS[setting].takes, {SETTINGS[setting].takes})
    assert {kind for kind, config in taken.items() if setting in config} == of
    # A setting that a client has no use for would be warned of.
    consumer = Consumer({**made.consumer, "group.id": "g"})
    consumer.poll(0)
    consumer.close()
    Producer(made.producer).poll(0)
    assert "CONFWARN" not in caplog.text


@pytest.mark.parametrize("setting", SETTINGS)
def test_flinks_client_takes_every_setting(setting: str, keys: Path, java: Java) -> None:
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


def test_aliases_are_librdkafkas_own() -> None:
    for alias in ALIASES:
        sample = SAMPLES[ALIASES[alias]]
        value = sample[ALIASES[alias]]
        if isinstance(value, str | int):
            Producer({alias: str(value), "logger": module.LOGGER})


@pytest.mark.parametrize("mechanism", LOGIN_MODULES)
def test_the_login_modules_are_in_flinks_jar(mechanism: str, java: Java) -> None:
    loader = java.jvm.java.lang.ClassLoader.getSystemClassLoader()
    loader.loadClass(LOGIN_MODULES[mechanism])


def test_both_clients_send_a_key_to_one_partition(kafka: LocalKafka, java: Java) -> None:
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
    codec: str, kafka: LocalKafka, java: Java
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


class SecureKafka(LocalKafka):
    """A broker with one more listener: TLS both ways, and a password."""

    def __init__(self, folder: Path, keys: Path) -> None:
        super().__init__(folder)
        self.keys = keys
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.secure = f"127.0.0.1:{free.getsockname()[1]}"

    def _configure(self) -> None:
        super()._configure()
        file = self.folder / "kraft.properties"
        text = file.read_text()
        text = re.sub("(?m)^((?:advertised.)?listeners=.*)$", rf"\1,SECURE://{self.secure}", text)
        quoted = PASSWORD.replace("\\", "\\\\").replace('"', '\\"')
        login = "org.apache.kafka.common.security.plain.PlainLoginModule"
        secure = {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self.keys / "broker-both.pem",
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.keys / "ca.pem",
            "ssl.client.auth": "required",
            "sasl.enabled.mechanisms": "PLAIN",
            "plain.sasl.jaas.config": f'{login} required user_alice="{quoted}";',
        }
        text += "\nlistener.security.protocol.map="
        text += "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SECURE:SASL_SSL\n"
        for setting, value in secure.items():
            escaped = str(value).replace("\\", "\\\\").encode("ascii", "backslashreplace").decode()
            escaped = re.sub(r"\\x(..)", r"\\u00\1", escaped)
            text += f"listener.name.secure.{setting}={escaped}\n"
        file.write_text(text)


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[SecureKafka]:
    with SecureKafka(tmp_path_factory.mktemp("secure"), keys) as broker:
        yield broker


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
    own: Mapping[str, Any], secure: SecureKafka, keys: Path, java: Java
) -> None:
    where = {"bootstrap.servers": secure.secure, "ssl.ca.location": "ca.pem"}
    made, topic = make({**own, **SASL, **where}, keys), name()
    create_topics(made, [topic])
    assert require(made, [topic]) == {topic: 1}
    consumer = java.consumer(made.java)
    assert topic in consumer.listTopics()
    consumer.close()


def test_a_wrong_password(
    secure: SecureKafka, keys: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
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


def test_a_broker_that_nobody_vouches_for(secure: SecureKafka, keys: Path) -> None:
    where = {"bootstrap.servers": secure.secure, "ssl.ca.location": "client.pem"}
    with pytest.raises(KafkaError, match=r"no TLS with the broker at .* \(.*certificate.*\); mend"):
        connect(make({**CERTIFICATE, **SASL, **where}, keys))
