"""Asking a running job: what is refused before anything is sent, and whose answer counts."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from verdict.operators.names import STATE_ANSWERS, STATE_COMMANDS
from verdict.operators.score.commands import GET, Command
from verdict.pipelines.control.state_commands import _answer, ask
from verdict.pipelines.errors import KafkaError, SpecError
from verdict.pipelines.formats.streams import stream_encoder
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.pipeline import Pipeline

ENCODE = stream_encoder(STATE_ANSWERS)
ASKED = Command("mine", GET, "customer", "c1", "me", "")


@pytest.fixture
def commanded(variant: Any, tmp_path: Path) -> Pipeline:
    topics = {STATE_COMMANDS: "commands", STATE_ANSWERS: "answers"}
    return load(variant(tmp_path / "pipeline.yaml", topics=topics))


def answer(of: str, remembered: str | None) -> Any:
    """Return a record with a job's answer."""
    said = {
        "command_id": of,
        "pipeline": "card-fraud",
        **{name: getattr(ASKED, name) for name in Command._fields[1:]},
        "found": remembered is not None,
        "remembered": remembered,
    }
    return SimpleNamespace(error=lambda: None, value=lambda: ENCODE(said))


class Consumer:
    """Hands out what it was given, then nothing."""

    def __init__(self, *records: Any) -> None:
        self._records: Iterator[Any] = iter(records)

    def poll(self, _seconds: float) -> Any:
        return next(self._records, None)


def test_a_pipeline_that_takes_no_commands_says_how_to(variant: Any, tmp_path: Path) -> None:
    pipeline = load(variant(tmp_path / "pipeline.yaml"))
    with pytest.raises(SpecError, match=r"topics: \{state-commands: state-commands\}"):
        ask(pipeline, GET, "customer", "c1")


def test_an_entity_without_a_hop_is_refused_before_anything_is_sent(commanded: Pipeline) -> None:
    with pytest.raises(SpecError, match="no hop of an entity 'cart'; there are customer, terminal"):
        ask(commanded, GET, "cart", "c1")


def test_the_answer_is_that_to_ones_own_command(commanded: Pipeline) -> None:
    broken = SimpleNamespace(error=lambda: "an error")
    consumer = Consumer(None, broken, answer("another", "{}"), answer("mine", '{"events": 3}'))
    found = _answer(commanded, consumer, ASKED, 60)
    assert (found["command_id"], found["found"]) == ("mine", True)
    assert found["remembered"] == {"events": 3}


def test_of_whom_nothing_is_known_nothing_is_remembered(commanded: Pipeline) -> None:
    assert _answer(commanded, Consumer(answer("mine", None)), ASKED, 60)["remembered"] is None


def test_that_nobody_answers_is_said_with_the_commands_id(commanded: Pipeline) -> None:
    says = r"nobody has answered within 0 s: does card-fraud's score run, .*Command mine waits"
    with pytest.raises(KafkaError, match=says):
        _answer(commanded, Consumer(), ASKED, 0)
