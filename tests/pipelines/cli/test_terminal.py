"""What the commands share: files, times ago, signals, and what they show while they work."""

import io
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from verdict.pipelines.cli import terminal
from verdict.pipelines.cli.terminal import (
    after,
    bar,
    bar_of_files,
    file_of,
    is_quiet,
    narrator,
    spinner,
    stop_on_signals,
)
from verdict.pipelines.errors import SpecError


def test_a_folder_stands_for_the_file_in_it(tmp_path: Path) -> None:
    assert file_of(tmp_path) == tmp_path / "pipeline.yaml"
    assert file_of(tmp_path / "other.yaml") == tmp_path / "other.yaml"


def test_since_is_a_time_ago() -> None:
    assert after(None) is None
    before = int(time.time() * 1_000)
    found = after("1h")
    assert found is not None
    assert before <= found + 3_600_000 <= time.time() * 1_000
    with pytest.raises(SpecError, match=r"^--since: 'yesterday' is no duration"):
        after("yesterday")


@pytest.fixture
def handlers() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_at_the_next_batch_and_a_second_at_once(number: int) -> None:
    stop = stop_on_signals()
    assert not stop.is_set()
    signal.raise_signal(number)
    assert stop.is_set()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What would be a terminal's."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=True, width=100, color_system=None)
    monkeypatch.setattr(terminal, "err", console)
    return written


def test_a_bar_shows_how_much_is_done(screen: io.StringIO) -> None:
    with bar("letters", quiet=False, counts=True) as show:
        show(3, None)
        show(3, 7)
    assert "letters" in screen.getvalue()
    assert "3/7" in screen.getvalue()
    with bar("reading", quiet=False) as show:
        show(1, 4)
    assert "25%" in screen.getvalue()


def test_a_bar_of_files_knows_their_bytes(screen: io.StringIO, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_bytes(b"x" * 1_000)
    with bar_of_files("backfill", [file, tmp_path / "missing"], quiet=False) as more:
        more(1)  # less than is worth a look
        more(249)
    assert "backfill" in screen.getvalue()
    assert "25%" in screen.getvalue()


def test_a_spinner_says_what_goes_on(screen: io.StringIO) -> None:
    with spinner("starting", quiet=False) as show:
        show("12 decisions")
    assert "12 decisions" in screen.getvalue()


def test_a_narrator_says_it_to_people_alone(screen: io.StringIO) -> None:
    narrator(as_json=True)("for nobody")
    narrator(as_json=False)("a savepoint is taken")
    assert screen.getvalue() == "  a savepoint is taken\n"


def test_quiet_is_quiet(screen: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    assert is_quiet(as_json=True)
    assert not is_quiet(as_json=False)
    with bar("a", quiet=True) as show, spinner("b", quiet=True), bar_of_files("c", [], quiet=True):
        show(1, 2)
    assert screen.getvalue() == ""
    monkeypatch.setattr(terminal, "err", Console(file=screen))
    assert is_quiet(as_json=False)
