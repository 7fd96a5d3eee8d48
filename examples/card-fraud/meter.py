"""Reads the topics of the card-fraud pipeline, or runs it over files, and prints what it sees.

One JSON line every quarter of a second, for `demo.py` to show. A process of its own, so that
drawing the screen does not slow what is measured.
"""

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections import Counter, deque
from pathlib import Path
from types import FrameType
from typing import Any

from verdict import jobs, load, output_decoder, over, paced, run_files

HERE = Path(__file__).parent
REPORT_S = 0.25
RATE_S = 2.0
FLAGGED = 6
RESOLUTION_MS = 0.1
DECODED = ("decisions", "dead-letters", "drift", "comparison")


class Stats:
    """What the demo shows, as it grows.

    ``history`` is the number of events before live play: they are decided like the others, but
    their latency says nothing.
    """

    def __init__(self, history: int) -> None:
        self.history = history
        self.counts: Counter[str] = Counter()
        self.actions: Counter[str] = Counter()
        self.latencies: Counter[int] = Counter()
        self.flagged: deque[dict[str, Any]] = deque(maxlen=FLAGGED)
        self.dead: Counter[str] = Counter()
        self.last_dead = ""
        self.alarms: dict[str, dict[str, Any]] = {}
        self.alarmed: dict[str, str] = {}
        self.windows = 0
        self.comparison: dict[str, dict[str, Any]] = {}
        self.day = ""
        self._rates: deque[tuple[float, int, int]] = deque()
        pipeline = load(HERE / "pipeline.yaml")
        self._decoders = {stream: output_decoder(pipeline, stream) for stream in DECODED}

    def event(self) -> None:
        """Count an event."""
        self.counts["events"] += 1

    def output(self, stream: str, value: bytes, latency_ms: float | None) -> None:
        """Take in one output record; the latency of a live decision."""
        self.counts[stream] += 1
        if stream not in self._decoders:
            return
        record = self._decoders[stream](value)
        match stream:
            case "decisions":
                self._decision(record, latency_ms)
            case "dead-letters":
                self.dead[f"{record['stage']}: {record['reason'].split(':')[0][:48]}"] += 1
            case "drift":
                self._drift(record)
            case "comparison":
                self.comparison[record["challenger"]] = record

    def _decision(self, record: dict[str, Any], latency_ms: float | None) -> None:
        self.actions[record["action"]] += 1
        self.day = record["event_time"][:10]
        if latency_ms is not None:
            self.latencies[int(latency_ms / RESOLUTION_MS)] += 1
        if record["action"] != "approve":
            keys = ("event_time", "event_id", "amount", "currency", "score", "action", "because")
            self.flagged.append({key: record[key] for key in (*keys, "rules")})

    def _drift(self, record: dict[str, Any]) -> None:
        self.windows += 1
        name = record["feature"]
        if record["state"] == "alarm":
            raised = self.alarms.get(name, {}).get("detectors", [])
            self.alarms[name] = {
                "since": record["since"],
                "psi": record["psi"],
                "detectors": sorted({*raised, *record["detectors"]}),
            }
            self.alarmed.setdefault(name, record["since"])
        elif record["state"] == "stable":
            self.alarms.pop(name, None)

    def snapshot(self) -> dict[str, Any]:
        """Say it all in what JSON knows."""
        now = time.monotonic()
        self._rates.append((now, self.counts["events"], self.counts["decisions"]))
        while now - self._rates[0][0] > RATE_S:
            self._rates.popleft()
        then, events, decisions = self._rates[0]
        span = max(now - then, REPORT_S)
        return {
            "counts": dict(self.counts),
            "events_s": (self.counts["events"] - events) / span,
            "decisions_s": (self.counts["decisions"] - decisions) / span,
            "latency_ms": {name: self._quantile(q) for name, q in QUANTILES.items()},
            "measured": self.latencies.total(),
            "actions": dict(self.actions),
            "flagged": list(self.flagged),
            "dead": dict(self.dead),
            "alarms": self.alarms,
            "alarmed": self.alarmed,
            "windows": self.windows,
            "comparison": self.comparison,
            "day": self.day,
        }

    def _quantile(self, q: float) -> float | None:
        total = self.latencies.total()
        seen = 0
        for cell in sorted(self.latencies):
            seen += self.latencies[cell]
            if seen >= q * total:
                return cell * RESOLUTION_MS
        return None


