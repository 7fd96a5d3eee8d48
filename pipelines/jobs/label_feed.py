"""Labels from files: held in memory, and fed between the events as they became known."""

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from verdict.operators.errors import BadRecord
from verdict.operators.labels.label import Label, best
from verdict.operators.message import NO_TIMESTAMP, Message
from verdict.operators.names import LABELS
from verdict.pipelines.formats.events import read_events
from verdict.pipelines.jobs import events, parts
from verdict.pipelines.spec.pipeline import Pipeline


@dataclass
class LabelSummary:
    """What became of the labels.

    ``read`` is how many there were; ``bad`` those that are none, and ``without_event`` those whose
    event was not among the events. The others are counted once for each entity that has features
    over labels, by their outcome.
    """

    read: int = 0
    bad: int = 0
    without_event: int = 0
    taken: int = 0
    late: int = 0
    repeated: int = 0
    unknown_in_time: int = 0

    def count(self, outcomes: Mapping[tuple[str, ...], int]) -> None:
        """Take what the hops counted: entity and outcome -> labels."""
        for (_, outcome), count in outcomes.items():
            name = outcome.replace("-", "_")
            setattr(self, name, getattr(self, name) + count)


class LabelFeed:
    """The labels of files, each to be fed before the first event that is not older than it.

    So a label finds its event's delayed windows open, if it was known in time at all: whatever
    closes them is younger. Where the records have no keys, a label takes its event's, and waits for
    it if need be.

    A label takes about 450 bytes of memory, 670 with two keys.

    Parameters
    ----------
    pipeline
        Over files.
    files
        Of labels.

    Raises
    ------
    FileError
        A file cannot be read, or is damaged; the message says where.

    Attributes
    ----------
    counts
        File -> records that were read from it.
    """

    def __init__(self, pipeline: Pipeline, files: Sequence[Path]) -> None:
        spec, schema = pipeline.spec, pipeline.label_schema
        assert spec.labels is not None and schema is not None
        read = parts.label_reader(pipeline)
        self._files = [file.name for file in files]
        self._paths = [str(file.resolve()) for file in files]
        self._whole = bool(spec.labels.keys)
        self._maturity = spec.labels.maturity
        self._event = events.EventReader(pipeline)
        self._bad: list[Message] = []
        self.counts = dict.fromkeys(self._paths, 0)
        found: list[tuple[Label, int, int]] = []
        for message in read_events(files, schema, LABELS):
            partition, offset = message.partition, message.offset
            self.counts[self._paths[partition]] = offset + 1
            try:
                label = read(message.value)
            except BadRecord:
                self._bad.append(message)  # the job will say what is wrong with it
            else:
                found.append((label._replace(source=sys.intern(label.source)), partition, offset))
        found.sort(key=lambda each: each[0].known_at)
        self._labels = [label for label, _, _ in found]
        self._places = [(partition, offset) for _, partition, offset in found]
        self._passed = bytearray(len(found))
        """Whether a label's event has passed."""
        self._due = 0
        self._begun = False
        self._of: dict[str, int | tuple[int, ...]] = {}
        for number, label in enumerate(self._labels):
            others = self._numbers(label.event_id)
            self._of[label.event_id] = (*others, number) if others else number

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def bad(self) -> int:
        """How many records are no labels."""
        return len(self._bad)

    @property
    def without_event(self) -> int:
        """Of how many labels the event has not passed."""
        return self._passed.count(0)

    def value(self, event_id: str, time: int) -> float | None:
        """Return what all labels together say of an event: 1, 0, or None for nothing.

        The source of the best precedence decides, by what it knew last. Without any label, 0 where
        the newest label of the files is from after the event's ``maturity``.
        """
        if event_id in self._of:
            numbers = self._numbers(event_id)
            label = best([self._labels[number] for number in numbers])
            assert label is not None
            return float(label.positive)
        if self._maturity is None or not self._labels:
            return None
        return 0.0 if time + self._maturity <= self._labels[-1].known_at else None

    def groups(
        self,
        events: Iterable[Message],
        starts: Sequence[int] = (),
        before: Mapping[str, int] | None = None,
    ) -> Iterator[list[Message]]:
        """Yield each event behind the labels to be fed before it.

        Parameters
        ----------
        events
            All of them, those of a run before included.
        starts
            How many of each file a run before took: they are not yielded.
        before
            ``counts`` as that run had them: what it was fed, is not fed again.
        """
        before = before or {}
        fed = [m for m in self._bad if m.offset >= before.get(self._paths[m.partition], 0)]
        for event in events:
            is_past = bool(starts) and event.offset < starts[event.partition]
            numbers = self._due_before(event)
            if is_past:
                numbers = [number for number in numbers if self._is_new(number, before)]
            fed += [self._message(number) for number in numbers]
            if not is_past:
                fed.append(event)
                yield fed
                fed = []

    def among(self, events: Iterable[Message]) -> list[Message]:
        """Return the next events, each behind the labels to be fed before it.

        As `groups` has them all, one after the other: for whoever takes every event.
        """
        fed: list[Message] = []
        if not self._begun:
            self._begun = True
            fed += self._bad
        due_before = self._due_before
        for event in events:
            numbers = due_before(event)
            if numbers:
                fed += [self._message(number) for number in numbers]
            fed.append(event)
        return fed

    def rest(self) -> list[Message]:
        """Return the labels that no event came after, but for those whose event never came."""
        rest = range(self._due, len(self._labels))
        self._due = len(self._labels)
        return [self._message(n) for n in rest if self._is_whole(n)]

    def _due_before(self, event: Message) -> list[int]:
        """Pass to an event; return which labels are to be fed before it."""
        event_id, time = self._event.peek(event)
        if event_id is None or time is None:
            return []  # it will be a dead letter, and nobody knows its time
        due = self._passed_by(event) if event_id in self._of else []
        labels = self._labels
        while self._due < len(labels) and labels[self._due].known_at <= time:
            if self._is_whole(self._due):
                due.append(self._due)
            self._due += 1
        return due

    def _passed_by(self, message: Message) -> list[int]:
        """Tell the labels of an event that it has passed; return those that waited for it."""
        event = self._event(message)
        waited: list[int] = []
        for number in () if event is None else self._numbers(event.id):
            if self._passed[number]:
                continue
            self._passed[number] = True
            if event is not None and not self._whole:
                label = self._labels[number]
                self._labels[number] = label._replace(event_time=event.time, keys=event.keys)
                if number < self._due:
                    waited.append(number)
        return waited

    def _is_whole(self, number: int) -> bool:
        return self._whole or bool(self._passed[number])

    def _is_new(self, number: int, before: Mapping[str, int]) -> bool:
        partition, offset = self._places[number]
        return offset >= before.get(self._paths[partition], 0)

    def _numbers(self, event_id: str) -> tuple[int, ...]:
        found = self._of.get(event_id)
        if found is None:
            return ()
        return found if isinstance(found, tuple) else (found,)

    def _message(self, number: int) -> Message:
        partition, offset = self._places[number]
        label, name = self._labels[number], self._files[partition]
        return Message(LABELS, None, label, name, partition, offset, NO_TIMESTAMP)


def outcomes(counts: Iterable[Mapping[tuple[str, ...], int]]) -> Counter[tuple[str, ...]]:
    """Add up what the hops' meters say of labels: entity and outcome -> labels.

    >>> outcomes([{("labels", "shop", "taken"): 2, ("late", "shop"): 1}])
    Counter({('shop', 'taken'): 2})
    """
    found: Counter[tuple[str, ...]] = Counter()
    for each in counts:
        for (name, *rest), count in each.items():
            if name == LABELS:
                found[tuple(rest)] += count
    return found
