"""The command line: what it says, what it exits with, and that it never shows a stack trace."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer

from verdict.operators.names import Stream
from verdict.pipelines.cli import app
from verdict.pipelines.errors import FlinkError
from verdict.pipelines.formats.avro_file import read_records
from verdict.pipelines.formats.streams import stream_encoder
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.local import daemon
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.spec.load import load

STREAMS = ("decisions", "dead-letters", "shadow-scores", "drift", "comparison")
COMMANDS = ("init", "check", "test", "run", "up", "down", "topics create", "tail")
DEADLINE_S = 60
Verdict = Callable[..., Any]


def squeezed(text: str) -> str:
    """Undo the wrapping of lines."""
    return re.sub(r"[\s│]+", " ", text)


def test_help_lists_every_command_and_says_how_to_begin(verdict: Verdict) -> None:
    ran = verdict("--help")
    assert ran.code == 0
    for command in COMMANDS:
        assert re.search(rf"│ {command.partition(' ')[0]} ", ran.out), command
    assert "A first pipeline: verdict init my-pipeline, then verdict check" in squeezed(ran.out)


SHOW_IMPORTS = """
import sys
from verdict.pipelines.cli.app import app
try:
    app(sys.argv[1:], prog_name="verdict")
finally:
    print("imported", *sorted({name.partition(".")[0] for name in sys.modules}))
