"""The plan, beside what the operators really write."""

from pathlib import Path

import pytest

from verdict.pipelines.deployment.size import (
    SLOT_EVENTS_S,
    decision_bytes,
    event_bytes,
    plan,
    state_bytes,
)
from verdict.pipelines.spec.load import load

ROOT = Path(__file__).parents[3]
CARD_FRAUD = ROOT / "examples" / "card-fraud"
KEYS = {"customer": 50_000, "terminal": 10_000}


def test_state_grows_with_the_log() -> None:
    pipeline = load(CARD_FRAUD / "pipeline.yaml")
    sizes = [state_bytes(pipeline, "customer", events) for events in (1, 128, 2048, 4096)]
    assert sizes == sorted(sizes)
    # Extrapolated beyond 2,048: as much again.
    assert sizes[3] - sizes[2] == pytest.approx(sizes[2], rel=0.05)
    columns = 2  # its time, the amount
    assert sizes[1] - sizes[0] == pytest.approx(127 * 8 * columns, rel=0.01)


def test_records_are_about_as_large_as_real_ones() -> None:
    pipeline = load(CARD_FRAUD / "pipeline.yaml")
    assert 400 < decision_bytes(pipeline) < 800  # 574 on average, read from a topic
    assert 40 < event_bytes(pipeline) < 120  # 53
    assert event_bytes(load(ROOT / "pipelines/resources/init/pipeline.yaml")) > 60


def test_more_events_want_more_slots_and_more_state() -> None:
    pipeline = load(CARD_FRAUD / "pipeline.yaml")
    small, large = plan(pipeline, 100, KEYS), plan(pipeline, 3 * SLOT_EVENTS_S, KEYS)
    assert (small.parallelism, small.slots) == (1, 2)
    assert (large.parallelism, large.slots) == (3, 6)
    assert large.in_bytes_s == pytest.approx(SLOT_EVENTS_S * 3 / 100 * small.in_bytes_s, rel=0.01)
    assert large.state_mb > 100 * small.state_mb
    assert plan(pipeline, 100, KEYS, 10).state_mb < small.state_mb
    assert small.checkpoint_mb <= small.state_mb
    parts = small.task_heap_mb + small.task_off_heap_mb + small.managed_mb + small.network_mb
    assert small.process_mb > parts
