"""What tests of Kafka's clients share: keys, Flink's Java client, a broker that asks for both."""

import datetime
import ipaddress
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyflink
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import pkcs12
from cryptography.x509.oid import NameOID
from py4j.java_gateway import GatewayParameters, JavaGateway

from tests.pipelines.kafka.kafka_samples import PASSWORD
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.local.java import flink_jars, java_home


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


@pytest.fixture(scope="session")
def secure(tmp_path_factory: pytest.TempPathFactory, keys: Path) -> Iterator[SecureKafka]:
    with SecureKafka(tmp_path_factory.mktemp("secure"), keys) as broker:
        yield broker