"""
LAZY = {"confluent_kafka", "jgo", "onnxruntime", "pyarrow", "pyflink", "river", "rocksdict"}


@pytest.mark.parametrize(
    ("command", "needed"),
    [(["--help"], set()), (["test", "--help"], set()), (["check", "."], {"onnxruntime"})],
    ids=" ".join,
)
def test_a_command_imports_what_it_needs(tiny: Path, command: list[str], needed: set[str]) -> None:
    """A start without what it does not need takes half the time. Of topics: no broker is named."""
    given = tiny / "pipeline.yaml"
    given.write_text(given.read_text().replace("files: [events.jsonl]", "topic: payments"))
    environment = {k: v for k, v in os.environ.items() if k != "VERDICT_BOOTSTRAP"}
    done = subprocess.run(
        [sys.executable, "-c", SHOW_IMPORTS, *command],
        cwd=tiny, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert set(done.stdout.splitlines()[-1].split()) & LAZY == needed


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_every_command_says_what_to_do_next(verdict: Verdict, command: str) -> None:
    ran = verdict(*command.split(), "--help")
    assert ran.code == 0
    assert re.search(r" Next: .*verdict |add -f", squeezed(ran.out))


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["chek"], "No such command 'chek'"),
        (["run", "p", "--evnts", "x"], "No such option: --evnts"),
        (["check"], "Missing argument 'PIPELINE'"),
        (["tail", "p", "decision"], "'decision' is not one of 'decisions', 'dead-letters'"),
        (["tail", "p", "-n", "-1"], "'-n'"),
        (["topics", "create", "p", "--partitions", "0"], "'--partitions'"),
        (["run", "p", "--rate", "0"], "'--rate'"),
        (["run", "p", "--engine", "spark"], "'--engine'"),
    ],
)
def test_a_mistyped_command_is_explained_and_exits_with_2(
    verdict: Verdict, arguments: list[str], says: str
) -> None:
    ran = verdict(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert says in squeezed(ran.err)
    assert "Traceback" not in ran.err


def test_without_a_command_there_is_help(verdict: Verdict) -> None:
    ran = verdict()
    assert ran.code == 2
    assert "Usage: verdict" in ran.out + ran.err


def test_init_makes_a_pipeline_and_says_what_to_do_next(verdict: Verdict, tmp_path: Path) -> None:
    folder = tmp_path / "my-[b]pipeline"
    ran = verdict("init", folder)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [
        f"Made {folder}. Next:",
        f"  verdict check {folder}",
        f"  verdict test {folder}",
        f"  verdict run {folder}",
        f"  verdict tail {folder} decisions",
    ]
    again = verdict("init", folder)
    assert again.code == 1
    assert again.err == f"{folder} exists already: name a folder that does not\n"


def test_a_run_and_a_check_of_nothing_are_errors(verdict: Verdict, tmp_path: Path) -> None:
    for command in ("check", "run", "tail"):
        ran = verdict(command, tmp_path)
        assert (ran.code, ran.out) == (1, "")
        assert ran.err == f"{tmp_path}/pipeline.yaml: cannot be read: No such file or directory\n"


def test_v_shows_the_stack_trace(verdict: Verdict, tmp_path: Path) -> None:
    ran = verdict("-v", "check", tmp_path)
    assert ran.code == 1
    assert "Traceback" in ran.err
    assert ran.err.splitlines()[-1].endswith("cannot be read: No such file or directory")
    assert "Traceback" not in verdict("check", tmp_path).err


def test_v_shows_what_flink_said(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def fail() -> None:
        raise FlinkError("the job died", "org.apache.flink.SomeException")

    assert app.guarded(fail) == 1
    assert "SomeException" not in capsys.readouterr().err
    monkeypatch.setattr(app, "verbose", True)
    assert app.guarded(fail) == 1
    assert "org.apache.flink.SomeException" in capsys.readouterr().err


def test_a_run_from_files_says_what_it_made_and_then_that_nothing_is_new(
    verdict: Verdict, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny.parent)
    ran = verdict("run", "tiny", "--job", "score")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == ["10 events", "        10 out/decisions.avro"]
    ran = verdict("run", "tiny", "--job", "score")
    kept = tiny / ".verdict/my-pipeline/files"
    assert ran.out.splitlines() == [
        "10 events",
        f"  nothing new: {kept} remembers them; delete it to start anew",
    ]
    ran = verdict("run", "tiny", "--job", "score", "--json")
    assert json.loads(ran.out) == {"events": 10, "outputs": {}, "folder": "out"}
    assert len(list(read_records(Path("out/decisions.avro")))) == 10


def test_two_pipelines_of_a_folder_keep_their_state_apart(
    verdict: Verdict, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny)
    other = (tiny / "pipeline.yaml").read_text().replace("my-pipeline", "other")
    (tiny / "other.yaml").write_text(other)
    for file, out in (("pipeline.yaml", "a"), ("other.yaml", "b")):
        ran = verdict("run", file, "--job", "score", "--to", out, "--json")
        assert json.loads(ran.out)["outputs"] == {"decisions": 10}


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--engine", "flink"], "events from files run on the embedded engine; give Flink a topic"),
        (["--job", "shadow"], "from files, score feeds shadow: name both by --job"),
        (["--job", "scores"], "there is no job 'scores'; there are score, shadow, watch, labels"),
        (["--events", "a.csv"], "'a.csv': events of format json lie in .jsonl files"),
        (["--events", "none.jsonl"], "none.jsonl: No such file or directory"),
    ],
)
def test_a_run_from_files_that_makes_no_sense_is_refused(
    verdict: Verdict, tiny: Path, tmp_path: Path, options: list[str], says: str
) -> None:
    ran = verdict("run", tiny, "--to", tmp_path / "out", *options)
    assert (ran.code, ran.out) == (1, "")
    assert says in ran.err and "Traceback" not in ran.err


def test_confluents_format_is_not_for_files(verdict: Verdict, tiny: Path, tmp_path: Path) -> None:
    with (tiny / "pipeline.yaml").open("a") as file:
        file.write("settings: {output_format: confluent, schemas: {folder: s}}\n")
    ran = verdict("run", tiny, "--to", tmp_path / "out")
    assert (ran.code, ran.err) == (
        1,
        "settings.output_format is of topics; from files it must be avro\n",
    )


@pytest.fixture(scope="module")
def ran_from_files(example: Any, variant: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example's pipeline, run over its events with all its jobs."""
    folder = tmp_path_factory.mktemp("from-files")
    file = variant(folder / "pipeline.yaml")
    command = ["run", str(file), "--events", str(example.events), "--to", str(folder / "out")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["verdict", *command, "--json"])
        handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
        with pytest.raises(SystemExit) as end:
            app.main()
        for each, handler in handlers.items():
            signal.signal(each, handler)
    assert end.value.code == 0
    return folder


