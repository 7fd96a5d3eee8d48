"""Asking a running job: what is refused before anything is sent."""

from pathlib import Path
from typing import Any

import pytest

from verdict.operators.score.commands import GET
from verdict.pipelines.control.state_commands import ask
from verdict.pipelines.errors import SpecError
from verdict.pipelines.spec.load import load


def test_a_pipeline_that_takes_no_commands_says_how_to(variant: Any, tmp_path: Path) -> None:
    pipeline = load(variant(tmp_path / "pipeline.yaml"))
    with pytest.raises(SpecError, match=r"topics: \{state-commands: state-commands\}"):
        ask(pipeline, GET, "customer", "c1")


def test_an_entity_without_a_hop_is_refused_before_anything_is_sent(
    variant: Any, tmp_path: Path
) -> None:
    topics = {"state-commands": "commands", "state-answers": "answers"}
    pipeline = load(variant(tmp_path / "pipeline.yaml", topics=topics))
    with pytest.raises(SpecError, match="no hop of an entity 'cart'; there are customer, terminal"):
        ask(pipeline, GET, "cart", "c1")
