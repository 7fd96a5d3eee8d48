"""What the commands show while they work, on a terminal and where there is none."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from verdict.pipelines.cli import terminal
from verdict.pipelines.cli.terminal import bar, bar_of_files, is_quiet, narrator, spinner


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
