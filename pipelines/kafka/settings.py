"""The table of Kafka client settings: what each is called, which clients take it, and what for."""

from collections.abc import Mapping
from typing import Literal, NamedTuple

from verdict.pipelines.errors import KafkaError


class Setting(NamedTuple):
    """One row of the table.

    Attributes
    ----------
    takes
        Which of librdkafka's clients take it.
    says
        What it says, for the reference.
    java
        What it becomes for Kafka's Java client; the same name, if none.
    secret
        It must not stand in the pipeline file.
    """

    takes: Literal["all", "consumer", "producer"]
    says: str
    java: tuple[str, ...] = ()
    secret: bool = False


_TRUST = "ssl.truststore.type"
_KEYS = "ssl.keystore.type"
_CHAIN = "ssl.keystore.certificate.chain"
_JAAS = ("sasl.jaas.config",)

SETTINGS: Mapping[str, Setting] = {
    "bootstrap.servers": Setting("all", "`host:port` of some brokers, with commas between"),
    "client.id": Setting(
        "all", "what a broker calls the client in its logs", ("client.id", "client.id.prefix")
    ),
    "client.rack": Setting("all", "where the client is, to read from a replica nearby"),
    "client.dns.lookup": Setting(
        "all", "`use_all_dns_ips` or `resolve_canonical_bootstrap_servers_only`"
    ),
    "security.protocol": Setting("all", "`plaintext`, `ssl`, `sasl_plaintext` or `sasl_ssl`"),
    "sasl.mechanism": Setting("all", "`PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`"),
    "sasl.username": Setting("all", "user", _JAAS),
    "sasl.password": Setting("all", "password", _JAAS, secret=True),
    "ssl.ca.location": Setting(
        "all",
        "PEM file of the authorities trusted, on each of Flink's machines too",
        ("ssl.truststore.location", _TRUST),
    ),
    "ssl.ca.pem": Setting(
        "all", "the authorities trusted, as text", ("ssl.truststore.certificates", _TRUST)
    ),
    "ssl.certificate.location": Setting(
        "all", "PEM file of the client's own certificate", (_CHAIN, _KEYS)
    ),
    "ssl.certificate.pem": Setting("all", "the client's own certificate, as text", (_CHAIN, _KEYS)),
    "ssl.key.location": Setting(
        "all", "PEM file of its private key, PKCS#8", ("ssl.keystore.key", _KEYS)
    ),
    "ssl.key.pem": Setting(
        "all", "its private key, as text", ("ssl.keystore.key", _KEYS), secret=True
    ),
    "ssl.key.password": Setting("all", "what the private key is encrypted with", secret=True),
    "ssl.keystore.location": Setting(
        "all",
        "PKCS#12 file of certificate and key, on each of Flink's machines too",
        ("ssl.keystore.location", _KEYS),
    ),
    "ssl.keystore.password": Setting("all", "the password of that file", secret=True),
    "ssl.endpoint.identification.algorithm": Setting(
        "all", "`https`: a broker's certificate must have its name; `none`: any name will do"
    ),
    "socket.timeout.ms": Setting("all", "how long a request may take", ("request.timeout.ms",)),
    "socket.connection.setup.timeout.ms": Setting("all", "how long to connect may take"),
    "socket.send.buffer.bytes": Setting(
        "all", "TCP's buffer for sending; 0: the system's own", ("send.buffer.bytes",)
    ),
    "socket.receive.buffer.bytes": Setting(
        "all", "TCP's buffer for receiving; 0: the system's own", ("receive.buffer.bytes",)
    ),
    "connections.max.idle.ms": Setting("all", "a connection idle for longer is closed"),
    "reconnect.backoff.ms": Setting("all", "wait before the second try to connect"),
    "reconnect.backoff.max.ms": Setting("all", "longest wait between tries to connect"),
    "retry.backoff.ms": Setting("all", "wait before the second try of a request"),
    "retry.backoff.max.ms": Setting("all", "longest wait between tries of a request"),
    "metadata.max.age.ms": Setting("all", "longest time without asking where partitions are"),
    "message.max.bytes": Setting("all", "largest request of a producer", ("max.request.size",)),
    "isolation.level": Setting("consumer", "`read_committed` or `read_uncommitted`"),
    "fetch.min.bytes": Setting("consumer", "what a broker gathers before it answers"),
    "fetch.wait.max.ms": Setting("consumer", "how long it gathers at most", ("fetch.max.wait.ms",)),
    "fetch.max.bytes": Setting("consumer", "most bytes of one answer"),
    "max.partition.fetch.bytes": Setting("consumer", "most bytes of one partition in it"),
    "check.crcs": Setting("consumer", "`true`: check records against their checksums"),
    "linger.ms": Setting("producer", "how long a record waits for others to go with it"),
    "batch.size": Setting("producer", "most bytes of one batch"),
    "compression.type": Setting("producer", "`none`, `gzip`, `snappy` or `lz4`"),
    "compression.level": Setting(
        "producer",
        "how hard to compress, in the codec's own levels; -1: its default",
        ("compression.gzip.level", "compression.lz4.level"),
    ),
    "message.timeout.ms": Setting(
        "producer",
        "how long to try to send a record; 0: for ever",
        ("delivery.timeout.ms", "request.timeout.ms"),
    ),
    "retries": Setting("producer", "how often to try"),
    "max.in.flight.requests.per.connection": Setting("producer", "5 at most, to keep the order"),
    "queue.buffering.max.kbytes": Setting(
        "producer", "most KiB of records that wait to be sent", ("buffer.memory",)
    ),
    "transaction.timeout.ms": Setting("producer", "longest transaction; the broker has a limit"),
}
"""librdkafka's name -> what is known of it. What has no counterpart in Java is not in it."""

