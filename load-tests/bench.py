"""How fast verdict is, beside peers that do the same work on the same machine.

    make bench
    python load-tests/bench.py --quick --only embedded,loop

load-tests/README.md says what is measured and how.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# In place of this file's own folder.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).parent / "bench"))

import yaml
from confluent_kafka import KafkaException
from contestants import CONTESTANTS, Contestant, Place, Running, quix_python
from decisions import Decisions, Wrong
from events import CUSTOMERS, encoded
from latency import Load, latencies
from peer_java import java_jar
from processes import Failed, Skipped
from record import write
from report import Results
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from throughput import measure
from topics import Topics

from verdict.pipelines.deployment.size import plan as size
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.spec.load import load
from verdict.state.errors import VerdictError

HERE = Path(__file__).parent
EVENTS = "payments"
WIDTH = 100
LONG_LIVED = ("-XX:TieredStopAtLevel=4",)
"""Of the broker: it lives long enough to earn back what C2 costs. At 2,000 events a second that
come one by one it takes 0.6 of a core with C2, 0.9 without."""


@dataclass(frozen=True)
class Plan:
    """What to measure.

    Attributes
    ----------
    names
        Of the contestants.
    latency
        Those of them whose latency is measured.
    events
        In the topic, for throughput.
    rounds
        Of throughput; 0 for none.
    warm_up
        Share of the events before time counts.
    warm_events
        Events before latency is measured.
    rates
        Events a second, of latency; none if empty.
    seconds
        Length of a window of latency.
    committed
        Whether latency ends when a decision can be read by who reads committed ones alone.
    backlog
        Events that are worked off beside while latency is measured.
    changes
        Settings of the pipeline files that differ, dotted -> value.
    """

    names: tuple[str, ...] = tuple(name for name, each in CONTESTANTS.items() if not each.asked)
    latency: tuple[str, ...] = ("flink", "embedded", "loop", "java")
    events: int = 600_000
    rounds: int = 3
    warm_up: float = 0.2
    warm_events: int = 100_000
    rates: tuple[int, ...] = (500, 2_000, 5_000, 10_000)
    seconds: float = 45.0
    committed: bool = False
    backlog: int = 0
    changes: tuple[tuple[str, Any], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Say it in what JSON knows."""
        return {
            "rounds": self.rounds,
            "warm_up": self.warm_up,
            "warm_events": self.warm_events,
            "latency_seconds": self.seconds,
            "committed": self.committed,
            "backlog": self.backlog,
            "changes": dict(self.changes),
        }


QUICK = Plan(events=12_000, rounds=1, warm_events=2_000, rates=(500, 2_000), seconds=2.0)


