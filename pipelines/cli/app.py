"""The command ``verdict``."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from verdict.pipelines.cli import (
    backfill,
    bootstrap,
    broker,
    check,
    dead_letters,
    deployment,
    outputs,
    parity,
    run,
    state,
    testing,
)
from verdict.pipelines.cli.terminal import err, out
from verdict.pipelines.errors import FlinkError, SpecError, UntestableError
from verdict.pipelines.telemetry import logs
from verdict.state.errors import VerdictError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="""A decision for every event: features from keyed state, an ONNX model's score, an action.

    **A first pipeline:** `verdict init my-pipeline`, then `verdict check` and `verdict run` on its
    `pipeline.yaml`.

    **On Kafka:** `verdict up`, `verdict topics create PIPELINE`, `verdict run PIPELINE`, and in
    another terminal `verdict tail PIPELINE decisions`.
    """,
)
verbose = False


@app.callback()
def _options(
    v: Annotated[bool, typer.Option("-v", "--verbose", help="Show stack traces.")] = False,
) -> None:
    global verbose
    verbose = v


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="Of the new pipeline; must not exist yet.")],
) -> None:
    """Make the smallest pipeline that works: YAML, schema, ten events, a tiny model, tests.

    Next: `verdict check FOLDER`, then `verdict run FOLDER`.
    """
    from verdict.pipelines.paths import resource

    if folder.exists():
        raise SpecError([f"{folder} exists already: name a folder that does not"])
    source = resource("init")
    for file in sorted(source.rglob("*")):
        if file.is_file() and "__pycache__" not in file.parts:
            target = folder / file.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(file.read_bytes())
    out.print(f"Made {folder}. Next:")
    for command in ("check {}", "test {}", "run {}", "tail {} decisions"):
        out.print(f"  verdict {command.format(folder)}")


for name, group in (("topics", broker.topics), ("dlq", dead_letters.app), ("state", state.app)):
    app.add_typer(group, name=name)


for command in (
    check.check,
    run.run,
    broker.up,
    broker.down,
    bootstrap.bootstrap,
    backfill.backfill,
    parity.parity,
    outputs.tail,
    outputs.repeats,
    deployment.upgrade,
    deployment.plan,
):
    app.command()(command)


app.command("test")(testing.run)


def guarded(command: Callable[[], Any]) -> int:
    """Run a command; an error of verdict is a message and exit code 1, no stack trace.

    Tests that cannot be run are 2: 1 says that they failed.

    A mistyped option or an interrupt is typer's: it exits by itself, with 2 or 130.
    """
    try:
        command()
    except logs.Logged:
        if verbose:
            err.print_exception()
        return 1
    except VerdictError as error:
        if verbose:
            err.print_exception()
            if isinstance(error, FlinkError) and error.details:
                err.print(error.details, markup=False, highlight=False)
        err.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        return 2 if isinstance(error, UntestableError) else 1
    return 0


def main() -> None:
    """Entry point."""
    sys.exit(guarded(lambda: app(prog_name="verdict")))


if __name__ == "__main__":
    main()
