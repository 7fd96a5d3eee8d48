"""What tests of dead letters share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.dead_letters.shop import STREAMS, Shop
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.spec.load import load


@pytest.fixture
def shop(variant: Any, kafka: LocalKafka, tmp_path: Path) -> Callable[..., Shop]:
    """Makes the pipeline: ``shop("name", amount={...})``."""

    def make(name: str, create: bool = True, **amount: Any) -> Shop:
        wide = {"min": 0.01, "max": 100_000, "outside": "dead-letter"}
        file = variant(
            tmp_path / f"{name}.yaml",
            pipeline=name,
            events={
                "topic": f"{name}-events",
                "format": "json",
                "fields": {"amount": {**wide, **amount}},
            },
            topics={stream: f"{name}-{stream}" for stream in (*STREAMS, "state-commands")},
            settings={"kafka": {"bootstrap.servers": kafka.bootstrap}},
        )
        pipeline = load(file)
        made = clients(pipeline.spec.settings)
        if create:
            config = {"max.message.bytes": "30000000"}
            create_topics(made, [f"{name}-events"], partitions=2, config=config)
            create_topics(made, list(pipeline.topics.values()), partitions=2)
        return Shop(file, pipeline, made, f"{name}-events", f"{name}-dead-letters")

    return make