class Bench:
    """One run of a plan, on a broker of its own."""

    def __init__(
        self, plan: Plan, folder: Path, topics: Topics, broker: int, say: Callable[[str], None]
    ) -> None:
        self.plan = plan
        self.folder = folder
        self.topics = topics
        self.broker = broker
        self.say = say
        self.results = Results(plan.events, plan.as_json())
        self._first: dict[str, Decisions] = {}

    def run(self) -> Results:
        """Measure throughput in rounds, then latency."""
        plan = self.plan
        if "java" in plan.names:
            self.say("the peer in Java")
            with self._turn("java"):
                java_jar()
        if plan.rounds:
            self.say(f"making {plan.events:,} events")
            self.topics.create([EVENTS])
            self.topics.fill(EVENTS, encoded(plan.events))
        for number in range(plan.rounds):
            # Each round begins with another one, so that none always has the same neighbour.
            turn = number % len(plan.names)
            for name in plan.names[turn:] + plan.names[:turn]:
                if name in self.results.skipped:
                    continue
                with self._turn(name):
                    self._throughput(CONTESTANTS[name], number)
        for name in plan.latency:
            if name in plan.names and plan.rates and name not in self.results.skipped:
                with self._turn(name):
                    self._latency(CONTESTANTS[name])
        return self.results

    @contextmanager
    def _turn(self, name: str) -> Iterator[None]:
        """Note a contestant's failure, and go on with the others."""
        try:
            yield
        except Skipped as error:
            self.results.skipped[name] = str(error)
        except (Failed, Wrong, KafkaException) as error:
            self.results.failed.setdefault(name, str(error))

    @contextmanager
    def _place(self, contestant: Contestant, what: str, events: str) -> Iterator[Place]:
        """Give a contestant a fresh folder and topics, and take them away afterwards."""
        stem = f"{contestant.name}-{what}"
        place = Place(
            self.folder / stem,
            self.topics.bootstrap,
            events or f"{stem}-events",
            f"{stem}-decisions",
            f"{stem}-dead-letters",
            self.broker,
            dict(self.plan.changes),
        )
        place.folder.mkdir()
        made = [*place.topics, *([] if events else [place.events])]
        self.topics.create(place.topics)
        if not events:
            self.topics.create([place.events], partitions=2 if self.plan.backlog else 1)
        try:
            yield place
        finally:
            self.topics.delete(made)
            shutil.rmtree(place.folder)

    def _throughput(self, contestant: Contestant, number: int) -> None:
        plan, name = self.plan, contestant.name
        where = f"round {number + 1} of {plan.rounds}: {name}"
        self.say(f"{where} starts")
        with (
            self._place(contestant, str(number), EVENTS) as place,
            Running(contestant, place) as running,
        ):
            measured = measure(
                place,
                self.topics,
                running,
                count=plan.events,
                warm_up=plan.warm_up,
                compare=number == 0,
                tell=lambda done: self.say(f"{where}, {done:,} of {plan.events:,}"),
            )
        if measured.decisions is not None:
            first = self._first.setdefault(contestant.pipeline, measured.decisions)
            difference = measured.decisions.compare(first)
            known = self.results.largest_score_difference or 0.0
            self.results.largest_score_difference = max(known, difference)
        self.results.runs.setdefault(name, []).append(measured)
        if contestant.is_verdict and contestant.task_managers:
            pipeline = load(HERE / "bench" / f"{contestant.pipeline}.yaml")
            keys = dict.fromkeys(pipeline.entities, CUSTOMERS)
            planned = size(pipeline, measured.rate, keys, plan.events / CUSTOMERS)
            self.results.planned_mb[name] = planned.process_mb

    def _latency(self, contestant: Contestant) -> None:
        plan, name = self.plan, contestant.name
        if plan.backlog and not contestant.subscribes:
            raise Skipped("it reads one partition, and a backlog is in another one")
        load = Load(plan.warm_events, plan.rates, plan.seconds, plan.committed, plan.backlog)
        with self._place(contestant, "latency", "") as place:
            windows = latencies(
                self.topics,
                place,
                contestant,
                load,
                lambda what: self.say(f"latency of {name}: {what}"),
            )
            for window in windows:
                self.results.windows.setdefault(name, []).append(window)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="small and short, to try it out")
    parser.add_argument("--only", help=f"some of {','.join(CONTESTANTS)}")
    parser.add_argument("--latency", help=f"of these, not of {','.join(Plan.latency)}")
    parser.add_argument("--events", type=int, help="of each run of throughput")
    parser.add_argument("--rounds", type=int, help="of throughput; 0 leaves it out")
    parser.add_argument("--rates", help="events/s of latency; '' leaves it out")
    parser.add_argument("--seconds", type=float, help="length of a window of latency")
    parser.add_argument("--warm-events", type=int, help="before latency is measured")
    parser.add_argument(
        "--committed", action="store_true", help="measure latency until a decision is committed"
    )
    parser.add_argument(
        "--backlog", type=int, metavar="EVENTS",
        help="measure latency beside a backlog, in another partition of the topic",
    )  # fmt: skip
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", dest="changes",
        help="another setting of the pipeline file, such as settings.checkpoint_interval=1s",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    parser.add_argument(
        "--out", type=Path, help="folder of results/latest.json and RESULTS.md; "
        "a run that is not whole writes none unless told where",
    )  # fmt: skip
    return parser.parse_args()


def plan_of(asked: argparse.Namespace) -> Plan:
    """Make the plan that was asked for."""
    base = QUICK if asked.quick else Plan()
    names = base.names if asked.only is None else tuple(asked.only.split(","))
    latency = base.latency if asked.latency is None else tuple(asked.latency.split(","))
    if strange := [name for name in (*names, *latency) if name not in CONTESTANTS]:
        sys.exit(f"there is no contestant '{strange[0]}', but {', '.join(CONTESTANTS)}")
    changes = [change.partition("=") for change in asked.changes]

    def given(value: Any, default: Any) -> Any:
        return default if value is None else value

    return Plan(
        names=names,
        latency=latency,
        events=given(asked.events, base.events),
        rounds=given(asked.rounds, base.rounds),
        warm_events=given(asked.warm_events, base.warm_events),
        rates=base.rates
        if asked.rates is None
        else tuple(int(rate) for rate in asked.rates.split(",") if rate),
        seconds=given(asked.seconds, base.seconds),
        committed=asked.committed,
        backlog=given(asked.backlog, 0),
        changes=tuple((name, yaml.safe_load(value)) for name, _, value in changes),
    )


def main() -> int:
    """Measure, print, write."""
    asked = arguments()
    plan = plan_of(asked)
    whole = Plan(events=plan.events)
    out = asked.out or (HERE if plan == whole else None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    shown, progress_console = Console(width=WIDTH), Console(stderr=True)
    progress = Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
        console=progress_console,
        transient=True,
        disable=not progress_console.is_terminal,
    )
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="verdict-bench-")))
        stack.enter_context(progress)
        task = progress.add_task("starting a broker")

        def say(what: str) -> None:
            progress.update(task, description=what)

        if "quix" in plan.names:
            say("Quix Streams' virtual environment")
            with suppress(Failed):  # which will be told of as its own
                quix_python()
        kafka = stack.enter_context(LocalKafka(folder / "kafka", java_options=LONG_LIVED))
        topics = Topics(kafka.bootstrap)
        stack.callback(topics.close)
        results = Bench(plan, folder, topics, kafka.pid, say).run()
    if asked.json:
        print(json.dumps(results.as_json()))
    else:
        results.show(shown)
    if out is not None:
        write(results, out)
    return 1 if results.failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (Failed, VerdictError) as error:
        sys.exit(str(error))
    except KeyboardInterrupt:
        sys.exit(130)
