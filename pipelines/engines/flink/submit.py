"""A job handed to a cluster."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from verdict.pipelines.engines.flink.jvm import Jvm
from verdict.pipelines.engines.flink.rest import Rest
from verdict.pipelines.engines.flink.session import build, explained, session_jvm
from verdict.pipelines.engines.flink.settings import FlinkSettings, title
from verdict.pipelines.engines.flink.silent import Silent, mute
from verdict.pipelines.topology import Job

SHORT_LIVED_JAVA = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")
"""For a JVM of seconds: neither the second compiler nor a parallel collector earns its keep."""


class Submitter:
    """Hands jobs to a cluster; `submitting` makes one."""

    def __init__(self, cluster: str, jvm: Jvm) -> None:
        self._cluster = cluster
        self._jvm = jvm

    def prepare(
        self, job: Job, topics: Mapping[str, str], settings: FlinkSettings
    ) -> Callable[..., str]:
        """Build a job's program, which takes seconds, and return what submits it in no time.

        Returns
        -------
        Callable[..., str]
            ``submit(restore=None, allow_non_restored=False, silent=None)``: from a checkpoint or
            savepoint instead of ``settings.restore``; whether state that no operator of the job
            takes may be left behind; instead of ``settings.silent``. It returns the job's id.
        """
        with explained(job, self._jvm):
            env = build(job, topics, settings, self._cluster)

        def submit(
            restore: Path | None = None,
            allow_non_restored: bool = False,
            silent: Silent | None = None,
        ) -> str:
            with explained(job, self._jvm):
                if restore is not None:
                    _restore_from(env, restore, allow_non_restored)
                if silent is not None:
                    mute(env, silent)
                return str(env.execute_async(title(job, settings)).get_job_id())

        return submit


@contextlib.contextmanager
def submitting(cluster: str, settings: FlinkSettings) -> Iterator[Submitter]:
    """Have a JVM that can hand jobs to a cluster, as long as the context lasts.

    The script ``flink run`` would do the same, with `pipelines.deployment.main`, but not under Java
    25: there it fails without Hadoop's classes, and says nothing.

    Raises
    ------
    FlinkError
        The cluster does not answer.
    """
    Rest(cluster).get("/overview")
    settings = replace(settings, java_options=(*SHORT_LIVED_JAVA, *settings.java_options))
    with session_jvm(settings) as jvm:
        jvm.connect()
        yield Submitter(cluster, jvm)


def _restore_from(env: Any, folder: Path, allow_non_restored: bool) -> None:
    from pyflink.common import Configuration

    found = Configuration()
    found.set_string("execution.state-recovery.path", folder.absolute().as_uri())
    found.set_string(
        "execution.state-recovery.ignore-unclaimed-state", str(allow_non_restored).lower()
    )
    env.configure(found)
