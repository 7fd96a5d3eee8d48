"""The Flink engine on a real broker: mini cluster, standalone cluster, failures, stops."""

import json
import re
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from confluent_kafka import Producer

from tests.contract.promises import promising
from tests.integration import flink_jobs
from tests.integration.flink_topics import DEADLINE_S, Out, Topics, lives, start_job, until
from verdict.operators.message import NEXT, Message
from verdict.pipelines.deployment import main
from verdict.pipelines.engines.flink.cluster import FlinkCluster
from verdict.pipelines.engines.flink.java import environment, java
from verdict.pipelines.engines.flink.jvm import Jvm
from verdict.pipelines.engines.flink.prepare import is_prepared, prepare
from verdict.pipelines.engines.flink.rest import ENDED, Rest
from verdict.pipelines.engines.flink.run import run
from verdict.pipelines.engines.flink.settings import FlinkSettings, latest_checkpoint
from verdict.pipelines.engines.flink.submit import SHORT_LIVED_JAVA, submitting
from verdict.pipelines.engines.flink.uids import stateful
from verdict.pipelines.errors import FlinkError
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.local.java import flink_jars
from verdict.pipelines.local.ports import free_port
from verdict.pipelines.topology import Job
from verdict.state.store.keyed import MemoryState

ROOT = Path(__file__).parents[2]

# PyFlink's own, while it is imported.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def expect(job: Job, messages: Sequence[Message]) -> list[Out]:
    """Run a job in memory."""
    states: dict[tuple[int, bytes], MemoryState] = defaultdict(MemoryState)
    operators = [hop.operator() for hop in job.hops]
    found = []

    def go(hop: int, message: Message) -> None:
        key = message.key or b"" if job.hops[hop].keyed else b""
        for emit in operators[hop](message, states[hop, key]):
            if emit.output == NEXT:
                go(hop + 1, message._replace(key=emit.key, value=emit.value))
            else:
                source = f"{message.topic}/{message.partition}/{message.offset}".encode()
                found.append(Out(emit.output, emit.key, emit.value, source))

    for message in messages:
        go(0, message)
    return found


def by_key(outputs: Sequence[Out]) -> dict[tuple[str, bytes | None, int], list[Out]]:
    """Group what has an order: one key's records of one hop, told apart by their first byte."""
    found: dict[tuple[str, bytes | None, int], list[Out]] = defaultdict(list)
    for out in outputs:
        found[out.stream, out.key, (out.value or b"-")[0]].append(out)
    return found


@pytest.fixture(scope="module")
def jars() -> list[Path]:
    """Flink's jars, with what makes it start faster: once a machine."""
    found = flink_jars()
    prepare(found)
    assert is_prepared(found)
    return found


@pytest.fixture
def settings(kafka: LocalKafka, jars: list[Path], tmp_path: Path) -> FlinkSettings:
    return FlinkSettings(
        kafka.bootstrap,
        tmp_path / "flink",
        tmp_path / "checkpoints",
        jars,
        bounded=True,
        python_path=(ROOT,),
        java_options=SHORT_LIVED_JAVA,
    )


@pytest.fixture(scope="module")
def three(kafka: LocalKafka) -> Topics:
    """Inputs with all that keys and values can be."""
    topics = Topics(kafka, "three", flink_jobs.three_hops())
    keys = [None, b"", b"\xff", b"\xfe\xff", "schlüssel".encode(), b"k'1", b"\x00"]
    records: list[tuple[bytes | None, bytes | None]] = []
    for turn in range(10):
        for number, key in enumerate(keys):
            value = b"s%d|%s %d" % ((turn + number) % 3, b"twice" if turn == 4 else b"once", turn)
            records.append((key, value))
    records += [(b"k'1", None), (None, None), (b"\xff", b"no second key"), (b"k'1", b"")]
    topics.send("events", records)
    # Other keys for both hops: how two inputs mix is nobody's to say.
    topics.send("labels", [(b"l%d" % (n % 4), b"\xfa\xfb%d|label" % (n % 2)) for n in range(30)])
    return topics