LINES = {
    "decisions": r"2026-01-\d\dT\d\d:\d\d:\d\d\.\d{3}Z tx-\d+-\d+ [\d.]+ EUR 0\.\d{4} \w+ \(.+\)",
    "dead-letters": r"\S+/0/\d+ (decode|validate): .+",
    "shadow-scores": r"tx-\S+ card-fraud-lightgbm 0\.\d{4} \w+ [=!] card-fraud-sklearn 0\.\d{4} .+",
    "drift": r"2026-01-\S+ \w+ n=\d+ PSI (-|\d\.\d{3}) (cold|sparse|stable|alarm).*",
    "comparison": r"2026-01-\S+ card-fraud-\S+ vs card-fraud-\S+: [\d,]+ of [\d,]+ agreed \(.*%\)",
}


@pytest.mark.parametrize("stream", STREAMS)
def test_tail_shows_every_stream_of_a_run_from_files(
    verdict: Verdict, ran_from_files: Path, stream: str
) -> None:
    where = [ran_from_files, stream, "--from", ran_from_files / "out"]
    ran = verdict("tail", *where, "-n", "3")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert len(lines) == (2 if stream == "comparison" else 3)
    assert all(re.fullmatch(LINES[stream], line) for line in lines), lines
    records = [json.loads(line) for line in verdict("tail", *where, "--json").out.splitlines()]
    assert len(lines) <= len(records) <= 10
    assert all(record["pipeline"] == "card-fraud" for record in records)


