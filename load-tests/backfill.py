"""How long `verdict backfill` takes: 1.75 million events, two entities, fifteen features.

python load-tests/backfill.py --record=load-tests/RESULTS.md
"""

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "bench"))

import fastavro
from events import EPOCH, EVENTS_A_DAY, START_MS, encoded, event_id
from rich.console import Console

from pipelines.files import AvroFile
from pipelines.pipeline import load

HERE = Path(__file__).parent
HEADER = """
## Backfill

`python load-tests/backfill.py`: load-tests/bench/backfill.yaml over an Avro file; the
peak is of the command's process.

| date | machine | what | events | seconds | events/s | peak, MB |
|---|---|---|---|---|---|---|
"""


FRAUDS = 0.01
"""Share of the payments that a bank calls fraud, on average seven days later."""


def chargebacks(events: int, seed: int, file: Path) -> None:
    """Write labels for some of the events."""
    source = random.Random(seed)
    day = timedelta(days=1)
    begin = EPOCH + timedelta(milliseconds=START_MS)
    frauds = (number for number in range(events) if source.random() < FRAUDS)
    records = (
        {
            "payment": event_id(number),
            "fraud": True,
            "known_at": begin + number / EVENTS_A_DAY * day + source.expovariate(1 / 7) * day,
        }
        for number in frauds
    )
    schema = fastavro.schema.load_schema(str(HERE / "bench" / "chargeback.avsc"))
    with file.open("wb") as out:
        fastavro.writer(out, schema, records)


def main() -> None:
    """Make the events, run the command, say how long it took."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_750_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--record", type=Path, help="add a line to this file")
    asked = parser.parse_args()
    pipeline = HERE / "bench" / "backfill.yaml"
    with tempfile.TemporaryDirectory(prefix="verdict-backfill-") as folder:
        file, out = Path(folder) / "events.avro", Path(folder) / "decisions.parquet"
        container = AvroFile(file, load(pipeline).schema.definition, 0)
        batch = []
        for event in encoded(asked.events, seed=asked.seed):
            batch.append(event.value)
            if len(batch) == 1_000:
                container.append(batch)
                batch = []
        container.append(batch)
        container.close()
        chargebacks(asked.events, asked.seed, Path(folder) / "chargebacks.avro")
        command = ["backfill", str(pipeline), "--events", str(file), "--out", str(out)]
        command += ["--labels", str(Path(folder) / "chargebacks.avro")]
        began = time.perf_counter()
        with subprocess.Popen(
            [sys.executable, "-m", "pipelines.cli", *command, "--features-only", "--json"],
            stdout=subprocess.PIPE,
        ) as running:
            assert running.stdout is not None
            told = running.stdout.read()
            _, status, usage = os.wait4(running.pid, 0)
            running.returncode = os.waitstatus_to_exitcode(status)
        took = time.perf_counter() - began
        if running.returncode:
            sys.exit(running.returncode)
    summary = json.loads(told)
    if summary["rows"] != asked.events:
        sys.exit(f"{asked.events:,} rows were to come out, not {summary}")
    peak = usage.ru_maxrss / 1_000
    name = "features"
    rate = asked.events / took
    Console().print(
        f"{name}: {asked.events:,} events in {took:.1f} s, {rate:,.0f}/s, peak {peak:,.0f} MB"
    )
    if asked.record:
        text = asked.record.read_text("utf-8")
        if "\n## Backfill\n" not in text:
            text += HEADER
        cpu = platform.processor() or platform.machine()
        machine = f"{cpu}, {os.cpu_count()} cores"
        when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M")
        cells = [when, machine, name, f"{asked.events:,}", f"{took:.1f}", f"{rate:,.0f}"]
        text += f"| {' | '.join([*cells, f'{peak:,.0f}'])} |\n"
        asked.record.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
