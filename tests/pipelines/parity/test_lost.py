"""Where a decision must be, and which letters stand in the place of one."""

import random
import threading
from pathlib import Path
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from tests.pipelines.races import compared, drawn, in_order, interleaved, live, one_by_one
from verdict.operators.names import DEAD_LETTERS, DECISIONS
from verdict.pipelines.formats.avro_file import AvroFile
from verdict.pipelines.formats.streams import definition, stream_decoder, stream_encoder
from verdict.pipelines.parity import compare
from verdict.pipelines.parity.lost import read_letters
from verdict.pipelines.parity.summary import ParitySummary
from verdict.pipelines.parity.text import lines
from verdict.pipelines.replay.extent import WholeSpan
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.pipeline import Pipeline

LETTER: dict[str, Any] = {"stage": "score", "kind": "k", "reason": "r", "topic": "events.avro"}
LETTER |= {"partition": 0, "timestamp": 0, "key": None, "value": None}
LETTER |= {"value_size": -1, "value_sha256": None}


def test_letters_of_the_score_job_are_read_beside_the_decisions(tiny: Path, tmp_path: Path) -> None:
    pipeline, stop = load(tiny / "pipeline.yaml"), threading.Event()
    decisions = [tmp_path / "decisions.avro"]
    assert list(read_letters(pipeline, decisions, stop)) == []
    name = pipeline.spec.pipeline
    file = AvroFile(tmp_path / f"{pipeline.topics[DEAD_LETTERS]}.avro", definition(DEAD_LETTERS), 0)
    encode = stream_encoder(DEAD_LETTERS)
    of = [(name, "score", 3), (name, "shadow", 4), ("another", "score", 5), (name, "score", 6)]
    letters = ({**LETTER, "pipeline": p, "job": job, "offset": at} for p, job, at in of)
    file.append([encode(each) for each in letters])
    file.close()
    found = list(read_letters(pipeline, decisions, stop))
    assert found == ["events.avro/0/3", "events.avro/0/6"]
    stop.set()
    assert list(read_letters(pipeline, decisions, stop)) == []


def lost(found: ParitySummary) -> list[tuple[str, str, Any]]:
    return [
        (each.event_id, each.source, each.replayed)
        for each in found.shown
        if each.feature == compare.LETTER and each.why == compare.LOST
    ]


def test_a_decision_that_was_lost_is_found(race: Pipeline) -> None:
    partitions = one_by_one(20)
    decisions = in_order(live(race, partitions, random.Random(1)))
    events = lambda: iter(partitions[0])  # noqa: E731
    kept = decisions[:7] + decisions[8:]
    action = stream_decoder(DECISIONS, race.spec.settings)(decisions[7][1])["action"]
    found = compared(race, kept, events)
    assert lost(found) == [("p7", "race-events/0/7", action)]
    assert (found.compared, found.equal, found.differing, found.differences) == (19, 19, 0, 1)
    assert (found.without_decision, found.lost) == (1, 1)
    assert "1 events that the replay decides and nobody did" in "\n".join(lines(found))
    # Its dead letter is there: what kept it from being decided is known.
    found = compared(race, kept, events, letters=lambda: iter(["race-events/0/7"]))
    assert (found.shown, found.without_decision, found.lost) == ([], 1, 0)
    # Before the first and behind the last there may be others, once.
    found = compared(race, decisions[3:17], events)
    assert (found.shown, found.lost, found.without_decision) == ([], 0, 0)
    assert (found.before_decisions, found.undecided) == (3, 3)
    # Or where another partition of the decisions begins later, or is not read as far.
    for whole in (WholeSpan(since=decisions[8].at), WholeSpan(until=decisions[6].at)):
        found = compared(race, kept, events, whole=whole)
        assert (found.shown, found.lost, found.without_decision) == ([], 0, 1)


@settings(max_examples=10, phases=[Phase.explicit, Phase.reuse, Phase.generate])
@given(seed=st.integers(0, 1 << 32))
def test_any_lost_decision_is_found_in_any_race(race: Pipeline, seed: int) -> None:
    choose = random.Random(seed)
    partitions = drawn(choose, nulls=False)
    decisions = live(race, partitions, choose)
    out = choose.randrange(len(decisions))
    source = (decisions[out][0] or b"").decode()
    which, offset = (int(part) for part in source.split("/")[1:])
    decided = stream_decoder(DECISIONS, race.spec.settings)(decisions[out][1])
    kept = decisions[:out] + decisions[out + 1 :]
    found = compared(race, kept, interleaved(partitions, choose), shown=1_000)
    edges = (offset == 0, offset == len(partitions[which]) - 1)
    assert [each[:2] for each in lost(found)] == (
        [] if any(edges) else [(decided["event_id"], source)]
    )
    assert (found.before_decisions, found.undecided) in {
        (0, 0) if not any(edges) else (0, 1) if edges[1] else (1, 0)
    }


def test_the_decision_of_a_retry_is_missed_too(race: Pipeline) -> None:
    events = one_by_one(10)[0]
    events[6] = events[2]._replace(offset=6, timestamp=events[6].timestamp)
    decisions = in_order(live(race, [events], random.Random(1)))
    found = compared(race, decisions[:6] + decisions[7:], lambda: iter(events))
    assert [each[:2] for each in lost(found)] == [("p2", "race-events/0/6")]
    assert (found.differences, found.equal) == (1, 9)


def test_an_event_that_a_hop_never_got_is_lost(race: Pipeline) -> None:
    events = one_by_one(20)[0]
    decisions = in_order(live(race, [events], random.Random(1), lost=7))
    found = compared(race, decisions, lambda: iter(events))
    assert [each[:2] for each in lost(found)] == [("p7", "race-events/0/7")]
    assert (found.compared, found.equal, found.differences) == (19, 19, 1)
