import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from verdict.pipelines import paths
from verdict.pipelines.errors import LocalError
from verdict.pipelines.local import daemon, java
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


def test_jars_at_hand_cost_no_time_and_no_jgo() -> None:
    java.flink_jars()
    java.kafka_classpath()
    script = (
        "import sys, time; from verdict.pipelines.local import java\n"
        "start = time.perf_counter(); java.flink_jars(); java.kafka_classpath()\n"
        "print(time.perf_counter() - start, *(m for m in ('jgo', 'rich', 'requests') "
        "if m in sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True, check=True
    )
    seconds, *imported = done.stdout.split()
    assert not imported
    assert float(seconds) < 0.05


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("VERDICT_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert paths.cache_folder() == Path("/home/somebody/.cache/verdict")
    monkeypatch.setenv("XDG_CACHE_HOME", "/cache")
    assert paths.cache_folder() == Path("/cache/verdict")
    monkeypatch.setenv("VERDICT_CACHE", "/own")
    assert paths.cache_folder() == Path("/own")


JAR = b"a jar"


class Mirror(ThreadingHTTPServer):
    """A Maven repository of one jar, which counts how often it was fetched."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.fetched: list[str] = []


class Request(BaseHTTPRequestHandler):
    server: Mirror

    def do_GET(self) -> None:
        found = self.path == "/org/example/thing/1.0/thing-1.0.jar"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(JAR) if found else 0))
        self.end_headers()
        if found:
            self.server.fetched.append(self.path)
            self.wfile.write(JAR)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Mirror]:
    with Mirror() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        monkeypatch.setenv("VERDICT_MAVEN", f"http://127.0.0.1:{server.server_port}/")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setenv("VERDICT_CACHE", str(tmp_path / "cache"))
        yield server
        server.shutdown()
        thread.join()


def pin(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    coordinate: str = "org.example:thing:1.0",
    sha256: str = hashlib.sha256(JAR).hexdigest(),
) -> None:
    file = tmp_path / "jars.txt"
    file.write_text(f"# pinned\n[kafka]\n\n[flink]\n{coordinate} sha256:{sha256}\n")
    monkeypatch.setattr(java, "resource", lambda _: file)


def test_two_at_once_fetch_a_jar_once(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(tmp_path, monkeypatch)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: java.flink_jars(), range(4)))
    jar = tmp_path / "cache" / "jars" / "thing-1.0.jar"
    assert found == [[jar]] * 4
    assert jar.read_bytes() == JAR
    assert len(mirror.fetched) == 1
    assert not list(jar.parent.glob(".partial*"))


@pytest.mark.usefixtures("mirror")
def test_a_jar_with_another_hash_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(tmp_path, monkeypatch, sha256="0" * 64)
    with pytest.raises(LocalError, match=r"org\.example:thing:1\.0: the jar fetched has sha256"):
        java.flink_jars()
    assert not list((tmp_path / "cache" / "jars").glob("*.jar"))


@pytest.mark.usefixtures("mirror")
def test_a_jar_that_is_not_there_is_an_error_with_advice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(tmp_path, monkeypatch, coordinate="org.example:thing:2.0")
    with pytest.raises(LocalError, match=r"org\.example:thing:2\.0: cannot fetch.*VERDICT_MAVEN"):
        java.flink_jars()


def test_a_registry_out_of_reach_is_an_error_with_advice(
    mirror: Mirror, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin(tmp_path, monkeypatch)
    # The port of a server that is bound to it but does not listen refuses connections.
    mirror.socket.close()
    with pytest.raises(LocalError, match=r"cannot fetch.*HTTPS_PROXY.*VERDICT_MAVEN"):
        java.flink_jars()
