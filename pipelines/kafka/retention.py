"""How long a topic keeps its records, beside how far back the features look."""

import os
from typing import Any

from verdict.pipelines.spec.pipeline import Pipeline

DAY_MS = 86_400_000


def named(pipeline: Pipeline) -> bool:
    """Whether somebody said where the pipeline's broker is."""
    return "bootstrap.servers" in pipeline.spec.settings.kafka or "VERDICT_BOOTSTRAP" in os.environ


def warnings(pipeline: Pipeline) -> list[str]:
    """Say what cannot be made again from the events' topic.

    A start from an empty state sees what the topic still has: where that is less than the longest
    window, features are wrong until the window has filled.

    Raises
    ------
    KafkaError
        A client setting is wrong, or no broker answers in 5 s.
    """
    topic = pipeline.spec.events.topic
    reaches = {
        feature.name: feature.reach
        for entity in pipeline.entities
        for feature in pipeline.windowed(entity)
    }
    if topic is None or not reaches:
        return []
    longest = max(reaches, key=reaches.__getitem__)
    kept = retention_ms(pipeline, topic)
    if kept is None or kept >= reaches[longest]:
        return []
    return [
        f"topic '{topic}' keeps its records for {kept / DAY_MS:g} d, but feature '{longest}' looks "
        f"back {reaches[longest] / DAY_MS:g} d: its state cannot be made again from the topic; "
        "raise the topic's retention.ms, or keep copies of the state and of older events"
    ]


def retention_ms(pipeline: Pipeline, topic: str) -> int | None:
    """Return how long a topic keeps its records; None for ever, or where the broker does not say.

    Raises
    ------
    KafkaError
        A client setting is wrong, or no broker answers in 5 s.
    """
    # `verdict check` comes here with every pipeline, and seldom gets this far.
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import ConfigResource

    from verdict.pipelines.kafka.admin import ANSWER_S, connect
    from verdict.pipelines.kafka.clients import clients

    admin = connect(clients(pipeline.spec.settings, pipeline.path.parent))
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    try:
        found: Any = admin.describe_configs([resource], request_timeout=ANSWER_S)[resource].result()
    except KafkaException:
        return None
    if "delete" not in found["cleanup.policy"].value:
        return None
    kept = int(found["retention.ms"].value)
    return None if kept < 0 else kept
