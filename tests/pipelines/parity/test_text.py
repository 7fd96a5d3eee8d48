"""What was found is said in words: each kind of record and value that was left out, and why."""

from dataclasses import fields

from verdict.pipelines.parity.compare import REASONS, Difference
from verdict.pipelines.parity.summary import ParitySummary
from verdict.pipelines.parity.text import lines, table


def test_nothing_but_what_there_is_to_say_is_said() -> None:
    assert lines(ParitySummary(compared=1_200)) == [
        "1,200 decisions compared with their replay, 0 differ"
    ]


def test_differences_come_first_and_then_how_many_more() -> None:
    difference = Difference("p7", "events/0/7", "n_1h", 3.0, 2.0, "why")
    summary = ParitySummary(compared=9, differing=2, differences=3, shown=[difference])
    summary.features = {"n_1h": {"same": 1_000, "differs": 3}, "decision": {"differs": 1}}
    assert lines(summary) == [
        *table([difference]),
        "and 2 more",
        "",
        "  n_1h: 3 of 1,003 differ",
        "9 decisions compared with their replay, 2 differ",
    ]
    summary.differences = 1
    assert lines(summary)[2:4] == ["", "  n_1h: 3 of 1,003 differ"]


def test_every_count_of_what_was_left_out_has_a_line() -> None:
    counts = ("without_event", "before_decisions", "undecided", "repeats", "other_pipeline")
    summary = ParitySummary(without_decision=9)
    for name in (*counts, "forced", "lost"):
        setattr(summary, name, 7)
    assert len(lines(summary)) == 9
    assert "         2 events without decision" in "\n".join(lines(summary))
    assert {field.name for field in fields(ParitySummary)} >= set(counts)


def test_values_that_were_not_compared_are_summed_by_reason() -> None:
    features = {f"f{number}": dict.fromkeys(REASONS, 2) for number in range(4)}
    said = lines(ParitySummary(features=features))[1:]
    assert [line.split(":")[0] for line in said] == [
        "         8 values not compared (f0, f1, f2, …)"
    ] * len(REASONS)
    assert [line.split(": ", 1)[1] for line in said] == list(REASONS.values())


def test_values_are_told_apart_to_the_bit_and_are_printable() -> None:
    last = Difference("a\x1b", "s", "f", 0.1 + 0.2, 0.3, "")
    names = Difference("b", "s", "rules", ["x", "y"], [], "")
    none = Difference("c", "s", "decision", None, "approve", "")
    rows = table([last, names, none])
    assert "0.30000000000000004  0.3" in rows[1] and "\x1b" not in rows[1]
    assert "x, y" in rows[2]
    assert rows[3].split() == ["c", "decision", "-", "approve"]
