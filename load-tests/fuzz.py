"""Mutated events through the score job: each becomes one decision or one dead letter, always.

    python load-tests/fuzz.py --events 1000000 --seed 7 [--json]

Real payments of the example are encoded and then broken: bits flipped, bytes cut out, put in or
taken from another event; fields set to what their type allows and nobody expects; JSON of every
kind in every field; keys, timestamps and headers that do not fit. They run through the embedded
engine's runner over RocksDB, without Kafka, in four pipelines: plain Avro keyed by the message key,
Confluent's format and JSON without, and JSON that remembers ids and decides what has no score.

A failure ends the run, with the seed, the number and the bytes of the event: the same seed makes
the same events.
"""

import argparse
import hashlib
import importlib.util
import io
import json
import math
import random
import re
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

if __name__ == "__main__":
    # This file's own folder, where the standard library would find another `profile`.
    sys.path.pop(0)

import fastavro
import yaml
from rich.console import Console
from rich.progress import Progress

from verdict.operators.events.schema import without_logical_types
from verdict.operators.message import Message
from verdict.operators.names import DEAD_LETTERS, DECISIONS, EVENTS
from verdict.operators.records.dead_letter import MAX_LETTER, MAX_RAW
from verdict.pipelines.engines.embedded.runner import OutputRecord, Runner
from verdict.pipelines.formats.streams import stream_decoder
from verdict.pipelines.jobs import score
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.spec.settings import Settings
from verdict.state.store.rocks import RocksStore

ROOT = Path(__file__).parents[1]
EXAMPLE = ROOT / "examples" / "card-fraud"
SOURCES = 5_000
"""Real events that the mutated ones are made of."""
RETRIED, REUSED, RECENT = 0.02, 0.02, 100
"""Share of the events that are one of their pipeline's last so many once more; share of those that
are made of one's record."""
START, STEP, JITTER = 1_767_600_000_000, 1_000, 3_600_000
"""Milliseconds: when the first event is, how far the others lie apart, and how far out of order."""
WHOLE = 0.15
"""Share of the events that are left as they are, so that the windows fill."""
MOST = 256
"""Events that are handed over at once."""
COMMIT_EVERY = 5_000
MAX_OUTPUT = 1_000_000
"""librdkafka's default for ``message.max.bytes``."""
LENIENT = "lenient"
"""The pipeline that decides what has no score."""
STAGES = ("decode", "validate", "features", "score")

BYTES = (b"", b"\0", b"\xff" * 8, b"\x80" * 10, b"\x02", b"\xfe\xff\xff\xff\x0f", b"\x7f" * 30)
"""Among them the largest numbers, and numbers that never end."""
TEXTS = ("", " ", "\0", "é", "\U0001f4b3", "NaN", "null", "x" * 1_024, "x" * 1_025, "€" * 30_000)
LONGS = (0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), -(2**63) + 1, 253_402_300_799_999)
DOUBLES = (0.0, -0.0, math.nan, math.inf, -math.inf, 5e-324, 1.7976931348623157e308, -1e300)
JSON = (
    *("null", "true", "false", "0", "-0", "-0.0", "1e5", "1e308", "1e309", "-1e999999999", "0.1"),
    *("1" * 18, "1" * 30, "1" * 5_000, "0.000000000000000000001", "9223372036854775808", "NaN"),
    *('""', '" "', '"\\u0000"', '"\\ud800"', '"\\ud83d\\udcb3"', '"1e5"', '"12.50"', '"Infinity"'),
    *("[]", "{}", "[[]]", '[null, "a"]', '{"id": "t"}', '{"id": {"id": 1}}', '{"id": null}'),
    *('"2026-01-05T09:00:00Z"', '"2026-01-05T09:00:00"', '"0001-01-01T00:00:00+23:59"'),
    *('"9999-12-31T23:59:59.999-23:59"', "1e", "-", "[" * 5_000, '"\\x"', "'a'", "Infinity"),
)


class Failure(Exception):
    """What must never happen, with the events among which it did."""

    def __init__(self, what: str, pipeline: str, events: Sequence[Message]) -> None:
        super().__init__(what)
        self.pipeline = pipeline
        self.events = events


