"""Java's libraries: found, fetched once, and refused if they are others."""

import hashlib
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.pipelines.local.test_broker import CHECKOUT
from verdict.pipelines import paths
from verdict.pipelines.errors import LocalError
from verdict.pipelines.local import java


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
