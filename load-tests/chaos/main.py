"""An hour of kill -9, and what came of it: nothing lost, nothing committed twice, all as expected.

    make chaos MINUTES=60 RATE=2000
    make chaos MINUTES=10 RATE=500 SETTLED=1

Every few seconds a random process (a TaskManager, the JobManager, the broker; or the embedded
engine) is killed, and started again as an orchestrator would. With ``--settled`` the next one is
killed only when all is decided again, so that each recovery can be timed. Beside it a checker reads
the decisions as both kinds of consumer, and in the end holds each of them against an undisturbed
run.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "bench")]

import yaml  # noqa: E402
from checker import Reader, expected  # noqa: E402
from confluent_kafka import Consumer, TopicPartition  # noqa: E402
from outcome import record, show  # noqa: E402
from phases import lines, marks, way  # noqa: E402
from processes import Failed, Process, machine  # noqa: E402
from recovery import (  # noqa: E402
    BEHIND_S,
    CALM_S,
    Calm,
    Kill,
    first_decisions,
    made_by,
    outage,
    spread,
    summary,
)
from rich.console import Console  # noqa: E402
from rich.progress import Progress  # noqa: E402
from targets import Embedded, Flink, Target  # noqa: E402

from verdict.pipelines.kafka.admin import create_topics  # noqa: E402
from verdict.pipelines.kafka.clients import clients  # noqa: E402
from verdict.pipelines.local.broker import LocalKafka  # noqa: E402
from verdict.pipelines.spec.load import load  # noqa: E402
from verdict.pipelines.spec.pipeline import Pipeline  # noqa: E402
from verdict.pipelines.spec.settings import Settings  # noqa: E402

BENCH = HERE.parent / "bench"
SETTLE_S = 240.0
"""How long the last decisions may take after the last event: the recovery from the last kill, and
what had piled up."""
CHECKPOINT = "5s"
REST_S = 12.0
"""Between two kills, once all is decided again: time for a checkpoint, so that a recovery works off
what came after it, and not what the one before had left."""
ROOM_S = 30.0
"""Of events after the last kill, for somebody to miss what was killed."""
PATIENCE_S = 240.0
"""How long a recovery may take before it counts as none."""
err = Console(stderr=True)


def pipeline_file(folder: Path) -> Path:
    """Write the pipeline of two entities with topics of its own."""
    spec = yaml.safe_load((BENCH / "two-entities.yaml").read_text("utf-8"))
    spec["pipeline"] = "chaos"
    spec["events"] |= {"topic": "chaos-events", "schema": str(BENCH / spec["events"]["schema"])}
    spec["model"] = str(BENCH / spec["model"])
    spec["topics"] = {"decisions": "chaos-decisions", "dead-letters": "chaos-dead-letters"}
    spec["settings"] = {"checkpoint_interval": CHECKPOINT}
    file = folder / "pipeline.yaml"
    file.write_text(yaml.safe_dump(spec, sort_keys=False), "utf-8")
    return file


def disturb(target: Target, until: float, every: float, seed: int) -> list[Kill]:
    """Kill a random process every so many seconds."""
    source, kills = random.Random(seed), list[Kill]()
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("0 kills", total=until - time.monotonic())
        began = due = time.monotonic()
        while True:
            due = max(due + every, time.monotonic() + 1)
            if due > until:
                return kills
            while time.monotonic() < due:
                time.sleep(0.2)
                progress.update(task, completed=time.monotonic() - began)
            target.check()
            kills.append(kill(target, source.choice(target.kinds())))
            progress.update(task, description=f"{len(kills)} kills, last {kills[-1].kind}")


def disturb_settled(
    target: Target, until: float, seed: int, behind: Callable[[], tuple[int, int]], rate: float
) -> list[Kill]:
    """Kill one process of each kind, in a random order, again and again; each once all is calm.

    Parameters
    ----------
    target
        What is killed.
    until
        When the events end, on the monotonic clock.
    seed
        Of the order.
    behind
        Tells how many events were made so far, and how many of them are decided.
    rate
        Events a second.
    """
    source, kills, kinds = random.Random(seed), list[Kill](), list[str]()
    _await_calm(behind, rate)
    while time.monotonic() + REST_S + ROOM_S < until:
        time.sleep(REST_S)
        if not kinds:
            kinds = target.kinds()
            source.shuffle(kinds)
        target.check()
        done = kill(target, kinds.pop())
        settled = _await_calm(behind, rate)
        kills.append(replace(done, settled=settled))
        err.print(f"{done.kind} killed, all decided {settled - done.at - CALM_S:.1f} s later")
    return kills


def kill(target: Target, kind: str) -> Kill:
    """Kill a process of a kind, and note when."""
    at, wall = time.monotonic(), time.time()
    name = target.kill(kind)
    return Kill(name, at, wall, time.monotonic() - at, os.getloadavg()[0])


def _await_calm(behind: Callable[[], tuple[int, int]], rate: float) -> float:
    calm, deadline = Calm(rate), time.monotonic() + PATIENCE_S
    while not calm.look(time.monotonic(), *behind()):
        if time.monotonic() > deadline:
            raise Failed(f"not all is decided {PATIENCE_S:g} s after a kill")
        time.sleep(0.1)
    return time.monotonic()


def settle(readers: list[Reader], count: int) -> None:
    """Wait until everything is decided and committed, or nothing has come for long."""
    deadline, seen = time.monotonic() + SETTLE_S, -1
    while any(reader.decided < count for reader in readers) and time.monotonic() < deadline:
        now = sum(reader.decided for reader in readers)
        if now != seen:
            deadline, seen = time.monotonic() + SETTLE_S, now
        time.sleep(0.2)


def dead_letters(bootstrap: str) -> int:
    """Count the dead letters: there should be none."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "chaos", "log_level": 0})
    found = 0
    low, high = consumer.get_watermark_offsets(TopicPartition("chaos-dead-letters", 0), timeout=30)
    if high > low:
        consumer.assign([TopicPartition("chaos-dead-letters", 0, low)])
        while (record := consumer.poll(2.0)) is not None:
            found += record.error() is None
    consumer.close()
    return found


