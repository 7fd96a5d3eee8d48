"""The commands ``verdict dlq``."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from verdict.operators.names import Stage
from verdict.pipelines.cli.terminal import (
    AsJson,
    PipelineFile,
    Since,
    after,
    bar,
    err,
    file_of,
    is_quiet,
    out,
)
from verdict.pipelines.errors import SpecError
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.pipeline import Pipeline

app = typer.Typer(no_args_is_help=True, help="List, show and replay a pipeline's dead letters.")


OfStage = Annotated[Stage | None, typer.Option("--stage", help="Only those of this stage.")]
OfKind = Annotated[
    str | None, typer.Option("--kind", help="Only those of this kind, such as not-avro.")
]
LettersFrom = Annotated[
    Path | None, typer.Option("--from", help="Folder of the outputs of a run from files.")
]


def _letter_filter(
    stage: Stage | None, kind: str | None, since: str | None, places: list[str]
) -> Any:
    from verdict.pipelines.dead_letters.letter import LetterFilter
    from verdict.pipelines.kafka.coordinates import coordinates

    originals = frozenset(map(coordinates, places)) if places else None
    return LetterFilter(stage, kind, after(since), originals)


def _strange(where: str) -> None:
    text = f"{where} is no dead letter of this release; left out"
    err.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def _letters_folder(loaded: Pipeline, given: Path | None) -> Path | None:
    return Path("out") if given is None and loaded.spec.events.files is not None else given


@app.command("list")
def list_letters(
    pipeline: PipelineFile,
    stage: OfStage = None,
    kind: OfKind = None,
    since: Since = None,
    last: Annotated[int | None, typer.Option("-n", min=1, help="Only the newest so many.")] = None,
    counts: Annotated[
        bool, typer.Option("--summary", help="Count them by stage, kind and job.")
    ] = False,
    source: LettersFrom = None,
    as_json: AsJson = False,
) -> None:
    """List dead letters: when, the place of the original, job, stage and kind, the reason.

    Next: `verdict dlq show PIPELINE TOPIC/PARTITION/OFFSET`; when the cause is mended,
    `verdict dlq replay PIPELINE`.
    """
    from verdict.pipelines.dead_letters import read
    from verdict.pipelines.dead_letters.text import line, table

    loaded = load(file_of(pipeline))
    asked = _letter_filter(stage, kind, since, [])
    found = read.letters(loaded, asked, _letters_folder(loaded, source), _strange)
    if last is not None:
        found = iter(read.newest(found, last))
    if counts:
        tallies = read.summary(found)
        if as_json:
            print(json.dumps([tally.as_json() for tally in tallies]))
            return
        for text in table(tallies):
            out.print(text)
        return
    shown = False
    for letter in found:
        shown = True
        if as_json:
            print(json.dumps(letter.as_json(raw=False)), flush=True)
        else:
            out.print(line(letter))
    if not shown and not as_json:
        err.print("No dead letter fits.", style="dim")


@app.command("show")
def show_letters(
    pipeline: PipelineFile,
    place: Annotated[
        str, typer.Argument(metavar="TOPIC/PARTITION/OFFSET", help="Of the original.")
    ],
    source: LettersFrom = None,
    as_json: AsJson = False,
) -> None:
    """Show all of a record's dead letters, its bytes, and whether the original is still there.

    Next: mend the cause, then `verdict dlq replay PIPELINE TOPIC/PARTITION/OFFSET`.
    """
    from verdict.pipelines.dead_letters import read
    from verdict.pipelines.dead_letters.letter import look
    from verdict.pipelines.dead_letters.text import described

    loaded = load(file_of(pipeline))
    folder = _letters_folder(loaded, source)
    asked = _letter_filter(None, None, None, [place])
    # One a job and kind: after a crash of Flink the same may stand twice.
    found = {(each.job, each.kind): each for each in read.letters(loaded, asked, folder, _strange)}
    if not found:
        raise SpecError([f"no dead letter is of {place}; 'verdict dlq list' shows what there is"])
    for letter in found.values():
        state = None if folder is not None else look(loaded, letter)
        if as_json:
            print(json.dumps({**letter.as_json(), "original": state}))
            continue
        for text in described(letter, state):
            out.print(text)


@app.command("replay")
def replay_letters(
    pipeline: PipelineFile,
    places: Annotated[
        list[str] | None,
        typer.Argument(metavar="TOPIC/PARTITION/OFFSET", help="Of the originals."),
    ] = None,
    stage: OfStage = None,
    kind: OfKind = None,
    since: Since = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be done, and do all but send.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Send the originals of dead letters to the events topic again, when the cause is mended.

    Next: `verdict tail PIPELINE decisions`. Another run replays the same letters again: name those
    that came since, with `--since`.
    """
    from verdict.pipelines.dead_letters import read
    from verdict.pipelines.dead_letters.replay import LetterReplay, summary_lines

    loaded = load(file_of(pipeline))
    asked = _letter_filter(stage, kind, since, places or [])

    def say(what: str, done: bool) -> None:
        if not as_json and (dry_run or not done):
            (out if dry_run else err).print(what, markup=False, highlight=False, soft_wrap=True)

    with LetterReplay(loaded, dry=dry_run, say=say) as replay:
        try:
            with bar("letters", is_quiet(as_json), counts=True) as show:
                found = read.letters(loaded, asked, None, _strange, show)
                replay.run(found, asked.places or ())
        finally:
            if as_json:
                print(json.dumps({**replay.did.as_json(), "dry_run": dry_run}))
            else:
                for text in summary_lines(replay.did, dry_run):
                    out.print(text)
