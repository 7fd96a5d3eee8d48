"""Processes of the benchmark: started with a log, measured, and ended by their ids."""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

STOPPING_S = 20.0
STEP_S = 0.02
"""Seconds between two looks at something awaited."""
PR_SET_PDEATHSIG = 1
"""From Linux's ``prctl.h``: the signal that a process gets when its parent dies."""

KINDS = {
    "StandaloneSessionClusterEntrypoint": "jobmanager",
    "TaskManagerRunner": "taskmanager",
}
"""Part of a JVM's command line -> what it is."""


class Failed(Exception):
    """A process of the benchmark ended, or stands still; the message has the end of its log."""


class Skipped(Exception):
    """A contestant cannot take part on this machine; the message says why."""


class Process:
    """A child process with its own session, so that Ctrl-C is the benchmark's to pass on.

    Parameters
    ----------
    command
        What to run.
    log
        File for what it prints; if ``talks``, only for stderr.
    talks
        Whether its stdout is read, by `line`.
    environment
        Variables beside those of this process.
    """

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        *,
        talks: bool = False,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as printed:
            self._child = subprocess.Popen(
                command,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE if talks else printed,
                stderr=printed,
                start_new_session=True,
                preexec_fn=_end_with_parent(),
            )

    @property
    def pid(self) -> int:
        """Its id."""
        return self._child.pid

    def line(self) -> str:
        """Wait for a line that it prints."""
        said: IO[bytes] | None = self._child.stdout
        text = said.readline().decode().strip() if said is not None else ""
        if not text:
            self._child.wait()
            raise self.failure("said nothing")
        return text

    def check(self) -> None:
        """Raise `Failed` if it has ended."""
        if self._child.poll() is not None:
            raise self.failure(f"ended with exit code {self._child.returncode}")

    def failure(self, what: str) -> Failed:
        """Make an error of it, with the end of its log."""
        return Failed(f"{self.log.stem} {what}: {self.log}\n{_tail(self.log)}")

    def wait(self, timeout: float) -> None:
        """Wait for its end, seconds at most; raise `Failed` unless it ends well."""
        try:
            code = self._child.wait(timeout)
        except subprocess.TimeoutExpired:
            raise self.failure(f"is not done after {timeout:g} s") from None
        if code != 0:
            raise self.failure(f"ended with exit code {code}")

    def stop(self) -> None:
        """End it: SIGTERM, and after 20 s SIGKILL, to what it started as well."""
        if self._child.poll() is None:
            family = descendants(self.pid)
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(STOPPING_S)
            except subprocess.TimeoutExpired:
                for pid in (self.pid, *family):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                self._child.wait()
        if self._child.stdout is not None:
            self._child.stdout.close()


def _end_with_parent() -> Callable[[], object]:
    """Make what a child calls first: it gets SIGTERM when this process dies, even by SIGKILL."""
    libc = ctypes.CDLL(None)
    return lambda: libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text("utf-8", "replace").splitlines()[-15:])


def descendants(pid: int) -> list[int]:
    """List what a process has started, and what that has, and so on."""
    parents: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, waiting = [], [pid]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def cpu_s(pid: int) -> float:
    """Return the CPU time of a process and of its descendants that still run, in seconds."""
    ticks = 0
    for number in (pid, *descendants(pid)):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def machine_cpu_s() -> float:
    """Return the CPU time that this machine has spent on anything, or was denied, in seconds."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    ticks = user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK")


def parts(pid: int) -> dict[str, int]:
    """Name a process and its descendants by what they are: name -> id.

    A JVM of Flink goes by its part; any other process is ``python``. What ended is not in it.
    """
    found: dict[str, int] = {}
    for number in (pid, *descendants(pid)):
        with contextlib.suppress(OSError):
            command = Path(f"/proc/{number}/cmdline").read_text("utf-8", "replace")
            name = next((kind for part, kind in KINDS.items() if part in command), "python")
            while name in found:
                stem, _, count = name.partition("-")
                name = f"{stem}-{int(count or 1) + 1}"
            found[name] = number
    return found


def peak_mb(pid: int) -> dict[str, float]:
    """Return the peak resident memory of a process and its descendants, in MB, by their `parts`."""
    found: dict[str, float] = {}
    for name, number in parts(pid).items():
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{number}/status").read_text()
            match = re.search(r"VmHWM:\s+(\d+) kB", status)
            if match is not None:
                found[name] = int(match[1]) / 1024
    return found


def threads_cpu_s(pid: int, words: Sequence[str]) -> float:
    """Return the CPU time of a process's threads whose names begin with one of some words."""
    ticks = 0
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            head, _, rest = stat.read_text().rpartition(")")
            if head.partition("(")[2].startswith(tuple(words)):
                fields = rest.split()
                ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def machine() -> str:
    """Say what this machine is: CPU, cores, memory."""
    models = re.findall(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())
    total = re.search(r"MemTotal:\s+(\d+) kB", Path("/proc/meminfo").read_text())
    memory = f"{int(total[1]) / 1024**2:.0f} GB" if total else "unknown"
    cpu = models[0].strip() if models else "unknown CPU"
    return f"{cpu}, {len(os.sched_getaffinity(0))} cores, {memory}"


def until(done: Callable[[], bool], timeout: float, processes: Sequence[Process]) -> bool:
    """Wait until something is so; False where it is not after some seconds.

    Raises
    ------
    Failed
        One of the processes has ended meanwhile.
    """
    deadline = time.monotonic() + timeout
    while not done():
        for process in processes:
            process.check()
        if time.monotonic() > deadline:
            return False
        time.sleep(STEP_S)
    return True
