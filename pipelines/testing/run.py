"""Runs a file of tests through the real score job, and holds what comes out against it."""

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from verdict.operators.labels.label import Label, Precedence
from verdict.operators.message import NO_TIMESTAMP, Message, Operator
from verdict.operators.names import DEAD_LETTERS, DECISIONS, EVENTS, LABELS
from verdict.operators.records.streams import Decode
from verdict.pipelines.engines.embedded.runner import Runner
from verdict.pipelines.formats.streams import stream_decoder
from verdict.pipelines.jobs import events, score
from verdict.pipelines.spec.load import check_models, over
from verdict.pipelines.spec.pipeline import FILE_SUFFIX, Pipeline
from verdict.pipelines.testing.check import Case, Sent
from verdict.pipelines.testing.file import FEATURE_TOLERANCE, FILE, SCORE_TOLERANCE, Expectation
from verdict.pipelines.topology import Hop
from verdict.state.store.rocks import RocksStore

T = TypeVar("T")
DECISION, DEAD_LETTER = "decision", "dead letter"


class Unasked:
    """Stands for what a test says nothing of."""

    def __repr__(self) -> str:
        return "UNASKED"


UNASKED = Unasked()


@dataclass(frozen=True)
class CheckedValue:
    """One value that came of an event, beside what was expected.

    Attributes
    ----------
    name
        Of a feature; or ``score``, ``action``, ``rules``, ``because``; or ``dead letter`` and its
        ``reason``.
    expected
        `UNASKED` where the test says nothing of it.
    found
        None where it has no value.
    differs
        More than the test allows.
    tolerance
        What the test states, if it does.
    """

    name: str
    expected: Any
    actual: Any
    differs: bool = False
    tolerance: float | None = None


