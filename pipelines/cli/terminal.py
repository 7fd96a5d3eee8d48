"""What the commands share: the terminal, a pipeline's file, signals."""

import signal
import threading
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
