"""Kafka's clients: their settings, translated for Flink's, and the topics they need.

The pipeline file has librdkafka's names. The embedded engine and the command line hand them to
librdkafka; Flink's Java client, which has names and defaults of its own, gets a translation. What
has none is refused, so that a pipeline means the same on either engine.
"""

import difflib
import json
import logging
import os
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer
from confluent_kafka import KafkaError as Code
from confluent_kafka.admin import AdminClient, NewTopic

from verdict.operators.records.dead_letter import MAX_LETTER
from verdict.pipelines.errors import KafkaError
from verdict.pipelines.kafka.settings import ALIASES, CONSUMER, JAVA, OURS, PRODUCER, SETTINGS
from verdict.pipelines.spec import FromEnvironment, FromFile, Settings

LOGGER = logging.getLogger(__name__)
"""Gets what librdkafka would print to stderr."""
LOGGER.addHandler(logging.NullHandler())

ANSWER_S = 5.0
"""How long a broker may take to answer: enough for one that is starting."""
LOOK_S = 1.0
"""How often to look meanwhile whether it turned us away."""
STEP_S = 0.02
"""Seconds between two looks at something awaited."""

FINAL = (Code._AUTHENTICATION, Code._SSL)
"""Errors that waiting does not mend."""

SHADED = "org.apache.flink.kafka.shaded.org.apache.kafka.common.security"
"""Where the SQL connector's jar has Kafka's login modules."""
LOGIN_MODULES = {
    "PLAIN": f"{SHADED}.plain.PlainLoginModule",
    "SCRAM-SHA-256": f"{SHADED}.scram.ScramLoginModule",
    "SCRAM-SHA-512": f"{SHADED}.scram.ScramLoginModule",
}
JAVA_FOREVER = 2**31 - 1
"""Milliseconds that stand for librdkafka's 0, no limit."""

SMALLEST_REQUEST = 262_144
"""Least that ``message.max.bytes`` may be: a dead letter that is refused would end the stream."""

SERVERS = re.compile(r"[^,\s]+:\d+(\s*,\s*[^,\s]+:\d+)*")
NUMBERS = re.compile(r".*\.(ms|k?bytes|size|connection)|retries|compression\.level")
"""Names of settings that are whole numbers. librdkafka would read "5 s" as 5, Java refuses it."""
PROTOCOLS = {"sasl": "sasl_ssl or sasl_plaintext", "ssl": "ssl or sasl_ssl"}
TOGETHER = (
    (("sasl.username",), ("sasl.password",)),
    (("ssl.certificate.location", "ssl.certificate.pem"), ("ssl.key.location", "ssl.key.pem")),
)


LOCAL_BROKER = Path(".verdict/broker/broker.json")
"""What ``verdict up`` leaves in the folder in which it was called."""


