"""Topics: looked up, and made."""

import re
import time
from collections.abc import Mapping, Sequence

from confluent_kafka import KafkaError as Code
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from verdict.pipelines.errors import KafkaError
from verdict.pipelines.kafka.clients import Clients
from verdict.pipelines.kafka.secret import without_secrets

ANSWER_S = 5.0
"""How long a broker may take to answer: enough for one that is starting."""
LOOK_S = 1.0
"""How often to look meanwhile whether it turned us away."""
STEP_S = 0.02
"""Seconds between two looks at something awaited."""
FINAL = (Code._AUTHENTICATION, Code._SSL)
"""Errors that waiting does not mend."""


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
    because = f" ({without_secrets(text, clients.admin)})" if text else ""
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
