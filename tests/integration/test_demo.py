"""The demo, as `make demo` runs it: it ends by itself, on Ctrl-C, and leaves nothing running."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

DEMO = Path(__file__).parents[2] / "examples" / "card-fraud" / "demo.py"
HISTORY = 5_000
"""Events that the demo plays before live ones."""
RATE = 500
DEADLINE_S = 150
"""Several times what a run takes on two idle cores."""


class Demo(NamedTuple):
    """A demo that runs: its process, and its lines as they come."""

    process: subprocess.Popen[str]
    folder: Path

    def lines(self) -> Iterator[str]:
        assert self.process.stdout is not None
        yield from self.process.stdout

    def text(self) -> str:
        return "".join(self.lines())

    def left(self) -> dict[int, str]:
        """What runs in the folder, or below it: id -> command."""
        found = {}
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                home, command = (entry / "cwd").readlink(), (entry / "cmdline").read_bytes()
            except OSError:  # it ended meanwhile, or is not ours
                continue
            if home.is_relative_to(self.folder) and command:
                found[int(entry.name)] = command.replace(b"\0", b" ").decode(errors="replace")
        return found


def demo(folder: Path, *options: str) -> Demo:
    process = subprocess.Popen(
        [sys.executable, str(DEMO), *options, "--folder", "demo"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "VERDICT_BOOTSTRAP"},
    )
    # What hangs is killed, so that its output ends and the test fails.
    timer = threading.Timer(DEADLINE_S, process.kill)
    timer.daemon = True
    timer.start()
    return Demo(process, folder)


@pytest.mark.parametrize(("engine", "seconds"), [("embedded", 3), ("flink", 3)])
def test_it_answers_every_event_and_leaves_nothing_running(
    engine: str, seconds: int, tmp_path: Path
) -> None:
    running = demo(tmp_path, f"--engine={engine}", f"--seconds={seconds}", f"--rate={RATE}")
    text = running.text()
    assert running.process.wait() == 0, text
    assert running.left() == {}
    said = re.search(r"([\d,]+) events: ([\d,]+) decisions, ([\d,]+) dead letters", text)
    assert said is not None, text
    events, decisions, dead = (int(number.replace(",", "")) for number in said.groups())
    assert events == decisions + dead == HISTORY + seconds * RATE
    assert decisions > dead > 0
    assert text.count("verdict tail") >= 1 and "verdict init" in text


@pytest.mark.parametrize("engine", ["embedded", pytest.param("flink", marks=pytest.mark.long)])
def test_ctrl_c_ends_it_cleanly(engine: str, tmp_path: Path) -> None:
    running = demo(tmp_path, f"--engine={engine}", "--seconds=600")
    lines = running.lines()
    before = []
    for line in lines:
        before.append(line)
        if "deciding after" in line:
            break
    assert running.left(), before
    running.process.send_signal(signal.SIGINT)
    text = "".join([*before, *lines])
    assert running.process.wait() == 0, text
    assert running.left() == {}
    assert "Traceback" not in text
    assert re.search(r"[\d,]+ events: [\d,]+ decisions", text), text
