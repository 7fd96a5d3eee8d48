"""Where a decision must be, and which letters stand in the place of one."""

import threading
from pathlib import Path
from typing import Any

from verdict.operators.names import DEAD_LETTERS
from verdict.pipelines.formats.avro_file import AvroFile
from verdict.pipelines.formats.streams import definition, stream_encoder
from verdict.pipelines.parity.lost import Decided, Settled, settled, sources
from verdict.pipelines.spec.load import load

LETTER: dict[str, Any] = {"stage": "score", "kind": "k", "reason": "r", "topic": "events.avro"}
LETTER |= {"partition": 0, "timestamp": 0, "key": None, "value": None}
LETTER |= {"value_size": -1, "value_sha256": None}


def test_letters_of_the_score_job_are_read_beside_the_decisions(tiny: Path, tmp_path: Path) -> None:
    pipeline, stop = load(tiny / "pipeline.yaml"), threading.Event()
    decisions = [tmp_path / "decisions.avro"]
    assert list(sources(pipeline, decisions, stop)) == []
    name = pipeline.spec.pipeline
    file = AvroFile(tmp_path / f"{pipeline.topics[DEAD_LETTERS]}.avro", definition(DEAD_LETTERS), 0)
    encode = stream_encoder(DEAD_LETTERS)
    of = [(name, "score", 3), (name, "shadow", 4), ("another", "score", 5), (name, "score", 6)]
    letters = ({**LETTER, "pipeline": p, "job": job, "offset": at} for p, job, at in of)
    file.append([encode(each) for each in letters])
    file.close()
    found = list(sources(pipeline, decisions, stop))
    assert found == ["events.avro/0/3", "events.avro/0/6"]
    stop.set()
    assert list(sources(pipeline, decisions, stop)) == []


def test_an_event_must_have_a_decision_between_two_of_a_settled_time() -> None:
    decided = Decided()
    whole = Settled(until=50)
    whole.begins(0, 40)  # nothing was cut there
    whole.begins(9, 20)
    whole.begins(3, 10)
    for offset, when in enumerate([None, 15, None, 20, None, 50, None, 60, None]):
        decided.take(1, (0, offset), when is not None, when is not None and whole.holds(when))
    places = [(0, offset) for offset in range(9)]
    assert [at[1] for at in places if decided.missing(1, at)] == [4]
    assert [at[1] for at in places if not decided.begun(1, at)] == [0]
    assert [at[1] for at in places if decided.ended(1, at)] == [8]
    assert decided.missed == 1
    assert decided.ended(2, (0, 0)) and not decided.missing(2, (0, 0))


def test_a_job_that_checkpoints_seldom_has_longer_to_commit(tiny: Path) -> None:
    file = tiny / "pipeline.yaml"
    often = settled(load(file)).until
    file.write_text(file.read_text() + "\nsettings: {checkpoint_interval: 10m}\n")
    assert often - settled(load(file)).until > 1_000_000
