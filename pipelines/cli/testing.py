"""The command ``verdict test``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from verdict.pipelines.cli.terminal import AsJson, file_of, out
from verdict.pipelines.errors import SpecError, UntestableError
from verdict.pipelines.spec.load import load
from verdict.state.errors import VerdictError


def run(
    pipeline: Annotated[
        Path | None,
        typer.Argument(
            metavar="[PIPELINE]",
            help="The pipeline file, or the folder it is in; else the one that the tests name.",
        ),
    ] = None,
    file: Annotated[
        Path | None,
        typer.Option(help="The tests, instead of pipeline_test.yaml beside the pipeline file."),
    ] = None,
    name: Annotated[
        str | None, typer.Option("-k", help="Only tests whose name has this in it.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Hold a pipeline's decisions against those that its tests expect.

    Exit code 1 if one differs, 2 if the tests cannot be run.

    Next: mend the pipeline or the test that is shown, or `verdict run PIPELINE`.
    """
    try:
        ok = _run(pipeline, file, name, as_json)
    except VerdictError as error:
        messages = error.messages if isinstance(error, SpecError) else [str(error)]
        if not as_json:
            raise UntestableError(messages) from error
        print(json.dumps({"ok": False, "errors": messages}))
        raise typer.Exit(2) from None
    if not ok:
        raise typer.Exit(1)


def _run(pipeline: Path | None, file: Path | None, name: str | None, as_json: bool) -> bool:
    from verdict.pipelines.testing.check import read
    from verdict.pipelines.testing.file import FILE
    from verdict.pipelines.testing.run import Harness
    from verdict.pipelines.testing.text import failures, line

    named = None if pipeline is None else file_of(pipeline)
    path = file or (Path(FILE) if named is None else named.parent / FILE)
    if file is None and not path.exists():
        hint = "write tests there (docs/tutorial.md shows how), or name their file with --file"
        raise SpecError([f"{path}: there is no such file: {hint}"])
    tests = read(path)
    loaded = load(named or tests.pipeline)
    cases = tests.cases(loaded)
    chosen = [case for case in cases if name is None or name.lower() in case.name.lower()]
    if not chosen:
        names = "; ".join(case.name for case in cases)
        raise SpecError([f"{path}: no test has '{name}' in its name; there are: {names}"])
    harness = Harness(loaded)
    outcomes = []
    for case in chosen:
        outcome = harness.run(case)
        outcomes.append(outcome)
        if as_json:
            continue
        out.print(line(outcome, path), style="green" if outcome.ok else "red")
        for text in failures(outcome, path):
            out.print(f"  {text}", style="red" if text.startswith("  ≠") else None)
    failed = sum(not outcome.ok for outcome in outcomes)
    if as_json:
        found = [outcome.as_json() for outcome in outcomes]
        print(json.dumps({"ok": not failed, "tests": found}))
    else:
        left_out = len(cases) - len(chosen)
        counts = [f"{len(chosen) - failed} passed"]
        counts += [f"{failed} failed"] if failed else []
        counts += [f"{left_out} left out"] if left_out else []
        out.print(", ".join(counts))
    return not failed
