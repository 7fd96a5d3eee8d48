"""What the commands share: the terminal, a pipeline's file, progress, signals."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from verdict.pipelines.errors import SpecError
from verdict.pipelines.spec.values import milliseconds
from verdict.pipelines.text import ago

# An event's id may hold what rich would take for markup, or a path be longer than a line.
out = Console(markup=False, emoji=False, highlight=False, soft_wrap=True)
err = Console(stderr=True)

PipelineFile = Annotated[
    Path, typer.Argument(metavar="PIPELINE", help="The pipeline file, or the folder it is in.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for a script.")]
Since = Annotated[
    str | None, typer.Option("--since", help="Only those written within this time: 90s, 1h, 7d.")
]


def file_of(pipeline: Path) -> Path:
    """Return the pipeline file that was named, or that lies in the folder that was."""
    return pipeline / "pipeline.yaml" if pipeline.is_dir() else pipeline


def after(since: str | None) -> int | None:
    """Return the moment that lies so long ago, in milliseconds since the epoch.

    Raises
    ------
    SpecError
        It is no duration.
    """
    try:
        return None if since is None else ago(milliseconds(since))
    except ValueError as error:
        raise SpecError([f"--since: {error}"]) from None


def is_quiet(as_json: bool) -> bool:
    """Whether no progress is shown: a script asks, or nobody looks at stderr."""
    return as_json or not err.is_terminal


@contextlib.contextmanager
def bar(
    title: str, quiet: bool, *, counts: bool = False
) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar on stderr as long as the context lasts.

    Parameters
    ----------
    title
        What stands before it.
    quiet
        Show nothing.
    counts
        Show ``3/7``, not per cent.

    Yields
    ------
    Callable[[int, int | None], None]
        Moves it: how many are done, of how many, if that is known.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    number = MofNCompleteColumn() if counts else TaskProgressColumn()
    columns = (TextColumn(title), BarColumn(), number, TimeElapsedColumn())
    with Progress(*columns, console=err, transient=True, disable=quiet) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, of: progress.update(task, completed=done, total=of)


@contextlib.contextmanager
def bar_of_files(title: str, files: Sequence[Path], quiet: bool) -> Iterator[Callable[[int], None]]:
    """Show how much of the files has been read; what it yields is called with bytes more."""
    size = sum(file.stat().st_size for file in files if file.exists())
    read = shown = 0
    with bar(title, quiet) as show:
        show(0, size)

        def more(count: int) -> None:
            nonlocal read, shown
            read += count
            if read - shown > size // 500:
                shown = read
                show(read, size)

        yield more


@contextlib.contextmanager
def spinner(text: str, quiet: bool, *, stays: bool = False) -> Iterator[Callable[[str], None]]:
    """Show that something goes on, and what; what it yields changes the text."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=err, transient=not stays, disable=quiet) as progress:
        task = progress.add_task(text)
        yield lambda text: progress.update(task, description=text)


def narrator(as_json: bool) -> Callable[[str], None]:
    """Make what says on stderr how far a command is; it is silent where a script asks."""

    def say(what: str) -> None:
        if not as_json:
            err.print(f"  {what}", style="dim", soft_wrap=True)

    return say


def stop_on_signals() -> threading.Event:
    """End at the next batch on Ctrl-C or SIGTERM, exit code 0; a second signal ends at once."""
    stop = threading.Event()

    def handle(_number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
    return stop
