"""The commands for a job on a Flink cluster: ``verdict upgrade`` and ``verdict plan``."""

import json
from pathlib import Path
from typing import Annotated

import typer

from verdict.operators.names import SCORE_JOB
from verdict.pipelines.cli.terminal import AsJson, PipelineFile, file_of, narrator, out
from verdict.pipelines.errors import SpecError
from verdict.pipelines.spec.load import check_models, load
from verdict.pipelines.spec.pipeline import Pipeline


def upgrade(
    pipeline: PipelineFile,
    cluster: Annotated[str, typer.Option(help="host:port of the Flink cluster it runs on.")],
    job: Annotated[str, typer.Option(help="score, shadow, watch or labels.")] = SCORE_JOB,
    state: Annotated[
        Path | None, typer.Option(help="Folder of the state, instead of settings.state.")
    ] = None,
    allow_non_restored: Annotated[
        bool,
        typer.Option("--allow-non-restored", help="Forget what hops that are gone remember."),
    ] = False,
    timeout: Annotated[
        float, typer.Option(min=1, help="Seconds that the new job may take to come up.")
    ] = 120.0,
    as_json: AsJson = False,
) -> None:
    """Let a job on a cluster go on as its pipeline is now: savepoint, new job, or back.

    Next: `verdict tail PIPELINE decisions -f`. If the new job does not run and complete a
    checkpoint in time, the old one goes on from the savepoint, and this command fails.
    """
    from verdict.pipelines.deployment.exchange import RolledBack
    from verdict.pipelines.deployment.submit import upgrade as change

    loaded = load(file_of(pipeline))
    check_models(loaded)
    folder = state or loaded.file(loaded.spec.settings.state)
    name = f"{loaded.spec.pipeline}/{job}"
    try:
        done = change(
            loaded,
            job,
            folder,
            cluster,
            allow_non_restored=allow_non_restored,
            seconds=timeout,
            say=narrator(as_json),
        )
    except RolledBack as error:
        if as_json:
            print(json.dumps({"job": name, "id": error.job_id, "rolled_back": str(error)}))
        raise
    if as_json:
        found = {"savepoint": str(done.savepoint), "down_s": round(done.down_s, 3)}
        print(json.dumps({"job": name, "id": done.job_id, "rolled_back": None, **found}))
        return
    out.print(f"{name} goes on on {cluster} as {done.job_id}, after {done.down_s:.1f} s")


def plan(
    pipeline: PipelineFile,
    rate: Annotated[float, typer.Option(min=0.001, help="Events a second at the busiest time.")],
    entities: Annotated[
        list[str], typer.Option(help="Keys of each entity: N, or NAME=N for each by itself.")
    ],
    events_per_entity: Annotated[
        float | None,
        typer.Option(min=0, help="Events that a key's log holds; by default what the rate makes."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say how large a Flink cluster the score job needs: slots, memory, state, Kafka's share.

    Next: write the memory into the cluster's configuration, as `deploy/flink/config.yaml` does, and
    the parallelism into `settings.parallelism`.
    """
    from verdict.pipelines.deployment.size import plan as size

    loaded = load(file_of(pipeline))
    found = size(loaded, rate, _keys(loaded, entities), events_per_entity)
    if as_json:
        print(json.dumps(found.as_json()))
        return
    for name, text in found.lines():
        out.print(f"  {name:<22}{text}")


def _keys(loaded: Pipeline, given: list[str]) -> dict[str, int]:
    """Read `--entities`: how many keys each entity has."""
    found: dict[str, int] = {}
    for text in sorted(given, key=lambda text: "=" in text):  # N is for those not named
        name, _, number = text.rpartition("=")
        if not number.isdigit() or not int(number) or (name and name not in loaded.entities):
            known = ", ".join(f"{entity}=N" for entity in loaded.entities)
            raise SpecError([f"--entities {text}: write N, or {known}; N is a whole number"])
        for entity in [name] if name else loaded.entities:
            found[entity] = int(number)
    missing = [entity for entity in loaded.entities if entity not in found]
    if missing:
        raise SpecError([f"--entities does not say how many keys '{missing[0]}' has; write N"])
    return found