class Secret(str):
    """A string whose repr, and so that of whatever dict it is in, does not show it.

    >>> {"sasl.password": Secret("hunter2")}
    {'sasl.password': '***'}
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


@dataclass(frozen=True)
class Clients:
    """Settings of every kind of client, secrets resolved; a repr does not show those.

    Attributes
    ----------
    consumer
        Of librdkafka's consumers; a ``group.id`` is still to be added.
    producer
        Of librdkafka's producers.
    admin
        Of librdkafka's admin clients.
    java
        Of Flink's sources and sinks alike. Kafka's Java client ignores what it has no use for.
    """

    consumer: dict[str, Any]
    producer: dict[str, Any]
    admin: dict[str, Any]
    java: dict[str, str]

    @property
    def servers(self) -> str:
        """Where the brokers are."""
        return str(self.admin["bootstrap.servers"])


def clients(settings: Settings, folder: Path = Path()) -> Clients:
    """Make the settings of every kind of client; librdkafka itself checks them.

    Parameters
    ----------
    settings
        Of the pipeline file.
    folder
        Of the pipeline file, which paths in it are relative to.

    Raises
    ------
    KafkaError
        A setting is unknown, or not for a pipeline to set; a secret is missing, or stands in
        plain text; a value is refused, or has no effect beside the others.

    Examples
    --------
    >>> made = clients(Settings(kafka={"bootstrap.servers": "b:9092", "fetch.wait.max.ms": 50}))
    >>> made.consumer["fetch.wait.max.ms"], made.java["fetch.max.wait.ms"]
    ('50', '50')
    """
    given = _resolve(settings, folder.absolute())
    given.setdefault("bootstrap.servers", default_bootstrap())
    _check_together(given)

    def of(*kinds: str) -> dict[str, Any]:
        taken = {name: value for name, value in given.items() if SETTINGS[name].takes in kinds}
        return {**taken, "logger": LOGGER}

    made = Clients(
        consumer={**CONSUMER, **of("all", "consumer")},
        producer={**PRODUCER, **of("all", "producer")},
        admin=of("all"),
        java=_java(given),
    )
    _check_values(Consumer, {**made.consumer, "group.id": "check"})
    _check_values(Producer, made.producer)
    return made


def connect(clients: Clients) -> AdminClient:
    """Return an admin client whose broker has answered.

    Raises
    ------
    KafkaError
        None did in 5 s.
    """
    heard: dict[int, str] = {}
    admin = AdminClient(
        {**clients.admin, "error_cb": lambda error: heard.update({error.code(): error.str()})}
    )
    deadline = time.monotonic() + ANSWER_S
    while True:
        try:
            admin.list_topics(timeout=LOOK_S)
        except KafkaException:
            admin.poll(0)
            if time.monotonic() > deadline or not heard.keys().isdisjoint(FINAL):
                raise KafkaError(_no_answer(clients, heard)) from None
        else:
            return admin


def require(clients: Clients, topics: Sequence[str]) -> dict[str, int]:
    """Return the number of partitions of topics, all of which must exist.

    Raises
    ------
    KafkaError
        No broker answers in 5 s, or a topic is missing.
    """
    # All topics are listed, since to ask for one by name can make it.
    found = connect(clients).list_topics(timeout=ANSWER_S).topics
    missing = [f"'{name}'" for name in topics if name not in found]
    if len(missing) == 1:
        raise KafkaError(
            f"topic {missing[0]} does not exist at {clients.servers}; "
            "'verdict topics create PIPELINE' makes it"
        )
    if missing:
        raise KafkaError(
            f"topics {', '.join(missing)} do not exist at {clients.servers}; "
            "'verdict topics create PIPELINE' makes them"
        )
    return {name: len(found[name].partitions) for name in topics}


def create_topics(
    clients: Clients,
    names: Sequence[str],
    partitions: int = 1,
    replication: int = 1,
    config: Mapping[str, str] | None = None,
) -> list[str]:
    """Create the topics that do not exist, and wait until they can be used.

    Parameters
    ----------
    names
        Of the topics.
    partitions, replication
        Of each new topic.
    config
        Kafka's settings of each new topic.

    Returns
    -------
    list[str]
        Those newly made. Topics that were there are left as they are.

    Raises
    ------
    KafkaError
        No broker answers, or it refuses a topic.
    """
    admin = connect(clients)
    there = admin.list_topics(timeout=ANSWER_S).topics
    wanted = [
        NewTopic(name, partitions, replication, config=dict(config or {}))
        for name in dict.fromkeys(names)
        if name not in there
    ]
    made = []
    for name, future in (admin.create_topics(wanted) if wanted else {}).items():
        try:
            future.result(timeout=2 * ANSWER_S)
        except KafkaException as error:
            code = error.args[0]
            if code.code() == Code.TOPIC_ALREADY_EXISTS:  # another process was faster
                continue
            raise KafkaError(
                f"topic '{name}' cannot be created at {clients.servers}: {code.str()}"
            ) from None
        except TimeoutError:
            raise KafkaError(
                f"topic '{name}' cannot be created: {clients.servers} does not answer"
            ) from None
        made.append(name)
    deadline = time.monotonic() + ANSWER_S
    while made and not _ready(admin, made):
        if time.monotonic() > deadline:
            raise KafkaError(
                f"{clients.servers} took the topics {', '.join(made)}, but no broker leads them; "
                "look at the broker's log"
            )
        time.sleep(STEP_S)
    return made


def _ready(admin: AdminClient, names: Sequence[str]) -> bool:
    topics = admin.list_topics(timeout=ANSWER_S).topics
    return all(
        name in topics
        and topics[name].partitions
        and all(partition.leader >= 0 for partition in topics[name].partitions.values())
        for name in names
    )


def _no_answer(clients: Clients, heard: Mapping[int, str]) -> str:
    """Say why no broker answered, from what librdkafka reported: error code -> latest text."""
    telling = [code for code in heard if code != Code._ALL_BROKERS_DOWN]
    code = next((each for each in FINAL if each in heard), telling[-1] if telling else None)
    # "host:port/bootstrap: Connect to ipv4#… failed: Connection refused (after 0ms in state …)"
    text = re.sub(
        r"^\S+/\S+: (Connect to \S+ failed: )?| \((after|in state) .*\)$",
        "",
        heard[code] if code else "",
    )
    because = f" ({_without_secrets(text, clients.admin)})" if text else ""
    if code == Code._AUTHENTICATION:
        return (
            f"the broker at {clients.servers} does not let us in{because}; "
            "mend settings.kafka 'sasl.username' and 'sasl.password'"
        )
    if code == Code._SSL:
        return (
            f"no TLS with the broker at {clients.servers}{because}; "
            "mend settings.kafka 'ssl.ca.location' or what else is of ssl"
        )
    return (
        f"no broker answers at {clients.servers}{because}; "
        "start one with 'verdict up' or mend settings.kafka 'bootstrap.servers'"
    )


def _resolve(settings: Settings, folder: Path) -> dict[str, str]:
    """Return the settings under the table's names, as text, secrets as `Secret`."""
    given: dict[str, str] = {}
    for written, value in settings.kafka.items():
        name = ALIASES.get(written, written)
        if name not in SETTINGS:
            raise KafkaError(_unknown(written))
        if name in given:
            raise _wrong(written, f"the same as '{name}'; write one of them")
        if SETTINGS[name].secret and not isinstance(value, FromEnvironment | FromFile):
            raise _wrong(written, "no secrets in plain text; write {env: VARIABLE} or {file: PATH}")
        text = given[name] = _value(written, value, folder)
        if NUMBERS.fullmatch(name) and not re.fullmatch(r"-?\d+", text):
            raise _wrong(written, f"{text!r} is not a whole number")
        if name.startswith("ssl.") and name.endswith(".location"):
            given[name] = str(folder / text)
            if not (folder / text).is_file():
                raise _wrong(written, f"there is no file {folder / text}")
    return given


