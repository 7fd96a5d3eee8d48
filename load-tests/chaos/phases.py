"""Where a recovery's time goes: what Flink's logs say happened after a kill, and when."""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np


@dataclass(frozen=True)
class Mark:
    """Something that a recovery reaches, known by a line of a log.

    Attributes
    ----------
    name
        As the report has it.
    log
        What the name of the log's file begins with.
    text
        What the line has in it.
    last
        Whether it counts when the last such line comes, not the first: when all have come so far.
    """

    name: str
    log: str
    text: str
    last: bool = False


LOST, RUNNING = "from state RUNNING to RESTARTING", "from INITIALIZING to RUNNING"
REGISTERED = "Registering TaskManager with ResourceID"
MARKS = (
    Mark("JobManager's Java is up", "jobmanager", "Starting StandaloneApplication"),
    Mark("JobManager starts the program", "jobmanager", "Python Process Started"),
    Mark("TaskManagers miss the JobManager", "taskmanager", "The heartbeat of JobManager", True),
    Mark("job is submitted", "jobmanager", "Received job submission"),
    Mark("JobManager knows of the loss", "jobmanager", LOST),
    Mark("TaskManager's Java is up", "taskmanager", "Starting TaskManager (Version"),
    Mark("TaskManagers are registered", "jobmanager", REGISTERED, True),
    Mark("tasks are deployed", "jobmanager", "Deploying ", True),
    Mark("state is restored", "taskmanager", "Finished building RocksDB keyed", True),
    Mark("tasks run: Python has started", "jobmanager", RUNNING, True),
)
"""What may happen, whatever was killed."""


def lines(folder: Path) -> Iterator[tuple[str, float, str]]:
    """Read a folder of Flink's logs: name of the file, seconds since the epoch, message."""
    for file in folder.glob("*.log*"):
        for text in file.read_text("utf-8", "replace").splitlines():
            try:
                line = json.loads(text)
                yield file.name, datetime.fromisoformat(line["time"]).timestamp(), line["message"]
            except (ValueError, KeyError, TypeError):
                continue  # RocksDB's, or the end that a kill has cut off


def marks(found: Iterable[tuple[str, float, str]], since: float, until: float) -> dict[str, float]:
    """Return what was reached in a time, and after how many seconds.

    Examples
    --------
    >>> log = [("jobmanager.log", 12.5, "Deploying a"), ("jobmanager.log", 13.0, "Deploying b")]
    >>> marks(log, since=10.0, until=20.0)
    {'tasks are deployed': 3.0}
    """
    reached: dict[str, float] = {}
    for name, at, message in found:
        if not since <= at <= until:
            continue
        for mark in MARKS:
            if name.startswith(mark.log) and mark.text in message:
                choose = max if mark.last else min
                reached[mark.name] = choose(reached.get(mark.name, at - since), at - since)
    return reached


def way(recoveries: Sequence[Mapping[str, float]]) -> list[tuple[str, float]]:
    """Return the way of most recoveries of a kind: each mark and its median, in their order.

    What happened in fewer than half of them is left out.

    Examples
    --------
    >>> way([{"a": 2.0, "b": 1.0}, {"a": 3.0, "b": 1.0}, {"b": 2.0, "c": 9.0}])
    [('b', 1.0), ('a', 2.5)]
    """
    times = defaultdict(list)
    for reached in recoveries:
        for name, at in reached.items():
            times[name].append(at)
    found = {
        name: round(float(np.median(of_name)), 1)
        for name, of_name in times.items()
        if 2 * len(of_name) >= len(recoveries)
    }
    return sorted(found.items(), key=lambda item: item[1])
