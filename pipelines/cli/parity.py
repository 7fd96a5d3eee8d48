"""The command that holds live decisions against a replay: ``verdict parity``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from verdict.operators.names import Stream
from verdict.pipelines.cli.terminal import (
    AsJson,
    PipelineFile,
    file_of,
    is_quiet,
    out,
    spinner,
    stop_on_signals,
)
from verdict.pipelines.errors import Interrupted, SpecError, UntestableError
from verdict.pipelines.spec.load import check_models, load
from verdict.state.errors import VerdictError


def parity(
    pipeline: PipelineFile,
    events: Annotated[
        list[Path] | None,
        typer.Option(
            help="Files of events, in their order, instead of the topic; may be repeated."
        ),
    ] = None,
    decisions: Annotated[
        list[Path] | None,
        typer.Option(help="Avro files of decisions instead of the topic; may be repeated."),
    ] = None,
    labels: Annotated[
        list[Path] | None,
        typer.Option(help="Files of labels, where events come from files; may be repeated."),
    ] = None,
    shown: Annotated[int, typer.Option(min=0, help="Differences to show in full.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Prove that decisions have the features which a replay of their events gives.

    Exit code 1 if a value differs or a decision is missing, 2 if nothing can be compared.

    Next: look at the first difference; `verdict check --against` says what a change of the pipeline
    file does.
    """
    try:
        same = _run(pipeline, events, decisions, labels, shown, as_json)
    except Interrupted:
        raise typer.Exit(130) from None
    except VerdictError as error:
        messages = error.messages if isinstance(error, SpecError) else [str(error)]
        if not as_json:
            raise UntestableError(messages) from error
        print(json.dumps({"ok": False, "errors": messages}))
        raise typer.Exit(2) from None
    if not same:
        raise typer.Exit(1)


def _run(
    pipeline: Path,
    events: list[Path] | None,
    decisions: list[Path] | None,
    labels: list[Path] | None,
    shown: int,
    as_json: bool,
) -> bool:
    from verdict.pipelines.parity.check import check
    from verdict.pipelines.parity.text import lines

    stop = stop_on_signals()
    loaded = load(file_of(pipeline))
    check_models(loaded)
    if loaded.spec.events.files is not None:
        events = events or [loaded.file(file) for file in loaded.spec.events.files]
        decisions = decisions or [Path("out") / f"{loaded.topics[Stream.DECISIONS]}.avro"]
    with spinner("reading", is_quiet(as_json)) as show:

        def tell(what: str, read: int) -> None:
            show(f"{what}: {read:,} read")

        found = check(
            loaded,
            events or None,
            decisions or None,
            labels or None,
            stop=stop,
            shown=shown,
            progress=tell,
        )
    if not found.compared:
        raise SpecError(
            [
                f"nothing was compared: {found.decisions:,} decisions of "
                f"'{loaded.spec.pipeline}' were read, and none of the events is theirs; name the "
                "files that belong together, or the pipeline file that decided"
            ]
        )
    same = not found.differences
    if as_json:
        print(json.dumps({"ok": same, **found.as_json()}))
    else:
        for line in lines(found):
            out.print(line)
    return same
