"""What one event costs in the score job: microseconds, in all and by part.

    python load-tests/profile.py [--pipeline two-entities] [--events 30000] [--spy]

The embedded engine runs the benchmark's pipeline over events in memory, with RocksDB in a temporary
folder and no Kafka. The first half of the events is warm-up. It is CPU time of the thread, which
others on the machine disturb less than the clock's, given beside it. Each part is timed alone too,
on the same data: inside the job a part costs more, for it finds the CPU's caches full of the
others' data. ``one-entity`` is compared with what ``bench/loop.py`` takes for it. With ``--spy``
py-spy samples the job, and a table says in which function the time is spent.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

# In place of this file's own folder, where the standard library would find it as its `profile`.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).parent / "bench"))

import events
import fastavro
from handmade import schema
from loop import BATCH, Store, Work
from rich.console import Console
from rich.table import Table

from verdict.operators.message import Message
from verdict.operators.models import bundle as bundles
from verdict.operators.names import DECISIONS, EVENTS
from verdict.pipelines.engines.embedded.from_kafka import run_kafka
from verdict.pipelines.formats.streams import definition, stream_decoder
from verdict.pipelines.jobs import score
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.spec.settings import Settings
from verdict.pipelines.telemetry.server import Endpoint
from verdict.state.store.rocks import RocksStore

HERE = Path(__file__).parent
WARM_UP = 0.5
"""Share of the events before time counts: the windows fill meanwhile."""
SAMPLES_S = 500
SHOWN = 40


class Memory:
    """The broker of the embedded engine, in memory; it notes when each batch was asked for."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self._messages = messages
        self._next = 0
        self.asked: list[tuple[int, float, float]] = []
        self.sent: list[Any] = []

    def poll(self, most: int, timeout: float) -> list[Message]:
        self._note()
        batch = self._messages[self._next : self._next + most]
        self._next += len(batch)
        return list(batch)

    def _note(self) -> None:
        self.asked.append((self._next, time.thread_time(), time.perf_counter()))

    def send(self, output: Any) -> None:
        self.sent.append(output)

    def flush(self) -> None:
        pass

    def at_end(self, offsets: Mapping[str, int]) -> bool:
        return self._next == len(self._messages)

    def close(self) -> None:
        self._note()


class Timed:
    """Adds up the seconds spent in a method, once switched on."""

    def __init__(self, owner: type, name: str) -> None:
        self.seconds, self.calls = 0.0, 0
        inner = getattr(owner, name)

        def timed(*args: Any, **named: Any) -> Any:
            began = time.thread_time()
            try:
                return inner(*args, **named)
            finally:
                self.seconds += time.thread_time() - began
                self.calls += 1

        setattr(owner, name, timed)


def messages(count: int) -> list[Message]:
    """Make the events as the engine gets them."""
    return [
        Message(EVENTS, event.key, event.value, "payments", 0, offset, -1)
        for offset, event in enumerate(events.encoded(count))
    ]


def run(pipeline: Pipeline, made: Sequence[Message], metrics: Endpoint | None = None) -> Memory:
    """Run the score job over events in memory, and show its metrics somewhere or nowhere."""
    broker = Memory(made)
    with tempfile.TemporaryDirectory() as folder:
        run_kafka(
            score.score(pipeline),
            lambda _offsets: broker,
            Path(folder),
            stop=threading.Event(),
            bounded=True,
            metrics=metrics,
        )
    return broker


def per_event(broker: Memory, total: int) -> tuple[float, float]:
    """Return microseconds an event after the warm-up: of CPU time, and by the clock."""
    marks = [mark for mark in broker.asked if mark[0] >= WARM_UP * total]
    (first, *began), (last, *ended) = marks[0], marks[-1]
    cpu, clock = ((end - begin) / (last - first) for begin, end in zip(began, ended, strict=True))
    return cpu * 1e6, clock * 1e6


class Record(NamedTuple):
    """An event as confluent-kafka gives it to the loop."""

    event: events.Encoded

    def key(self) -> bytes:
        return self.event.key

    def value(self) -> bytes:
        return self.event.value


def by_hand(count: int) -> float:
    """Return microseconds of CPU time an event of the hand-written loop, without Kafka."""
    records = [Record(event) for event in events.encoded(count)]
    encoded, warm = schema("decision.avsc"), int(WARM_UP * count)
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        work = Work(store)
        began = 0.0
        for start in range(0, count, BATCH):
            if start >= warm and not began:
                warm, began = start, time.thread_time()
            for _key, made in work.each(records[start : start + BATCH]):
                fastavro.schemaless_writer(io.BytesIO(), encoded, made)
            store.commit()
        ended = time.thread_time()
        store.close()
    return (ended - began) / (count - warm) * 1e6


