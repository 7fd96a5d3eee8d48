"""Decisions, events and labels are read from files, to the end or until stopped.

Topics are read in tests/pipelines/parity/test_check.py.
"""

import random
import threading
from pathlib import Path

import pytest

from tests.pipelines.races import in_order, live, one_by_one
from verdict.operators.names import DECISIONS
from verdict.pipelines.formats.avro_file import AvroFile
from verdict.pipelines.formats.streams import definition
from verdict.pipelines.replay import sources
from verdict.pipelines.replay.extent import WholeSpan
from verdict.pipelines.replay.sources import Recorded, open_sources
from verdict.pipelines.spec.load import over
from verdict.pipelines.spec.pipeline import Pipeline


@pytest.fixture
def files(race: Pipeline, tmp_path: Path) -> tuple[Path, Path, list[Recorded]]:
    """A file of events, and one of what was decided of them."""
    partitions = one_by_one(5)
    decisions = in_order(live(race, partitions, random.Random(1)))
    events = tmp_path / "events.jsonl"
    events.write_bytes(b"".join((each.value or b"") + b"\n" for each in partitions[0]))
    file = AvroFile(tmp_path / "decisions.avro", definition(DECISIONS), 0)
    file.append([each.value for each in decisions])
    file.close()
    return events, tmp_path / "decisions.avro", decisions


def test_files_are_read_in_their_order(
    race: Pipeline, files: tuple[Path, Path, list[Recorded]], monkeypatch: pytest.MonkeyPatch
) -> None:
    events, decided, decisions = files
    monkeypatch.setattr(sources, "TELL_EACH", 2)
    told: list[tuple[str, int]] = []
    opened = open_sources(
        over(race, [events]),
        [events],
        [decided, decided],
        WholeSpan(),
        stop=threading.Event(),
        progress=lambda stream, read: told.append((stream, read)),
    )
    read = list(opened.decisions())
    assert read == [
        Recorded(None, each.value, number) for number, each in enumerate([*decisions, *decisions])
    ]
    for _ in range(2):
        assert [each.offset for each in opened.events()] == [0, 1, 2, 3, 4]
    assert list(opened.labels()) == []
    assert (opened.by_id, opened.one_by_one) == (True, True)
    assert told == [
        *(("decisions", number) for number in (2, 4, 6, 8, 10)),
        *[("events", 2), ("events", 4)] * 2,
    ]


def test_whoever_stops_it_gets_the_part_that_was_read(
    race: Pipeline, files: tuple[Path, Path, list[Recorded]]
) -> None:
    events, decided, _ = files
    stop = threading.Event()
    opened = open_sources(over(race, [events]), [events], [decided], WholeSpan(), stop=stop)
    decisions = opened.decisions()
    next(decisions)
    stop.set()
    assert [*decisions, *opened.events()] == []


def test_what_belongs_together_is_known_by_id_as_soon_as_one_comes_from_files(
    race: Pipeline,
) -> None:
    stop = threading.Event()
    for events, decisions, expected in (
        (None, None, (False, False)),
        ([Path("e")], None, (True, False)),
        (None, [Path("d")], (True, True)),
    ):
        opened = open_sources(race, events, decisions, WholeSpan(), stop=stop)
        assert (opened.by_id, opened.one_by_one) == expected