def default_bootstrap() -> str:
    """Return the broker of a pipeline that names none.

    That is ``$VERDICT_BOOTSTRAP``, else the one that ``verdict up`` started in this folder, else
    port 9092 of this machine.
    """
    named = os.environ.get("VERDICT_BOOTSTRAP")
    if named:
        return named
    try:
        started: str = json.loads(LOCAL_BROKER.read_text("utf-8"))["bootstrap"]
    except (OSError, ValueError, KeyError):
        return "127.0.0.1:9092"
    return started


def _value(name: str, value: Any, folder: Path) -> str:
    if isinstance(value, FromFile):
        value = FromFile(file=folder / value.file)
    if isinstance(value, FromEnvironment | FromFile):
        try:
            text = value.value().get_secret_value()
        except ValueError as error:
            raise _wrong(name, str(error)) from None
        # Errors name the brokers: these are no secret, wherever they come from.
        return text if name == "bootstrap.servers" else Secret(text)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _wrong(name: str, what: str) -> KafkaError:
    return KafkaError(f"settings.kafka.{name}: {what}")


def _unknown(name: str) -> str:
    if name in OURS:
        return f"settings.kafka.{name} is not for a pipeline to set: {OURS[name]}"
    theirs = [f"'{ours}'" for ours, setting in SETTINGS.items() if name in setting.java]
    close = difflib.get_close_matches(name, [*SETTINGS, *ALIASES], n=1)
    hint = ""
    if theirs:
        hint = f"It is a name of Flink's client; write {' or '.join(theirs)}. "
    elif close:
        hint = f"Did you mean '{close[0]}'? "
    return (
        f"settings.kafka.{name} is not a setting that both engines take. "
        f"{hint}docs/operations.md lists the settings"
    )


