"""Commands about what is remembered of an entity: they come beside the events, key by key."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from verdict.operators.errors import BadRecord
from verdict.operators.features.windowed import EntityFeatures
from verdict.operators.message import NEXT, Emit, Message
from verdict.operators.names import STATE_ANSWERS, BadKind
from verdict.operators.records.streams import Encode
from verdict.operators.score.carry import WITH_KEY
from verdict.state.store.keyed import KeyedState

GET, FORGET = "get", "forget"


class Command(NamedTuple):
    """One command.

    Attributes
    ----------
    id
        Whoever asks makes it up, and knows the answer by it.
    command
        ``get`` or ``forget``.
    by, why
        For the record.
    """

    id: str
    command: str
    entity: str
    key: str
    by: str
    why: str

    @property
    def value(self) -> bytes:
        """As it travels.

        >>> Command.parse(Command("1", GET, "card", "c1", "me", "").value, ["card"]).key
        'c1'
        """
        return json.dumps(self._asdict()).encode()

    @classmethod
    def parse(cls, value: bytes | None, entities: Sequence[str]) -> "Command":
        """Read a command.

        Raises
        ------
        BadRecord
            It is none, or of no entity of the pipeline.
        """
        try:
            given = json.loads(value or b"")
            command = cls(**{name: given[name] for name in cls._fields})
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise _bad(f"no command: {type(error).__name__}: {error}") from None
        if not all(isinstance(part, str) for part in command):
            raise _bad("no command: each of its fields is text")
        if command.command not in (GET, FORGET):
            raise _bad(f"there is no command '{command.command}'; there are {GET} and {FORGET}")
        if command.entity not in entities:
            known = ", ".join(entities)
            raise _bad(f"there is no hop of an entity '{command.entity}'; there are {known}")
        return command


def _bad(why: str) -> BadRecord:
    return BadRecord(BadKind.BAD_COMMAND, why)


class Obey:
    """Obeys a command in its entity's hop; in any other, sends it on.

    Parameters
    ----------
    pipeline
        Its name.
    entities
        All of them, in the order of the hops.
    index
        Which one's hop this is; -1 for the one before all.
    features
        What the hop remembers; None before all.
    encode
        Encodes an answer.
    """

    def __init__(
        self,
        pipeline: str,
        entities: Sequence[str],
        index: int,
        features: EntityFeatures | None,
        encode: Encode,
    ) -> None:
        self._pipeline = pipeline
        self._entities = entities
        self._index = index
        self._features = features
        self._encode = encode

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        """Answer a command from its key's state, or send it on.

        Raises
        ------
        BadRecord
            It is no command, or its record has another key.
        """
        command = message.value
        if not isinstance(command, Command):
            command = Command.parse(message.value, self._entities)
        key = command.key.encode()
        if self._features is None or command.entity != self._entities[self._index]:
            return (Emit(NEXT, key if self._index < 0 else WITH_KEY + key, command),)
        if self._index == 0 and message.key != key:
            raise BadRecord(BadKind.KEY_MISMATCH, "the record's key is not the command's")
        found = state.get() is not None
        remembered: Mapping[str, Any] | None = None
        if found and command.command == GET:
            remembered = self._features.remembered(state)
        elif found:
            self._features.forget(state)
        return (Emit(STATE_ANSWERS, key, self._encode(self._answer(command, found, remembered))),)

    def _answer(
        self, command: Command, is_known: bool, remembered: Mapping[str, Any] | None
    ) -> dict[str, Any]:
        return {
            "command_id": command.id,
            "pipeline": self._pipeline,
            **{name: getattr(command, name) for name in command._fields[1:]},
            "found": is_known,
            "remembered": None if remembered is None else json.dumps(remembered),
        }
