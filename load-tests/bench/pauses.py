"""What a contestant's JVMs stood still for: collections, safepoints, checkpoints; and compiling."""

import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from processes import parts, threads_cpu_s

from verdict.pipelines.engines.flink.rest import Rest

COMPILERS = ("C1 CompilerThre", "C2 CompilerThre")
"""Names of Java's compiler threads, as Linux cuts them."""
LINE = re.compile(r'\[(\d+)ms\].*Safepoint "(\w+)", .*Total: +(\d+) ns')


class Stop(NamedTuple):
    """One moment in which a JVM's threads, or a job's records, had to wait.

    Attributes
    ----------
    at_ms
        When, since the epoch.
    what
        Java's name of it.
    lasted_ms
        How long; a safepoint with the time until all threads had come.
    """

    at_ms: int
    what: str
    lasted_ms: float


def log_option(folder: Path) -> str:
    """Return the option that makes a JVM write its safepoints to a folder, a file a process."""
    return f"-Xlog:safepoint:file={folder.absolute() / 'log'}/pauses-%p.log:timemillis"


def safepoints(lines: Iterable[str]) -> list[Stop]:
    """Read a JVM's log.

    Examples
    --------
    >>> text = '[17ms] Safepoint "G1CollectFull", Time since last: 9 ns, Total: 2600000 ns, Threads'
    >>> safepoints([text])
    [Stop(at_ms=17, what='G1CollectFull', lasted_ms=2.6)]
    """
    found = [match for line in lines if (match := LINE.match(line))]
    return [Stop(int(at), what, int(ns) / 1e6) for at, what, ns in (m.groups() for m in found)]


def is_collection(stop: Stop) -> bool:
    """Say whether a safepoint is the garbage collector's."""
    return re.search("Collect|^G1|^GC|^Z[A-Z]|^Shenandoah", stop.what) is not None


def summary(stops: Iterable[Stop], begin_ms: float, end_ms: float) -> dict[str, Any]:
    """Count what began in a window, and name the longest.

    Examples
    --------
    >>> stops = [Stop(1, "Cleanup", 0.5), Stop(2, "ICBufferFull", 0.7), Stop(9, "Cleanup", 4.0)]
    >>> summary(stops, 0, 5)
    {'count': 2, 'longest_ms': 0.7, 'longest': 'ICBufferFull'}
    """
    within = [stop for stop in stops if begin_ms <= stop.at_ms <= end_ms]
    longest = max(within, key=lambda stop: stop.lasted_ms, default=Stop(0, "", 0.0))
    return {"count": len(within), "longest_ms": longest.lasted_ms, "longest": longest.what}


class JvmWatch:
    """Watches the TaskManagers of a Flink cluster from now on.

    Parameters
    ----------
    cluster
        ``host:port`` of its REST API.
    pid
        Of the process that started its JVMs.
    folder
        That `log_option` was given.
    """

    def __init__(self, cluster: str, pid: int, folder: Path) -> None:
        self._cluster, self._folder = cluster, folder
        self._pids = [number for name, number in parts(pid).items() if name.startswith("task")]
        self._compiled_s = self._compiling_s()
        self._begin_ms = time.time() * 1000

    def ended(self) -> dict[str, Any]:
        """Return what stood still until now, by its cause, and how long the compilers ran."""
        begin, end = self._begin_ms, time.time() * 1000
        stops: list[Stop] = []
        for pid in self._pids:
            log = self._folder / "log" / f"pauses-{pid}.log"
            stops += safepoints(log.read_text("utf-8", "replace").splitlines())
        return {
            "gc": summary(filter(is_collection, stops), begin, end),
            "safepoints": summary((s for s in stops if not is_collection(s)), begin, end),
            "checkpoints": summary(self._checkpoints(), begin, end),
            "jit_ms": round((self._compiling_s() - self._compiled_s) * 1000),
        }

    def _compiling_s(self) -> float:
        return sum(threads_cpu_s(pid, COMPILERS) for pid in self._pids)

    def _checkpoints(self) -> list[Stop]:
        """Read the checkpoints of its job that are complete: the last ten."""
        rest = Rest(self._cluster)
        found: list[Stop] = []
        for job in rest.get("/jobs/overview")["jobs"]:
            for each in rest.get(f"/jobs/{job['jid']}/checkpoints")["history"]:
                if each["status"] == "COMPLETED":
                    begun, lasted = int(each["trigger_timestamp"]), each["end_to_end_duration"]
                    found.append(Stop(begun, "checkpoint", float(lasted)))
        return found