ALIASES: Mapping[str, str] = {
    "metadata.broker.list": "bootstrap.servers",
    "sasl.mechanisms": "sasl.mechanism",
    "fetch.message.max.bytes": "max.partition.fetch.bytes",
    "queue.buffering.max.ms": "linger.ms",
    "compression.codec": "compression.type",
    "delivery.timeout.ms": "message.timeout.ms",
    "message.send.max.retries": "retries",
    "max.in.flight": "max.in.flight.requests.per.connection",
}
"""librdkafka's second names -> those of `SETTINGS`."""

OURS: Mapping[str, str] = {
    "acks": "`all`; a decision that one broker alone has could be lost",
    "enable.idempotence": "`true`; a retry must not repeat or reorder decisions",
    "partitioner": "`murmur2_random`, Java's, so that both engines send a key to one partition",
    "enable.auto.commit": "`false`; offsets are kept with the state that they belong to",
    "auto.offset.reset": "`earliest`; without state, a topic is read from its beginning",
    "allow.auto.create.topics": "`false`; a mistyped topic is an error",
    "group.id": "each job of a pipeline has a group of its own",
    "transactional.id": "Flink's sinks have their own",
}
"""What is not for a pipeline to set: its value, and why."""

CONSUMER: Mapping[str, str] = {
    "enable.auto.commit": "false",
    "auto.offset.reset": "earliest",
    "allow.auto.create.topics": "false",
    # What an upstream producer took back must not be decided. On a topic without transactions it
    # costs nothing. It is librdkafka's default, but not Java's.
    "isolation.level": "read_committed",
}
"""Defaults of consumers. ``fetch.wait.max.ms`` is not among them: a broker answers at once when it
has ``fetch.min.bytes``, and from send to receive took 0.4 ms in the median with 10 as with 500."""

PRODUCER: Mapping[str, str] = {
    "acks": "all",
    "enable.idempotence": "true",
    # 5 in both clients. With 0 each decision is a request of its own, and the broker's time is
    # taken from the job: on 2 cores it made 4,600 decisions a second, with 1 it made 6,100.
    "linger.ms": "1",
    "partitioner": "murmur2_random",
}
"""Defaults of producers."""

JAVA: Mapping[str, str] = {
    **CONSUMER,
    # Java's partitioner of keyed records is murmur2 without being told.
    **{name: value for name, value in PRODUCER.items() if name != "partitioner"},
}
"""Defaults of Flink's client."""


def reference() -> str:
    """Write the settings as Markdown, for ``docs/operations.md``.

    >>> print(reference().splitlines()[7])
    | `sasl.mechanism` or `sasl.mechanisms` | all | the same | `PLAIN`, ... or `SCRAM-SHA-512` |
    """
    rows = []
    for name, setting in SETTINGS.items():
        names = [name, *(alias for alias, meant in ALIASES.items() if meant == name)]
        java = _code(setting.java, ", ") if setting.java else "the same"
        says = f"{setting.says} (a secret)" if setting.secret else setting.says
        rows.append(f"| {_code(names, ' or ')} | {setting.takes} | {java} | {says} |")
    defaults = [
        f"{name}: {value}" for name, value in {**CONSUMER, **PRODUCER}.items() if name not in OURS
    ]
    return "\n".join(
        [
            "| `settings.kafka` | clients | to Flink's client | |",
            "|---|---|---|---|",
            *rows,
            "",
            f"Defaults: {_code(defaults, ', ')}; otherwise the client's own.",
            "A secret is `{env: VARIABLE}` or `{file: PATH}`; so may any other setting be.",
            "Paths are relative to the pipeline file.",
            "",
            "These are not for a pipeline to set:",
            "",
            "| | |",
            "|---|---|",
            *(f"| `{name}` | {why} |" for name, why in OURS.items()),
            "",
        ]
    )


def _code(names: list[str] | tuple[str, ...], between: str) -> str:
    return between.join(f"`{name}`" for name in names)


def wrong(name: str, what: str) -> KafkaError:
    """Make the error of a setting of Kafka's clients."""
    return KafkaError(f"settings.kafka.{name}: {what}")
