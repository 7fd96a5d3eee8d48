"""A file of tests, held against its pipeline."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verdict.pipelines.errors import SpecError
from verdict.pipelines.spec import yaml_file
from verdict.pipelines.spec.checks import meant
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.spec.yaml_file import Fault, Place, SourceFile
from verdict.pipelines.testing.events import EventEncoder, JsonLoader, merged
from verdict.pipelines.testing.file import Expectation, PipelineTests, ToldLabel


@dataclass(frozen=True)
class Sent:
    """An event of a test, as a producer would send it.

    Attributes
    ----------
    id
        None where it has none, as an event may that should become a dead letter.
    value
        In the pipeline's format.
    expected, line
        What should come of it, if anything is said; and the line that says so, else the event's.
    """

    id: str | None
    value: bytes
    expected: Expectation | None
    line: int


@dataclass(frozen=True)
class Case:
    """A test that has been checked against its pipeline, with its line in the file."""

    name: str
    line: int
    events: tuple[Sent, ...]
    labels: tuple[ToldLabel, ...] = ()


@dataclass(frozen=True)
class FileOfTests:
    """A file of tests, as it stands.

    Attributes
    ----------
    path
        Of the file.
    pipeline
        Of the pipeline file that it names.
    """

    path: Path
    pipeline: Path
    spec: PipelineTests
    source: SourceFile

    def cases(self, pipeline: Pipeline) -> list[Case]:
        """Hold the file against a pipeline: each field, feature, action and rule must be there.

        Raises
        ------
        SpecError
            One line a fault: file, line, what is wrong, what to write instead.
        """
        checking = _Checking(self, pipeline)
        found = [checking.case(index) for index in range(len(self.spec.tests))]
        if checking.faults:
            lines = sorted(dict.fromkeys(checking.faults))
            raise SpecError([f"{self.path}:{line}: {text}" for line, text in lines])
        return found


def read(path: Path) -> FileOfTests:
    """Read a file of tests.

    Raises
    ------
    SpecError
        It cannot be read, is no YAML, or says what no such file can.

    Examples
    --------
    >>> from verdict.pipelines.paths import resource
    >>> tests = read(resource("init/pipeline_test.yaml"))
    >>> tests.pipeline.name, tests.spec.tests[0].expect[0].event
    ('pipeline.yaml', 'p1')
    """
    source = yaml_file.read(path, JsonLoader)
    spec = yaml_file.parse(source, PipelineTests)
    return FileOfTests(path, path.parent / spec.pipeline, spec, source)


class _Checking:
    """Goes through a file's tests and notes what is wrong, with its line."""

    def __init__(self, file: FileOfTests, pipeline: Pipeline) -> None:
        self._spec, self._source = file.spec, file.source
        self._encode = EventEncoder(pipeline.schema, pipeline.spec.events.format)
        self._id_path = pipeline.spec.events.id.split(".")
        self._features = list(pipeline.spec.features)
        self._has_labels = pipeline.spec.labels is not None
        decide = pipeline.spec.decide
        self._rules = [rule.name for rule in decide.rules]
        ways = [rule.action for rule in decide.rules] + [each.action for each in decide.thresholds]
        ways += [decide.otherwise, decide.missing]
        if any(check.outside == "review" for check in pipeline.spec.events.fields.values()):
            ways.append("review")
        self._actions = list(dict.fromkeys(way for way in ways if way is not None))
        self.faults: list[tuple[int, str]] = []

    def case(self, index: int) -> Case:
        test, place = self._spec.tests[index], ("tests", index)
        given = merged(self._spec.given, test.given)
        events = [merged(given, event) for event in test.events]
        ids = [self._id(event) for event in events]
        expected = self._expected(index, ids)
        sent = []
        for number, event in enumerate(events):
            value = b""
            try:
                value = self._encode(event)
            except Fault as fault:
                line = self._field_line(index, number, fault.place)
                self.faults.append((line, f"event {ids[number] or number + 1}: {fault}"))
            at = expected.get(number)
            where = (*place, "events", number) if at is None else (*place, "expect", at)
            expectation = None if at is None else test.expect[at]
            sent.append(Sent(ids[number], value, expectation, self._source.line(where)))
        for number, label in enumerate(test.labels):
            self._check_label(label, (*place, "labels", number), ids)
        line = self._source.line((*place, "name"))
        return Case(test.name, line, tuple(sent), tuple(test.labels))

    def _check_label(self, label: ToldLabel, place: Place, ids: Sequence[str | None]) -> None:
        line = self._source.line((*place, "event"))
        if not self._has_labels:
            self.faults.append((line, "the pipeline has no labels: add a 'labels' section to it"))
        elif label.event not in ids:
            hint = meant(label.event, [event_id for event_id in ids if event_id is not None])
            self.faults.append((line, f"no event of the test is '{label.event}'.{hint}"))

    def _id(self, event: Any) -> str | None:
        for step in self._id_path:
            if not isinstance(event, Mapping):
                return None
            event = event.get(step)
        if isinstance(event, str):
            return event
        return str(event) if isinstance(event, int) and not isinstance(event, bool) else None

    def _expected(self, index: int, ids: Sequence[str | None]) -> dict[int, int]:
        """Map the number of an event to that of its expectation."""
        found: dict[int, int] = {}
        for number, expectation in enumerate(self._spec.tests[index].expect):
            place: Place = ("tests", index, "expect", number)
            for step, message in self._unknown(expectation):
                self.faults.append((self._source.line((*place, *step)), message))
            same = [i for i, event_id in enumerate(ids) if event_id == expectation.event]
            left = [i for i in same if i not in found]
            line = self._source.line((*place, "event"))
            if left:
                found[left[0]] = number
            elif same:
                times = "once" if len(same) == 1 else f"{len(same)} times"
                self.faults.append(
                    (line, f"event '{expectation.event}' comes {times}: too much is expected of it")
                )
            else:
                known = [event_id for event_id in ids if event_id is not None]
                hint = meant(expectation.event, known)
                self.faults.append((line, f"no event of the test is '{expectation.event}'.{hint}"))
        return found

    def _unknown(self, expectation: Expectation) -> Iterator[tuple[Place, str]]:
        for name in expectation.features:
            if name not in self._features:
                hint = meant(name, self._features)
                yield ("features", name), f"the pipeline has no feature '{name}'.{hint}"
        for rule in expectation.rules or []:
            if rule not in self._rules:
                hint = meant(rule, self._rules)
                yield ("rules",), f"the pipeline has no rule '{rule}'.{hint}"
        action = expectation.action
        if action is not None and action not in self._actions:
            hint = meant(action, self._actions)
            yield ("action",), f"nothing in the pipeline leads to the action '{action}'.{hint}"

    def _field_line(self, index: int, number: int, place: Place) -> int:
        """Find the line of a field: in its event, or in what is given to it."""
        event: Place = ("tests", index, "events", number)
        for holder in (event, ("tests", index, "given"), ("given",)):
            if place and (*holder, *place) in self._source.lines:
                return self._source.lines[*holder, *place]
        return self._source.line((*event, *place))
