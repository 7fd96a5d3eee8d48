"""The score job's operators: the decode hop, and an entity's hop.

Between hops a `Carry` travels: what the record was, what is known of it so far.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from verdict.operators.errors import BadRecord
from verdict.operators.features.lookups import LookupTable
from verdict.operators.features.windowed import EntityFeatures
from verdict.operators.message import (
    NEXT,
    AgreedTime,
    Deferred,
    Emit,
    Message,
    Operator,
    new,
)
from verdict.operators.meter import Meter
from verdict.operators.names import BadKind, JobName
from verdict.operators.records.dead_letter import Refusals
from verdict.operators.records.decision import hop_encoder, no_hop
from verdict.operators.records.streams import Encode
from verdict.operators.score.carry import (
    WITH_KEY,
    WITHOUT_KEY,
    Carry,
    as_it_came,
    carried,
    key_of_hop,
)
from verdict.operators.score.finish import Finish
from verdict.operators.score.intake import Intake
from verdict.operators.score.rows import FeatureRows
from verdict.state.store.dedupe import SeenState, without_ids
from verdict.state.store.keyed import KeyedState
from verdict.state.windows.layout import newest

Takers = Mapping[str, Operator]
"""Stream -> what takes its records in one hop: labels and commands, which come beside the events. A
`BadRecord` that it raises becomes a dead letter; of the first hop alone, for there the value is
still the record's own. A pipeline with neither has none."""


class DecodeHop:
    """The unkeyed hop before the first key: for a topic whose message key is not the entity's."""

    def __init__(self, pipeline: str, intake: Intake, encode_dead: Encode) -> None:
        self.meter = Meter()
        self._intake = intake
        self._refuse = Refusals(pipeline, JobName.SCORE, encode_dead, self.meter)
        self.takers: Takers = {}

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        """Send an event to its first key; what is no event becomes a dead letter."""
        if self.takers and message.stream in self.takers:
            return _taken(self.takers[message.stream], self._refuse, message, state)
        timed = self.meter.start()
        try:
            carry = self._intake(message)
        except BadRecord as error:
            return (self._refuse(message, error),)
        if timed:
            self.meter.lap("decode")
        return (new(Emit, (NEXT, (carry.event.keys[0] or "").encode(), carry)),)


