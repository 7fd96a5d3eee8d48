"""`verdict test`: what it says, and what it exits with."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Verdict = Callable[..., Any]
NAMES = [
    "the third payment within the hour is reviewed",
    "payments of another card, and of an hour ago, do not count",
    "an amount that is no number becomes a dead letter",
]


@pytest.fixture
def broken(tiny: Path) -> Path:
    """A pipeline whose window someone has shortened."""
    file = tiny / "pipeline.yaml"
    file.write_text(file.read_text().replace("over: 1h", "over: 2m"))
    return tiny


def test_tests_that_pass_are_a_line_each(verdict: Verdict, tiny: Path) -> None:
    ran = verdict("test", tiny)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [*(f"pass  {name}" for name in NAMES), "3 passed"]
    assert verdict("test", tiny / "pipeline.yaml").out == ran.out


def test_the_file_beside_is_the_default(
    verdict: Verdict, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny)
    assert verdict("test").code == 0
    moved = (tiny / "pipeline_test.yaml").rename(tiny / "more_pipeline_test.yaml")
    assert verdict("test", "--file", moved.name).code == 0
    ran = verdict("test")
    assert ran.code == 2
    assert ran.err.startswith("pipeline_test.yaml: there is no such file: write tests there (docs/")
    ran = verdict("test", "--file", "none.yaml")
    assert (ran.code, ran.err) == (2, "none.yaml: cannot be read: No such file or directory\n")


def test_the_pipeline_that_is_named_comes_before_the_file_s(
    verdict: Verdict, broken: Path, tmp_path: Path
) -> None:
    tests = broken / "pipeline_test.yaml"
    assert verdict("test", "--file", tests).code == 1
    right = shutil.copytree(broken, tmp_path / "right") / "pipeline.yaml"
    right.write_text(right.read_text().replace("over: 2m", "over: 1h"))
    assert verdict("test", right, "--file", tests).code == 0


def test_a_failure_is_a_diff_and_exit_code_1(verdict: Verdict, broken: Path) -> None:
    ran = verdict("test", broken)
    assert (ran.code, ran.err) == (1, "")
    file = broken / "pipeline_test.yaml"
    lines = ran.out.splitlines()
    assert lines[:2] == [f"FAIL  {NAMES[0]}  ({file}:4)", f"  event p3, {file}:12"]
    assert any(re.fullmatch(r" {4}≠ card_count_1h  3 +2 +-1", text) for text in lines)
    assert any(re.match(r" {4}≠ score +0\.816 ± 0\.001  0\.62", text) for text in lines)
    assert any(re.match(r" {6}because +score >= 0\.5", text) for text in lines)
    assert lines[-1] == "2 passed, 1 failed"


def test_k_chooses_by_a_part_of_the_name(verdict: Verdict, broken: Path) -> None:
    ran = verdict("test", broken, "-k", "Another CARD")
    assert (ran.code, ran.out.splitlines()) == (0, [f"pass  {NAMES[1]}", "1 passed, 2 left out"])
    ran = verdict("test", broken, "-k", "xyz")
    assert ran.code == 2
    assert ran.err.startswith(
        f"{broken}/pipeline_test.yaml: no test has 'xyz' in its name; there are: {NAMES[0]}; "
    )


def test_json_is_for_a_script(verdict: Verdict, broken: Path) -> None:
    ran = verdict("test", broken, "--json")
    found = json.loads(ran.out)
    assert (ran.code, found["ok"]) == (1, False)
    assert [(test["name"], test["ok"]) for test in found["tests"]] == [
        (NAMES[0], False),
        (NAMES[1], True),
        (NAMES[2], True),
    ]
    differs = [v for v in found["tests"][0]["events"][1]["values"] if v["differs"]]
    assert differs[0] == {"name": "card_count_1h", "expected": 3.0, "found": 2.0, "differs": True}


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("pipeline_test.yaml", "event: p1", "evnt: p1", "test.yaml:11: there is no setting 'tests"),
        ("pipeline.yaml", "over: 1h", "ovr: 1h", "pipeline.yaml:11: there is no setting 'features"),
        ("model/model.yaml", "name: tiny", "nme: tiny", "pipeline.yaml:12: "),
    ],
)
def test_what_keeps_tests_from_being_run_is_exit_code_2(
    verdict: Verdict, tiny: Path, file: str, old: str, new: str, says: str
) -> None:
    path = tiny / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))
    ran = verdict("test", tiny)
    assert (ran.code, ran.out) == (2, "")
    assert says in ran.err
    assert "Traceback" not in ran.err
    assert "Traceback" in verdict("-v", "test", tiny).err
    ran = verdict("test", tiny, "--json")
    found = json.loads(ran.out)
    assert (ran.code, found["ok"]) == (2, False)
    assert says in found["errors"][0]
