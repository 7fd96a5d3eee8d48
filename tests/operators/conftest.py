"""A job's hops in memory, and the schemas of what they put out."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from verdict.operators.events.schema import without_logical_types
from verdict.operators.message import NEXT, Emit, Message, Operator
from verdict.operators.records.streams import Decode, Encode, decoder, encoder
from verdict.state.store.keyed import MemoryState

AVRO = Path(__file__).parents[2] / "avro"


class Chain:
    """Hops one behind the other, each with its keys' states; one message at a time.

    ``restart`` builds the hops anew before every message: what is known is then the states' bytes.
    """

    def __init__(self, hops: Callable[[], Sequence[Operator]], restart: bool = False) -> None:
        self.make = hops
        self.hops = hops()
        self.restart = restart
        self.states: list[dict[bytes, MemoryState]] = [{} for _ in self.hops]

    def __call__(self, message: Message) -> list[Emit]:
        """Put one message through; return what leaves the last hop, or the chain before it."""
        if self.restart:
            self.hops = self.make()
        return self._hop(0, message)

    def _hop(self, index: int, message: Message) -> list[Emit]:
        state = self.states[index].setdefault(message.key or b"", MemoryState())
        out = []
        for emit in self.hops[index](message, state):
            if emit.output == NEXT:
                out += self._hop(index + 1, message._replace(key=emit.key, value=emit.value))
            else:
                out.append(emit)
        return out


@pytest.fixture(scope="session")
def chain() -> type[Chain]:
    return Chain


@pytest.fixture(scope="session")
def encode() -> Callable[[str], Encode]:
    """Makes the encoder of an ``avro/*.avsc``."""
    return lambda name: encoder(_schema(name))


@pytest.fixture(scope="session")
def decode() -> Callable[[str], Decode]:
    """Makes the decoder of an ``avro/*.avsc``."""
    return lambda name: decoder(_schema(name))


def _schema(name: str) -> object:
    return without_logical_types(json.loads((AVRO / f"{name}.avsc").read_text("utf-8")))