def run(asked: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Disturb a run, and judge it."""
    count = int(asked.minutes * 60 * asked.rate)
    pipeline = load(pipeline_file(folder))
    with LocalKafka(folder / "kafka") as kafka:
        made = clients(Settings(kafka={"bootstrap.servers": kafka.bootstrap}))
        create_topics(made, ["chaos-events", "chaos-decisions", "chaos-dead-letters"])
        err.print(f"starting {asked.engine}")
        target: Target
        if asked.engine == "flink":
            task_managers = len(pipeline.entities) + asked.spare
            target = Flink(kafka, pipeline.path, folder, task_managers, asked.seed)
        else:
            target = Embedded(kafka, pipeline.path, folder)
        readers = [
            Reader(kafka.bootstrap, "chaos-decisions", "chaos", count, isolation)
            for isolation in ("read_uncommitted", "read_committed")
        ]
        command = [sys.executable, str(HERE / "feeder.py"), "--bootstrap", kafka.bootstrap]
        command += ["--topic", "chaos-events", "--count", str(count), "--rate", str(asked.rate)]
        environment = {"PYTHONPATH": str(BENCH)}
        try:
            for reader in readers:
                reader.start()
            feeder = Process(command, folder / "feeder.log", talks=True, environment=environment)
            try:
                began = float(feeder.line())
                until = began + asked.minutes * 60
                if asked.settled:
                    first = readers[0]

                    def behind() -> tuple[int, int]:
                        made = made_by(time.monotonic(), began, asked.rate, count)
                        return made, first.decided

                    kills = disturb_settled(target, until, asked.seed, behind, asked.rate)
                else:
                    kills = disturb(target, until, asked.every, asked.seed)
                feeder.wait(max(until - time.monotonic(), 0) + SETTLE_S)
            finally:
                feeder.stop()
            settle(readers, count)
        finally:
            for reader in readers:
                reader.stop()
            target.stop()
        letters = dead_letters(kafka.bootstrap)
    result = judge(asked, pipeline, count, kills, readers, began, letters)
    if asked.settled:
        result |= timed(kills, readers[0], began, asked.rate, target.logs)
    return result


def judge(
    asked: argparse.Namespace,
    pipeline: Pipeline,
    count: int,
    kills: list[Kill],
    readers: list[Reader],
    began: float,
    letters: int,
) -> dict[str, Any]:
    """Hold what was read against an undisturbed run."""
    with Progress(console=err, transient=True) as progress:
        task = progress.add_task("an undisturbed run", total=count)
        marks = expected(pipeline, count, lambda done: progress.update(task, completed=done))
    hot, committed = readers
    found = first_decisions(kills, hot.arrived, began, asked.rate)

    def seen(reader: Reader) -> dict[str, int]:
        there = reader.copies > 0
        return {
            "lost": int((~there).sum()),
            "repeated": int((reader.copies[there] - 1).sum()),
            "repeat_differs": reader.differs,
            "unexpected": int((reader.marks[there] != marks[there]).sum()),
        }

    return {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "engine": asked.engine,
        "minutes": asked.minutes,
        "rate": asked.rate,
        "every_s": None if asked.settled else asked.every,
        "seed": asked.seed,
        "spare": asked.spare,
        "events": count,
        "dead_letters": letters,
        "kills": {kind: sum(kill.kind == kind for kill in kills) for kind in found},
        "uncommitted": seen(hot),
        "committed": seen(committed),
        "recovery_s": {kind: spread(times) for kind, times in found.items()},
    }


def timed(
    kills: list[Kill], hot: Reader, began: float, rate: float, logs: Path | None
) -> dict[str, Any]:
    """Return how long each kind was missed, one kill at a time, and where that time went."""
    log = [] if logs is None else list(lines(logs))
    outages, ways = defaultdict(list), defaultdict(list)
    for each in kills:
        seen = outage(each, hot.arrived, began, rate)
        if seen is None or each.settled is None:
            continue
        outages[each.kind].append(seen)
        reached = marks(log, each.wall, each.wall + each.settled - each.at)
        reached["decisions come"] = seen.back
        if each.started_s > BEHIND_S:  # nobody waits for a TaskManager here
            reached["it answers again"] = each.started_s
        ways[each.kind].append(reached | {"caught up": max(seen.caught_up, seen.back)})
    return {
        "load": [round(of((each.load for each in kills), default=0.0), 1) for of in (min, max)],
        "settled_s": summary(outages),
        "way_s": {kind: way(of_kind) for kind, of_kind in ways.items()},
    }


def main() -> None:
    """Read the arguments, run, report; exit code 1 where anything is lost or different."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=float, default=2000, help="events a second")
    parser.add_argument("--every", type=float, default=10, help="seconds between two kills")
    parser.add_argument(
        "--settled", action="store_true", help="one kill at a time: the next once all is decided"
    )
    parser.add_argument(
        "--spare", type=int, default=0, help="TaskManagers beside those that the job needs"
    )
    parser.add_argument("--engine", choices=("flink", "embedded"), default="flink")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--record", type=Path, help="append the report to this file")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="verdict-chaos-") as folder:
        result = run(asked, Path(folder))
    if asked.json:
        print(json.dumps(result))
    else:
        show(result)
    if asked.record:
        record(result, asked.record)
    hot, committed = result["uncommitted"], result["committed"]
    wrong = hot["lost"] + hot["repeat_differs"] + hot["unexpected"] + result["dead_letters"]
    wrong += committed["lost"] + committed["unexpected"]
    # At least once is what the embedded engine promises; Flink's committed readers see each once.
    wrong += committed["repeated"] if asked.engine == "flink" else 0
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
