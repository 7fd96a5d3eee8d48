"""What Flink executes where it starts the program itself: application mode, or ``flink run``.

    deployment/main.py score --pipeline card-fraud/pipeline.yaml --state /shared/verdict

The clients of Kafka are set as the pipeline file says, read here, so that secrets stay where the
file has them. The job goes on from its last checkpoint, so a JobManager that is started again after
a crash needs nobody.
"""

import argparse
import importlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from verdict.pipelines.engines.flink.session import build
from verdict.pipelines.engines.flink.settings import FlinkSettings, latest_checkpoint
from verdict.pipelines.topology import Job


def job_of(reference: str) -> Job:
    """Make a job by its reference, ``module:function``; the function takes nothing.

    Examples
    --------
    >>> job_of("verdict.pipelines.engines.flink.prepare:training").name
    'training'
    """
    module, _, function = reference.partition(":")
    job: Job = getattr(importlib.import_module(module), function)()
    return job


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the job and hand it to the Flink that runs this."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("job", help="a job of the pipeline, or module:function")
    parser.add_argument("--pipeline", type=Path, help="the pipeline file")
    parser.add_argument("--state", type=Path, help="folder of the state, for settings.state")
    parser.add_argument("--settings", type=Path, help="of module:function: FlinkSettings as JSON")
    parser.add_argument("--topics", type=json.loads, help="of module:function: stream -> topic")
    asked = parser.parse_args(arguments)
    if asked.pipeline is None:
        settings = FlinkSettings.from_json(asked.settings.read_text())
        job, topics = job_of(asked.job), asked.topics
    else:
        from verdict.pipelines.deployment.program import program
        from verdict.pipelines.spec.load import check_models, load
        from verdict.pipelines.spec.package import pack

        folder = asked.pipeline
        loaded = load(folder / "pipeline.yaml" if folder.is_dir() else folder)
        check_models(loaded)
        state = asked.state or loaded.file(loaded.spec.settings.state)
        made = program(loaded, asked.job, state, package=pack(loaded))
        restore = latest_checkpoint(made.settings.checkpoint_folder)
        job, topics, settings = made.job, made.topics, replace(made.settings, restore=restore)
    build(job, topics, settings).execute(f"{job.pipeline}/{job.name}")


if __name__ == "__main__":
    main()
