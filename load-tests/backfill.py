"""How long `verdict backfill` takes: 1.75 million events, two entities, fifteen features.

    python load-tests/backfill.py
    python load-tests/backfill.py --events 175000

load-tests/README.md says what is measured.
"""

import argparse
import json
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
from processes import cpu_s, machine, peak_mb
from rich.console import Console

from verdict.pipelines.formats.avro_file import AvroFile
from verdict.pipelines.spec.load import load

HERE = Path(__file__).parent
RESULTS = HERE / "RESULTS.md"
FRAUDS = 0.01
"""Share of the payments that a bank calls fraud, on average seven days later."""
LOOK_S = 0.2
HEADER = """
## Backfill

`python load-tests/backfill.py`: bench/backfill.yaml over an Avro file; CPU time and peak memory are
of both processes together.

| date | machine | events | seconds | events/s | CPU µs an event | file, MB | peak, MB |
|---|---|---|---|---|---|---|---|
"""


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


def payments(events: int, seed: int, pipeline: Path, file: Path) -> None:
    """Write the events."""
    container, batch = AvroFile(file, load(pipeline).schema.definition, 0), []
    for event in encoded(events, seed=seed):
        batch.append(event.value)
        if len(batch) == 1_000:
            container.append(batch)
            batch = []
    container.append(batch)
    container.close()


def main() -> None:
    """Make the events, run the command, say how long it took."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_750_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    parser.add_argument("--record", action="store_true", help="add them to RESULTS.md")
    asked = parser.parse_args()
    pipeline = HERE / "bench" / "backfill.yaml"
    with tempfile.TemporaryDirectory(prefix="verdict-backfill-") as name:
        folder = Path(name)
        file, labels = folder / "events.avro", folder / "chargebacks.avro"
        payments(asked.events, asked.seed, pipeline, file)
        chargebacks(asked.events, asked.seed, labels)
        size = file.stat().st_size / 1e6
        command = ["backfill", str(pipeline), "--events", str(file), "--labels", str(labels)]
        command += ["--out", str(folder / "decisions.parquet"), "--features-only", "--json"]
        began, cpu, peak = time.perf_counter(), 0.0, 0.0
        with subprocess.Popen(
            [sys.executable, "-m", "verdict", *command], stdout=subprocess.PIPE
        ) as running:
            while running.poll() is None:
                peak = max(peak, sum(peak_mb(running.pid).values()))
                cpu = max(cpu, cpu_s(running.pid))
                time.sleep(LOOK_S)
            took = time.perf_counter() - began
            assert running.stdout is not None
            told = running.stdout.read()
        if running.returncode:
            sys.exit(running.returncode)
    summary = json.loads(told)
    if summary["rows"] != asked.events:
        sys.exit(f"{asked.events:,} rows were to come out, not {summary}")
    found = {
        "events": asked.events,
        "seconds": round(took, 1),
        "events_s": round(asked.events / took),
        "cpu_us": round(cpu / asked.events * 1e6, 1),
        "file_mb": round(size),
        "peak_mb": round(peak),
        "labels": summary["labels"],
    }
    if asked.json:
        print(json.dumps(found))
    else:
        Console().print(
            "{events:,} events in {seconds} s, {events_s:,}/s, {cpu_us} µs of CPU each; "
            "a file of {file_mb} MB, a peak of {peak_mb} MB".format(**found)
        )
    if asked.record:
        text = RESULTS.read_text("utf-8")
        if "\n## Backfill\n" not in text:
            text += HEADER
        cells = [f"{datetime.now(UTC):%Y-%m-%d}", machine(), f"{asked.events:,}"]
        cells += [str(found["seconds"]), f"{found['events_s']:,}", str(found["cpu_us"])]
        cells += [str(found["file_mb"]), str(found["peak_mb"])]
        above, title, section = text.partition("\n## Backfill\n")
        table, following, below = section.partition("\n## ")
        table = f"{table.rstrip()}\n| {' | '.join(cells)} |\n"
        RESULTS.write_text(above + title + table + following + below, "utf-8")


if __name__ == "__main__":
    main()