def test_mini_cluster_makes_the_right_records(three: Topics, settings: FlinkSettings) -> None:
    run(three.job, three.names, settings)

    wanted = expect(three.job, three.inputs())
    assert by_key(three.outputs()) == by_key(wanted)
    assert len(wanted) > 150
    assert not (settings.folder / "tmp").exists()


@pytest.mark.long
def test_standalone_cluster_makes_the_same_bytes(
    three: Topics, kafka: LocalKafka, settings: FlinkSettings, tmp_path: Path
) -> None:
    outputs = {"seen": "standalone-seen", "dead": "standalone-dead"}
    again = Topics(kafka, "standalone", Job("three", "tests", (), (), ("seen", "dead")))
    # A slot a hop and none to spare: the job runs only if every operator has its hop's group.
    with FlinkCluster(
        tmp_path / "cluster", settings.jars, len(three.job.hops), python_path=(ROOT,)
    ) as cluster:
        with submitting(cluster.address, settings) as client:
            names = {**three.names, **outputs}
            job_id = client.prepare(three.job, names, replace(settings, slot_groups=True))()
        rest = Rest(cluster.address)
        until(lambda: rest.state(job_id) in ENDED)
        assert rest.state(job_id) == "FINISHED", rest.failure(job_id)
        pids = cluster.pids.values()
        assert len(pids) == 4

    assert by_key(again.outputs()) == by_key(expect(three.job, three.inputs()))
    assert not any(map(lives, pids))


def test_failing_operator_says_what_failed_and_where(
    kafka: LocalKafka, settings: FlinkSettings
) -> None:
    topics = Topics(kafka, "failing", flink_jobs.failing())
    topics.send("events", [(b"a", b"good"), (b"a", b"fail"), (b"a", b"good")])

    with pytest.raises(FlinkError) as caught:
        run(topics.job, topics.names, settings)

    # Its text could hold a key.
    assert re.match(
        r"tests/failing/fail failed on failing-events/0/1: ValueError at flink_jobs\.py:\d+; "
        r"its text may quote the record and is left out; look at ",
        str(caught.value),
    )
    assert "\n" not in str(caught.value)
    assert "flink_jobs.py" in caught.value.details


def test_stopped_job_goes_on_from_its_checkpoint_and_no_jvm_is_left(
    kafka: LocalKafka, settings: FlinkSettings, tmp_path: Path
) -> None:
    topics = Topics(kafka, "stopped", flink_jobs.counting())
    settings = replace(settings, bounded=False, checkpoint_interval_ms=100)
    topics.send("events", [(b"k", b"%d" % n) for n in range(5)])
    process = start_job(topics, settings, tmp_path / "printed")
    until(lambda: len(topics.outputs()) == 5)
    _await_checkpoint(settings.checkpoint_folder)
    java = _children(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE_S) == 0
    assert not any(map(lives, java))
    assert (tmp_path / "printed").read_text() == ""

    topics.send("events", [(b"k", b"5")])
    restore = latest_checkpoint(settings.checkpoint_folder)
    process = start_job(topics, replace(settings, restore=restore), tmp_path / "printed")
    until(lambda: len(topics.outputs()) == 6)
    java += _children(process.pid)
    process.kill()
    process.wait()

    counts = [(out.value or b"").split()[:2] for out in topics.outputs()]
    assert counts == [[b"#%d" % (n + 1), b"%d" % n] for n in range(6)]
    assert len(java) == 2
    until(lambda: not any(map(lives, java)))


