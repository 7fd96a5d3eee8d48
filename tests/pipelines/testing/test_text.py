"""A failure is a table of what was expected and what was found."""

import math
from pathlib import Path

import pytest

from verdict.pipelines.testing.check import Case
from verdict.pipelines.testing.run import UNASKED, CheckedValue, Outcome, Result
from verdict.pipelines.testing.text import failures, line, table, written_value

PATH = Path("a/pipeline_test.yaml")
SAME = Result("t1", 5, (CheckedValue("action", "approve", "approve"),))
DEAD = Result(
    None,
    9,
    (
        CheckedValue("dead letter", "decision", "wrong-type", True),
        CheckedValue("reason", UNASKED, "no \x1b[2J"),
    ),
)
OTHER = Result(
    "t2",
    7,
    (
        CheckedValue("card_count_1h", 3.0, 2.0, True),
        CheckedValue("amount", UNASKED, 0.1),
        CheckedValue("mean", 12.5, math.nan, True),
        CheckedValue("score", None, 0.9, True),
        CheckedValue("rules", [], ["fast"], True),
        CheckedValue("because", UNASKED, "otherwise"),
    ),
)


def outcome(*results: Result) -> Outcome:
    return Outcome(Case("a burst", 3, ()), results)


def test_a_test_is_one_line_that_says_where_it_stands_if_it_failed() -> None:
    assert line(outcome(SAME), PATH) == "pass  a burst"
    assert line(outcome(SAME, OTHER), PATH) == "FAIL  a burst  (a/pipeline_test.yaml:3)"


def test_only_events_that_came_out_otherwise_are_laid_out() -> None:
    assert failures(outcome(SAME), PATH) == []
    shown = failures(outcome(SAME, OTHER, DEAD), PATH)
    assert [text for text in shown if text.startswith("event")] == [
        "event t2, a/pipeline_test.yaml:7",
        "event without an id, a/pipeline_test.yaml:9",
    ]


def test_what_differs_is_marked_and_by_how_much() -> None:
    assert table(OTHER) == [
        "                 expected  found",
        "≠ card_count_1h  3         2          -1",
        "  amount                   0.1",
        "≠ mean           12.5      null",
        "≠ score          null      0.9",
        "≠ rules          []        [fast]",
        "  because                  otherwise",
    ]


def test_what_a_record_says_cannot_steer_the_terminal() -> None:
    assert table(DEAD)[-1].endswith(r"no \x1b[2J")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2.0, "2"),
        (-0.0, "0"),
        (1e300, "1e+300"),
        (0.1 + 0.2, "0.3"),
        (1e15 / 3, "333333333333333.3"),
        (1e-9, "1e-09"),
        (None, "null"),
    ],
)
def test_a_number_is_shown_as_one_would_write_it(value: float | None, text: str) -> None:
    assert written_value(value) == text


def test_json_has_every_value() -> None:
    found = outcome(SAME, OTHER).as_json()
    assert (found["name"], found["line"], found["ok"]) == ("a burst", 3, False)
    values = {value["name"]: value for value in found["events"][1]["values"]}
    assert values["amount"] == {"name": "amount", "found": 0.1, "differs": False}
    assert values["mean"] == {"name": "mean", "expected": 12.5, "found": None, "differs": True}
    assert [event["ok"] for event in found["events"]] == [True, False]
