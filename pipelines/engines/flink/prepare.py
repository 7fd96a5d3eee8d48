"""Makes Flink start in half the time, once for a machine.

    python -m verdict.pipelines.engines.flink.prepare

Most of a start is Java, reading and linking 20,000 classes and interpreting them until they are
compiled. Java 25 can keep them ready for use in a file of 170 MB, made from what the run of a small
job has used. Without it all works as well, only later.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from verdict.operators.message import NEXT, Emit, Message
from verdict.pipelines.engines.flink.java import (
    AOT_CACHE,
    OPENS,
    PLANNER,
    classpath,
    flink_home,
    prepared_folder,
)
from verdict.pipelines.engines.flink.run import run
from verdict.pipelines.engines.flink.settings import FlinkSettings
from verdict.pipelines.errors import FlinkError
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.local.java import flink_jars, java_home
from verdict.pipelines.topology import Hop, Job
from verdict.state.store.keyed import KeyedState

FIRST_JAVA = 25
"""Older ones have no such cache."""
TRAINING_S = 180.0
"""How long each of the two steps may take; on two idle cores 25 s and 10 s."""
RECORDS = 500
"""Of the training: enough for a checkpoint's length of work, not so many that it takes long."""


class Train:
    """Touches what operators touch: both outputs, the head and a chunk."""

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        """Emit to both outputs."""
        state.put(state.get() or b"head")
        state.put_chunk(1, state.chunk(1) or b"chunk")
        state.drop_chunk(2)
        yield Emit("second", message.key or b"", message.value or b"")
        yield Emit(NEXT, message.value or b"", message.key or b"")


class TrainPlain:
    """The same without a key."""

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        """Emit to the next hop."""
        yield Emit(NEXT, message.key or b"", message.value or b"")


class TrainLast:
    """The same at the end of a job."""

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        """Emit to a stream."""
        yield Emit("first", message.key or b"", message.value or b"")


def training() -> Job:
    """Make the job that the cache is trained on: all that the engine builds occurs in it."""
    hops = (Hop("a", False, TrainPlain), Hop("b", True, Train), Hop("c", True, TrainLast))
    return Job("training", "verdict", ("one", "two"), hops, ("first", "second"))


def is_prepared(jars: Sequence[Path]) -> bool:
    """Tell whether all is done for these jars."""
    folder = prepared_folder(jars)
    return (folder / PLANNER).exists() and (_java() < FIRST_JAVA or (folder / AOT_CACHE).exists())


def prepare(jars: Sequence[Path]) -> None:
    """Unpack the planner, and make Java's cache; nothing where both are there.

    Takes about 40 s of two cores, and 220 MB of the cache folder. A run that is broken off
    leaves nothing half done.

    Raises
    ------
    FlinkError
        The small job did not run.
    """
    if is_prepared(jars):
        return
    folder = prepared_folder(jars)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=folder) as name:
        work = Path(name)
        if not (folder / PLANNER).exists():
            loader = next((flink_home() / "lib").glob("flink-table-planner-loader-*.jar"))
            with zipfile.ZipFile(loader) as archive:
                archive.extract(PLANNER, work)
            (work / PLANNER).replace(folder / PLANNER)
        if _java() >= FIRST_JAVA:
            _make_cache(jars, work)
            (work / AOT_CACHE).replace(folder / AOT_CACHE)


def _make_cache(jars: Sequence[Path], work: Path) -> None:
    training = [
        sys.executable,
        "-m",
        "verdict.pipelines.engines.flink.prepare",
        str(work),
        *map(str, jars),
    ]
    _do(training, work)
    command = [str(java_home() / "bin" / "java"), *OPENS, "-cp", classpath(jars)]
    recorded, cache = work / "java.aotconf", work / AOT_CACHE
    _do(
        [
            *command,
            "-XX:AOTMode=create",
            f"-XX:AOTConfiguration={recorded}",
            f"-XX:AOTCache={cache}",
        ],
        work,
    )
    if not cache.exists():
        raise FlinkError(f"Java made no cache of {recorded}; start without it")


def _do(command: Sequence[str], work: Path) -> None:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    try:
        done = subprocess.run(
            command,
            env=env,
            cwd=work,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=TRAINING_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise FlinkError(f"preparing Flink took more than {TRAINING_S:g} s") from None
    if done.returncode:
        last = (done.stdout.strip().splitlines() or ["no reason given"])[-1]
        raise FlinkError(f"preparing Flink failed: {last}", done.stdout)


def train(work: Path, jars: Sequence[Path]) -> None:
    """Run the training, with Java taking notes."""
    from confluent_kafka import Producer

    from verdict.pipelines.kafka.admin import create_topics
    from verdict.pipelines.kafka.clients import clients
    from verdict.pipelines.spec.settings import Settings

    job = training()
    topics = {stream: f"training-{stream}" for stream in (*job.inputs, *job.outputs)}
    with LocalKafka(work / "kafka") as kafka:
        made = clients(Settings(kafka={"bootstrap.servers": kafka.bootstrap}))
        create_topics(made, list(topics.values()))
        producer = Producer(made.producer)
        for number in range(RECORDS):
            producer.produce(topics["one"], key=b"%d" % (number % 50), value=b"%d" % number)
        producer.flush()
        settings = FlinkSettings(
            kafka.bootstrap,
            work / "flink",
            work / "checkpoints",
            jars,
            made.java,
            bounded=True,
            java_options=("-XX:AOTMode=record", f"-XX:AOTConfiguration={work / 'java.aotconf'}"),
        )
        run(job, topics, settings)


def _java() -> int:
    for line in (java_home() / "release").read_text().splitlines():
        name, _, value = line.partition("=")
        if name == "JAVA_VERSION":
            return int(value.strip('"').split(".")[0])
    return 0


if __name__ == "__main__":
    if len(sys.argv) > 1:
        train(Path(sys.argv[1]), tuple(map(Path, sys.argv[2:])))
    else:
        prepare(flink_jars())