QUANTILES = {"p50": 0.5, "p99": 0.99, "p99.9": 0.999}


def report(stats: Stats, stop: threading.Event) -> None:
    """Print a snapshot every quarter of a second, and a last one at the end."""
    while not stop.wait(REPORT_S):
        print(json.dumps(stats.snapshot()), flush=True)


def follow(bootstrap: str, stats: Stats, stop: threading.Event) -> None:
    """Read every topic of the pipeline from its beginning."""
    from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

    topics = load(HERE / "pipeline.yaml").topics
    streams = {topic: stream for stream, topic in topics.items()}
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "demo-meter",
            "enable.auto.commit": False,
            "isolation.level": "read_uncommitted",  # each decision as it is made
        }
    )
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING) for topic in streams])
    created: list[float] = []
    while not stop.is_set():
        record = consumer.poll(0.05)
        if record is None or record.error() is not None:
            continue
        stream = streams[record.topic()]
        if stream == "events":
            created.append(record.timestamp()[1])
            stats.event()
            continue
        latency = None
        if stream == "decisions":
            now = time.time() * 1000
            offset = int(dict(record.headers())["source"].rpartition(b"/")[2])
            if stats.history <= offset < len(created):
                latency = max(now - created[offset], 0.0)
        stats.output(stream, record.value(), latency)
    consumer.close()


def run(folder: Path, rate: float, stats: Stats, stop: threading.Event) -> None:
    """Run the three jobs over the files of ``folder/events``, live ones at a rate."""
    files = sorted((folder / "events").glob("*.avro"))
    pipeline = over(load(HERE / "pipeline.yaml"), files)
    pace = paced(rate, stats.history)
    started: list[float] = []

    def timed(done: int) -> int:
        size = pace(done)
        if done >= stats.history and not started:
            started.append(time.monotonic() - (done + 1 - stats.history) / rate)
        return size

    def watch(outputs: Any) -> None:
        now = time.monotonic()
        seen: set[tuple[int, int]] = set()
        for output in outputs:
            cause = output.cause
            latency = None
            if output.stream == "decisions" and cause.partition and started:
                due = started[0] + cause.offset / rate
                latency = max(now - due, 0.0) * 1000
            if output.stream in ("decisions", "dead-letters"):
                place = (cause.partition, cause.offset)
                if place not in seen:
                    seen.add(place)
                    stats.event()
            stats.output(output.stream, output.value, latency)

    run_files(
        jobs(pipeline),
        files,
        pipeline.schema,
        pipeline.topics,
        folder / "state",
        folder / "out",
        stop=stop,
        pace=timed,
        watch=watch,
    )


def main() -> int:
    """Measure until SIGTERM, or to the end of the files."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bootstrap", default=os.environ.get("VERDICT_BOOTSTRAP"))
    parser.add_argument("--files", type=Path, help="run over this folder instead")
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--history", type=int, default=0)
    asked = parser.parse_args()
    stop = threading.Event()

    def end(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    signal.signal(signal.SIGTERM, end)
    stats = Stats(asked.history)
    ended = threading.Event()
    reporter = threading.Thread(target=report, args=(stats, ended), daemon=True)
    reporter.start()
    if asked.files is not None:
        run(asked.files, asked.rate, stats, stop)
    else:
        follow(asked.bootstrap, stats, stop)
    ended.set()
    reporter.join()
    print(json.dumps(stats.snapshot()), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
