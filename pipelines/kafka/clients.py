"""Kafka's clients: their settings as the pipeline file gives them, checked.

The pipeline file has librdkafka's names. The embedded engine and the command line hand them to
librdkafka; Flink's Java client, which has names and defaults of its own, gets a translation. What
has none is refused, so that a pipeline means the same on either engine.
"""

import difflib
import json
import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer

from verdict.operators.records.dead_letter import MAX_LETTER
from verdict.pipelines.errors import KafkaError
from verdict.pipelines.kafka.java import LOGIN_MODULES, java_settings
from verdict.pipelines.kafka.secret import Secret, without_secrets
from verdict.pipelines.kafka.settings import ALIASES, CONSUMER, OURS, PRODUCER, SETTINGS, wrong
from verdict.pipelines.spec.settings import FromEnvironment, FromFile, Settings

LOGGER = logging.getLogger(__name__)
"""Gets what librdkafka would print to stderr."""
LOGGER.addHandler(logging.NullHandler())
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
        java=java_settings(given),
    )
    _check_values(Consumer, {**made.consumer, "group.id": "check"})
    _check_values(Producer, made.producer)
    return made


def _resolve(settings: Settings, folder: Path) -> dict[str, str]:
    """Return the settings under the table's names, as text, secrets as `Secret`."""
    given: dict[str, str] = {}
    for written, value in settings.kafka.items():
        name = ALIASES.get(written, written)
        if name not in SETTINGS:
            raise KafkaError(_unknown(written))
        if name in given:
            raise wrong(written, f"the same as '{name}'; write one of them")
        if SETTINGS[name].secret and not isinstance(value, FromEnvironment | FromFile):
            raise wrong(written, "no secrets in plain text; write {env: VARIABLE} or {file: PATH}")
        text = given[name] = _value(written, value, folder)
        if NUMBERS.fullmatch(name) and not re.fullmatch(r"-?\d+", text):
            raise wrong(written, f"{text!r} is not a whole number")
        if name.startswith("ssl.") and name.endswith(".location"):
            given[name] = str(folder / text)
            if not (folder / text).is_file():
                raise wrong(written, f"there is no file {folder / text}")
    return given


def default_bootstrap() -> str:
    """Return the broker of a pipeline that names none.

    That is ``$VERDICT_BOOTSTRAP``, else the one that ``verdict up`` started in this folder, else
    port 9092 of this machine.

    >>> host, _, port = default_bootstrap().rpartition(":")
    >>> port.isdigit()
    True
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
            raise wrong(name, str(error)) from None
        # Errors name the brokers: these are no secret, wherever they come from.
        return text if name == "bootstrap.servers" else Secret(text)
    return str(value).lower() if isinstance(value, bool) else str(value)


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
        raise wrong("bootstrap.servers", f"{given['bootstrap.servers']!r} is not host:port")
    protocol = given.get("security.protocol", "plaintext").lower()
    for name in given:
        layer = name.partition(".")[0]
        if layer in PROTOCOLS and layer not in protocol:
            raise wrong(
                name,
                f"has no effect while 'security.protocol' is {protocol}; "
                f"write {PROTOCOLS[layer]} there",
            )
    if int(given.get("message.max.bytes", SMALLEST_REQUEST)) < SMALLEST_REQUEST:
        raise wrong(
            "message.max.bytes",
            f"a dead letter may take {MAX_LETTER:,} bytes; write {SMALLEST_REQUEST} at least",
        )
    for pair in TOGETHER:
        for one, other in (pair, pair[::-1]):
            there = next((name for name in one if name in given), None)
            if there and not any(name in given for name in other):
                raise wrong(there, f"goes with '{other[0]}', which is missing")
    if "sasl" in protocol:
        mechanism = given.get("sasl.mechanism")
        if mechanism not in LOGIN_MODULES:
            raise wrong("sasl.mechanism", f"{mechanism!r} is none of {', '.join(LOGIN_MODULES)}")
        if "sasl.username" not in given:
            raise wrong("sasl.username", f"is missing; {mechanism} needs one")


def _check_values(kind: Any, config: Mapping[str, Any]) -> None:
    """Let librdkafka judge: a client without brokers comes and goes in under a millisecond."""
    try:
        kind({name: value for name, value in config.items() if name != "bootstrap.servers"})
    except KafkaException as error:
        reason = without_secrets(error.args[0].str().strip(), config)
        named = re.search(r'(?:property|value for) "([^"]+)"', reason)
        name = ALIASES.get(named[1], named[1]) if named else ""
        if name in config:
            raise wrong(name, f"librdkafka refuses {config[name]!r}: {reason}") from None
        raise KafkaError(f"settings.kafka: librdkafka refuses them: {reason}") from None
