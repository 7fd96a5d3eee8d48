"""The demo: card payments decided as they happen, on a real broker and a real Flink, live.

    make demo [SECONDS=60] [RATE=500] [ENGINE=flink|embedded]

Starts a broker, makes the topics, runs ``score`` on PyFlink and ``shadow`` and ``watch`` beside it,
plays transactions, and shows what comes out. Half way through, genuine amounts rise on purpose; a
few events are broken on purpose. Ctrl-C ends it early. Nothing is left running.
"""

import argparse
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import generator
import player
import screen
from rich.console import Console
from rich.live import Live

from verdict import AvroFile, LocalKafka, VerdictError

HERE = Path(__file__).parent
PIPELINE = HERE / "pipeline.yaml"
REFRESH_S = 0.25
START_S = 90.0
DRAIN_S = 15.0
STOP_S = 20.0
PYTHON = [sys.executable]
VERDICT = [*PYTHON, "-m", "verdict"]
PLAIN_EVERY_S = 5.0
LOG_LINES = 6


class DemoError(VerdictError):
    """The demo cannot go on; the message has the last lines of what failed."""


class Process:
    """A child of the demo: its output in a file, or in a queue of JSON lines."""

    def __init__(self, name: str, command: Sequence[str], folder: Path, **extra: Any) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._file = self.log.open("wb")
        lines = extra.pop("lines", False)
        self.process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE if lines else self._file,
            stderr=self._file,
            start_new_session=True,  # Ctrl-C reaches the demo alone, which ends its children
            **extra,
        )
        self.lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        if lines:
            threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self.lines.put(line.decode())

    def say(self, text: str) -> None:
        """Write a line to its standard input."""
        if self.process.stdin is not None:
            self.process.stdin.write(f"{text}\n".encode())
            self.process.stdin.flush()

    def check(self) -> None:
        """Raise if it has ended with an error."""
        code = self.process.poll()
        if code:
            raise DemoError(f"{self.name} ended with exit code {code}:{self.tail()}")

    def tail(self) -> str:
        """Return the last lines of its log, or nothing."""
        last = self.log.read_text(errors="replace").strip().splitlines()[-LOG_LINES:]
        return "".join(f"\n{self.log.name}: {line}" for line in last)

    def stop(self) -> None:
        """End it: SIGTERM, then SIGKILL."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self._file.close()


class Demo:
    """One run of the demo."""

    def __init__(self, asked: argparse.Namespace) -> None:
        self.asked = asked
        self.folder: Path = asked.folder.resolve()
        self.console = Console()
        self.stats: dict[str, Any] = {}
        self.began = time.monotonic()
        self.first = 0.0
        self._spoke = 0.0

    def flink(self, stack: ExitStack) -> tuple[Process, Process, list[Process]]:
        """Start broker, jobs, meter and player; play the history."""
        self.say("starting a Kafka broker")
        broker = stack.enter_context(LocalKafka(self.folder / "broker"))
        environment = {**os.environ, "VERDICT_BOOTSTRAP": broker.bootstrap}
        self.bootstrap = broker.bootstrap

        def start(name: str, command: Sequence[str], **extra: Any) -> Process:
            process = Process(name, command, self.folder, env=environment, **extra)
            stack.callback(process.stop)
            return process

        subprocess.run(
            [*VERDICT, "topics", "create", str(PIPELINE)],
            env=environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        self.say("starting Flink")
        run = [*VERDICT, "run", str(PIPELINE), "--state", str(self.folder / "state")]
        score = start("score", [*run, "--job", "score", "--engine", "flink"])
        meter = start(
            "meter",
            [*PYTHON, str(HERE / "meter.py"), f"--history={player.HISTORY}"],
            lines=True,
        )
        play = start(
            "player",
            [*PYTHON, str(HERE / "player.py"), "--wait", f"--rate={self.asked.rate}",
             f"--seconds={self.asked.seconds}"],
            lines=True,
        )  # fmt: skip
        processes = [score, meter, play]
        # Flink has both cores until it decides; the jobs behind it have nothing to read before.
        self.wait_for(meter, processes, lambda: self.decided > 0, START_S)
        self.first = time.monotonic() - self.began
        processes += [start(name, [*run, "--job", name]) for name in ("shadow", "watch")]
        return meter, play, processes

    def embedded(self, stack: ExitStack) -> tuple[Process, None, list[Process]]:
        """Write the events to files and run the three jobs over them."""
        self.say("writing the events")
        live = int(self.asked.rate * self.asked.seconds)
        story = player.story(player.HISTORY, live, seed=7)
        whole = (tx for tx in story if tx.broken not in ("truncated", "garbage"))
        schema = json.loads((HERE / "transaction.avsc").read_text())
        for name, count in (("0-history", player.HISTORY), ("1-live", live)):
            container = AvroFile(self.folder / "events" / f"{name}.avro", schema, length=0)
            container.append(generator.encode(tx) for tx in islice(whole, count))
            container.close()
        meter = Process(
            "meter",
            [*PYTHON, str(HERE / "meter.py"), "--files", str(self.folder),
             f"--history={player.HISTORY}", f"--rate={self.asked.rate}"],
            self.folder,
            lines=True,
        )  # fmt: skip
        stack.callback(meter.stop)
        return meter, None, [meter]

    def run(self) -> int:
        """Run it all; return the exit code."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        embedded = self.asked.engine == "embedded"
        expected = player.HISTORY + int(self.asked.rate * self.asked.seconds)
        with ExitStack() as stack:
            try:
                meter, play, processes = self.embedded(stack) if embedded else self.flink(stack)
                if not self.first:
                    self.wait_for(meter, processes, lambda: self.decided > 0, START_S)
                    self.first = time.monotonic() - self.began
                self.say(f"deciding after {self.first:.1f} s")
                if play is not None:
                    enough = player.HISTORY - 1
                    self.wait_for(meter, processes, lambda: self.answered >= enough, START_S)
                    play.say("go")
                deadline = time.monotonic() + self.asked.seconds
                with self.screen() as show:
                    while time.monotonic() < deadline and self.answered < expected:
                        self.look(meter, processes)
                        left = max(deadline - time.monotonic(), 0)
                        show(
                            f"card-fraud on {self.asked.engine}: {left:.0f} s left; Ctrl-C ends it"
                        )
                    drained = time.monotonic() + DRAIN_S
                    while time.monotonic() < drained and self.answered < expected:
                        self.look(meter, processes)
                        show("card-fraud: the last decisions")
            except KeyboardInterrupt:
                self.say("interrupted")
            self.say("stopping")
        self.summary()
        return 0

    @property
    def decided(self) -> int:
        """Decisions so far."""
        return int(self.stats.get("counts", {}).get("decisions", 0))

    @property
    def answered(self) -> int:
        """Decisions and dead letters so far."""
        return self.decided + int(self.stats.get("counts", {}).get("dead-letters", 0))

    def look(self, meter: Process, processes: Sequence[Process]) -> None:
        """Take in what the meter said since, and see that everything lives."""
        try:
            self.stats = json.loads(meter.lines.get(timeout=REFRESH_S))
            while not meter.lines.empty():
                self.stats = json.loads(meter.lines.get())
        except queue.Empty:
            pass
        for process in processes:
            process.check()

    def wait_for(
        self, meter: Process, processes: Sequence[Process], ready: Any, seconds: float
    ) -> None:
        """Look until something is so."""
        deadline = time.monotonic() + seconds
        while not ready():
            self.look(meter, processes)
            if time.monotonic() > deadline:
                said = "".join(process.tail() for process in processes)
                raise DemoError(
                    f"nothing was decided in {seconds:g} s; logs in {self.folder}:{said}"
                )

    @contextmanager
    def screen(self) -> Iterator[Any]:
        """Draw on a terminal; say a line now and then where there is none."""
        if not self.console.is_terminal:
            yield self.plainly
            return
        with Live(console=self.console, auto_refresh=False, screen=True) as live:
            yield lambda headline: live.update(
                screen.draw(self.stats, headline) if self.stats else headline, refresh=True
            )

    def plainly(self, _headline: str) -> None:
        """Say a line every few seconds."""
        if time.monotonic() - self._spoke >= PLAIN_EVERY_S and self.stats:
            self._spoke = time.monotonic()
            latency = ", ".join(
                f"{name} {value:.1f}"
                for name, value in self.stats["latency_ms"].items()
                if value is not None
            )
            self.say(
                f"{self.decided:,} decisions, {self.stats['decisions_s']:,.0f}/s; "
                f"latency ms {latency or '-'}; {len(self.stats['alarms'])} drift alarms"
            )

    def say(self, text: str) -> None:
        """Say a line, with the time since the start."""
        passed = time.monotonic() - self.began
        self.console.print(f"[dim]{passed:6.1f} s[/] {text}", highlight=False)

    def summary(self) -> None:
        """Say what happened, where it lies, and what to try."""
        if not self.stats:
            self.console.print("Ended before the first decision.")
            return
        if self.console.is_terminal:
            self.console.print(screen.draw(self.stats, f"card-fraud on {self.asked.engine}: over"))
        counts = self.stats["counts"]
        if self.asked.picture is not None:
            screen.save(self.stats, f"card-fraud on {self.asked.engine}", self.asked.picture)
        for line in (
            f"{counts.get('events', 0):,} events: {self.decided:,} decisions, "
            f"{counts.get('dead-letters', 0):,} dead letters; the first after {self.first:.1f} s",
            f"drift alarms: {', '.join(self.stats['alarmed']) or 'none'}",
            f"logs, state and outputs: {self.folder}",
            "try next:",
            *(f"  {command}" for command in self.next_commands()),
        ):
            self.console.print(line, highlight=False, soft_wrap=True)

    def next_commands(self) -> list[str]:
        """Three commands that show what the demo left."""
        verdict = Path(sys.executable).with_name("verdict")
        if self.asked.engine == "embedded":
            tail = f"{verdict} tail {PIPELINE} --from {self.folder / 'out'}"
            return [f"{tail} drift", f"{tail} dead-letters", f"{verdict} init my-pipeline"]
        tail = f"VERDICT_BOOTSTRAP={self.bootstrap} {verdict} tail {PIPELINE}"
        broker = self.folder / "broker"
        return [
            f"{verdict} up --folder {broker}",
            f"{tail} drift",
            f"{verdict} down --folder {broker} && {verdict} init my-pipeline",
        ]


def main() -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--engine", choices=("flink", "embedded"), default="flink")
    parser.add_argument("--seconds", type=float, default=60, help="of live play (%(default)s)")
    parser.add_argument("--rate", type=float, default=500, help="events a second (%(default)s)")
    parser.add_argument("--picture", type=Path, help="write the last screen as an SVG")
    parser.add_argument("--folder", type=Path, default=Path(".verdict/demo"))

    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, interrupt)
    try:
        return Demo(parser.parse_args()).run()
    except VerdictError as error:
        Console(stderr=True).print(str(error), style="red", markup=False, highlight=False)
        return 1


if __name__ == "__main__":
    sys.exit(main())
