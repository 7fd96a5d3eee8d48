"""The code that is written for a pipeline, as text: whoever changes the writer sees what comes."""

from collections.abc import Callable
from pathlib import Path

import pytest

from verdict.operators.events.event import Event
from verdict.operators.message import Message
from verdict.operators.score.carry import Carry
from verdict.pipelines.engines.embedded.runner import OutputRecord, Runner
from verdict.pipelines.history.packing import packed, unpacked
from verdict.pipelines.jobs.score import score
from verdict.pipelines.spec.load import load
from verdict.state.store.rocks import RocksStore
from verdict.state.windows.aggregates import Aggregate
from verdict.state.windows.aggregator import Aggregates
from verdict.state.windows.plan import Column, Settled

Golden = Callable[[str, str], None]
Code = Callable[[], dict[str, str]]
CARD_FRAUD = Path(__file__).parents[2] / "examples" / "card-fraud" / "pipeline.yaml"
HOUR, DAY = 3_600_000, 86_400_000


@pytest.fixture
def code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Code:
    """What has been written since the test began, by what it is, in order."""
    folder = tmp_path / "code"
    monkeypatch.setenv("VERDICT_CODE", str(folder))

    def written() -> dict[str, str]:
        files = sorted(folder.iterdir(), key=lambda file: int(file.stem.rpartition("-")[2]))
        return {file.stem.rpartition("-")[0]: file.read_text() for file in files}

    return written


def test_of_a_count_and_a_mean(golden: Golden, code: Code) -> None:
    Aggregates(
        [Aggregate("count", HOUR), Aggregate("mean", DAY, 0)],
        [Column("q", 2, nullable=False, meaning="amount")],
        retention=DAY + HOUR,
        name="small",
    )
    golden("code/small.py.txt", code()["windows-small"])
    golden("code/small-read.py.txt", code()["windows-small-read"])


def test_of_all_that_can_be_asked(golden: Golden, code: Code) -> None:
    ids, amount, km, online, shop, fraud = range(6)
    columns = [
        Column("q", nullable=False, meaning="event id"),
        Column("q", 2, meaning="amount"),
        Column("d", meaning="km"),
        Column("?", meaning="* where online"),
        Column("q", meaning="distinct shop"),
        Column("q", meaning="label after 7 d", label=Settled(7 * DAY, ids, where=online)),
    ]
    asked = [
        Aggregate("count", HOUR, online),
        Aggregate("count", DAY, delay=HOUR),
        Aggregate("sum", DAY, km),
        Aggregate("mean", DAY, amount, current=False),
        Aggregate("std", DAY, amount, HOUR),
        Aggregate("min", DAY, km),
        Aggregate("max", HOUR, amount),
        Aggregate("max", DAY, amount, current=False),
        Aggregate("first", DAY, amount),
        Aggregate("last", DAY, km),
        Aggregate("distinct", DAY, shop),
        Aggregate("time_since_last", DAY),
        Aggregate("count", HOUR, decayed=True),
        Aggregate("mean", HOUR, km, decayed=True),
        Aggregate("rate", 30 * DAY, fraud, 7 * DAY),
    ]
    Aggregates(asked, columns, retention=37 * DAY + HOUR, name="everything")
    golden("code/everything.py.txt", code()["windows-everything"])
    golden("code/everything-read.py.txt", code()["windows-everything-read"])


def test_of_the_example(golden: Golden, code: Code, tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "state")
    Runner(score(load(CARD_FRAUD)), store)
    store.close()
    written = code()
    for name in (
        "event",
        "body",
        "columns-customer",
        "windows-customer",
        "formulas",
        "policy-over-features-fields",
        "decision",
    ):
        golden(f"code/card-fraud-{name}.py.txt", written[name])


def test_of_dictionaries_that_cross_to_another_process(golden: Golden, code: Code) -> None:
    event = Event("e1", 5, ("c1",), {"amount": 1.5, "it's": None}, {"amount": 150})
    cause = Message("events", None, b"body", "events.avro", 0, 7, -1)
    part = [OutputRecord("", b"c1", Carry(event, [], [], [], None, b"body"), cause)]
    unpacked(packed((part, [], None)))
    golden("code/dicts.py.txt", code()["dicts"])
