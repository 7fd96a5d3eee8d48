"""Dead letters: read from files and from a topic, counted, listed, shown."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines.dead_letters.shop import (
    Verdict,
    send,
)
from verdict.pipelines.dead_letters.letter import Letter, LetterFilter
from verdict.pipelines.dead_letters.read import letters, newest, summary
from verdict.pipelines.dead_letters.text import table
from verdict.pipelines.errors import FileError
from verdict.pipelines.kafka.coordinates import Coordinates
from verdict.pipelines.spec.load import load


def letter(at: int = 5, **changes: Any) -> Letter:
    place = Coordinates("t", 0, at)
    made = Letter(at, "p", "score", "decode", "not-json", "bad", place, 7, b"k", b"v", 1, None)
    return replace(made, **changes)


def test_the_newest_are_those_and_without_values() -> None:
    found = newest([letter(at) for at in (3, 9, 1, 7, 9)], 3)
    assert [each.at for each in found] == [7, 9, 9]
    assert {each.value for each in found} == {None}


def test_a_summary_counts_by_stage_kind_and_job() -> None:
    found = [letter(5), letter(3), letter(9, job="shadow"), letter(-1, kind="empty")]
    tallies = summary(found)
    assert [(t.kind, t.job, t.count, t.first, t.last) for t in tallies] == [
        ("not-json", "score", 2, 3, 5),
        ("not-json", "shadow", 1, 9, 9),
        ("empty", "score", 1, -1, -1),
    ]
    assert table(tallies)[-1].endswith("score   -                         -")
    assert tallies[-1].as_json()["first"] is None


# Listed and shown


def test_letters_of_files(verdict: Verdict, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    events = tmp_path / "events.jsonl"
    events.write_bytes(b'nonsense\n{"id": "a\\u001b[2J"}\n{}\n')
    assert verdict("run", tiny, "--events", events, "--to", out).code == 0

    ran = verdict("dlq", "list", tiny, "--from", out)
    assert ran.code == 0
    first, second, third = ran.out.splitlines()
    assert first.startswith("events.jsonl/0/0 score decode/not-json: not JSON: ")
    assert second.startswith("events.jsonl/0/1 score validate/missing-field: field 'time'")
    assert third.startswith("events.jsonl/0/2 score validate/missing-field: field 'id' is missing")

    ran = verdict("dlq", "list", tiny, "--from", out, "--stage", "validate", "-n", "1", "--json")
    (found,) = map(json.loads, ran.out.splitlines())
    assert (found["topic"], found["offset"], found["kind"]) == ("events.jsonl", 2, "missing-field")
    assert found["at"] is None and found["timestamp"] is None and "value" not in found

    ran = verdict("dlq", "list", tiny, "--from", out, "--summary")
    assert [line.split()[:4] for line in ran.out.splitlines()] == [
        ["count", "stage", "kind", "job"],
        ["2", "validate", "missing-field", "score"],
        ["1", "decode", "not-json", "score"],
    ]
    ran = verdict("dlq", "list", tiny, "--from", out, "--summary", "--kind", "not-json", "--json")
    assert [each["count"] for each in json.loads(ran.out)] == [1]

    ran = verdict("dlq", "show", tiny, "events.jsonl/0/0", "--from", out)
    assert ran.code == 0
    assert ran.out.splitlines()[-2:] == ["value:", "  nonsense"]
    assert f"sha256        {hashlib.sha256(b'nonsense').hexdigest()}" in ran.out
    assert "size          8 bytes\n" in ran.out

    ran = verdict("dlq", "list", tiny, "--from", out, "--kind", "none-such")
    assert (ran.code, ran.out, ran.err) == (0, "", "No dead letter fits.\n")


def test_what_files_cannot_answer(verdict: Verdict, tiny: Path, tmp_path: Path) -> None:
    verdict("run", tiny, "--to", tmp_path)
    for arguments, says in [
        (("list", tiny, "--from", tmp_path, "--since", "1h"), "a file has none"),
        (("list", tiny, "--from", tmp_path / "no"), "run the pipeline first"),
        (("list", tiny, "--from", tmp_path, "--since", "soon"), "'soon' is no duration"),
        (("show", tiny, "x/0/1", "--from", tmp_path), "no dead letter is of x/0/1"),
        (("show", tiny, "x", "--from", tmp_path), "'x' is no place of a record"),
        (("replay", tiny), "mend the files, and run them again"),
    ]:
        ran = verdict("dlq", *arguments)
        assert (ran.code, ran.out) == (1, ""), arguments
        assert says in ran.err
    assert verdict("dlq", "list", tiny, "--stage", "nowhere").code == 2


def test_letters_of_a_topic_are_listed_newest_last(verdict: Verdict, shop: Any) -> None:
    made = shop("listed")
    place = made.send(b"\xff\x00rubbish")
    for offset in range(6):
        there = made.message(
            place._replace(offset=offset, partition=offset % 2), b"\xff\x00rubbish"
        )
        made.letter(there, job="shadow" if offset == 5 else "score")
    send(made.clients, made.letters, b"no letter", key=None)

    ran = verdict("dlq", "list", made.file)
    assert len(ran.out.splitlines()) == 6
    assert ran.err == "listed-dead-letters/0/6 is no dead letter of this release; left out\n"
    ran = verdict("dlq", "list", made.file, "-n", "2", "--json")
    assert [json.loads(row)["offset"] for row in ran.out.splitlines()] == [4, 5]
    assert verdict("dlq", "list", made.file, "--since", "1h", "--json").out.count("\n") == 6
    ran = verdict("dlq", "list", made.file, "--summary")
    assert [row.split()[0] for row in ran.out.splitlines()] == ["count", "5", "1"]

    written = list(letters(made.pipeline, LetterFilter()))
    after = max(each.at for each in written) + 1
    assert list(letters(made.pipeline, LetterFilter(since=after))) == []
    assert len(list(letters(made.pipeline, LetterFilter(kind="not-json", stage="decode")))) == 6
    assert list(letters(made.pipeline, LetterFilter(stage="score"))) == []


def test_a_letter_is_shown_beside_its_original(verdict: Verdict, shop: Any) -> None:
    made = shop("shown")
    binary, text = made.send(b"\xff\x00rubbish"), made.send(b'{"id": 1}')
    made.letter(made.message(binary, b"\xff\x00rubbish"))
    made.letter(made.message(text, b'{"id": 2}'))
    made.letter(made.message(text._replace(offset=99), b"x" * 70_000))

    ran = verdict("dlq", "show", made.file, str(binary))
    assert "original      shown-events/0/0, still there, the same\n" in ran.out
    assert "  00000000  ff 00 72 75 62 62 69 73 68" in ran.out
    assert "its timestamp 2026-09-21T14:13:20.000Z\n" in ran.out
    ran = verdict("dlq", "show", made.file, str(text))
    assert "shown-events/0/1, another record lies there now\n" in ran.out
    assert ran.out.endswith('value:\n  {"id": 2}\n')
    ran = verdict("dlq", "show", made.file, "shown-events/0/99")
    assert "shown-events/0/99, gone from its topic\n" in ran.out
    assert "70,000 bytes, of which the letter holds 65,536\n" in ran.out
    assert "… 61,440 characters more\n" in ran.out
    ran = verdict("dlq", "show", made.file, str(binary), "--json")
    found = json.loads(ran.out)
    assert (found["original"], found["value_base64"]) == ("there", "/wBydWJiaXNo")


# Replayed


def test_a_folder_without_letters_is_said(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="run the pipeline first"):
        list(letters(load(tiny / "pipeline.yaml"), LetterFilter(), tmp_path))
