"""A JVM with Flink in it, and a job built there."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any

from verdict.pipelines.engines.flink.java import beam_blocked
from verdict.pipelines.engines.flink.jvm import Jvm
from verdict.pipelines.engines.flink.rest import cause_of
from verdict.pipelines.engines.flink.settings import FlinkSettings, job_name
from verdict.pipelines.errors import FlinkError
from verdict.pipelines.local.java import java_home
from verdict.pipelines.topology import Job


def build(
    job: Job, topics: Mapping[str, str], settings: FlinkSettings, cluster: str | None = None
) -> Any:
    """Build a job, and return the ``StreamExecutionEnvironment`` to execute it with.

    Parameters
    ----------
    job
        The job.
    topics
        Stream -> topic.
    settings
        How it runs.
    cluster
        ``host:port`` of the REST API of the cluster it is for. If None, that is for Flink to know:
        what ``flink run`` was told, else a mini cluster.
    """
    with beam_blocked():
        from verdict.pipelines.engines.flink.graph import Graph

        return Graph(job, topics, settings, cluster).env


@contextlib.contextmanager
def explained(job: Job, jvm: Jvm) -> Iterator[None]:
    """Turn what PyFlink raises into an error that says the cause."""
    try:
        yield
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("py4j", "pyflink"):
            raise
        if not jvm.alive:
            raise jvm.death() from error
        text = str(error)
        cause = cause_of(text)
        # A hop names itself.
        where = "" if cause.startswith(f"{job_name(job)}/") else f"{job_name(job)}: "
        raise FlinkError(f"{where}{cause}; look at {jvm.log}", text) from None


def session_jvm(settings: FlinkSettings) -> Jvm:
    """Make the JVM that a job is built in; PyFlink looks for Java where the environment says."""
    os.environ.setdefault("JAVA_HOME", str(java_home()))
    return Jvm(
        settings.folder,
        settings.jars,
        heap_mb=settings.heap_mb,
        python_path=settings.python_path,
        options=settings.java_options,
    )
