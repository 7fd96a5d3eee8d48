"""A difference is found and said, and what cannot be compared is counted apart."""

import random

from tests.pipelines.races import altered, compared, in_order, live, one_by_one
from verdict.operators.names import DECISIONS
from verdict.pipelines.formats.streams import stream_decoder, stream_encoder
from verdict.pipelines.replay.sources import Recorded
from verdict.pipelines.spec.pipeline import Pipeline


def test_an_altered_decision_is_found(race: Pipeline) -> None:
    partitions = one_by_one(30)
    decisions = in_order(live(race, partitions, random.Random(1)))
    decisions[7] = altered(race, decisions[7], features={"terminal_last_1h": 7.500000000000001})
    decisions[9] = altered(race, decisions[9], action="approve-all")
    found = compared(race, decisions, lambda: iter(partitions[0]))
    first, second = found.shown
    assert (first.event_id, first.source) == ("p7", "race-events/0/7")
    assert (first.feature, first.decided, first.replayed) == (
        "terminal_last_1h",
        7.500000000000001,
        7.5,
    )
    assert (second.event_id, second.feature, second.decided) == ("p9", "action", "approve-all")
    assert (found.compared, found.equal, found.differing, found.differences) == (30, 28, 2, 2)
    assert found.features["terminal_last_1h"] == {"same": 29, "differs": 1}


def test_cold_and_unknown_features_are_counted_apart(race: Pipeline) -> None:
    partitions = one_by_one(6)
    decisions = in_order(live(race, partitions, random.Random(1)))
    decode = stream_decoder(DECISIONS, race.spec.settings)
    hops = decode(decisions[3][1])["hops"]
    cold = [{**hops[0], "cold": ["card_count_1h"]}, hops[1]]
    decisions[3] = altered(race, decisions[3], hops=cold, features={"card_count_1h": 1.0})
    without = decode(decisions[4][1])
    del without["features"]["terminal_last_1h"]
    decisions[4] = Recorded(decisions[4][0], stream_encoder(DECISIONS)(without), 4)
    other = decode(decisions[5][1])["model"] | {"version": "2", "sha256": "other"}
    decisions[5] = altered(race, decisions[5], model=other, score=0.75)
    found = compared(race, decisions, lambda: iter(partitions[0]))
    assert found.shown == []
    assert found.features["card_count_1h"] == {"cold": 1, "same": 5}
    assert found.features["ratio"] == {"cold": 1, "same": 5}
    assert found.features["terminal_last_1h"] == {"absent": 1, "same": 5}
    assert found.features["score"] == {"cold": 1, "absent": 1, "model": 1, "same": 3}


def test_what_retention_took_is_never_called_wrong(race: Pipeline) -> None:
    partitions = one_by_one(200)
    decisions = in_order(live(race, partitions, random.Random(1)))
    kept = partitions[0][50:]
    found = compared(race, decisions, lambda: iter(kept))
    assert found.shown == []
    assert (found.without_event, found.compared) == (50, 150)
    # An hour on, the hour's windows see what is there alone; those of a day never do.
    counts = found.features["card_count_1h"]
    assert counts["history"] == 60
    assert counts["same"] == 90
    assert found.features["terminal_count_1d"] == {"history": 150}
    assert found.features["terminal_faded"] == {"history": 150}
    assert found.features["hop_seq of terminal"] == {"same": 150}
    assert found.features["action"] == {"history": 150}
    # What is wrong among the rest is found all the same.
    decisions[180] = altered(race, decisions[180], features={"card_count_1h": 3.0})
    found = compared(race, decisions, lambda: iter(kept))
    assert [(each.event_id, each.feature) for each in found.shown] == [("p180", "card_count_1h")]


def test_a_state_that_was_lost_is_found(race: Pipeline) -> None:
    partitions = one_by_one(40)
    before = live(race, [partitions[0][:20]], random.Random(1))
    after = live(race, [partitions[0][20:]], random.Random(1))
    decisions = [*before, *(each._replace(at=each.at + 20) for each in after)]
    found = compared(race, decisions, lambda: iter(partitions[0]))
    assert found.differing == 20
    assert found.shown[0].event_id == "p20"
    assert found.shown[0].feature == "hop_seq of card"
    assert (found.shown[0].decided, found.shown[0].replayed) == (1, 11)
    assert "began anew" in found.shown[0].why


def test_a_copy_is_left_out_and_the_first_one_counts(race: Pipeline) -> None:
    partitions = one_by_one(5)
    decisions = in_order(live(race, partitions, random.Random(1)))
    again = altered(race, decisions[2], features={"terminal_count_1d": 99.0})
    found = compared(race, [*decisions, again], lambda: iter(partitions[0]))
    assert (found.repeats, found.differences, found.compared) == (1, 0, 5)
