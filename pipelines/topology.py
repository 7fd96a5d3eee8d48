"""A job is a value: named inputs, a chain of hops, named outputs. Both engines run it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from verdict.operators.message import Operator

SOURCE_HEADER = "source"
"""Header of every output record: ``topic/partition/offset`` of the input record behind it."""
MAX_CARRIED = 8_192
"""Bytes of all carried headers' values together: of a record with more, none is carried. An output
must not outgrow Kafka's request by what others put into headers."""


@dataclass(frozen=True)
class Hop:
    """One key and one operator.

    Attributes
    ----------
    name
        Stable: names the Flink operator and its slot sharing group, prefixes the state's keys.
    keyed
        False for an operator without state that needs no key, such as a decoder.
    operator
        A picklable factory; each worker calls it once.
    state_ttl
        Milliseconds of the clock after which Flink may collect what of a key is not written any
        more; None for never. What is forgotten, and when, is the operator's affair.
    """

    name: str
    keyed: bool
    operator: Callable[[], Operator]
    state_ttl: int | None = None


@dataclass(frozen=True)
class Job:
    """What both engines run. Streams go by their logical names; the spec maps them to topics."""

    name: str
    pipeline: str
    inputs: tuple[str, ...]
    hops: tuple[Hop, ...]
    outputs: tuple[str, ...]
    carry: tuple[str, ...] = ()
    """Names of headers that go from an input record to what comes of it, if it has them."""
    first: tuple[str, ...] = ()
    """Inputs whose records come before the others': one that is early changes nothing, one that is
    late is lost. The embedded engine reads what is in their topics before the first record of
    another input; Flink reads all inputs side by side."""


class Stop(Protocol):
    """Something that says when to stop: a ``threading.Event``."""

    def is_set(self) -> bool:
        """Whether to stop."""
        ...


def topics_of(streams: Sequence[str], topics: Mapping[str, str]) -> dict[str, str]:
    """Select the topics of some streams."""
    return {stream: topics[stream] for stream in streams}
