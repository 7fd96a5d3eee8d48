"""Runs the score job on the embedded engine, and kills it at random points.

    python kill_embedded.py '{"pipeline": …, "bootstrap": …, "state": …, "times": 20, "seed": 1}'

Each run is a fork of this process, which has imported everything: it reads within milliseconds.
Prints how many of them were killed before they had read to the end of the topic.
"""

import json
import os
import random
import resource
import signal
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from verdict.pipelines.engines.embedded.broker import KafkaBroker
from verdict.pipelines.engines.embedded.from_kafka import run_kafka
from verdict.pipelines.engines.embedded.runner import OutputRecord
from verdict.pipelines.jobs import score
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.settings import Settings
from verdict.pipelines.topology import topics_of


class Counting(KafkaBroker):
    """Closes ``begun`` when so many outputs were handed to the producer."""

    def count(self, begun: int, after: int) -> None:
        self._begun, self._left = begun, after

    def send(self, output: OutputRecord) -> None:
        super().send(output)
        self._left -= 1
        if self._left == 0:
            os.close(self._begun)


def run(asked: dict[str, Any], stop: threading.Event, begun: int, after: int) -> None:
    """Run the job to the end of its topic; close ``begun`` after so many outputs."""
    if asked.get("file_size"):  # no file may grow beyond it: what a full disk does to a writer
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (asked["file_size"], asked["file_size"]))
    job = score.score(load(Path(asked["pipeline"])))
    config = {"bootstrap.servers": asked["bootstrap"], "fetch.wait.max.ms": 50}
    made = clients(Settings(kafka=config))
    topics = asked["topics"]

    def broker(offsets: Mapping[str, int]) -> KafkaBroker:
        inputs, outputs = topics_of(job.inputs, topics), topics_of(job.outputs, topics)
        opened = Counting(made, inputs, outputs, offsets)
        opened.count(begun, after)
        return opened

    run_kafka(
        job,
        broker,
        Path(asked["state"]),
        stop=stop,
        bounded=True,
    )


def forked(asked: dict[str, Any], after: int) -> int:
    """Start a run, and return its process's id after so many outputs, or when it has ended.

    It ends with code 0, or 1 and what it raised.
    """
    reading, writing = os.pipe()
    pid = os.fork()
    if pid:
        os.close(writing)
        os.read(reading, 1)  # returns when the other end is closed
        os.close(reading)
        return pid
    try:
        os.close(reading)
        stop = threading.Event()
        signal.signal(signal.SIGTERM, lambda *_: stop.set())
        run(asked, stop, writing, after)
        os._exit(0)
    except BaseException as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def main() -> None:
    """Kill run after run, and let the last one go to the end."""
    asked = json.loads(sys.argv[1])
    random_source = random.Random(asked["seed"])
    number = getattr(signal, asked.get("signal", "SIGKILL"))
    killed = 0
    for _ in range(asked["times"]):
        pid = forked(asked, random_source.randint(*asked["after"]))
        time.sleep(random_source.uniform(0, 0.05))  # anywhere in a batch, or in its commit
        os.kill(pid, number)
        _, status = os.waitpid(pid, 0)
        killed += os.WIFSIGNALED(status) or number != signal.SIGKILL
    _, status = os.waitpid(forked(asked, 1), 0)
    print(killed)
    sys.exit(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
