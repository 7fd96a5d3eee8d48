"""Recorded decisions are found by the record behind them, or by an event's id and time."""

import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.pipelines.races import SPEC, altered, in_order, live, one_by_one, write
from verdict.operators.events.event import Event
from verdict.operators.names import DECISIONS
from verdict.pipelines.errors import FileError
from verdict.pipelines.formats.streams import stream_decoder, stream_encoder
from verdict.pipelines.jobs import score
from verdict.pipelines.replay.decisions import Decisions, RecordedLookups, recorded_lookups
from verdict.pipelines.replay.sources import Recorded
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.state.store.rocks import RocksStore


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RocksStore]:
    with closing(RocksStore(tmp_path / "decisions")) as store:
        yield store


def decided(race: Pipeline, count: int) -> list[Recorded]:
    return in_order(live(race, one_by_one(count), random.Random(1)))


def test_the_first_of_each_event_counts(race: Pipeline, store: RocksStore) -> None:
    decisions = Decisions(store, race, by_id=False, one_by_one=False)
    recorded = decided(race, 4)
    decode = stream_decoder(DECISIONS, race.spec.settings)
    other = stream_encoder(DECISIONS)({**decode(recorded[0].value), "pipeline": "another"})
    again = altered(race, recorded[2], action="another")
    decisions.read([*recorded[1:], again, recorded[0]._replace(value=other)])
    assert (decisions.count, decisions.repeats, decisions.other_pipeline) == (3, 1, 1)
    [events] = one_by_one(4)
    found = [decisions.find(each, None, bytearray(3)) for each in events]
    assert found == [(-1, b""), *((at, recorded[at + 1].value) for at in range(3))]
    assert decisions.places[0].seqs.tolist() == [1, 2, 2]
    assert decisions.times.tolist() == [each.at for each in recorded[1:]]


def test_by_id_several_of_one_id_are_told_apart_by_their_time(
    race: Pipeline, store: RocksStore
) -> None:
    decisions = Decisions(store, race, by_id=True, one_by_one=True)
    recorded = [each._replace(source=None) for each in decided(race, 2)]
    same = [altered(race, each, event_id="p") for each in recorded]
    decisions.read(same)
    assert (decisions.count, decisions.repeats) == (2, 0)
    [events] = one_by_one(2)
    intake, _ = score.replay(race, None)
    ids = [intake(message).event._replace(id="p") for message in events]
    taken = bytearray(2)
    assert decisions.find(events[1], ids[1], taken) == (1, same[1].value)
    taken[1] = 1
    assert decisions.find(events[1], ids[1], taken) == (-1, b"")
    assert decisions.find(events[0], ids[0], taken) == (0, same[0].value)
    assert decisions.find(events[0], None, taken) == (-1, b"")


def test_one_that_cannot_be_read_is_named(race: Pipeline, store: RocksStore) -> None:
    decisions = Decisions(store, race, by_id=False, one_by_one=False)
    with pytest.raises(FileError, match="the decision of payments/0/7, number 1, cannot be read"):
        decisions.read([Recorded(b"payments/0/7", b"\xff", 0)])


def test_events_without_decision_make_the_place_of_a_key_a_guess(
    race: Pipeline, store: RocksStore
) -> None:
    decisions = Decisions(store, race, by_id=False, one_by_one=False)
    event = _event(race)
    assert decisions.guesses(event.keys) == [False, False]
    decisions.note(event, 0)
    assert decisions.as_read(0) and not decisions.as_read(1)  # the topic is keyed by the card
    assert decisions.guesses(event.keys) == [False, True]
    assert not decisions.unsure(1, "t")
    decisions.note(event, 0)
    assert decisions.unsure(1, "t") and not decisions.unsure(0, "c0")
    decisions.note(event, 1)
    assert decisions.unsure(0, "c0")


def _event(race: Pipeline) -> Event:
    intake, _ = score.replay(race, None)
    return intake(one_by_one(1)[0][0]).event


def test_what_was_looked_up_stands_in_the_place_of_tables(race: Pipeline, tmp_path: Path) -> None:
    assert recorded_lookups(race) is None
    lookups = RecordedLookups(["risk", "blocked"], [0.5, None])
    event = _event(write(tmp_path, SPEC))
    assert lookups(event) == [0.5, None]
    lookups.use({"risk": float("nan"), "blocked": 1.0})
    assert lookups(event) == [0.5, 1.0]
    lookups.use({"risk": 2.0})
    values = lookups(event)
    assert values[0] == 2.0 and values[1] is None
    lookups.use(None)
    assert lookups(event) == [0.5, None]