@dataclass(frozen=True)
class Result:
    """What came of one event that something is expected of, or of one that no decision came of.

    Attributes
    ----------
    event
        Its id; None if it has none.
    line
        Of the file, where it is expected.
    rows
        The features first, in the order of the pipeline.
    """

    event: str | None
    line: int
    rows: tuple[CheckedValue, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return not any(row.differs for row in self.rows)


@dataclass(frozen=True)
class Outcome:
    """What came of a test."""

    case: Case
    results: tuple[Result, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing differs."""
        return all(result.ok for result in self.results)

    def as_json(self) -> dict[str, Any]:
        """Return what JSON can hold: a feature without a value is null."""
        events = [
            {
                "event": result.event,
                "line": result.line,
                "ok": result.ok,
                "values": [_row_as_json(row) for row in result.rows],
            }
            for result in self.results
        ]
        return {
            "name": self.case.name,
            "line": self.case.line,
            "ok": self.ok,
            "events": events,
        }


def _row_as_json(row: CheckedValue) -> dict[str, Any]:
    found = {"name": row.name, "found": _known(row.actual), "differs": row.differs}
    return found if row.expected is UNASKED else {**found, "expected": _known(row.expected)}


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _message(sent: Sent, offset: int) -> Message:
    return Message(EVENTS, None, sent.value, FILE, 0, offset, NO_TIMESTAMP)


def _label_files(pipeline: Pipeline) -> list[Path] | None:
    """Name a file of the labels' format, which nobody opens, where there are labels."""
    labels = pipeline.spec.labels
    if labels is None:
        return None
    return [Path(FILE).with_suffix(FILE_SUFFIX[labels.format][0])]


class Harness:
    """Runs the tests of one pipeline, each from an empty state.

    The events go one by one through the score job and the embedded engine, as those of a file do.
    The models are loaded once.

    Parameters
    ----------
    pipeline
        The pipeline; where its events come from does not matter.

    Raises
    ------
    SpecError
        A model is refused.

    Examples
    --------
    >>> from verdict.pipelines.paths import resource
    >>> from verdict.pipelines.testing.check import read
    >>> from verdict.pipelines.spec.load import load
    >>> tests = read(resource("init/pipeline_test.yaml"))
    >>> pipeline = load(tests.pipeline)
    >>> harness = Harness(pipeline)
    >>> all(harness.run(case).ok for case in tests.cases(pipeline))
    True
    """

    def __init__(self, pipeline: Pipeline) -> None:
        check_models(pipeline)
        pipeline = _without_registry(pipeline)
        # No file of labels is read: a test has its own.
        moved = over(pipeline, [], None if pipeline.spec.labels is None else _label_files(pipeline))
        job = score.score(moved)
        # Operators know no state but the one they are handed: they do for every test.
        hops = [Hop(hop.name, hop.keyed, partial(_same, hop.operator())) for hop in job.hops]
        self._job = replace(job, hops=tuple(hops))
        self._event = events.EventReader(moved)
        labels = pipeline.spec.labels
        self._rank = Precedence([] if labels is None else labels.precedence)
        self._features = list(pipeline.spec.features)
        settings = pipeline.spec.settings
        self._decode: dict[str, Decode] = {
            stream: stream_decoder(stream, settings) for stream in (DECISIONS, DEAD_LETTERS)
        }

    def run(self, case: Case) -> Outcome:
        """Run one test."""
        with tempfile.TemporaryDirectory() as folder:
            store = RocksStore(Path(folder))
            try:
                runner = Runner(self._job, store)
                results: list[Result] = []
                labels = self._labels(case)
                for offset, sent in enumerate(case.events):
                    event = self._event(_message(sent, offset))
                    while event is not None and labels and labels[0].known_at <= event.time:
                        label = Message(LABELS, None, labels.pop(0), FILE, 0, 0, NO_TIMESTAMP)
                        runner(label)
                    results += self._result(runner, sent, offset)
            finally:
                store.close()
        return Outcome(case, tuple(results))

    def _labels(self, case: Case) -> list[Label]:
        """Return the labels of a test, with their events' times and keys, as they became known."""
        events = {sent.id: self._event(_message(sent, 0)) for sent in reversed(case.events)}
        found = []
        for told in case.labels:
            event = events[told.event]
            if event is not None:  # else it is a dead letter, and nothing counts it
                known_at = round(told.known_at.timestamp() * 1000)
                rank = self._rank(told.source)
                said = told.positive, known_at, told.source, rank
                found.append(Label(event.id, event.time, event.keys, *said))
        return sorted(found, key=lambda label: label.known_at)

    def _result(self, runner: Runner, sent: Sent, offset: int) -> Iterator[Result]:
        (output,) = runner(_message(sent, offset))
        record = self._decode[output.stream](output.value)
        if output.stream == DEAD_LETTERS:
            yield Result(sent.id, sent.line, tuple(_dead(sent.expected, record)))
        elif sent.expected is not None:
            rows = _decided(sent.expected, record, self._features)
            yield Result(sent.id, sent.line, tuple(rows))


def _same(operator: Operator) -> Operator:
    return operator


def _without_registry(pipeline: Pipeline) -> Pipeline:
    """Return a pipeline whose outputs bear no ids of a schema registry: a test asks none."""
    settings = pipeline.spec.settings.model_copy(update={"output_format": "avro"})
    return replace(pipeline, spec=pipeline.spec.model_copy(update={"settings": settings}))


def _dead(expected: Expectation | None, letter: dict[str, Any]) -> Iterator[CheckedValue]:
    kind = None if expected is None else expected.dead_letter
    if kind is None:
        yield CheckedValue(DEAD_LETTER, DECISION, letter["kind"], True)
    else:
        yield CheckedValue(DEAD_LETTER, kind, letter["kind"], kind != letter["kind"])
    yield CheckedValue("reason", UNASKED, letter["reason"])


def _decided(
    expected: Expectation, decision: dict[str, Any], features: Sequence[str]
) -> Iterator[CheckedValue]:
    if expected.dead_letter is not None:
        yield CheckedValue(DEAD_LETTER, expected.dead_letter, DECISION, True)
    for name in features:
        found = decision["features"][name]
        wanted = expected.features.get(name)
        if wanted is None:
            yield CheckedValue(name, UNASKED, found)
        else:
            value = math.nan if wanted.value is None else wanted.value
            near = _near(value, found, wanted.tolerance)
            yield CheckedValue(name, value, found, not near, wanted.tolerance)
    score = decision["score"]
    if "score" in expected.model_fields_set:
        tolerance = SCORE_TOLERANCE if expected.tolerance is None else expected.tolerance
        missing = expected.score is None or score is None
        near = expected.score is score if missing else _near(expected.score, score, tolerance)
        yield CheckedValue("score", expected.score, score, not near, expected.tolerance)
    else:
        yield CheckedValue("score", UNASKED, score)
    action = expected.action
    differs = action is not None and action != decision["action"]
    yield CheckedValue("action", UNASKED if action is None else action, decision["action"], differs)
    rules = expected.rules
    differs = rules is not None and sorted(set(rules)) != sorted(decision["rules"])
    yield CheckedValue("rules", UNASKED if rules is None else rules, decision["rules"], differs)
    yield CheckedValue("because", UNASKED, decision["because"])


def _near(expected: float | None, actual: float, tolerance: float | None) -> bool:
    assert expected is not None
    if math.isnan(expected) or math.isnan(actual):
        return math.isnan(expected) and math.isnan(actual)
    if tolerance is None:
        return math.isclose(expected, actual, rel_tol=FEATURE_TOLERANCE)
    # 0.3 is a little more than 0.1 from 0.2 in binary; but who says 0 means to the last bit.
    relative = FEATURE_TOLERANCE if tolerance else 0.0
    return math.isclose(expected, actual, rel_tol=relative, abs_tol=tolerance)
