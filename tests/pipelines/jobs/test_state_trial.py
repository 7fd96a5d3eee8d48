"""What is tried is what the hops do: the same windows, to the mark of what a head is made of."""

from collections import defaultdict
from pathlib import Path

import pytest

from verdict.operators.events.event import Event
from verdict.pipelines.jobs.parts import make_features
from verdict.pipelines.jobs.state_trial import longest, retention, written
from verdict.pipelines.spec.load import load
from verdict.state.store.keyed import MemoryState

CARD_FRAUD = Path(__file__).parents[3] / "examples" / "card-fraud" / "pipeline.yaml"
DAY_MS = 86_400_000


@pytest.mark.parametrize("entity", ["customer", "terminal"])
def test_a_tried_head_is_one_of_the_hops(entity: str) -> None:
    pipeline = load(CARD_FRAUD)
    features, state = make_features(pipeline, entity), MemoryState()
    for number in range(3):
        at = number * longest(pipeline, entity) // 3
        features(Event("", at, (), defaultdict(lambda: None), defaultdict(lambda: 1)), state)
    assert written(pipeline, entity, 3).head == state.head


def test_a_log_keeps_the_longest_window_and_the_allowed_lateness() -> None:
    pipeline = load(CARD_FRAUD)
    assert longest(pipeline, "customer") == 30 * DAY_MS
    late = pipeline.spec.events.allowed_lateness
    assert retention(pipeline, "customer") == 30 * DAY_MS + late
