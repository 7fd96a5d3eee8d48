"""What Flink executes where it starts the program itself: ``flink run``, or application mode.

    flink run -py pipelines/flink_main.py --pipeline pipeline.yaml --settings flink.json score

The clients of Kafka are set as the pipeline file says, read here, so that secrets stay where the
file has them.
"""

import argparse
import importlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pipelines.flink import FlinkSettings, build
from pipelines.job import Job


def job_of(reference: str) -> Job:
    """Make a job by its reference, ``module:function``; the function takes nothing.

    Examples
    --------
    >>> job_of("pipelines.flink_prepare:training").name
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
    parser.add_argument("--settings", type=Path, required=True, help="FlinkSettings as JSON")
    parser.add_argument("--topics", type=json.loads, help="stream -> topic, as JSON")
    asked = parser.parse_args(arguments)
    settings = FlinkSettings.from_json(asked.settings.read_text())
    if asked.pipeline is None:
        job, topics = job_of(asked.job), asked.topics
    else:
        from pipelines import jobs
        from pipelines.kafka import clients
        from pipelines.pipeline import load

        loaded = load(asked.pipeline)
        job, topics = jobs.job(loaded, asked.job), asked.topics or loaded.topics
        made = clients(loaded.spec.settings, loaded.path.parent)
        settings = replace(settings, bootstrap=made.servers, client=made.java)
    build(job, topics, settings).execute(f"{job.pipeline}/{job.name}")


if __name__ == "__main__":
    main()