def alone(pipeline: Pipeline, made: Sequence[Message], broker: Memory) -> dict[str, float]:
    """Time each part by itself, in microseconds an event."""
    tail = made[-10_000:]
    event_schema = fastavro.parse_schema(_plain(events.SCHEMA))
    decision_schema = fastavro.parse_schema(_plain(definition(DECISIONS)))
    decode = stream_decoder(DECISIONS, Settings())
    decisions = [decode(output.value) for output in broker.sent[-10_000:]]
    bundle = bundles.load(pipeline.models[0])
    rows = [[made["features"][name] for name in bundle.card.features] for made in decisions]

    def write(decision: dict[str, Any]) -> None:
        fastavro.schemaless_writer(io.BytesIO(), decision_schema, decision)

    def read(message: Message) -> None:
        fastavro.schemaless_reader(io.BytesIO(message.value or b""), event_schema, None)

    return {
        "fastavro decode of an event": _each(read, tail),
        "fastavro encode of a decision": _each(write, decisions),
        "model, row by row": _each(bundle, rows),
    }


def _each(call: Callable[[Any], object], items: Sequence[Any]) -> float:
    began = time.thread_time()
    for item in items:
        call(item)
    return (time.thread_time() - began) / len(items) * 1e6


def _plain(schema: Any) -> Any:
    """Return a schema without logical types."""
    match schema:
        case dict():
            return {key: _plain(part) for key, part in schema.items() if key != "logicalType"}
        case list():
            return [_plain(part) for part in schema]
        case _:
            return schema


def spy(arguments: Sequence[str]) -> tuple[Counter[str], Counter[str], int]:
    """Run this script under py-spy.

    Returns
    -------
    tuple
        Samples by function, in itself and with its callees, and how many there are.
    """
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    count = 0
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "raw"
        py_spy = Path(sys.executable).with_name("py-spy")
        options = ["--format", "raw", "--rate", str(SAMPLES_S), "--output", str(raw)]
        command = [sys.executable, __file__, "--only-run", *arguments]
        done = subprocess.run(
            [str(py_spy), "record", *options, "--", *command],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0 or not raw.exists():
            sys.exit(f"py-spy failed:\n{done.stderr}")
        for line in raw.read_text().splitlines():
            stack, _, samples = line.rpartition(" ")
            frames = stack.split(";")
            start = next((i for i, frame in enumerate(frames) if "run_kafka" in frame), None)
            if start is None:
                continue
            inside = [_short(frame) for frame in frames[start:]]
            own[inside[-1]] += int(samples)
            for frame in set(inside):
                whole[frame] += int(samples)
            count += int(samples)
    return own, whole, count


def _short(frame: str) -> str:
    """Turn py-spy's ``function (path/of/file.py:12)`` into ``file.function``."""
    function, _, place = frame.partition(" (")
    return f"{Path(place.rpartition(':')[0]).stem}.{function}"


def show(title: str, rows: Sequence[tuple[str, ...]], *columns: str) -> None:
    """Print a table."""
    table = Table("", *columns, title=title, title_justify="left", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows:
        table.add_row(*row)
    Console(width=100).print(table)


def main() -> None:
    """Run, and print what it costs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--pipeline", default="one-entity", help="or two-entities")
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--spy", action="store_true", help="sample it with py-spy, too")
    parser.add_argument("--json", action="store_true", help="print the parts as JSON")
    parser.add_argument("--metrics", action="store_true", help="count and time, and serve it")
    parser.add_argument("--only-run", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    pipeline = load(HERE / "bench" / f"{asked.pipeline}.yaml")
    made = messages(asked.events)
    commit = Timed(RocksStore, "commit")
    broker = run(pipeline, made, Endpoint("127.0.0.1", 0, 0) if asked.metrics else None)
    if asked.only_run:
        return
    total, clock = per_event(broker, asked.events)
    parts = {
        "in all": total,
        "by the clock": clock,
        "of it RocksStore.commit": commit.seconds / asked.events * 1e6,
    }
    parts |= alone(pipeline, made, broker)
    if asked.pipeline == "one-entity":
        parts["the loop, in all"] = by_hand(asked.events)
    if asked.json:
        print(json.dumps({name: round(cost, 2) for name, cost in parts.items()}))
    else:
        rows = [(name, f"{cost:.1f}") for name, cost in parts.items()]
        show(f"{asked.pipeline}: {1e6 / total:,.0f} events/s", rows, "us an event")
    if asked.spy:
        arguments = ["--pipeline", asked.pipeline, "--events", str(asked.events)]
        own, whole, count = spy(arguments)
        unit = total / count
        listed = [
            (name, f"{own[name] * unit:.1f}", f"{whole[name] * unit:.1f}")
            for name, _ in own.most_common(SHOWN)
        ]
        show(f"{count:,} samples", listed, "us itself", "us with callees")


if __name__ == "__main__":
    main()
