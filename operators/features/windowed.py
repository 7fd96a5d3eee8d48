"""From an event and its entity's history to numbers: the windowed features of one hop."""

from collections.abc import Sequence
from typing import Any

from verdict.operators.events.event import Event
from verdict.operators.events.schema import Schema
from verdict.operators.features.columns import FeatureColumns, WindowedFeature, hashed, iso, plain
from verdict.operators.labels.label import Label
from verdict.state.store.dedupe import ids_of
from verdict.state.store.keyed import KeyedState
from verdict.state.windows.aggregates import Aggregate
from verdict.state.windows.aggregator import Aggregates
from verdict.state.windows.result import WindowResult
from verdict.state.windows.values import NEVER


class EntityFeatures:
    """Logs an event with its entity and computes the entity's aggregates.

    Parameters
    ----------
    features
        The aggregates of one entity.
    schema
        Of the events.
    allowed_lateness
        Milliseconds that an event may be older than its entity's newest and see its windows whole.
    typed
        Fields that the schema does not let be null never are, as in Avro; in JSON they may be.
    entity
        Its name, for tracebacks.

    Examples
    --------
    >>> from verdict.operators.events.schema import parse
    >>> from verdict.state.store.keyed import MemoryState
    >>> schema = parse({"type": "record", "name": "T", "fields": [
    ...     {"name": "amount", "type": "double"}]})
    >>> spent = WindowedFeature("spent_1m", "sum", "amount", 60_000, None)
    >>> features, state = EntityFeatures([spent], schema, 0), MemoryState()
    >>> features(Event("a", 0, ("c",), {"amount": 1.5}, {}), state)
    WindowResult(values=[1.5], seq=1, late=False, cold=())
    >>> features(Event("b", 59_999, ("c",), {"amount": 2.0}, {}), state)
    WindowResult(values=[3.5], seq=2, late=False, cold=())
    >>> features.look(Event("b", 59_999, ("c",), {"amount": 2.0}, {}), state)
    WindowResult(values=[3.5], seq=2, late=False, cold=())
    """

    def __init__(
        self,
        features: Sequence[WindowedFeature],
        schema: Schema,
        allowed_lateness: int,
        typed: bool = False,
        entity: str = "",
    ) -> None:
        self.names = [feature.name for feature in features]
        self.defaults = [feature.default for feature in features]
        kept = FeatureColumns(schema, typed, entity)
        asked = [
            Aggregate(
                feature.op,
                feature.over,
                kept.column(feature),
                feature.delay,
                feature.current,
                feature.decayed,
            )
            for feature in features
        ]
        retention = allowed_lateness + max((feature.reach for feature in features), default=0)
        self.columns = kept.columns
        self.labelled = any(feature.labelled for feature in features)
        """Whether labels are asked for."""
        self._values = kept.taker()
        self._aggregates = Aggregates(asked, kept.columns, retention, entity)

    def __call__(self, event: Event, state: KeyedState) -> WindowResult:
        """Log the event; return its features and what else it sees.

        A feature without value takes its default, or is None where none is stated.
        """
        found = self._aggregates.update(state, event.time, self._values(event))
        try:
            sum(found[0])  # type: ignore[arg-type]  # quicker than to look for None among them
        except TypeError:
            return self._filled(found)
        return found

    def label(self, label: Label, state: KeyedState) -> str:
        """Take a label of one of the entity's events.

        Returns
        -------
        str
            One of `state.windows.result.OUTCOMES`.
        """
        assert label.event_time is not None
        row = label.event_time, hashed(label.event_id), label.known_at, label.positive, label.rank
        return self._aggregates.label(state, row)

    def remembered(self, state: KeyedState) -> dict[str, Any]:
        """Say what is remembered of the state's key, in words and numbers that JSON knows.

        ``events`` counts those since it began; ``log`` has those that a window may still see, the
        newest last, with what is kept of each; ``features`` are as the newest of them saw them;
        ``labels`` wait for the event of that time to be old enough.
        """
        found, newest, rows, labels = self._aggregates.remembered(state)
        waiting = [
            {"time": iso(at), "known_at": iso(known_at), "positive": bool(positive), "rank": rank}
            for at, _, known_at, positive, rank in labels
        ]
        return {
            "events": found.seq,
            "newest": None if newest == NEVER else iso(newest),
            "features": dict(zip(self.names, self._filled(found).values, strict=True)),
            "cold": [self.names[i] for i in found.cold],
            "ids": ids_of(state.get() or b"-"),
            "log": [
                {
                    "time": iso(time),
                    **{
                        column.meaning: plain(column, value)
                        for column, value in zip(self.columns, values, strict=True)
                    },
                }
                for time, *values in rows
            ],
            **({"labels": waiting} if self.labelled else {}),
        }

    def forget(self, state: KeyedState) -> None:
        """Erase what is remembered of the state's key."""
        self._aggregates.forget(state)

    @property
    def horizon(self) -> int:
        """Milliseconds of silence after which nothing of an entity is left."""
        return self._aggregates.horizon

    def look(self, event: Event, state: KeyedState) -> WindowResult:
        """Return the same without logging the event: for one that has been logged before."""
        return self._filled(self._aggregates.look(state, event.time))

    def _filled(self, result: WindowResult) -> WindowResult:
        pairs = zip(result.values, self.defaults, strict=True)
        return result._replace(
            values=[default if value is None else value for value, default in pairs]
        )
