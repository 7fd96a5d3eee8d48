"""Flink's REST API, by a server of our own: what is asked, what is understood, what is refused."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from verdict.pipelines.engines.flink import rest as module
from verdict.pipelines.engines.flink.rest import Rest, Slots, cause_of
from verdict.pipelines.errors import FlinkError
from verdict.pipelines.local.ports import free_port


class Cluster:
    """A JobManager that answers from a script.

    ``answers`` has for ``METHOD path`` what it says, one after the other, the last for ever: JSON,
    or a status and a text.
    """

    def __init__(self) -> None:
        self.answers: dict[str, list[Any]] = {}
        self.asked: list[tuple[str, Any]] = []
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                size = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(size)) if size else None
                place = f"{self.command} {self.path}"
                cluster.asked.append((place, body))
                said = cluster.answers.get(place, [(404, "{}")])
                answer = said.pop(0) if len(said) > 1 else said[0]
                status, text = answer if isinstance(answer, tuple) else (200, json.dumps(answer))
                self.send_response(status)
                self.end_headers()
                self.wfile.write(text.encode())

            do_POST = do_PATCH = do_GET

            def log_message(self, format: str, *args: object) -> None: ...

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        self.rest = Rest(f"127.0.0.1:{self.server.server_port}")

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.setattr(module, "LOOK_S", 0.0)
    # A cluster is asked where it is, whatever the environment says.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    made = Cluster()
    yield made
    made.close()


def test_jobs_are_found_by_name_while_they_have_not_ended(cluster: Cluster) -> None:
    jobs = [
        {"jid": "a", "name": "p/score", "state": "RUNNING"},
        {"jid": "b", "name": "p/score", "state": "CANCELED"},
        {"jid": "c", "name": "p/watch", "state": "RUNNING"},
    ]
    cluster.answers["GET /jobs/overview"] = [{"jobs": jobs}]
    assert cluster.rest.jobs("p/score") == {"a": "RUNNING"}


def test_tasks_are_counted_by_state(cluster: Cluster) -> None:
    vertices = [
        {"tasks": {"RUNNING": 2, "CREATED": 0}},
        {"tasks": {"RUNNING": 1, "INITIALIZING": 1}},
    ]
    cluster.answers["GET /jobs/a"] = [{"vertices": vertices, "state": "RUNNING"}]
    assert cluster.rest.tasks("a") == {"RUNNING": 3, "INITIALIZING": 1}
    assert cluster.rest.state("a") == "RUNNING"


def test_slots_and_checkpoints(cluster: Cluster) -> None:
    cluster.answers["GET /overview"] = [{"slots-total": 4, "slots-available": 1}]
    cluster.answers["GET /jobs/a/checkpoints"] = [{"counts": {"completed": 7}}]
    cluster.answers["POST /jobs/a/checkpoints"] = [{"request-id": "r"}]
    cluster.answers["PATCH /jobs/a?mode=cancel"] = [{}]
    assert cluster.rest.slots() == Slots(4, 1)
    assert cluster.rest.checkpoints("a") == 7
    cluster.rest.checkpoint("a")
    cluster.rest.cancel("a")
    assert cluster.asked[2:] == [
        ("POST /jobs/a/checkpoints", {"checkpointType": "CONFIGURED"}),
        ("PATCH /jobs/a?mode=cancel", None),
    ]


@pytest.mark.parametrize(
    ("entries", "newest"), [([], ""), ([{"stacktrace": "b"}, {"stacktrace": "a"}], "b")]
)
def test_the_last_failure(cluster: Cluster, entries: list[Any], newest: str) -> None:
    history = {"exceptionHistory": {"entries": entries}}
    cluster.answers["GET /jobs/a/exceptions"] = [history]
    assert cluster.rest.failure("a") == newest


class Stopping:
    """Makes a savepoint at the third look, and ends at the second after it."""

    def __init__(self, cluster: Cluster, operation: dict[str, Any]) -> None:
        doing = {"status": {"id": "IN_PROGRESS"}}
        done = {"status": {"id": "COMPLETED"}, "operation": operation}
        cluster.answers |= {
            "POST /jobs/a/stop": [{"request-id": "r"}],
            "GET /jobs/a/savepoints/r": [doing, doing, done],
            "GET /jobs/a": [{"state": "RUNNING"}, {"state": "FINISHED"}],
        }


def test_a_job_is_stopped_when_its_savepoint_is_there_and_it_has_ended(cluster: Cluster) -> None:
    Stopping(cluster, {"location": "file:/s/a%20b/savepoint-1"})
    assert cluster.rest.stop("a", Path("/s"), 60) == Path("/s/a b/savepoint-1")
    (_, body), *rest = cluster.asked
    assert body == {"targetDirectory": "file:///s", "drain": False, "formatType": "NATIVE"}
    assert [place for place, _ in rest] == 3 * ["GET /jobs/a/savepoints/r"] + 2 * ["GET /jobs/a"]


def test_a_savepoint_that_fails_is_said_and_the_job_goes_on(cluster: Cluster) -> None:
    stack = "CheckpointException: no\n\tat a.b(C.java:1)\nCaused by: java.io.IOException: disk full"
    Stopping(cluster, {"failure-cause": {"stack-trace": stack}})
    says = "job a on .* made no savepoint, and goes on: IOException: disk full"
    with pytest.raises(FlinkError, match=says) as caught:
        cluster.rest.stop("a", Path("/s"), 60)
    assert caught.value.details == stack


def test_a_savepoint_that_takes_too_long_is_given_up(cluster: Cluster) -> None:
    Stopping(cluster, {"location": "file:/s/1"})
    with pytest.raises(FlinkError, match="has no savepoint after 0 s; look at its checkpoints"):
        cluster.rest.stop("a", Path("/s"), 0)


def test_a_refusal_is_its_first_line_and_the_whole_for_who_asks(cluster: Cluster) -> None:
    text = json.dumps({"errors": ["Job a not found\n\tat a.b(C.java:1)"]})
    cluster.answers["GET /jobs/a"] = [(404, text)]
    with pytest.raises(FlinkError, match=r"^127\.0\.0\.1:\d+/jobs/a: Job a not found$") as caught:
        cluster.rest.state("a")
    assert caught.value.details == "Job a not found\n\tat a.b(C.java:1)"
    cluster.answers["GET /jobs/a"] = [(502, "Bad Gateway\n<html>")]
    with pytest.raises(FlinkError, match=r"/jobs/a: Bad Gateway$"):
        cluster.rest.state("a")


def test_what_is_no_flink_is_said(cluster: Cluster) -> None:
    cluster.answers["GET /overview"] = [(200, "<html>")]
    with pytest.raises(FlinkError, match=r"no Flink cluster answers .*; is its JobManager up"):
        cluster.rest.slots()


def test_nobody_there_is_said() -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    with pytest.raises(FlinkError, match=f"^{nowhere}: no Flink cluster answers"):
        Rest(nowhere).get("/overview")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "no cause given"),
        ("java.lang.RuntimeException: a\n\tat x\nCaused by: java.io.IOException: b\n\tat y", "b"),
        ("a.b.C: x\nCaused by: FlinkError: p/score failed\n\t... 3 more", "p/score failed"),
        (
            "Caused by: pemja.core.PythonException: <class 'a.B'>: two\nlines\n\tat z",
            "B: two\nlines",
        ),
    ],
)
def test_the_cause_is_the_last_one(text: str, cause: str) -> None:
    assert cause_of(text).removeprefix("IOException: ") == cause
