"""What a window costs: as it fills, as entities grow, and after millions of updates.

    python load-tests/windows.py
    python load-tests/windows.py --quick --only window

load-tests/README.md says what is measured.
"""

import argparse
import io
import json
import math
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

# In place of this file's own folder.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).parent / "bench"))

import fastavro
from contestants import CONTESTANTS, Place, Running
from events import SCHEMA, Encoded
from processes import machine
from rich.console import Console
from rich.progress import track
from rich.table import Table
from throughput import measure
from topics import Topics

from verdict.pipelines.local.broker import LocalKafka
from verdict.state.store.keyed import MemoryState
from verdict.state.store.rocks import RocksStore
from verdict.state.windows.aggregates import Aggregate
from verdict.state.windows.aggregator import Aggregates
from verdict.state.windows.plan import Column

RESULTS = Path(__file__).parent / "RESULTS.md"
DAY_MS = 86_400_000
LONGEST = 30 * DAY_MS
LATENESS = 3_600_000
BATCH = 500
"""Events between two commits."""
MEASURED = 100_000
RAW = 24
"""Bytes of an event's time, amount and shop."""

COLUMNS = [Column("q", 2, False, "amount"), Column("q", 0, True, "distinct shop")]
PLAIN = [Aggregate(op, days * DAY_MS, 0) for days in (1, 7, 30) for op in ("count", "sum", "mean")]
RICH = [
    *PLAIN,
    *(Aggregate(op, LONGEST, 0) for op in ("std", "min", "max", "first", "last")),
    Aggregate("distinct", LONGEST, 1),
    Aggregate("time_since_last", LONGEST),
    Aggregate("mean", 7 * DAY_MS, 0, decayed=True),
]
KINDS = {"count, sum and mean over 1, 7 and 30 d": PLAIN, "and all other aggregates": RICH}

out, err = Console(width=110), Console(stderr=True)


