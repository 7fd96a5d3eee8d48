"""The same settings for Flink's client."""

import re
from collections.abc import Mapping
from pathlib import Path

from verdict.pipelines.kafka.secret import Secret
from verdict.pipelines.kafka.settings import JAVA, SETTINGS, wrong

SHADED = "org.apache.flink.kafka.shaded.org.apache.kafka.common.security"
"""Where the SQL connector's jar has Kafka's login modules."""
LOGIN_MODULES = {
    "PLAIN": f"{SHADED}.plain.PlainLoginModule",
    "SCRAM-SHA-256": f"{SHADED}.scram.ScramLoginModule",
    "SCRAM-SHA-512": f"{SHADED}.scram.ScramLoginModule",
}
JAVA_FOREVER = 2**31 - 1
"""Milliseconds that stand for librdkafka's 0, no limit."""


def java_settings(given: Mapping[str, str]) -> dict[str, str]:
    """Translate for Kafka's Java client, as the SQL connector's jar has it."""
    java = dict(JAVA)
    for name, value in given.items():
        match name:
            case "client.id":
                # A source numbers its readers behind the prefix.
                java |= {"client.id": value, "client.id.prefix": value}
            case "security.protocol":
                java[name] = value.upper()
            case "sasl.username":
                java["sasl.jaas.config"] = _jaas(given)
            case "sasl.password":
                pass
            case "ssl.ca.location":
                java |= {"ssl.truststore.type": "PEM", "ssl.truststore.location": value}
            case "ssl.ca.pem":
                java |= {"ssl.truststore.type": "PEM", "ssl.truststore.certificates": value}
            case "ssl.certificate.location" | "ssl.certificate.pem":
                # As text: Java has certificate and key in one file, if in a file.
                java["ssl.keystore.type"] = "PEM"
                java["ssl.keystore.certificate.chain"] = _pem(name, value)
            case "ssl.key.location" | "ssl.key.pem":
                java["ssl.keystore.key"] = _pkcs8(name, _pem(name, value))
            case "ssl.keystore.location":
                java |= {"ssl.keystore.type": "PKCS12", "ssl.keystore.location": value}
            case "ssl.endpoint.identification.algorithm":
                java[name] = "" if value == "none" else value
            case "socket.send.buffer.bytes" | "socket.receive.buffer.bytes":
                java[SETTINGS[name].java[0]] = "-1" if value == "0" else value
            case "compression.type" if value == "zstd":
                raise wrong(name, "Flink's client comes without zstd; lz4 is as quick")
            case "compression.level":
                codec = given.get("compression.type")
                if codec in ("gzip", "lz4") and value != "-1":
                    java[f"compression.{codec}.level"] = value
            case "queue.buffering.max.kbytes":
                java["buffer.memory"] = str(int(value) * 1024)
            case _:
                java[(SETTINGS[name].java or (name,))[0]] = value
    _shorten_requests(java)
    return java


def _shorten_requests(java: dict[str, str]) -> None:
    """Java refuses a delivery timeout shorter than lingering and one request."""
    if "delivery.timeout.ms" not in java:
        return
    delivery = int(java["delivery.timeout.ms"]) or JAVA_FOREVER
    request = int(java.get("request.timeout.ms", 30_000))  # Java's default
    java["delivery.timeout.ms"] = str(delivery)
    java["request.timeout.ms"] = str(min(request, max(delivery - int(java["linger.ms"]), 1)))


def _jaas(given: Mapping[str, str]) -> Secret:
    def quoted(name: str) -> str:
        text = given[name].replace("\\", "\\\\").replace('"', '\\"')
        return '"' + text.replace("\n", "\\n").replace("\r", "\\r") + '"'

    module = LOGIN_MODULES[given["sasl.mechanism"]]
    user, password = quoted("sasl.username"), quoted("sasl.password")
    return Secret(f"{module} required username={user} password={password};")


def _pem(name: str, value: str) -> Secret:
    if name.endswith(".pem"):
        return Secret(value)
    try:
        return Secret(Path(value).read_text("ascii"))
    except (OSError, UnicodeDecodeError) as error:
        raise wrong(name, f"cannot read {value} as PEM: {error}") from None


def _pkcs8(name: str, pem: Secret) -> Secret:
    if re.search(r"-----BEGIN (ENCRYPTED )?PRIVATE KEY-----", pem) is None:
        raise wrong(
            name,
            "Flink's client takes PKCS#8 alone; 'openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW' "
            "makes it",
        )
    return pem
