"""What comes beside the events, taken hop by hop: labels. Commands are in `commands`.

They go through the hops that events go through; a hop's `Takers` say what it does with them.
"""

from collections.abc import Iterable

from verdict.operators.features.windowed import EntityFeatures
from verdict.operators.labels.label import Label
from verdict.operators.labels.read import ReadsLabel, check_key
from verdict.operators.message import NEXT, Emit, Message
from verdict.operators.score.carry import WITH_KEY, WITHOUT_KEY
from verdict.state.store.dedupe import SeenState
from verdict.state.store.keyed import KeyedState
from verdict.state.windows.result import LATE


class TakeLabels:
    """Takes labels in the hops of their entities, and sends them on to the last that wants them.

    Parameters
    ----------
    read
        Raw record to label. On a job's first hop, and from files, the value may be a label already.
    labelled
        For each entity, in the order of the hops, whether it has features over labels.
    index
        Which one's hop this is; -1 for the one before all.
    entity
        Its name, for what is counted.
    features
        What the hop remembers; None before all.
    counts
        Of the hop's `Meter`: ``labels`` by entity and outcome, and ``labels-late``.
    keyed
        The topic's message key is the first entity's, so the two must be equal.
    seen
        Of the hop, if it remembers ids.
    """

    def __init__(
        self,
        read: ReadsLabel,
        labelled: list[bool],
        index: int,
        entity: str,
        features: EntityFeatures | None,
        counts: dict[tuple[str, ...], int],
        keyed: bool = False,
        seen: SeenState | None = None,
    ) -> None:
        self._read = read
        self._index = index
        self._entity = entity
        self._features = features if features is not None and features.labelled else None
        self._counts = counts
        self._keyed = keyed
        self._seen = seen
        self._goes_on = any(labelled[index + 1 :])

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        """Take a label into its key's state, and send it on.

        Raises
        ------
        BadRecord
            It is no label, or its record has another key.
        """
        label = message.value
        if not isinstance(label, Label):
            label = self._read(label)
            if self._keyed:
                check_key(message.key, label)
        if self._features is not None and label.keys[self._index] is not None:
            self._taken(self._features, label, state)
        if not self._goes_on:
            return ()
        following = label.keys[self._index + 1]
        if following is None:
            return (Emit(NEXT, WITHOUT_KEY + label.event_id.encode(), label),)
        key = following.encode()
        return (Emit(NEXT, key if self._index < 0 else WITH_KEY + key, label),)

    def _taken(self, features: EntityFeatures, label: Label, state: KeyedState) -> None:
        if self._seen is not None:  # the ids before the rest of the head stay as they are
            self._seen.turn_to(state)
            state = self._seen
        outcome = features.label(label, state)
        self._counts["labels", self._entity, outcome] += 1
        if outcome == LATE:
            self._counts["labels-late", self._entity] += 1
