"""A watcher of a replay learns what was known and decided, and what would have been."""

import copy
import random
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.pipelines.races import (
    SPEC,
    drawn,
    in_order,
    interleaved,
    live,
    one_by_one,
    sources_of,
    write,
)
from verdict.operators.message import Message
from verdict.operators.names import DECISIONS
from verdict.pipelines.errors import OperatorError
from verdict.pipelines.formats.streams import stream_decoder
from verdict.pipelines.replay.past import ReplayCounts, open_past
from verdict.pipelines.replay.runner import Item, Watcher, source_of
from verdict.pipelines.replay.sources import Recorded, Sources
from verdict.pipelines.spec.pipeline import Pipeline


class Known:
    """What was known when each event came: time travel in small."""

    def __init__(self, decode: Callable[[bytes], dict[str, Any]]) -> None:
        self._decode = decode
        self.features: dict[str, dict[str, float]] = {}
        self.dead: dict[str, bytes] = {}

    def wants(self, message: Message, between: bool) -> bool:
        return True

    def decided(self, item: Item, made: bytes) -> None:
        self.features[source_of(item.message)] = self._decode(made)["features"]

    alone = decided

    def died(self, message: Message, decided: bytes, reason: str) -> None:
        self.dead[reason] = decided


class WhatIf(Known):
    """What was done, and what another pipeline would have done: a counterfactual in small."""

    def __init__(self, decode: Callable[[bytes], dict[str, Any]]) -> None:
        super().__init__(decode)
        self.actions: list[tuple[str, str]] = []

    def wants(self, message: Message, between: bool) -> bool:
        return False

    def decided(self, item: Item, made: bytes) -> None:
        self.actions.append((self._decode(item.decided)["action"], self._decode(made)["action"]))

    def alone(self, item: Item, made: bytes) -> None:
        raise AssertionError("it is not wanted")


def watched(pipeline: Pipeline, sources: Sources, watcher: Watcher) -> ReplayCounts:
    with open_past(pipeline, sources, stop=threading.Event()) as past:
        return past.replay(watcher)


def features_of(pipeline: Pipeline, decisions: list[Recorded]) -> dict[str, dict[str, float]]:
    decode = stream_decoder(DECISIONS, pipeline.spec.settings)
    return {(each.source or b"").decode(): decode(each.value)["features"] for each in decisions}


@settings(max_examples=8, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 1 << 32))
def test_the_features_of_each_event_are_those_of_its_time(race: Pipeline, seed: int) -> None:
    choose = random.Random(seed)
    partitions = drawn(choose, nulls=False)
    decisions = live(race, partitions, choose)
    known = Known(stream_decoder(DECISIONS, race.spec.settings))
    replayed = watched(race, sources_of(decisions, interleaved(partitions, choose)), known)
    assert known.features == features_of(race, decisions)
    assert (replayed.events, replayed.forced) == (len(decisions), 0)


def test_an_event_that_nobody_decided_has_features_too(race: Pipeline) -> None:
    [events] = one_by_one(12)
    decisions = in_order(live(race, [events], random.Random(1)))
    known = Known(stream_decoder(DECISIONS, race.spec.settings))
    kept = [each for at, each in enumerate(decisions) if at not in (4, 7)]
    replayed = watched(race, sources_of(kept, lambda: iter(events)), known)
    assert known.features == features_of(race, decisions)
    assert (replayed.without_decision, replayed.undecided) == (2, 0)


def test_a_dead_letter_is_told_with_what_was_decided_of_it(race: Pipeline) -> None:
    [events] = one_by_one(6)
    decisions = in_order(live(race, [events], random.Random(1)))
    broken = [each._replace(value=b"{") if each.offset in (2, 4) else each for each in events]
    kept = [each for at, each in enumerate(decisions) if at != 4]
    known = Known(stream_decoder(DECISIONS, race.spec.settings))
    watched(race, sources_of(kept, lambda: iter(broken)), known)
    [reason] = known.dead
    assert reason.startswith("decode ")
    assert known.dead[reason] in (decisions[2].value, b"")
    assert len(known.features) == 4


def test_another_pipeline_says_what_it_would_have_done(race: Pipeline) -> None:
    [events] = one_by_one(9)
    decisions = in_order(live(race, [events], random.Random(1)))
    spec = copy.deepcopy(SPEC)
    spec["decide"]["rules"] = [{"name": "all", "when": "amount >= 4", "action": "stop"}]
    other = write(race.path.parent, spec, "other.yaml")
    what_if = WhatIf(stream_decoder(DECISIONS, race.spec.settings))
    watched(other, sources_of(decisions, lambda: iter(events)), what_if)
    assert len(what_if.actions) == 9
    assert [now for _, now in what_if.actions].count("stop") == 5
    assert "stop" not in [then for then, _ in what_if.actions]


def test_a_fault_of_a_hop_names_the_event_and_the_hop(
    race: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    [events] = one_by_one(3)
    decisions = live(race, [events], random.Random(1))
    known = Known(stream_decoder(DECISIONS, race.spec.settings))
    with open_past(
        race, sources_of(decisions, lambda: iter(events)), stop=threading.Event()
    ) as past:
        hop = past._hops.operators[1]
        monkeypatch.setattr(type(hop), "_extend", lambda *_: 1 / 0)
        with pytest.raises(OperatorError, match="replaying race-events/0/0 in the hop 'card'"):
            past.replay(known)
