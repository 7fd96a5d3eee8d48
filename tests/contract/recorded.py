"""What the hops of several pipelines' jobs are given and make, recorded call by call."""

import json
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from verdict.operators.message import NEXT, Emit, Message, Operator
from verdict.operators.names import (
    DECISIONS,
    ENTITY_LABELS,
    EVENTS,
    LABELS,
    LABELS_JOB,
    SCORE_JOB,
    SHADOW_JOB,
    SHADOW_SCORES,
    STATE_COMMANDS,
    WATCH_JOB,
)
from verdict.operators.score.commands import FORGET, GET, Command
from verdict.pipelines.jobs import catalog
from verdict.pipelines.paths import resource
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Hop
from verdict.state.store.keyed import MemoryState

CARD_FRAUD = Path(__file__).parents[2] / "examples" / "card-fraud"
LABEL = {
    "type": "record",
    "name": "Label",
    "fields": [
        {"name": "payment", "type": "string"},
        {"name": "fraud", "type": "boolean"},
        {"name": "known_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}
SECTION = {
    "topic": "reported",
    "format": "json",
    "schema": "label.avsc",
    "event_id": "payment",
    "value": "fraud",
    "known_at": "known_at",
}
LIMIT = {
    "type": "record",
    "name": "Limit",
    "fields": [
        {"name": "customer_id", "type": "string"},
        {"name": "amount", "type": "double"},
        {"name": "until", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}


class Snapshot(NamedTuple):
    """The bytes of a key's state."""

    head: bytes | None
    chunks: dict[int, bytes]

    @classmethod
    def of(cls, state: MemoryState) -> "Snapshot":
        return cls(state.head, dict(state.chunks))

    def restored(self) -> MemoryState:
        state = MemoryState()
        state.head, state.chunks = self.head, dict(self.chunks)
        return state


@dataclass(frozen=True)
class Call:
    """One call of an operator; the message pickled, for a hop owns what it is handed."""

    message: bytes
    before: Snapshot
    made: bytes
    after: Snapshot

    @property
    def out(self) -> str:
        return text(self.emits())

    def emits(self) -> list[Emit]:
        """What came out."""
        emits: list[Emit] = pickle.loads(self.made)
        return emits

    def again(self, operator: Operator) -> None:
        """Call with the same, and hold what comes out and what is remembered equal."""
        message = pickle.loads(self.message)
        state = self.before.restored()
        out = text(operator(message, state))
        assert out == self.out, message[3:6]
        assert Snapshot.of(state) == self.after, message[3:6]


@dataclass(frozen=True)
class Recorded:
    """A hop, and its calls in their order."""

    hop: Hop
    calls: Sequence[Call]


@dataclass(frozen=True)
class Ran:
    """A job that was run: what its hops were given, what it was given, and what it put out."""

    hops: Sequence[Recorded]
    inputs: Sequence[Message]
    outputs: Sequence[Message]


def text(emits: Any) -> str:
    """Return what was put out so that it can be compared: NaN is NaN, and -0.0 is not 0.0."""
    return repr(list(emits))


def run(pipeline: Pipeline, name: str, inputs: Sequence[Message]) -> Ran:
    """Run a job in memory, and record it."""
    job = catalog.job(pipeline, name)
    operators = [hop.operator() for hop in job.hops]
    states: dict[tuple[int, bytes], MemoryState] = {}
    calls: list[list[Call]] = [[] for _ in job.hops]
    outputs: list[Message] = []
    waiting = [(0, message) for message in reversed(inputs)]
    while waiting:
        index, message = waiting.pop()
        state = states.setdefault((index, message.key or b""), MemoryState())
        given, before = pickle.dumps(message), Snapshot.of(state)
        emits = list(operators[index](message, state))
        calls[index].append(Call(given, before, pickle.dumps(emits), Snapshot.of(state)))
        waiting += [
            (index + 1, message._replace(key=emit.key, value=emit.value))
            for emit in reversed(emits)
            if emit.output == NEXT
        ]
        outputs += [
            Message(emit.output, emit.key, emit.value, emit.output, 0, 0, message.timestamp)
            for emit in emits
            if emit.output != NEXT
        ]
    outputs = [message._replace(offset=number) for number, message in enumerate(outputs)]
    hops = [Recorded(hop, made) for hop, made in zip(job.hops, calls, strict=True)]
    for operator in operators:
        close(operator)
    return Ran(hops, inputs, outputs)


def close(operator: Operator) -> None:
    getattr(operator, "close", lambda: None)()


class Pipelines:
    """Runs the jobs of four pipelines, each once; a job before another makes its input.

    Parameters
    ----------
    folder
        For pipeline files.
    payments
        Of the example's generator.
    encode
        The generator's.
    """

    def __init__(
        self, folder: Path, payments: Sequence[Any], encode: Callable[[Any], bytes]
    ) -> None:
        self._folder = folder
        self._payments = payments
        self._encode = encode
        self._ran: dict[tuple[str, str], Ran] = {}

    def ran(self, name: str, job: str) -> Ran:
        """Return what a job of a pipeline did."""
        if (name, job) not in self._ran:
            self._ran[name, job] = run(self._load(name), job, list(self._inputs(name, job)))
        return self._ran[name, job]

    def _load(self, name: str) -> Pipeline:
        if name == "init":
            return load(resource("init") / "pipeline.yaml")
        return load(written(self._folder / f"{name}.yaml", name, self._payments))

    def _inputs(self, name: str, job: str) -> Iterator[Message]:
        if name == "init":
            lines = (resource("init") / "events.jsonl").read_bytes().splitlines()
            for number, line in enumerate(lines * 3):  # a producer's retries
                yield Message(EVENTS, None, line, "events.jsonl", 0, number, -1)
        elif job == LABELS_JOB:
            yield from self._labels(self.ran("card-fraud", SCORE_JOB).outputs)
        elif job == SCORE_JOB:
            yield from self._events(again=name != "card-fraud")
            if name == "labelled":
                yield from _of(self.ran(name, LABELS_JOB), ENTITY_LABELS)
                yield from self._commands()
        else:
            yield from _of(self.ran(name, SCORE_JOB), DECISIONS)
            if job == WATCH_JOB:
                yield from _of(self.ran(name, SHADOW_JOB), SHADOW_SCORES)
                yield from _of(self.ran(name, SCORE_JOB), DECISIONS)

    def _events(self, again: bool) -> Iterator[Message]:
        """Yield payments; on request every ninth twice, as a producer's retry."""
        for number, payment in enumerate(self._payments):
            body = self._encode(payment)
            message = Message(EVENTS, payment.key, body, "transactions", 0, 2 * number, -1)
            yield message
            if again and number % 9 == 0:
                yield message._replace(offset=2 * number + 1)

    def _labels(self, decided: Sequence[Message]) -> Iterator[Message]:
        """Yield each decision, and labels that come before it, behind it, or without one."""
        for number, (decision, payment) in enumerate(zip(decided, self._payments, strict=True)):
            label = {
                "payment": payment.transaction_id if number % 5 else f"none-{number}",
                "fraud": number % 2 == 0,
                "known_at": payment.event_time + number,
            }
            body = json.dumps(label).encode()
            said = Message(LABELS, None, body, "reported", 0, number, -1)
            decision = decision._replace(stream=DECISIONS)
            yield from (decision, said, decision) if number % 3 else (said, decision, said)

    def _commands(self) -> Iterator[Message]:
        """Yield questions about who is known, who is not, and who is to be forgotten."""
        asked = [("customer", self._payments[0].customer_id), ("customer", "nobody")]
        terminals = [payment.terminal for payment in self._payments if payment.terminal]
        asked += [("terminal", terminal.id) for terminal in terminals[:2]]
        for number, (entity, key) in enumerate(asked):
            for command in (GET, FORGET, GET):
                value = Command(f"{number}", command, entity, key, "test", "").value
                yield Message(STATE_COMMANDS, key.encode(), value, "commands", 0, number, -1)


def _of(ran: Ran, stream: str) -> Iterator[Message]:
    yield from (message for message in ran.outputs if message.stream == stream)


def written(path: Path, name: str, payments: Sequence[Any]) -> Path:
    """Write one of the pipelines."""
    data = yaml.safe_load((CARD_FRAUD / "pipeline.yaml").read_text())
    data["events"]["schema"] = str(CARD_FRAUD / "transaction.avsc")
    models = data["model"]
    data["model"] = {
        "champion": str(CARD_FRAUD / models["champion"]),
        "challengers": [str(CARD_FRAUD / each) for each in models["challengers"]],
    }
    if name == "labelled":
        del data["events"]["keyed_by"]
        data["events"]["dedupe"] = "1d"
        data["topics"] = {"state-commands": "commands", "state-answers": "answers"}
        (path.parent / "label.avsc").write_text(json.dumps(LABEL))
        data["labels"] = SECTION
        data["features"] |= {
            "terminal_risk": {
                "rate": "label",
                "over": "1d",
                "delay": "1d",
                "by": "terminal",
                "default": 0,
            },
            "customer_terminals": {"distinct": "terminal.id", "over": "1d", "by": "customer"},
            "customer_first": {"first": "amount", "over": "1d", "by": "customer"},
            "customer_faded": {"sum": "amount", "half_life": "1d", "by": "customer"},
        }
    if name == "looked-up":
        del data["events"]["topic"], data["events"]["keyed_by"]
        data["events"] |= {"files": ["events.avro"], "dedupe": "1h"}
        (path.parent / "limit.avsc").write_text(json.dumps(LIMIT))
        rows = {
            tx.customer_id: {"customer_id": tx.customer_id, "amount": 80.0, "until": tx.event_time}
            for tx in payments[::3]
            if tx.customer_id
        }
        (path.parent / "limits.jsonl").write_text("".join(map(_line, rows.values())))
        data["lookups"] = {
            "limits": {
                "files": ["limits.jsonl"],
                "format": "json",
                "schema": "limit.avsc",
                "key": "customer_id",
                "expires": "until",
            }
        }
        data["features"] |= {
            "limit": {"lookup": "limits", "field": "amount", "default": -1},
            "limited": {"listed_in": "limits"},
        }
    path.write_text(yaml.safe_dump(data, sort_keys=False))
    return path


def _line(row: dict[str, Any]) -> str:
    return json.dumps(row) + "\n"