class EntityHop:
    """One entity's hop: its aggregates; then the next hop, or the decision.

    Parameters
    ----------
    pipeline
        Its name.
    entities
        All of them, in the order of the hops.
    index
        Which one this is.
    features
        Its aggregates.
    intake
        On the first hop of a keyed topic, which gets raw records; else None.
    finish
        On the last hop; else None.
    encode_dead
        Encodes a dead letter.
    seen
        Knows a producer's retry, on the first entity's hop; None where nobody asked.
    keys
        For a backfill: of each hop its key is wanted, not what a decision says of it.
    """

    def __init__(
        self,
        pipeline: str,
        entities: Sequence[str],
        index: int,
        features: EntityFeatures,
        intake: Intake | None,
        finish: Finish | FeatureRows | None,
        encode_dead: Encode,
        seen: SeenState | None = None,
        keys: bool = False,
    ) -> None:
        self.meter = Meter()
        self._entity = entities[index]
        self._trace: Callable[[str, int, bool, Sequence[int]], Any] = (
            key_of_hop if keys else hop_encoder(self._entity, features.names)
        )
        self._absent = None if keys else no_hop(self._entity)
        self._index = index
        self._features = features
        self._start: Callable[[Message], Carry] = intake or carried
        self._finish = finish
        self._refuse = Refusals(pipeline, JobName.SCORE, encode_dead, self.meter)
        self.takers: Takers = {}
        self._seen = seen
        self._deleted_after = 2 * max(features.horizon, seen.window if seen is not None else 0)
        self._agreed = AgreedTime()
        self.models = (finish.card,) if isinstance(finish, Finish) else ()
        """What the models that it asks say of themselves."""
        self.defers = isinstance(finish, Finish) and finish.batches
        """Whether decisions are better left to `settle`, which takes many at once."""

    @property
    def tables(self) -> list[LookupTable]:
        """The tables that it asks."""
        lookups = self._finish.lookups if self._finish is not None else None
        return [] if lookups is None else lookups.tables

    def close(self) -> None:
        """Let go of the tables."""
        for table in self.tables:
            table.close()

    @property
    def horizon(self) -> int:
        """Milliseconds of silence after which nothing of an entity is left."""
        return self._features.horizon

    def forgotten(self, head: bytes) -> bool:
        """Whether an entity has been silent for so long that its state can go.

        It is forgotten after its longest window, by whoever comes next; after twice that it is
        deleted. How late it is, `AgreedTime` says.
        """
        last = newest(without_ids(head))
        return last is not None and last <= self._agreed.newest - self._deleted_after

    def settle(self, deferred: Sequence[Deferred]) -> list[Emit]:
        """Return what each would have been: a decision, or a dead letter."""
        assert isinstance(self._finish, Finish)
        output = self._finish.output
        ends = self._finish.many([carry for _, carry in deferred], self.meter)
        return [
            self._refuse(as_it_came(message, carry), end)
            if isinstance(end, BadRecord)
            else new(Emit, (output, (carry.event.keys[0] or "").encode(), end))
            for (message, carry), end in zip(deferred, ends, strict=True)
        ]

    def __call__(self, message: Message, state: KeyedState, defer: bool = False) -> Iterable[Emit]:
        """Take an event into its key's state; put out what goes on, a decision or a dead letter."""
        if self.takers and message.stream in self.takers:
            return _taken(self.takers[message.stream], self._refuse, message, state)
        meter = self.meter
        timed = meter.clock is not None and meter.start()
        try:
            carry = self._start(message)
        except BadRecord as error:
            return (self._refuse(message, error),)
        if timed:
            meter.lap("decode")
        try:
            if self._seen is not None:
                carry = self._looked_up(self._seen, state, carry)
                state = self._seen  # of the head, what is behind the ids
            self._extend(carry, state)
            if timed:
                meter.lap("features")
            event = carry.event
            if self._finish is not None:
                key = (event.keys[0] or "").encode()
                if defer:
                    return (new(Emit, (self._finish.output, key, new(Deferred, (message, carry)))),)
                return (new(Emit, (self._finish.output, key, self._finish(carry, meter, timed))),)
        except BadRecord as error:
            return (self._refuse(as_it_came(message, carry), error),)
        following = event.keys[self._index + 1]
        if following is None:
            return (new(Emit, (NEXT, WITHOUT_KEY + event.id.encode(), carry)),)
        return (new(Emit, (NEXT, WITH_KEY + following.encode(), carry)),)

    def _extend(self, carry: Carry, state: KeyedState) -> None:
        """Add the entity's features and trace to what travels."""
        event, _, known, hops, _, _, repeated = carry
        key = event.keys[self._index]
        features = self._features
        if key is None:
            known += features.defaults
            hops.append(self._absent)
            return
        self._agreed.take(event.time)
        compute = features.look if repeated else features
        values, seq, late, cold = compute(event, state)
        if late:
            self.meter.counts["late", self._entity] += 1
        known += values
        hops.append(self._trace(key, seq, late, cold))

    @staticmethod
    def _looked_up(seen: SeenState, state: KeyedState, carry: Carry) -> Carry:
        """Turn to the event's key, and say of the event whether it came before."""
        event = carry.event
        same = seen.open(state, event.id, carry.raw_value or b"")
        if same is None:
            seen.add(event.time)
            return carry
        if not same:
            raise BadRecord(
                BadKind.ID_REUSED,
                f"event id {event.id!r} came before, with another body: mend the producer",
            )
        return carry._replace(repeated=True)


def _taken(take: Operator, refuse: Refusals, message: Message, state: KeyedState) -> Iterable[Emit]:
    try:
        return take(message, state)
    except BadRecord as error:
        return (refuse(message, error),)
