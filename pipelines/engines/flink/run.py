"""A job on a mini cluster of its own, in a JVM beside this process.

`run` has a mini cluster in a JVM of its own; `submit` hands the same job to a cluster that runs.
The stream goes through SQL's Kafka tables and Java's key selector, so that no Python runs between
the source and the first hop, between hops, or between a hop and its sinks.
"""

import contextlib
import logging
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from verdict.pipelines.engines.flink.rest import Rest, cause_of
from verdict.pipelines.engines.flink.session import build, explained, session_jvm
from verdict.pipelines.engines.flink.settings import FlinkSettings, bounded_folder, job_name
from verdict.pipelines.errors import FlinkError
from verdict.pipelines.local.ports import free_port
from verdict.pipelines.topology import Job, Stop

LOGGER = logging.getLogger(__name__)
LOGGER.addHandler(logging.NullHandler())
LOOK_S = 0.1
"""Seconds between two looks whether a job has ended, or shall."""
ASK_S = 2.0
"""Seconds between two questions to Flink whether a job failed and was started again."""


def run(
    job: Job,
    topics: Mapping[str, str],
    settings: FlinkSettings,
    *,
    ready: Callable[[], object] | None = None,
    stop: Stop | None = None,
) -> None:
    """Run a job on a mini cluster until it finishes or is told to stop.

    Parameters
    ----------
    job
        The job.
    topics
        Stream -> topic.
    settings
        How it runs.
    ready
        Called once the job is built, before it starts: the place to wait for a broker that is
        starting meanwhile, and to see that the topics exist. What it raises ends the run.
    stop
        Ends the run when it is set. If None, SIGINT and SIGTERM do.

    Raises
    ------
    FlinkError
        The job did not start, or failed; the message is the cause's, ``details`` all of it.
    """
    if not settings.web_port:
        settings = replace(settings, web_port=free_port())
    with _stop_on_signals(stop) as asked, session_jvm(settings) as jvm, explained(job, jvm):
        jvm.connect()
        env = build(job, topics, settings)
        if ready is not None:
            ready()
        try:
            if not asked.is_set():
                _follow(env.execute_async(job_name(job)), job_name(job), settings, asked)
        finally:
            if settings.bounded:
                shutil.rmtree(bounded_folder(settings.checkpoint_folder), ignore_errors=True)


def _follow(client: Any, name: str, settings: FlinkSettings, stop: Stop) -> None:
    """Wait for a job's end, or end it when stop; say when Flink starts it again."""
    result = client.get_job_execution_result()
    rest = Rest(f"127.0.0.1:{settings.web_port}")
    job_id = str(client.get_job_id())
    told, asking = "", time.monotonic() + ASK_S
    while not result.done():
        if stop.is_set():
            # It may end by itself in this very moment.
            with contextlib.suppress(Exception):
                client.cancel().result()
            return
        time.sleep(LOOK_S)
        if time.monotonic() < asking:
            continue
        asking = time.monotonic() + ASK_S
        # The mini cluster, and its REST API, end with the job.
        with contextlib.suppress(FlinkError):
            failure = rest.failure(job_id)
            if failure not in ("", told):
                told = failure
                LOGGER.warning("%s failed; Flink starts it again: %s", name, cause_of(failure))
    result.result()


@contextlib.contextmanager
def _stop_on_signals(stop: Stop | None) -> Iterator[Stop]:
    if stop is not None or threading.current_thread() is not threading.main_thread():
        yield threading.Event() if stop is None else stop
        return
    asked = threading.Event()
    kept = {
        number: signal.signal(number, lambda *_: asked.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield asked
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