def _check_together(given: Mapping[str, str]) -> None:
    """Refuse what the clients would ignore, or take differently."""
    if not SERVERS.fullmatch(given["bootstrap.servers"]):
        raise _wrong("bootstrap.servers", f"{given['bootstrap.servers']!r} is not host:port")
    protocol = given.get("security.protocol", "plaintext").lower()
    for name in given:
        layer = name.partition(".")[0]
        if layer in PROTOCOLS and layer not in protocol:
            raise _wrong(
                name,
                f"has no effect while 'security.protocol' is {protocol}; "
                f"write {PROTOCOLS[layer]} there",
            )
    if int(given.get("message.max.bytes", SMALLEST_REQUEST)) < SMALLEST_REQUEST:
        raise _wrong(
            "message.max.bytes",
            f"a dead letter may take {MAX_LETTER:,} bytes; write {SMALLEST_REQUEST} at least",
        )
    for pair in TOGETHER:
        for one, other in (pair, pair[::-1]):
            there = next((name for name in one if name in given), None)
            if there and not any(name in given for name in other):
                raise _wrong(there, f"goes with '{other[0]}', which is missing")
    if "sasl" in protocol:
        mechanism = given.get("sasl.mechanism")
        if mechanism not in LOGIN_MODULES:
            raise _wrong("sasl.mechanism", f"{mechanism!r} is none of {', '.join(LOGIN_MODULES)}")
        if "sasl.username" not in given:
            raise _wrong("sasl.username", f"is missing; {mechanism} needs one")


def _check_values(kind: Any, config: Mapping[str, Any]) -> None:
    """Let librdkafka judge: a client without brokers comes and goes in under a millisecond."""
    try:
        kind({name: value for name, value in config.items() if name != "bootstrap.servers"})
    except KafkaException as error:
        reason = _without_secrets(error.args[0].str().strip(), config)
        named = re.search(r'(?:property|value for) "([^"]+)"', reason)
        name = ALIASES.get(named[1], named[1]) if named else ""
        if name in config:
            raise _wrong(name, f"librdkafka refuses {config[name]!r}: {reason}") from None
        raise KafkaError(f"settings.kafka: librdkafka refuses them: {reason}") from None


def _without_secrets(text: str, config: Mapping[str, Any]) -> str:
    for value in config.values():
        if isinstance(value, Secret) and value:
            text = text.replace(value, "***")
    return text


def _java(given: Mapping[str, str]) -> dict[str, str]:
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
                raise _wrong(name, "Flink's client comes without zstd; lz4 is as quick")
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
        raise _wrong(name, f"cannot read {value} as PEM: {error}") from None


def _pkcs8(name: str, pem: Secret) -> Secret:
    if re.search(r"-----BEGIN (ENCRYPTED )?PRIVATE KEY-----", pem) is None:
        raise _wrong(
            name,
            "Flink's client takes PKCS#8 alone; 'openssl pkcs8 -topk8 -nocrypt -in OLD -out NEW' "
            "makes it",
        )
    return pem
