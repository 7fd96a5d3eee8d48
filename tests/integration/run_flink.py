"""Runs one job on Flink to the end of its topics, in a process of its own."""

import json
import sys
from pathlib import Path

from verdict.pipelines.engines.flink import run, submit
from verdict.pipelines.engines.flink.settings import FlinkSettings
from verdict.pipelines.jobs import catalog
from verdict.pipelines.local.java import flink_jars
from verdict.pipelines.spec.load import load


def main() -> None:
    request = json.loads(sys.argv[1])
    job = catalog.job(load(Path(request["pipeline"])), request["job"])
    folder = Path(request["folder"])
    settings = FlinkSettings(
        bootstrap=request["bootstrap"],
        folder=folder,
        checkpoint_folder=folder / "checkpoints",
        jars=flink_jars(),
        bounded=True,
        java_options=submit.SHORT_LIVED_JAVA,
    )
    run.run(job, request["topics"], settings)


if __name__ == "__main__":
    main()