def test_tail_shows_text_as_it_is(verdict: Verdict, tiny: Path, tmp_path: Path) -> None:
    """Neither rich's markup nor its emoji, nor a line broken at the terminal's width."""
    event = json.loads((tiny / "events.jsonl").read_text().splitlines()[0])
    events = [
        {**event, "id": "[/red] [bold]a :smile:" + "x" * 100},
        {**event, "id": "b", "time": "[/red]"},
    ]
    (tiny / "odd.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events))
    out = tmp_path / "out"
    ran = verdict("run", tiny, "--events", tiny / "odd.jsonl", "--to", out, "--job", "score")
    assert ran.code == 0, ran.err
    ran = verdict("tail", tiny, "--from", out)
    assert f" {events[0]['id']} 0.0534 approve" in ran.out
    ran = verdict("tail", tiny, "dead-letters", "--from", out)
    assert "'[/red]'" in ran.out


def test_tail_of_what_is_not_there_says_what_to_do(
    verdict: Verdict, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny)
    ran = verdict("tail", tiny)
    assert ran.code == 1
    assert ran.err == (
        "there is no out/decisions.avro: run the pipeline first, or name its folder by --from\n"
    )
    ran = verdict("tail", tiny, "-f")
    assert (ran.code, ran.err) == (
        1,
        "-f follows a topic; what lies in out is shown without it\n",
    )


@pytest.mark.parametrize("stream", Stream)
def test_tail_knows_every_stream(
    verdict: Verdict, tiny: Path, monkeypatch: pytest.MonkeyPatch, stream: Stream
) -> None:
    monkeypatch.chdir(tiny)
    ran = verdict("tail", tiny, stream)
    wanted = f"there is no out/{stream}.avro"
    if not stream.always:
        wanted = f"puts out no {stream}; name one of decisions, dead-letters, "
    assert (ran.code, ran.out) == (1, "")
    assert wanted in ran.err


def test_up_and_down_say_where_the_broker_is(
    verdict: Verdict, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(daemon, "up", lambda _: "127.0.0.1:9999")
    monkeypatch.setattr(daemon, "down", lambda folder: folder == tmp_path)
    assert verdict("up").out == "A broker answers at 127.0.0.1:9999. 'verdict down' stops it.\n"
    assert json.loads(verdict("up", "--json").out) == {
        "bootstrap": "127.0.0.1:9999",
        "folder": ".verdict/broker",
    }
    assert verdict("down", "--folder", tmp_path).out == "Stopped.\n"
    assert verdict("down").out == "No broker of this folder runs.\n"


@pytest.fixture(scope="module")
def live(on_kafka: Any, example: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The example's pipeline on Kafka, with its events there and no job run yet."""
    stage = on_kafka(tmp_path_factory.mktemp("live"), "live")
    producer = Producer(stage.clients.producer)
    for key, value in example.messages:
        producer.produce("live-events", value, key)
        producer.poll(0)
    assert producer.flush(20) == 0
    return stage


def test_topics_are_created_once(verdict: Verdict, on_kafka: Any, tmp_path: Path) -> None:
    stage = on_kafka(tmp_path, "create", create=False)
    names = list(stage.pipeline.topics.values())
    ran = verdict("topics", "create", stage.file, "--partitions", "2")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.splitlines() == [f"  {name}: created" for name in names]
    ran = verdict("topics", "create", stage.file)
    assert ran.out.splitlines() == [f"  {name}: there already" for name in names]
    ran = verdict("topics", "create", stage.file, "--json")
    assert json.loads(ran.out) == {"created": [], "topics": names}


@pytest.mark.parametrize("verbose", [False, True])
def test_a_missing_topic_is_an_error_that_names_the_command(
    verdict: Verdict, on_kafka: Any, tmp_path: Path, verbose: bool
) -> None:
    stage = on_kafka(tmp_path, f"absent-{verbose}".lower(), create=False)
    for command in ("run", "tail"):
        ran = verdict(*(["-v"] if verbose else []), command, stage.file)
        assert (ran.code, ran.out) == (1, "")
        assert "do not exist" in ran.err or "does not exist" in ran.err
        assert "'verdict topics create PIPELINE'" in ran.err
        assert ("Traceback" in ran.err) == verbose


def test_a_broker_that_is_not_there_is_said_within_ten_seconds(
    verdict: Verdict, variant: Any, tmp_path: Path
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    kafka = {"bootstrap.servers": f"127.0.0.1:{port}"}
    file = variant(tmp_path / "pipeline.yaml", settings={"kafka": kafka})
    started = time.monotonic()
    ran = verdict("run", file)
    assert time.monotonic() - started < 10
    assert (ran.code, ran.out) == (1, "")
    assert f"no broker answers at 127.0.0.1:{port}" in ran.err
    assert "start one with 'verdict up'" in ran.err
    assert "Traceback" not in ran.err


def test_on_kafka_each_job_is_a_process(verdict: Verdict, live: Any) -> None:
    ran = verdict("run", live.file, "--job", "score", "--job", "shadow")
    assert (ran.code, ran.err) == (
        1,
        "on Kafka each job is a process of its own: name one with --job\n",
    )


def test_a_run_on_kafka_says_how_much_it_read_and_then_that_nothing_is_new(
    verdict: Verdict, live: Any, example: Any
) -> None:
    ran = verdict("run", live.file, "--bounded")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == f"{len(example.messages):,} records of live-events\n"
    ran = verdict("run", live.file, "--bounded")
    kept = live.file.parent / ".verdict/live/score"
    assert ran.out.splitlines() == [
        "0 records of live-events",
        f"  nothing new: {kept} remembers how far score has read",
    ]
    ran = verdict("run", live.file, "--bounded", "--job", "score", "--json")
    assert json.loads(ran.out) == {"job": "score", "records": 0}
    for job in ("shadow", "watch"):
        ran = verdict("run", live.file, "--bounded", "--job", job)
        assert (ran.code, ran.err) == (0, "")


@pytest.mark.parametrize("stream", STREAMS)
def test_tail_shows_every_stream_of_a_topic(verdict: Verdict, live: Any, stream: str) -> None:
    ran = verdict("tail", live.file, stream, "-n", "3")
    assert (ran.code, ran.err) == (0, "")
    lines = ran.out.splitlines()
    assert len(lines) == (2 if stream == "comparison" else 3)
    assert all(re.fullmatch(LINES[stream], line) for line in lines), lines
    records = verdict("tail", live.file, stream, "--json").out.splitlines()
    assert len(lines) <= len(records) <= 10
    assert all(json.loads(record)["pipeline"] == "live" for record in records)
    assert verdict("tail", live.file, stream, "-n", "0").out == ""


RISK = {"rate": "label", "over": "3d", "delay": "7d", "by": "terminal", "default": 0}
LABEL_FIELDS = (
    ("payment", "string"),
    ("fraud", "boolean"),
    ("known_at", {"type": "long", "logicalType": "timestamp-millis"}),
)


def test_tail_shows_answers_and_labels_of_their_topics(
    verdict: Verdict, variant: Any, kafka: LocalKafka, tmp_path: Path
) -> None:
    answer: dict[str, Any] = {
        "command_id": "1",
        "pipeline": "tailed",
        "command": "forget",
        "entity": "customer",
        "key": "c1",
        "by": "me",
        "why": "case 7",
        "found": True,
        "remembered": None,
    }
    label: dict[str, Any] = {
        "pipeline": "tailed",
        "event_id": "tx-1",
        "event_time": 1_767_225_600_000,
        "keys": [{"entity": "customer", "key": "c1"}, {"entity": "terminal", "key": None}],
        "positive": True,
        "known_at": 1_767_225_700_000,
        "source": "bank",
    }
    records = {Stream.STATE_ANSWERS: answer, Stream.ENTITY_LABELS: label}
    fields = [{"name": name, "type": kind} for name, kind in LABEL_FIELDS]
    schema = {"type": "record", "name": "Label", "fields": fields}
    (tmp_path / "label.avsc").write_text(json.dumps(schema))
    told = {"event_id": "payment", "value": "fraud", "known_at": "known_at", "format": "json"}
    file = variant(
        tmp_path / "pipeline.yaml",
        topics={each: f"tailed-{each}" for each in ("state-commands", *map(str, records))},
        labels={"topic": "tailed-labels", "schema": "label.avsc", **told},
        features={"terminal_risk": RISK},
        settings={"kafka": {"bootstrap.servers": kafka.bootstrap}},
    )
    made = clients(load(file).spec.settings)
    create_topics(made, [f"tailed-{stream}" for stream in records])
    producer = Producer(made.producer)
    for stream, record in records.items():
        producer.produce(f"tailed-{stream}", stream_encoder(stream)(record))
    assert producer.flush(20) == 0
    ran = verdict("tail", file, "state-answers")
    assert (ran.err, ran.out) == ("", "forget customer c1: found (by me: case 7)\n")
    ran = verdict("tail", file, "entity-labels")
    line = "2026-01-01T00:00:00.000Z tx-1 customer=c1 terminal=- positive by bank\n"
    assert (ran.err, ran.out) == ("", line)
    assert json.loads(verdict("tail", file, "entity-labels", "--json").out)["event_id"] == "tx-1"


def test_tail_shows_the_drift_of_the_whole_record(verdict: Verdict, live: Any) -> None:
    record = json.loads(verdict("tail", live.file, "drift", "-n", "1", "--json").out)
    assert set(record) == {
        "pipeline",
        "feature",
        "window_start",
        "window_end",
        "count",
        "missing",
        "mean",
        "std",
        "state",
        "psi",
        "detectors",
        "since",
        "edges",
        "before",
        "after",
    }


@contextmanager
def started(*arguments: str | Path) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-m", "verdict", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(condition: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def stopped(process: "subprocess.Popen[str]", number: int) -> tuple[int, str, str]:
    asked = time.monotonic()
    process.send_signal(number)
    out, err = process.communicate(timeout=DEADLINE_S)
    assert time.monotonic() - asked < 10
    return process.returncode, out, err


def test_ctrl_c_ends_a_run_on_kafka_with_exit_code_0(
    on_kafka: Any, example: Any, tmp_path: Path
) -> None:
    """And `tail -f`, which shows meanwhile what comes out."""
    stage = on_kafka(tmp_path, "ctrl-c")
    with started("run", stage.file) as run, started("tail", stage.file, "-f", "--json") as tail:
        producer = Producer(stage.clients.producer)
        for key, value in example.messages[:20]:
            producer.produce("ctrl-c-events", value, key)
        assert producer.flush(20) == 0
        assert tail.stdout is not None
        first = json.loads(tail.stdout.readline())
        assert first["pipeline"] == "ctrl-c"
        code, _, err = stopped(tail, signal.SIGINT)
        assert (code, err) == (0, "")
        code, out, err = stopped(run, signal.SIGINT)
        assert (code, err) == (0, "")
        assert out.endswith(" records of ctrl-c-events\n")


def test_sigterm_ends_a_run_from_files_and_the_next_goes_on(
    verdict: Verdict, variant: Any, example: Any, tmp_path: Path
) -> None:
    file = variant(tmp_path / "pipeline.yaml")
    command = ["run", file, "--events", example.events, "--to", tmp_path / "out", "--job", "score"]
    decisions = tmp_path / "out/decisions.avro"
    with started(*command, "--rate", "100", "--json") as run:
        wait_for(lambda: decisions.exists() and decisions.stat().st_size > 5_000, run)
        code, out, err = stopped(run, signal.SIGTERM)
    assert (code, err) == (0, "")
    first = json.loads(out)
    ran = verdict(*command, "--json")
    rest = json.loads(ran.out)
    assert 0 < first["events"] < rest["events"]
    made = first["outputs"]["decisions"] + rest["outputs"]["decisions"]
    assert made == len(list(read_records(decisions)))
    assert rest["events"] == sum(first["outputs"].values()) + sum(rest["outputs"].values())


def test_a_secret_is_in_no_error(verdict: Verdict, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hunter2")
    spec = yaml.safe_load((tiny / "pipeline.yaml").read_text())
    del spec["events"]["files"]
    spec["events"]["topic"] = "payments"
    secret = {"file": str(tmp_path / "secret")}
    spec["settings"] = {"kafka": {"sasl.password": secret, "security.protocol": "nonsense"}}
    (tiny / "pipeline.yaml").write_text(yaml.safe_dump(spec, sort_keys=False))
    for options in ([], ["-v"]):
        ran = verdict(*options, "run", tiny)
        assert ran.code == 1
        assert "hunter2" not in ran.out + ran.err


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--events", "old.jsonl"], "--events and --files-until go together"),
        (["--files-until", "2026-01-01"], "--events and --files-until go together"),
        (
            ["--cluster", "c:1", "--events", "old.jsonl", "--files-until", "2026-01-01"],
            "produce the files into the events' topic first, or bootstrap on the embedded engine",
        ),
        (["--cluster", "c:1", "--until", "state"], "the job that decides is stopped by itself"),
        (["--cluster", "c:1"], "this state knows of no job that 'verdict run --cluster' submitted"),
    ],
)
def test_a_bootstrap_that_makes_no_sense_is_refused(
    verdict: Verdict, on_kafka: Any, tmp_path: Path, options: list[str], says: str
) -> None:
    stage = on_kafka(tmp_path, "refused", create=False)
    ran = verdict("bootstrap", stage.file, "--state", tmp_path / "state", *options)
    assert ran.code == 1
    assert says in squeezed(ran.err)
    assert "Traceback" not in ran.err


def test_a_bootstrap_reads_files_up_to_a_time_and_the_topic_from_there(
    verdict: Verdict, live: Any, example: Any, tmp_path: Path
) -> None:
    times = sorted(record["event_time"] for record in read_records(example.events))
    until = times[len(times) // 2].strftime("%Y-%m-%dT%H:%M:%S")
    options = ["--state", tmp_path / "state", "--events", example.events, "--files-until", until]
    ran = verdict("bootstrap", live.file, *options, "--json")
    assert (ran.code, ran.err) == (0, "")
    said = json.loads(ran.out)
    assert said["of_files"] == len(times)
    assert said["records"] == said["offsets"]["live-events/0"] == len(example.messages)
    assert len(times) // 2 - 100 < said["skipped"] <= len(times) // 2
    again = verdict("bootstrap", live.file, *options)
    assert again.out.splitlines()[0].startswith("0 records of live-events read into ")