def window(quick: bool) -> dict[str, Any]:
    """One event of a key in whose 30 days there are 10, 1,000 and 100,000 events."""
    found: dict[str, Any] = {}
    for kind, asked in KINDS.items():
        for population in (10, 1_000, 10_000 if quick else 100_000):
            keys = max(1, min(1_000, 20_000 // population))
            found[f"{kind}; {population:,}"] = {
                "population": population,
                **_of_population(asked, population, keys, f"{population:,} events a window"),
            }
        first, *_, last = (each for name, each in found.items() if name.startswith(kind))
        last["to_first"] = round(last["us"] / first["us"], 2)
    return found


class Player:
    """Plays events of some keys into their windows, over RocksDB as the embedded engine does."""

    def __init__(
        self, asked: list[Aggregate], columns: list[Column], folder: Path, gap: float
    ) -> None:
        self.aggregates = Aggregates(asked, columns, LONGEST + LATENESS)
        self.store = RocksStore(folder)
        self.state = self.store.keyed("key")
        self.source = random.Random(7)
        self.gap, self.time, self.width = gap, 0.0, len(columns)

    def play(self, count: int, key: Callable[[int], int]) -> Iterator[None]:
        for number in range(count):
            self.time += self.gap
            self.state.key = b"%d" % key(number)
            row = self.source.randint(1, 100_000), self.source.randint(1, 10_000)
            self.aggregates.update(self.state, int(self.time), row[: self.width])
            if number % BATCH == 0:
                self.store.commit({})
            yield

    def timed(self, count: int, key: Callable[[int], int]) -> float:
        """Return the seconds that some events take."""
        began = time.perf_counter()
        for _ in self.play(count, key):
            pass
        return time.perf_counter() - began

    def stored(self) -> int:
        """Return the bytes of all keys and values."""
        self.store.commit({})
        return sum(len(key) + len(value) for key, value in self.store.items(b""))


def _of_population(asked: list[Aggregate], population: int, keys: int, say: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        player = Player(asked, COLUMNS, Path(folder), LONGEST / population / keys)
        count = population * keys * 5 // 4
        for _ in track(player.play(count, lambda number: number % keys), say, count, console=err):
            pass
        measured = max(20_000, 2 * keys)
        took = sorted(player.timed(measured, lambda number: number % keys) for _ in range(3))[1]
        size = player.stored()
        player.store.close()
    return {
        "us": round(took / measured * 1e6, 2),
        "bytes_an_event": round(size / keys / population, 1),
        "to_raw": round(size / keys / population / RAW, 2),
    }


WEEK = 7 * DAY_MS
"""The longest window of bench/one-entity.yaml."""


def engines(quick: bool) -> dict[str, Any]:
    """The whole job, from topic to topic, on both engines, as the same windows fill."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name, LocalKafka(Path(name) / "kafka") as kafka:
        topics = Topics(kafka.bootstrap)
        for population in (10, 1_000, 10_000 if quick else 100_000):
            keys = max(1, min(1_000, 20_000 // population))
            # Java's compiler takes its time, too.
            fill = max(population * keys * 5 // 4, 30_000 if quick else 125_000)
            count, stem = fill + (20_000 if quick else 60_000), f"{population}"
            topics.create([stem])
            topics.fill(stem, _payments(count, keys, WEEK / population / keys))
            for engine in ("embedded", "flink"):
                place = Place(
                    Path(name) / f"{engine}-{stem}",
                    kafka.bootstrap,
                    stem,
                    f"{engine}-{stem}-decisions",
                    f"{engine}-{stem}-dead-letters",
                    kafka.pid,
                )
                place.folder.mkdir()
                topics.create(place.topics)
                with Running(CONTESTANTS[engine], place) as running:
                    measured = measure(
                        place,
                        topics,
                        running,
                        count=count,
                        warm_up=fill / count,
                        compare=False,
                        tell=lambda _: None,
                    )
                found[f"{engine}; {population:,}"] = {
                    "events_s": round(measured.rate),
                    "cpu_us": round(measured.cpu_us, 1),
                }
        topics.close()
    for engine in ("embedded", "flink"):
        first, *_, last = (each for name, each in found.items() if name.startswith(engine))
        last["to_first"] = round(last["cpu_us"] / first["cpu_us"], 2)
    return found


def _payments(count: int, keys: int, gap: float) -> Iterator[Encoded]:
    source, begin = random.Random(7), 1_767_225_600_000
    for number in range(count):
        key = f"c{number % keys:06d}"
        body = io.BytesIO()
        payment = {
            "id": f"p{number:011d}",
            "time": begin + int(number * gap),
            "customer": key,
            "terminal": None,
            "amount": Decimal(source.randint(1, 99_999)).scaleb(-2),
            "channel": "online",
            "country": "BE",
            "distance": 1.0,
        }
        fastavro.schemaless_writer(body, SCHEMA, payment)
        yield Encoded(key.encode(), body.getvalue())


def entities(quick: bool) -> dict[str, Any]:
    """Keys by the million, in no order: most events find their head on the disk."""
    counts = (1_000, 10_000) if quick else (10_000, 100_000, 1_000_000)
    return {f"{count:,}": _of_entities(count, counts[-1]) for count in counts}


def _of_entities(count: int, most: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        # Four events of a key in its longest window.
        player = Player(PLAIN, COLUMNS[:1], Path(folder), LONGEST / 4 / count)

        def any_key(_: int) -> int:
            return player.source.randrange(count)

        for _ in track(player.play(count, int), f"{count:,} entities", count, console=err):
            pass
        idle = player.stored() / count
        for _ in track(player.play(count, any_key), "again", count, console=err):
            pass
        measured = min(MEASURED, 2 * most)
        took = player.timed(measured, any_key)
        player.store.commit({})
        player.store.close()
        disk = sum(file.stat().st_size for file in Path(folder).iterdir())
    return {
        "events_s": round(measured / took),
        "disk_mb": round(disk / 1e6, 1),
        "bytes_an_idle_entity": round(idle),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def drift(quick: bool) -> dict[str, Any]:
    """After millions of updates of one key, what is carried along is what adding up gives."""
    updates = 1_000_000 if quick else 10_000_000
    columns = [Column("d", meaning="km"), Column("q", 2, False, "amount")]
    asked = [Aggregate(op, 1_000, column) for column in (0, 1) for op in ("sum", "mean", "std")]
    aggregates, state = Aggregates(asked, columns, 1_000), MemoryState()
    source = random.Random(7)
    last: list[tuple[float, int]] = []
    for at in track(range(updates), f"{updates:,} updates", updates, console=err):
        row = source.gauss(0, 1e6), source.randint(-(10**9), 10**9)
        last.append(row)
        found = aggregates.update(state, at, row).values
        if len(last) > 2_000:
            del last[:1_000]
    fresh, again = Aggregates(asked, columns, 1_000), MemoryState()
    for at, row in enumerate(last[-1_000:], updates - 1_000):
        wanted = fresh.update(again, at, row).values
    assert wanted[0] == math.fsum(row[0] for row in last[-1_000:])
    return {
        "updates": updates,
        "differing": sum(a != b for a, b in zip(found, wanted, strict=True)),
    }


WHAT: dict[str, Callable[[bool], dict[str, Any]]] = {
    "window": window,
    "engines": engines,
    "entities": entities,
    "drift": drift,
}


def _said(drift: dict[str, int]) -> str:
    return f"After {drift['updates']:,} updates {drift['differing']} of 6 values differ"


def show(found: dict[str, Any]) -> None:
    """Print the figures as tables."""
    if "window" in found:
        table = Table("events in 30 d", "µs an event", "bytes an event", "to raw", box=None)
        for name, each in found["window"].items():
            ratio = f"  ({each['to_first']} x the first)" if "to_first" in each else ""
            table.add_row(
                name, f"{each['us']}{ratio}", str(each["bytes_an_event"]), str(each["to_raw"])
            )
        out.print(table)
    if "engines" in found:
        table = Table("events in 7 d", "events/s", "CPU µs an event", box=None)
        for name, each in found["engines"].items():
            ratio = f"  ({each['to_first']} x the first)" if "to_first" in each else ""
            table.add_row(name, f"{each['events_s']:,}", f"{each['cpu_us']}{ratio}")
        out.print(table)
    if "entities" in found:
        table = Table("entities", "events/s", "disk, MB", "bytes, idle", "peak RSS, MB", box=None)
        for name, each in found["entities"].items():
            table.add_row(name, *(f"{value:,}" for value in each.values()))
        out.print(table)
    if "drift" in found:
        out.print(
            "after {updates:,} updates {differing} of 6 values differ".format(**found["drift"])
        )


def record(found: dict[str, Any], file: Path) -> None:
    """Add the figures to RESULTS.md."""
    lines = [f"\n## Windows, {datetime.now(UTC):%Y-%m-%d}\n", f"{machine()}. `windows.py`.\n"]
    if "window" in found:
        lines += ["| what is asked; events in 30 d | µs an event | bytes an event | to raw |"]
        lines += ["|---|---|---|---|"]
        for name, each in found["window"].items():
            ratio = f" ({each['to_first']} x the first)" if "to_first" in each else ""
            lines.append(
                f"| {name} | {each['us']}{ratio} | {each['bytes_an_event']} | {each['to_raw']} |"
            )
    if "engines" in found:
        lines += ["\n| engine; events in 7 d | events/s | CPU µs an event |", "|---|---|---|"]
        for name, each in found["engines"].items():
            ratio = f" ({each['to_first']} x the first)" if "to_first" in each else ""
            lines.append(f"| {name} | {each['events_s']:,} | {each['cpu_us']}{ratio} |")
    if "entities" in found:
        lines += ["\n| entities | events/s | disk, MB | bytes of an idle one | peak RSS, MB |"]
        lines += ["|---|---|---|---|---|"]
        for name, each in found["entities"].items():
            lines.append(f"| {name} | " + " | ".join(f"{v:,}" for v in each.values()) + " |")
    if "drift" in found:
        lines.append(
            "\nAfter {updates:,} updates {differing} of 6 values differ.".format(**found["drift"])
        )
    with file.open("a", encoding="utf-8") as results:
        results.write("\n".join(lines) + "\n")


def main() -> None:
    """Measure, show, and record if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", choices=WHAT, action="append")
    parser.add_argument("--quick", action="store_true", help="smaller, to try it out")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    parser.add_argument("--record", action="store_true", help="add them to RESULTS.md")
    asked = parser.parse_args()
    if asked.json:
        out.quiet = True
    found = {name: WHAT[name](asked.quick) for name in asked.only or WHAT}
    if asked.json:
        print(json.dumps(found))
    show(found)
    if asked.record:
        record(found, RESULTS)


if __name__ == "__main__":
    main()