def test_savepoint_of_pyflinks_operator_goes_on(
    kafka: LocalKafka, settings: FlinkSettings, tmp_path: Path
) -> None:
    """Commit 3a42166 took it after 20 records of each input: its hops were PyFlink's operators."""
    topics = Topics(kafka, "older", flink_jobs.three_collected())
    producer = Producer(topics.config)
    for stream in topics.job.inputs:
        for n in range(40):
            value, at = b"s%d|text %d" % (n % 4, n), 1_700_000_000_000 + n
            producer.produce(topics.names[stream], value, b"k%d" % (n % 3), timestamp=at)
        producer.flush()
    inputs = topics.inputs()
    before = [message for message in inputs if message.offset < 20]
    wanted = expect(topics.job, [*before, *(each for each in inputs if each.offset >= 20)])
    wanted = [out for out in wanted if int(out.source.rsplit(b"/")[-1]) >= 20]
    settings = replace(
        settings,
        bounded=False,
        restore=Path(__file__).parent / "fixtures" / "savepoint_of_pyflink",
        delivery="at-least-once",
    )
    process = start_job(topics, settings, tmp_path / "printed", "three_collected")
    try:
        until(lambda: len(topics.outputs()) >= len(wanted))
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(DEADLINE_S)
    assert (tmp_path / "printed").read_text() == ""
    counted, theirs = by_key(topics.outputs()), by_key(wanted)
    assert counted.keys() == theirs.keys()
    for place, outs in counted.items():
        # Two inputs have no order between them; what was counted before has.
        assert _numbers(outs) == _numbers(theirs[place])
    # The first records after it quote those before, which lay in chunks.
    quoted = [re.search(rb"text 1?\d@.*text 2\d@", out.value or b"") for out in topics.outputs()]
    assert any(quoted)


def _numbers(outs: Sequence[Out]) -> list[bytes]:
    return sorted(re.findall(rb"\d+", out.value or b"")[0] for out in outs)


def test_uids_come_from_the_job_and_stay_when_it_grows(settings: FlinkSettings) -> None:
    job = flink_jobs.three_hops()
    grown = replace(
        job, inputs=("notes", *job.inputs, "more"), outputs=("first", *job.outputs, "last")
    )
    with Jvm(settings.folder, settings.jars, options=SHORT_LIVED_JAVA) as jvm:
        jvm.connect()
        from verdict.pipelines.engines.flink.graph import Graph

        def uids(job: Job) -> set[str]:
            names = {stream: stream for stream in (*job.inputs, *job.outputs)}
            graph = Graph(job, names, settings, None)
            found = graph.env._j_stream_execution_environment.getTransformations()
            assert [name for name in (t.getName() for t in found) if name not in graph.uids] == []
            return set(graph.uids)

        few, many = uids(job), uids(grown)
    assert few < many
    sinks = {f"{hop.name}/sink/{output}" for hop in job.hops for output in job.outputs}
    roles = {"source/events", "source/labels", "parse", "first", "first/in/key", "second"}
    assert {f"tests/three/{role}" for role in roles | sinks} < few
    assert set(stateful(job)) == {
        f"tests/three/{role}"
        for role in {"source/events", "source/labels", "first", "second", *sinks}
    }
    assert set(stateful(job)) < few


def test_cluster_that_is_not_there_is_told_at_once(settings: FlinkSettings) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    with (
        pytest.raises(FlinkError, match=f"^{nowhere}: no Flink cluster answers"),
        submitting(nowhere, settings),
    ):
        pass


def test_program_that_flink_starts_itself(
    kafka: LocalKafka, settings: FlinkSettings, tmp_path: Path
) -> None:
    """Its job holds Flink's own state to what every store promises: see `tests/contract/`."""
    topics = Topics(kafka, "driven", promising())
    topics.send("events", [(b"%d" % (number % 3), b"") for number in range(9)])
    (tmp_path / "settings.json").write_text(settings.as_json())
    (tmp_path / "config.yaml").write_text("{}")

    # As `flink run` and application mode do, though with a mini cluster.
    program = [str(Path(main.__file__)), "tests.contract.promises:promising"]
    program += ["--settings", str(tmp_path / "settings.json"), "--topics", json.dumps(topics.names)]
    driver = java(
        "org.apache.flink.client.python.PythonDriver",
        settings.jars,
        tmp_path / "log",
        tmp_path,
        SHORT_LIVED_JAVA,
    )
    done = subprocess.run(
        [*driver, "-pyclientexec", sys.executable, "-py", *program],
        env={**environment(tmp_path, [ROOT]), "_python_worker_execution_mode": "process"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert [out.value for out in topics.outputs()] == 9 * [b"last [1048576, -1, 3]"]


def _await_checkpoint(folder: Path) -> None:
    """Wait for a checkpoint that was begun after now: the next but one."""
    seen = {latest_checkpoint(folder)}

    def two_more() -> bool:
        seen.add(latest_checkpoint(folder))
        return len(seen) > 2

    until(two_more)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
