"""What was decided is opened, and each event is counted for what became of it."""

import random
import threading

import pytest

from tests.pipelines.races import in_order, live, one_by_one, sources_of
from verdict.operators.message import Message
from verdict.pipelines.errors import Interrupted
from verdict.pipelines.replay.past import ReplayCounts, open_past
from verdict.pipelines.replay.runner import Item
from verdict.pipelines.spec.pipeline import Pipeline


class Asked:
    """Knows of which events it was asked whether they are wanted, and wants none."""

    def __init__(self) -> None:
        self.asked: dict[int, bool] = {}
        self.numbers: list[int] = []

    def wants(self, message: Message, between: bool) -> bool:
        self.asked[message.offset] = between
        return False

    def decided(self, item: Item, made: bytes) -> None:
        assert made == item.decided
        self.numbers.append(item.number)

    def alone(self, item: Item, made: bytes) -> None:
        raise AssertionError

    def died(self, message: Message, decided: bytes, reason: str) -> None:
        raise AssertionError


def test_events_are_counted_by_where_decisions_begin_and_end(race: Pipeline) -> None:
    [events] = one_by_one(12)
    decisions = in_order(live(race, [events], random.Random(1)))
    kept = [*decisions[2:6], *decisions[7:10]]
    watcher, stop = Asked(), threading.Event()
    with open_past(race, sources_of(kept, lambda: iter(events)), stop=stop) as past:
        assert (past.decisions.count, past.extent.missed) == (7, 1)
        assert list(past.decisions.there) == [1] * 7
        replayed = past.replay(watcher)
        folder = past.folder
    assert replayed == ReplayCounts(12, without_decision=1, before_decisions=2, undecided=2)
    assert watcher.asked == {0: False, 1: False, 6: True}
    assert sorted(watcher.numbers) == list(range(7))
    assert not folder.exists()


def test_decisions_whose_events_are_gone_are_not_waited_for(race: Pipeline) -> None:
    [events] = one_by_one(8)
    decisions = in_order(live(race, [events], random.Random(1)))
    with open_past(
        race, sources_of(decisions, lambda: iter(events[3:])), stop=threading.Event()
    ) as past:
        assert past.decisions.there == bytearray([0] * 3 + [1] * 5)


def test_one_that_is_stopped_knows_nothing(race: Pipeline) -> None:
    [events] = one_by_one(3)
    stop = threading.Event()
    stop.set()
    with (
        pytest.raises(Interrupted, match="nothing is known of the rest"),
        open_past(race, sources_of([], lambda: iter(events)), stop=stop),
    ):
        raise AssertionError
