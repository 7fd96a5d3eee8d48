"""What the commands print: all of it, of small fixed inputs."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipelines.conftest import CARD_FRAUD, Ran

FROM = ["--from", "FOLDER/out"]
PLAN = ["--rate", "2000", "--entities", "customer=5000000", "--entities", "terminal=1000000"]
COMMANDS = {
    "check": ["check", "EXAMPLE"],
    "check-json": ["check", "EXAMPLE", "--json"],
    "check-against": ["check", "EXAMPLE", "--against", "FOLDER/before.yaml"],
    "check-wrong": ["check", "FOLDER/wrong.yaml"],
    "check-wrong-json": ["check", "FOLDER/wrong.yaml", "--json"],
    "plan": ["plan", "EXAMPLE", *PLAN],
    "plan-json": ["plan", "EXAMPLE", *PLAN, "--json"],
    "tail-decisions": ["tail", "EXAMPLE", *FROM],
    "tail-decisions-json": ["tail", "EXAMPLE", "-n", "1", "--json", *FROM],
    "tail-dead-letters": ["tail", "EXAMPLE", "dead-letters", *FROM],
    "tail-shadow-scores": ["tail", "EXAMPLE", "shadow-scores", *FROM],
    "tail-drift": ["tail", "EXAMPLE", "drift", *FROM],
    "tail-comparison": ["tail", "EXAMPLE", "comparison", *FROM],
    "dlq-list": ["dlq", "list", "EXAMPLE", *FROM],
    "dlq-list-json": ["dlq", "list", "EXAMPLE", "-n", "1", "--json", *FROM],
    "dlq-list-summary": ["dlq", "list", "EXAMPLE", "--summary", *FROM],
    "dlq-list-none": ["dlq", "list", "EXAMPLE", "--kind", "no-such", *FROM],
    "dlq-show": ["dlq", "show", "EXAMPLE", "PLACE", *FROM],
}
"""Golden file -> the command line, with names for folders."""


@pytest.fixture(scope="module")
def places(ran_over: Path) -> dict[str, str]:
    """What the names in command lines stand for; longer ones first."""
    text = (CARD_FRAUD / "pipeline.yaml").read_text()
    here = text.replace("schema: ", f"schema: {CARD_FRAUD}/").replace(
        "models/", f"{CARD_FRAUD}/models/"
    )
    before = here.replace("over: 1d, by: customer", "over: 2d, by: customer")
    (ran_over / "before.yaml").write_text(before)
    wrong = here.replace("by: terminal", "by: terminus", 1).replace("keyed_by", "keyd_by")
    (ran_over / "wrong.yaml").write_text(wrong)
    return {"EXAMPLE": str(CARD_FRAUD), "FOLDER": str(ran_over)}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_prints_the_same(
    name: str,
    golden: Callable[[str, str], None],
    verdict: Callable[..., Ran],
    places: dict[str, str],
) -> None:
    def told(text: str) -> str:
        for word, place in places.items():
            text = text.replace(word, place)
        if text == "PLACE":
            listed = verdict("dlq", "list", CARD_FRAUD, "-n", "1", "--json", *map(told, FROM))
            text = "{topic}/{partition}/{offset}".format(**json.loads(listed.out))
        return text

    def masked(text: str) -> str:
        for word, place in places.items():
            text = text.replace(place, word)
        return text

    ran = verdict(*map(told, COMMANDS[name]))
    line = " ".join(COMMANDS[name])
    said = f"$ verdict {line}\n{ran.out}"
    said += f"--- stderr\n{ran.err}" if ran.err else ""
    said += f"--- exit code {ran.code}\n" if ran.code else ""
    golden(f"commands/{name}.txt", masked(said))
