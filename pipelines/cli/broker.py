"""`verdict up`, `down` and `topics`."""

import json
from pathlib import Path
from typing import Annotated

import typer

from verdict.pipelines.cli.terminal import AsJson, PipelineFile, file_of, out
from verdict.pipelines.spec.load import load

topics = typer.Typer(no_args_is_help=True, help="Make a pipeline's topics.")
Folder = Annotated[Path, typer.Option("--folder", help="Where the local broker keeps its data.")]
BROKER_FOLDER = Path(".verdict/broker")


def up(folder: Folder = BROKER_FOLDER, as_json: AsJson = False) -> None:
    """Start a local Kafka broker, on 127.0.0.1 alone; it stays until `verdict down`.

    Next: `verdict topics create PIPELINE`, then `verdict run PIPELINE`.
    """
    from verdict.pipelines.local import daemon

    bootstrap = daemon.up(folder)
    if as_json:
        print(json.dumps({"bootstrap": bootstrap, "folder": str(folder)}))
    else:
        out.print(f"A broker answers at {bootstrap}. 'verdict down' stops it.")


def down(folder: Folder = BROKER_FOLDER) -> None:
    """Stop the local broker that `verdict up` started; its data stay.

    Next: `verdict up` starts it again.
    """
    from verdict.pipelines.local import daemon

    stopped = daemon.down(folder)
    out.print("Stopped." if stopped else "No broker of this folder runs.")


@topics.command("create")
def topics_create(
    pipeline: PipelineFile,
    partitions: Annotated[int, typer.Option(min=1, help="Of each new topic.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Make the topics that a pipeline reads and writes, where they are missing.

    Next: `verdict run PIPELINE`, and in another terminal `verdict tail PIPELINE decisions -f`.
    """
    from verdict.pipelines.kafka.admin import create_topics
    from verdict.pipelines.kafka.clients import clients

    loaded = load(file_of(pipeline))
    settings = clients(loaded.spec.settings, loaded.path.parent)
    names = list(loaded.topics.values())
    made = create_topics(settings, names, partitions=partitions)
    compacted = {"cleanup.policy": "compact"}
    made += create_topics(settings, loaded.lookup_topics, partitions, config=compacted)
    names += loaded.lookup_topics
    if as_json:
        print(json.dumps({"created": made, "topics": names}))
        return
    for name in names:
        out.print(f"  {name}: {'created' if name in made else 'there already'}")