@dataclass
class Report:
    """What came out.

    Attributes
    ----------
    seed, events, seconds
        Of the run.
    decisions, dead_letters
        How many.
    kinds
        ``stage/kind`` -> dead letters.
    largest
        Bytes of the largest decision, and of the largest dead letter, Kafka keys included.
    """

    seed: int
    events: int = 0
    seconds: float = 0.0
    decisions: int = 0
    dead_letters: int = 0
    unscored: int = 0
    repeated: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    largest: dict[str, int] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Say it in what JSON knows."""
        kinds = dict(sorted(self.kinds.items(), key=lambda item: -item[1]))
        return {**vars(self), "seconds": round(self.seconds, 1), "kinds": kinds}


@dataclass(frozen=True)
class Lane:
    """One pipeline, and how its events are made."""

    pipeline: Pipeline
    encode: Callable[[Mapping[str, Any]], bytes]
    mutate: Callable[[random.Random, Mapping[str, Any]], bytes]


# Making events


def generator() -> ModuleType:
    """Load the example's generator, whose folder no import statement can name."""
    spec = importlib.util.spec_from_file_location("fuzz_generator", EXAMPLE / "generator.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look it up
    spec.loader.exec_module(module)
    return module


def broken_bytes(rng: random.Random, value: bytes, others: Sequence[bytes]) -> bytes:
    """Break an event's bytes, once or a few times."""
    for _ in range(rng.choice((1, 1, 1, 2, 5))):
        size = len(value)
        at, to = sorted((rng.randint(0, size), rng.randint(0, size)))
        match rng.randrange(8):
            case 0 if size:
                flipped = bytearray(value)
                for _ in range(rng.randint(1, 8)):
                    flipped[rng.randrange(size)] ^= 1 << rng.randrange(8)
                value = bytes(flipped)
            case 1:
                value = value[:at]
            case 2:
                value = value[:at] + rng.randbytes(rng.randint(1, 20)) + value[at:]
            case 3:
                value = value[:at] + value[to:]
            case 4:
                value = value[:to] + value[at:]
            case 5:
                other = rng.choice(others)
                value = value[:at] + other[rng.randint(0, len(other)) :]
            case 6:
                value = value[:at] + rng.choice(BYTES) + value[at:]
            case _ if size:
                value = value[:at] + bytes([rng.randrange(256)]) + value[at + 1 :]
    return value


def broken_avro(
    encode: Callable[[Mapping[str, Any]], bytes], rng: random.Random, record: Mapping[str, Any]
) -> bytes:
    """Set fields to what Avro's types allow."""
    made = dict(record)
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(list(made))
        value = made[name]
        if name == "terminal":
            country = rng.choice(TEXTS)
            made[name] = rng.choice((None, {"id": rng.choice(TEXTS), "country": country}))
        elif name == "channel":
            made[name] = rng.choice(("pos", "online"))
        elif isinstance(value, bytes):
            made[name] = rng.choice((rng.randbytes(rng.randint(0, 20)), *BYTES))
        elif isinstance(value, int):
            near = record["event_time"] + rng.randint(-400, 400) * 86_400_000
            made[name] = rng.choice((*LONGS, near, near, near // 1000))
        elif isinstance(value, float):
            made[name] = rng.choice(DOUBLES)
        else:
            made[name] = rng.choice(TEXTS)
    return encode(made)


def broken_json(
    fields: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    rng: random.Random,
    record: Mapping[str, Any],
) -> bytes:
    """Put JSON of any kind, and what is none, in place of fields; in any of JSON's encodings."""
    parts = {name: json.dumps(value) for name, value in fields(record).items()}
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(list(parts))
        match rng.randrange(6):
            case 0:
                parts.pop(name)
                if not parts:
                    break
            case 1:
                parts[name] = json.dumps(rng.choice(TEXTS), ensure_ascii=rng.random() < 0.5)
            case 2:
                parts[name] = json.dumps(rng.choice((*LONGS, *DOUBLES)))
            case _:
                parts[name] = rng.choice(JSON)
    items = [f"{json.dumps(name)}: {part}" for name, part in parts.items()]
    if items and rng.random() < 0.1:
        items.append(rng.choice(items))
    text = "{" + ", ".join(items) + "}"
    return text.encode(rng.choice(("utf-8", "utf-8", "utf-8", "utf-16-le", "utf-32", "utf-8-sig")))


def lanes(folder: Path) -> list[Lane]:
    """Make the pipelines, in a folder."""
    schema = json.loads((EXAMPLE / "transaction.avsc").read_text("utf-8"))
    older = json.loads(json.dumps(schema))
    older["fields"].insert(0, {"name": "gone", "type": {"type": "array", "items": "string"}})
    nullable = json.loads(json.dumps(schema))
    for part in nullable["fields"]:
        if part["name"] in ("amount", "merchant_category"):
            part["type"] = ["null", part["type"]]
    (folder / "schemas").mkdir(parents=True)
    for name, each in (("1", schema), ("2", older)):
        (folder / f"schemas/{name}.avsc").write_text(json.dumps(each))
    (folder / "nullable.avsc").write_text(json.dumps(nullable))
    raw = fastavro.parse_schema(without_logical_types(schema))
    older_raw = fastavro.parse_schema(without_logical_types(older))

    def avro(record: Mapping[str, Any]) -> bytes:
        body = io.BytesIO()
        fastavro.schemaless_writer(body, raw, record)
        return body.getvalue()

    def confluent(record: Mapping[str, Any]) -> bytes:
        if record["transaction_id"][-1:] in "02468":
            return b"\0\0\0\0\1" + avro(record)
        body = io.BytesIO()
        fastavro.schemaless_writer(body, older_raw, {**record, "gone": ["a", "b"]})
        return b"\0\0\0\0\2" + body.getvalue()

    def fields(record: Mapping[str, Any]) -> dict[str, Any]:
        amount = int.from_bytes(record["amount"], "big", signed=True)
        return {**record, "amount": f"{amount / 100:.2f}"}

    def as_json(record: Mapping[str, Any]) -> bytes:
        return json.dumps(fields(record)).encode()

    def pipeline(name: str, events: Mapping[str, Any], missing: str | None = None) -> Pipeline:
        spec = yaml.safe_load((EXAMPLE / "pipeline.yaml").read_text("utf-8"))
        del spec["events"]["keyed_by"]
        spec["pipeline"] = name
        spec["events"] |= {"schema": "schemas/1.avsc", **events}
        spec["features"]["rate"] = "1000 / (amount - 10)"  # at times without value
        spec["model"] = str(EXAMPLE / "models" / "champion")
        spec["decide"]["rules"].append({"name": "odd", "when": "merchant_category == 'x'"})
        spec["decide"]["missing"] = missing
        spec["settings"] = {"schemas": {"folder": "schemas"}}
        file = folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(spec, sort_keys=False))
        return load(file)

    in_json = {"format": "json", "schema": "nullable.avsc"}
    large = {"fields": {"amount": {"max": 1e5}}}
    return [
        Lane(
            pipeline("avro", {"keyed_by": "customer", "max_ahead": "30d"}),
            avro,
            partial(broken_avro, avro),
        ),
        Lane(
            pipeline("confluent", {"format": "confluent", "dedupe": "1d", "max_ahead": "30d"}),
            confluent,
            partial(broken_avro, confluent),
        ),
        Lane(
            pipeline("json", {**in_json, "max_ahead": "1d"}), as_json, partial(broken_json, fields)
        ),
        Lane(
            pipeline(LENIENT, {**in_json, **large, "dedupe": "30d"}, missing="review"),
            as_json,
            partial(broken_json, fields),
        ),
    ]


class Events:
    """Makes the events of a seed, for ever: the same ones every time."""

    def __init__(self, seed: int, made: Sequence[Lane]) -> None:
        self._rng = random.Random(seed)
        module = generator()
        world = module.World(days=None, seed=seed, broken=0)
        schema = json.loads((EXAMPLE / "transaction.avsc").read_text("utf-8"))
        raw = fastavro.parse_schema(without_logical_types(schema))
        bodies = [module.encode(each) for each in islice(module.transactions(world), SOURCES)]
        records = [fastavro.schemaless_reader(io.BytesIO(body), raw, None) for body in bodies]
        self._records = records
        self._recent: dict[str, deque[tuple[dict[str, Any], Message]]] = {}
        self._lanes = [(lane, [lane.encode(record) for record in records]) for lane in made]

    def batch(self, number: int, most: int) -> tuple[Lane, list[Message]]:
        """Make the next events, all for one pipeline; ``number`` is that of the first."""
        rng = self._rng
        lane, bodies = rng.choice(self._lanes)
        size = rng.randint(1, most)
        return lane, [self._message(lane, bodies, number + each) for each in range(size)]

    def _message(self, lane: Lane, bodies: Sequence[bytes], number: int) -> Message:
        rng = self._rng
        recent = self._recent.setdefault(lane.pipeline.spec.pipeline, deque(maxlen=RECENT))
        if recent and rng.random() < RETRIED:
            return rng.choice(recent)[1]._replace(offset=number)
        record = dict(rng.choice(self._records))
        record["transaction_id"] = f"t{number}"
        record["event_time"] = START + number * STEP + rng.randrange(JITTER)
        if recent and rng.random() < REUSED:
            record = rng.choice(recent)[0]
        value = lane.encode(record)
        made: bytes | None = value
        way = rng.random()
        if way > WHOLE + 0.5:
            made = broken_bytes(rng, value, bodies)
        elif way > WHOLE + 0.01:
            made = lane.mutate(rng, record)
            if rng.random() < 0.1:
                made = broken_bytes(rng, made, bodies)
        elif way > WHOLE:
            made = rng.choice((None, b"", rng.randbytes(rng.randint(1, 100)), b"\xff" * 70_000))
        key: bytes | None = str(record["customer_id"]).encode()
        if rng.random() < 0.03:
            key = rng.choice((None, b"", b"\xff\xfe", b"k" * 70_000, rng.randbytes(5)))
        stamp = record["event_time"] + rng.choice((0, 0, 5, 1_000, 86_400_000))
        if rng.random() < 0.03:
            stamp = rng.choice((-1, 0, 1, 2**62))
        message = Message(EVENTS, key, made, "fuzz", 0, number, stamp)
        recent.append((record, message))
        return message


# Checking what comes out


class Check:
    """Holds outputs against their events."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._decision = stream_decoder(DECISIONS, Settings())
        self._letter = stream_decoder(DEAD_LETTERS, Settings())

    def __call__(self, messages: Sequence[Message], outputs: Sequence[OutputRecord]) -> None:
        """Raise `AssertionError` unless each event has become one decision or one dead letter."""
        found = Counter(output.cause.offset for output in outputs)
        for message in messages:
            count = found[message.offset]
            assert count == 1, f"fuzz/0/{message.offset} became {count} outputs"
        for message, output in zip(messages, outputs, strict=True):
            try:
                self._one(message, output)
            except AssertionError as error:
                raise AssertionError(f"fuzz/0/{message.offset}: {error}") from error
        self._report.events += len(messages)

    def _one(self, message: Message, output: OutputRecord) -> None:
        assert output.cause.offset == message.offset, "it has another's output"
        size = len(output.value) + len(output.key)
        largest = self._report.largest
        largest[output.stream] = max(largest.get(output.stream, 0), size)
        if output.stream == DECISIONS:
            self._decided(self._decision(output.value), size)
        else:
            assert output.stream == DEAD_LETTERS, output.stream
            self._refused(message, self._letter(output.value), size)

    def _decided(self, decision: Mapping[str, Any], size: int) -> None:
        self._report.decisions += 1
        self._report.repeated += decision["repeated"]
        assert size < MAX_OUTPUT
        assert decision["action"] and decision["because"] and decision["event_id"]
        assert decision["hops"][0]["key"]
        features = decision["features"]
        if decision["score"] is None:
            self._report.unscored += 1
            assert decision["pipeline"] == LENIENT, "no score, and no action was stated"
            assert decision["because"].startswith("missing ")
            features = {k: v for k, v in features.items() if not math.isnan(v)}
            assert len(features) < len(decision["features"])
        else:
            assert math.isfinite(decision["score"])
        assert all(map(math.isfinite, features.values())), f"features are {features}"

    def _refused(self, message: Message, letter: Mapping[str, Any], size: int) -> None:
        self._report.dead_letters += 1
        self._report.kinds[f"{letter['stage']}/{letter['kind']}"] += 1
        assert size <= MAX_LETTER
        assert letter["stage"] in STAGES
        assert letter["kind"] and letter["reason"]
        place = (letter["topic"], letter["partition"], letter["offset"], letter["timestamp"])
        assert place == message[3:7]
        value = message.value
        assert letter["key"] == (message.key and message.key[:MAX_RAW])
        assert letter["value"] == (value and value[:MAX_RAW])
        assert letter["value_size"] == (-1 if value is None else len(value))
        digest = None if value is None else hashlib.sha256(value).hexdigest()
        assert letter["value_sha256"] == digest


def fuzz(
    events: int, seed: int, folder: Path, progress: Callable[[int], None] = lambda _done: None
) -> Report:
    """Run mutated events through the pipelines.

    Parameters
    ----------
    events
        How many, at least; a batch is not cut.
    seed
        Of the events.
    folder
        For pipelines and state; empty.
    progress
        Told how many were run.

    Raises
    ------
    Failure
        An exception, or an event that became anything else than one decision or dead letter.
    """
    report = Report(seed)
    check = Check(report)
    made = lanes(folder / "pipelines")
    names = [lane.pipeline.spec.pipeline for lane in made]
    stores = [RocksStore(folder / name) for name in names]
    began = time.monotonic()
    uncommitted = 0
    try:
        made_of = zip(names, made, stores, strict=True)
        runners = {name: Runner(score.score(lane.pipeline), store) for name, lane, store in made_of}
        source = Events(seed, made)
        while report.events < events:
            lane, messages = source.batch(report.events, MOST)
            name = lane.pipeline.spec.pipeline
            try:
                check(messages, runners[name].many(messages))
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                raise Failure(what, name, messages) from error
            uncommitted += len(messages)
            if uncommitted > COMMIT_EVERY:
                uncommitted = 0
                for store in stores:
                    store.commit({})
            progress(report.events)
    finally:
        for store in stores:
            store.close()
    report.seconds = time.monotonic() - began
    return report


def told(failure: Failure, seed: int) -> Iterator[str]:
    """Say a failure, and the bytes that it takes to see it again."""
    first, last = failure.events[0].offset, failure.events[-1].offset
    yield f"seed {seed}, events {first} to {last} of pipeline {failure.pipeline}: {failure}"
    named = [m for m in failure.events if re.search(rf"fuzz/0/{m.offset}\b", str(failure))]
    for message in named or failure.events:
        key = None if message.key is None else message.key.hex()
        value = None if message.value is None else message.value.hex()
        yield f"event {message.offset}: timestamp {message.timestamp}, key {key}"
        yield f"  {value}"


def table(report: Report) -> Iterator[str]:
    """Lay a report out in lines."""
    rate = report.events / report.seconds
    yield f"{report.events:,} events of seed {report.seed} in {report.seconds:.1f} s, {rate:,.0f}/s"
    yield f"  {report.decisions:>10,} decisions"
    yield f"  {report.unscored:>10,}   without a score"
    yield f"  {report.repeated:>10,}   repeated"
    yield f"  {report.dead_letters:>10,} dead letters"
    for kind, count in report.kinds.most_common():
        yield f"  {count:>10,}   {kind}"
    for stream, size in report.largest.items():
        yield f"  {size:>10,} bytes in the largest of {stream}"


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000, help="how many")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--json", action="store_true", help="print JSON, for a script")
    asked = parser.parse_args()
    err = Console(stderr=True)
    with (
        tempfile.TemporaryDirectory() as folder,
        Progress(console=err, transient=True, disable=asked.json or not err.is_terminal) as shown,
    ):
        task = shown.add_task("events", total=asked.events)
        try:
            report = fuzz(
                asked.events,
                asked.seed,
                Path(folder),
                lambda done: shown.update(task, completed=done),
            )
        except Failure as failure:
            shown.stop()
            for line in told(failure, asked.seed):
                print(line, file=sys.stderr)
            return 1
    print(json.dumps(report.as_json()) if asked.json else "\n".join(table(report)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
