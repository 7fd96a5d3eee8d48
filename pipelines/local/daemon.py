"""A broker that goes on when the command has ended: `verdict up`, `verdict down`."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from verdict.pipelines.errors import LocalError
from verdict.pipelines.local.broker import STEP, STOPPING, LocalKafka
from verdict.pipelines.local.java import locked
from verdict.pipelines.paths import replace_file


def up(folder: Path) -> str:
    """Return the bootstrap address of the folder's broker, started if need be.

    It goes on when this process ends; ``folder/broker.json`` says where it is.

    Parameters
    ----------
    folder
        For the broker's data, settings and logs.
    """
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder / "broker.lock"):
        if (running := _running(folder)) is not None:
            return running[1]
        broker = LocalKafka(folder, detach=True).start()
        try:
            record = {"pid": broker.pid, "bootstrap": broker.bootstrap}
            replace_file(folder / "broker.json", json.dumps(record))
        except BaseException:
            broker.kill()
            raise
        return broker.release()


def down(folder: Path) -> bool:
    """Stop the folder's broker; return whether there was one.

    A process that is not this folder's broker is left alone, whatever ``broker.json`` says.
    """
    folder = folder.absolute()
    if not (folder / "broker.lock").exists():
        return False
    with locked(folder / "broker.lock"):
        running = _running(folder)
        if running is not None:
            _end(running[0], lambda: _is_broker(running[0], folder))
        (folder / "broker.json").unlink(missing_ok=True)
        return running is not None


def _running(folder: Path) -> tuple[int, str] | None:
    """Return the process id and address that ``broker.json`` has, if that broker lives."""
    try:
        record = json.loads((folder / "broker.json").read_text())
        pid, bootstrap = int(record["pid"]), str(record["bootstrap"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return (pid, bootstrap) if _is_broker(pid, folder) else None


def _is_broker(pid: int, folder: Path) -> bool:
    """Tell whether a living process is the broker of a folder: ids are given out again."""
    mark = os.fsencode(f"-Dverdict.folder={folder}")
    if Path("/proc/self/cmdline").exists():
        try:
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return mark in command and b"kafka.Kafka" in command
    shown = subprocess.run(
        ["ps", "-ww", "-o", "command=", "-p", str(pid)], capture_output=True, check=False
    )
    return mark + b" kafka.Kafka " in shown.stdout


def _end(pid: int, alive: Callable[[], bool]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
        deadline = time.monotonic() + STOPPING
        while alive() and time.monotonic() < deadline:
            time.sleep(STEP)
        if not alive():
            break
    else:
        raise LocalError(f"process {pid}: this Kafka broker survived SIGKILL; is its disk stuck?")
    # In the process that started it the broker is a child, and would stay a zombie.
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)
