import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from verdict.pipelines.errors import LocalError
from verdict.pipelines.local import daemon
from verdict.pipelines.local.broker import LocalKafka

CHECKOUT = Path(__file__).parents[3]


def write(bootstrap: str, topic: str, value: bytes) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(timeout=20)
    producer = Producer({"bootstrap.servers": bootstrap})
    producer.produce(topic, value)
    assert producer.flush(20) == 0


def read(bootstrap: str, topic: str) -> bytes | None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": topic, "log_level": 0})
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        message = consumer.poll(20)
        assert message is not None, "no record in 20 s"
        assert message.error() is None, message.error()
        value: bytes | None = message.value()
        return value
    finally:
        consumer.close()


def is_alive(pid: int) -> bool:
    """Whether a process exists; a zombie, which its parent has yet to look at, does not count."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> bool:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    return condition()


def test_a_record_is_read_back(kafka: LocalKafka) -> None:
    write(kafka.bootstrap, "round-trip", b"hello")
    assert read(kafka.bootstrap, "round-trip") == b"hello"


def test_ctrl_c_does_not_reach_the_broker(kafka: LocalKafka) -> None:
    assert os.getsid(kafka.pid) != os.getsid(0)


def test_a_topic_is_not_made_by_accident(kafka: LocalKafka) -> None:
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    assert admin.list_topics("mistyped", timeout=20).topics["mistyped"].error is not None
    assert "mistyped" not in admin.list_topics(timeout=20).topics


@pytest.mark.server
def test_a_record_outlives_a_crash(tmp_path: Path) -> None:
    with LocalKafka(tmp_path) as broker:
        bootstrap = broker.bootstrap
        write(bootstrap, "crash", b"kept")
        crashed = broker.pid
        broker.kill()
        assert not is_alive(crashed)
        broker.restart()
        assert broker.bootstrap == bootstrap
        assert read(bootstrap, "crash") == b"kept"
        last = broker.pid
    assert not is_alive(last)


@pytest.mark.server
def test_the_broker_dies_with_its_parent_and_needs_no_java_of_the_machine(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from verdict.pipelines.local.broker import LocalKafka\n"
        "print(LocalKafka(Path(sys.argv[1])).start().pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = {name: os.environ[name] for name in os.environ if name != "JAVA_HOME"}
    parent = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)],
        cwd=CHECKOUT,
        env={**environment, "PATH": ""},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert parent.returncode == -signal.SIGKILL
    assert wait_until(lambda: not is_alive(int(parent.stdout)))


@pytest.mark.server
def test_an_option_of_java_wins_over_ours(tmp_path: Path) -> None:
    with LocalKafka(tmp_path, java_options=["-XX:TieredStopAtLevel=4"]) as broker:
        command = Path(f"/proc/{broker.pid}/cmdline").read_text().split("\0")
    levels = [option for option in command if option.startswith("-XX:TieredStopAtLevel=")]
    assert levels == ["-XX:TieredStopAtLevel=1", "-XX:TieredStopAtLevel=4"]


@pytest.mark.server
def test_a_start_that_fails_says_what_the_log_says(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "meta.properties").write_text("version=1\nnode.id=7\ncluster.id=other\n")
    broker = LocalKafka(tmp_path)
    with pytest.raises(LocalError, match="Stored node id 7"):
        broker.start()
    with pytest.raises(LocalError, match="does not run"):
        _ = broker.pid


@pytest.mark.server
def test_up_and_down(tmp_path: Path) -> None:
    record = tmp_path / "broker.json"
    assert not daemon.down(tmp_path)
    bootstrap = daemon.up(tmp_path)
    pid = json.loads(record.read_text())["pid"]
    try:
        assert daemon.up(tmp_path) == bootstrap
        assert json.loads(record.read_text()) == {"pid": pid, "bootstrap": bootstrap}
        write(bootstrap, "up", b"kept")

        # The broker is gone, and its id belongs to a process of somebody else.
        ours = record.read_text()
        record.write_text(json.dumps({"pid": os.getpid(), "bootstrap": bootstrap}))
        assert not daemon.down(tmp_path)
        record.write_text(ours)

        # Another folder's broker is foreign too.
        other = tmp_path / "other"
        other.mkdir()
        (other / "broker.lock").touch()
        (other / "broker.json").write_text(ours)
        assert not daemon.down(other)
        assert is_alive(pid)
    finally:
        assert daemon.down(tmp_path)
    assert not Path(f"/proc/{pid}").exists()
    assert not record.exists()
    assert not daemon.down(tmp_path)

    try:
        assert daemon.up(tmp_path) == bootstrap, "clients expect a broker where it was"
        assert read(bootstrap, "up") == b"kept"
    finally:
        assert daemon.down(tmp_path)
