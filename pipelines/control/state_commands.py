"""Asks a running job what it remembers of an entity, or to erase it, and waits for the answer."""

import getpass
import json
import time
import uuid
from typing import Any

from confluent_kafka import Producer

from verdict.operators.names import STATE_ANSWERS, STATE_COMMANDS
from verdict.operators.score.commands import Command
from verdict.pipelines.errors import KafkaError, SpecError
from verdict.pipelines.formats.streams import stream_decoder
from verdict.pipelines.kafka.admin import require
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.kafka.read import Reader
from verdict.pipelines.spec.pipeline import Pipeline


def ask(
    pipeline: Pipeline, command: str, entity: str, key: str, why: str = "", seconds: float = 30.0
) -> dict[str, Any]:
    """Send a command about an entity's state, and return the answer (``avro/state-answer.avsc``).

    Parameters
    ----------
    command
        ``get`` or ``forget``.
    key
        The entity's key; of several parts, joined by ``|``.
    why
        For the record.
    seconds
        To wait. The command is carried out later all the same, when the job runs.

    Raises
    ------
    SpecError
        The pipeline takes no commands, or has no hop of the entity.
    KafkaError
        No broker answers, a topic is missing, or no job has answered in time.
    """
    if not pipeline.commanded:
        raise SpecError(
            [
                f"{pipeline.path}: its job takes no commands: name a topic for them, "
                "topics: {state-commands: state-commands}, and start the job anew"
            ]
        )
    if entity not in pipeline.entities:
        known = ", ".join(pipeline.entities)
        raise SpecError([f"there is no hop of an entity '{entity}'; there are {known}"])
    asked = Command(uuid.uuid4().hex, command, entity, key, getpass.getuser(), why)
    settings = clients(pipeline.spec.settings, pipeline.path.parent)
    commands, answers = pipeline.topics[STATE_COMMANDS], pipeline.topics[STATE_ANSWERS]
    require(settings, [commands, answers])
    # The answer at once: it is the record of what was done, and that is not taken back.
    with Reader(settings, "verdict-state") as reader:
        spans = reader.spans(answers)
        producer = Producer(settings.producer)
        producer.produce(commands, key=key.encode(), value=asked.value)
        if producer.flush(seconds):
            raise KafkaError(f"the command was not acknowledged within {seconds:g} s")
        decode = stream_decoder(STATE_ANSWERS, pipeline.spec.settings)
        behind = {number: span._replace(first=span.end) for number, span in spans.items()}
        for record in reader.read_between(answers, behind, follow=True, stop=_Deadline(seconds)):
            answer = decode(record.value())
            if answer["command_id"] == asked.id:
                said = answer["remembered"]
                return {**answer, "remembered": None if said is None else json.loads(said)}
    raise KafkaError(
        f"nobody has answered within {seconds:g} s: does {pipeline.spec.pipeline}'s score run, and "
        f"was it started since topics.state-commands was named? Command {asked.id} waits for it"
    )


class _Deadline:
    """Says to stop when some seconds are over."""

    def __init__(self, seconds: float) -> None:
        self._at = time.monotonic() + seconds

    def is_set(self) -> bool:
        return time.monotonic() >= self._at
