"""`verdict check`: what a right pipeline is, and every mistake of a wrong one."""

import json
from pathlib import Path
from typing import Any

from tests.pipelines.cli.test_app import STREAMS, Verdict


def test_check_says_what_a_right_pipeline_is(verdict: Verdict, tiny: Path) -> None:
    ran = verdict("check", tiny)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        f"{tiny}/pipeline.yaml is right.",
        "  events -> hop(card) -> score -> decide",
        "  2 features; champion tiny:1",
    ]
    assert verdict("check", tiny / "pipeline.yaml").out == ran.out
    assert json.loads(verdict("check", tiny, "--json").out) == {
        "ok": True,
        "pipeline": "my-pipeline",
        "entities": ["card"],
        "features": ["amount", "card_count_1h"],
        "models": ["tiny:1"],
        "topics": {stream: stream for stream in STREAMS},
        "warnings": [],
    }


def test_check_names_the_challengers(verdict: Verdict, example: Any) -> None:
    ran = verdict("check", example.pipeline.path)
    assert ran.out.splitlines()[1:] == [
        "  events -> hop(customer) -> hop(terminal) -> score -> decide",
        "  15 features; champion card-fraud-lightgbm:1",
        "  challenger card-fraud-sklearn:1",
    ]


def test_check_fails_with_every_mistake(verdict: Verdict, tiny: Path) -> None:
    file = tiny / "pipeline.yaml"
    file.write_text(file.read_text().replace("id: id", "id: idd").replace("by: card", "by: cart"))
    messages = [
        f"{file}:6: the schema has no field 'idd'. Did you mean 'id'?",
        f"{file}:11: feature 'card_count_1h' goes by 'cart', which is no entity. "
        "Did you mean 'card'?",
    ]
    ran = verdict("check", tiny)
    assert (ran.code, ran.out, ran.err.splitlines()) == (1, "", messages)
    ran = verdict("check", tiny, "--json")
    assert (ran.code, json.loads(ran.out)) == (1, {"ok": False, "errors": messages})
