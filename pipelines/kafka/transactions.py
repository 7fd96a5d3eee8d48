"""Kafka transactions: what a job's outputs ask of the broker, checked before the job starts."""

from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import ConfigResource

from verdict.pipelines.errors import KafkaError
from verdict.pipelines.kafka.admin import ANSWER_S, connect
from verdict.pipelines.kafka.clients import Clients

TIMEOUT = "transaction.timeout.ms"
LIMIT = "transaction.max.timeout.ms"
DEFAULT_MS = 900_000
"""Longest transaction where the pipeline says nothing: the most that a broker allows by default.
It bounds how long a job may stand still after a crash and lose nothing."""


def timeout_ms(clients: Clients) -> int:
    """Return how long a transaction may last: ``settings.kafka`` says, or the default."""
    return int(clients.java.get(TIMEOUT, DEFAULT_MS))


def check(clients: Clients, checkpoint_interval_ms: int) -> int:
    """Return how long a transaction may last, after making sure that the broker allows it.

    Parameters
    ----------
    clients
        Settings of the clients.
    checkpoint_interval_ms
        Milliseconds from one commit to the next.

    Raises
    ------
    KafkaError
        It is longer than the broker allows, or not longer than a checkpoint interval; or no broker
        answers in 5 s.
    """
    asked = timeout_ms(clients)
    if asked <= checkpoint_interval_ms:
        raise KafkaError(
            f"a transaction lasts from one checkpoint to the next, {checkpoint_interval_ms:,} ms "
            f"apart, and may last {asked:,} ms: the broker would abort every one; write more in "
            f"settings.kafka '{TIMEOUT}', or less in settings.checkpoint_interval"
        )
    limit = broker_limit_ms(clients)
    if limit is not None and asked > limit:
        said = "" if TIMEOUT in clients.java else f", the default of settings.kafka '{TIMEOUT}'"
        raise KafkaError(
            f"a transaction may last {asked:,} ms{said}, but the broker at {clients.servers} "
            f"allows {limit:,} ms ({LIMIT}): write settings.kafka '{TIMEOUT}: {limit}' or less, "
            "raise the broker's, or write settings.delivery: at-least-once"
        )
    return asked


def broker_limit_ms(clients: Clients) -> int | None:
    """Return the broker's ``transaction.max.timeout.ms``, or None if it does not let us look.

    Raises
    ------
    KafkaError
        No broker answers in 5 s.
    """
    admin = connect(clients)
    brokers = admin.list_topics(timeout=ANSWER_S).brokers
    resource = ConfigResource(ConfigResource.Type.BROKER, str(min(brokers)))
    try:
        found: Any = admin.describe_configs([resource], request_timeout=ANSWER_S)[resource].result()
    except KafkaException:
        return None
    entry = found.get(LIMIT)
    return None if entry is None or entry.value is None else int(entry.value)
