"""Decisions that came more than once: counted, held against each other, shown."""

import json
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from hypothesis import given
from hypothesis import strategies as st

from verdict.pipelines.formats.streams import stream_encoder
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.local.ports import free_port
from verdict.pipelines.outputs.repeats import PAGE, Differing, Repeats, RepeatsMeter
from verdict.pipelines.outputs.repeats_read import read
from verdict.pipelines.telemetry.server import Endpoint, serve

Verdict = Callable[..., Any]
NOW = 1_790_000_000_000
DEADLINE_S = 30


def decision(number: int, score: float = 0.25, **changes: Any) -> bytes:
    """Make a decision of the schema."""
    hops = [{"entity": "customer", "key": "c", "hop_seq": number + 1, "late": False, "cold": []}]
    return stream_encoder("decisions")(
        {
            "decision_id": f"{number:032x}",
            "pipeline": "p",
            "event_id": f"e{number}",
            "event_time": NOW,
            "hops": hops,
            "amount": None,
            "currency": None,
            "model": {"name": "m", "version": "1", "sha256": "0"},
            "repeated": False,
            "score": score,
            "classes": [],
            "action": "approve",
            "because": "otherwise",
            "rules": [],
            "implausible": [],
            "features": {"n": 1.0, "mean": float("nan")},
            "fields": {},
            **changes,
        }
    )


class Topic:
    """Decisions of a pipeline, written in transactions as Flink writes them."""

    def __init__(self, on_kafka: Any, folder: Path, name: str) -> None:
        stage = on_kafka(folder, name, create=False)
        self.file, self.pipeline, self.clients = stage.file, stage.pipeline, stage.clients
        self.name = self.pipeline.topics["decisions"]
        create_topics(self.clients, [self.name], partitions=2)
        self._producer = Producer({**self.clients.producer, "transactional.id": name})
        self._producer.init_transactions(20)

    def write(
        self,
        records: Sequence[tuple[int | bytes | None, bytes | None]],
        partition: int = 0,
        abort: bool = False,
        at: int = NOW,
    ) -> None:
        """Write (offset of the input, value) in one transaction; bytes stand for the header."""
        self._producer.begin_transaction()
        for number, value in records:
            source = f"events/0/{number}".encode() if isinstance(number, int) else number
            headers = [("traceparent", b"00-1"), ("source", source)] if source else None
            self._producer.produce(
                self.name, value, b"c", partition=partition, headers=headers, timestamp=at
            )
        # Else an aborted one would not be sent at all.
        assert self._producer.flush(20) == 0
        if abort:
            self._producer.abort_transaction(20)
        else:
            self._producer.commit_transaction(20)

    def count(self, **asked: Any) -> tuple[Repeats, list[Differing]]:
        seen, found = Repeats(), list[Differing]()
        read(self.pipeline, seen, threading.Event(), differing=found.append, **asked)
        return seen, found


@pytest.fixture
def topic(on_kafka: Any, tmp_path: Path) -> Callable[[str], Topic]:
    return lambda name: Topic(on_kafka, tmp_path, name)


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2 * PAGE), st.sampled_from("abc"))))
def test_counts_are_those_of_brute_force(taken: list[tuple[int, int, str]]) -> None:
    copies: dict[tuple[int, int], list[str]] = defaultdict(list)
    seen = Repeats()
    for at, (partition, number, value) in enumerate(taken):
        before = copies[partition, number]
        differs = seen.take(f"t/{partition}/{number}".encode(), value.encode(), 7, at)
        assert (differs is not None) == bool(before and before[0] != value)
        if differs is not None:
            partition_of, number_of, _ = taken[differs.offset]
            assert (partition_of, number_of) == (partition, number)
            assert (differs.partition, taken[differs.offset][2]) == (7, before[0])
        before.append(value)
    assert seen.read == len(taken)
    assert seen.decisions == len(copies)
    assert seen.repeats == sum(len(each) - 1 for each in copies.values())
    assert seen.repeat_differs == sum(x != each[0] for each in copies.values() for x in each)
    assert seen.last_differs == sum(each[0] != each[-1] for each in copies.values())


def test_the_oldest_are_forgotten_rather_than_memory_used_up() -> None:
    seen = Repeats(most=2 * PAGE)
    for number in (0, PAGE, 2 * PAGE, 0):
        assert seen.take(b"t/0/%d" % number, b"v", 0, number) is None
    assert (seen.decisions, seen.repeats, seen.forgotten) == (4, 0, 2 * PAGE)


def test_a_million_take_what_is_said() -> None:
    tracemalloc.start()
    seen = Repeats()
    for number in range(50_000):
        seen.take(b"t/0/%d" % number, b"v", 0, number)
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert taken < 50_000 * 19


def test_hot_consumers_are_told_of_every_copy(topic: Callable[[str], Topic]) -> None:
    decisions = topic("repeats")
    assert decisions.count()[0].as_json() == dict.fromkeys(Repeats().as_json(), 0)
    decisions.write([(n, decision(n)) for n in range(10)], abort=True)
    decisions.write([(n, decision(n)) for n in range(5, 12)])
    seen, found = decisions.count()
    assert (seen.decisions, seen.repeats, found) == (12, 5, [])

    # The retry of a producer is another record of the events topic; its decision says so.
    decisions.write([(20, decision(3, repeated=True))])
    other = {"n": 1.0, "mean": 4.0}
    decisions.write([(30, decision(30)), (30, decision(30, 0.5))], partition=1)
    decisions.write([(4, decision(4, 0.5)), (11, decision(11, features=other))])
    decisions.write([(4, decision(4))])
    decisions.write([(None, decision(1)), (b"events/0/x", decision(1)), (1, None), (2, b"\x02?")])
    seen, found = decisions.count()
    assert seen.as_json() == {
        "decisions": 14,
        "repeats": 10,
        "repeat_differs": 4,
        "last_differs": 3,
        "left_out": 3,
        "forgotten": 0,
    }
    by_source = {each.source: each for each in found}
    assert {source: each.fields for source, each in by_source.items()} == {
        "events/0/4": ["score"],
        "events/0/11": ["features.mean"],
        "events/0/30": ["score"],
        "events/0/2": None,
    }
    of_30 = by_source["events/0/30"]
    assert of_30.event_id == "e30"
    assert str(of_30.first) == f"{decisions.name}/1/0"
    assert str(of_30.again) == f"{decisions.name}/1/1"
    assert by_source["events/0/2"].event_id is None
    assert len(decisions.count(shown=1)[1]) == 1


def test_only_those_written_since_count(topic: Callable[[str], Topic]) -> None:
    decisions = topic("repeats-since")
    decisions.write([(0, decision(0)), (1, decision(1))], at=NOW)
    decisions.write([(1, decision(1)), (2, decision(2)), (2, decision(2, 0.5))], at=NOW + 1_000)
    seen, _ = decisions.count(since=NOW + 500)
    assert (seen.decisions, seen.repeats, seen.repeat_differs) == (2, 1, 1)
    assert decisions.count(since=NOW + 2_000)[0].read == 0


def test_a_first_copy_that_is_gone_is_told(topic: Callable[[str], Topic]) -> None:
    decisions = topic("repeats-gone")
    decisions.write([(0, decision(0)), (0, decision(0, 0.5))])
    found: list[Differing] = []

    class Deleting(Repeats):
        """Loses the first copy between the two being read."""

        def take(self, *copy: Any) -> Any:
            first = super().take(*copy)
            if first is not None:
                admin = AdminClient(decisions.clients.admin)
                [done] = admin.delete_records([TopicPartition(decisions.name, 0, 1)]).values()
                done.result(20)
            return first

    seen = Deleting()
    read(decisions.pipeline, seen, threading.Event(), differing=found.append)
    assert (seen.repeat_differs, [each.fields for each in found]) == (1, [None])


def scraped(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        text = page.read().decode()
    rows = [row.rpartition(" ") for row in text.splitlines() if not row.startswith("#")]
    return {name: float(value) for name, _, value in rows if "{pipeline=" in name}


def test_followed_topic_is_shown_to_prometheus(topic: Callable[[str], Topic]) -> None:
    decisions = topic("repeats-follow")
    decisions.write([(0, decision(0)), (1, decision(1))])
    seen, stop = Repeats(), threading.Event()
    asked = (decisions.pipeline, seen, stop)
    thread = threading.Thread(target=read, args=asked, kwargs={"follow": True})
    meter = RepeatsMeter("p", seen)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        first = taken.getsockname()[1]
        with closing(serve(Endpoint("127.0.0.1", first, first), meter)) as served:
            assert served.port is None
        with closing(serve(Endpoint("127.0.0.1", first, first + 9), meter)) as served:
            port = served.port
            assert port is not None and port > first
            thread.start()
            until(lambda: seen.read == 2)
            decisions.write([(1, decision(1)), (0, decision(0, 0.5)), (2, decision(2))])
            until(lambda: seen.read == 5)
            assert scraped(port) == {
                'verdict_decisions_read_total{pipeline="p"}': 5,
                'verdict_repeats_total{pipeline="p"}': 2,
                'verdict_repeat_differs_total{pipeline="p"}': 1,
            }
            stop.set()
            thread.join(DEADLINE_S)
            assert not thread.is_alive()
        with pytest.raises(urllib.error.URLError):
            scraped(port)


def test_command_tells_what_differs_and_exits_with_1(
    topic: Callable[[str], Topic], verdict: Verdict
) -> None:
    decisions = topic("repeats-command")
    decisions.write([(0, decision(0)), (1, decision(1)), (1, decision(1))])
    ran = verdict("repeats", decisions.file)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out == "2 decisions, 1 repeats, 0 that differ\n"

    decisions.write([(0, decision(0, 0.5))])
    ran = verdict("repeats", decisions.file)
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.splitlines() == [
        f"e0 {decisions.name}/0/0, again {decisions.name}/0/4: score",
        "2 decisions, 2 repeats, 1 that differ",
        "  newest copy not as the first: 1",
    ]
    ran = verdict("repeats", decisions.file, "--json")
    assert (ran.code, ran.err) == (1, "")
    assert json.loads(ran.out) == {
        "decisions": 2,
        "repeats": 2,
        "repeat_differs": 1,
        "last_differs": 1,
        "left_out": 0,
        "forgotten": 0,
        "differing": [
            {
                "event_id": "e0",
                "source": "events/0/0",
                "first": f"{decisions.name}/0/0",
                "again": f"{decisions.name}/0/4",
                "fields": ["score"],
            }
        ],
    }
    ran = verdict("repeats", decisions.file, "--since", "1 fortnight")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("--since: ")


def test_command_follows_until_it_is_told_to_stop(topic: Callable[[str], Topic]) -> None:
    decisions, port = topic("repeats-command-follow"), free_port()
    text = yaml.safe_load(decisions.file.read_text())
    text["settings"]["metrics"] = {"ports": str(port)}
    decisions.file.write_text(yaml.safe_dump(text))
    decisions.write([(0, decision(0)), (0, decision(0, 0.5))])
    command = [
        sys.executable,
        "-m",
        "verdict",
        "repeats",
        str(decisions.file),
        "--follow",
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().endswith(": score\n")
            assert scraped(port)['verdict_repeat_differs_total{pipeline="repeats-command-follow"}']
            process.send_signal(signal.SIGTERM)
            assert process.stdout.read().startswith("1 decisions, 1 repeats, 1 that differ")
            assert process.wait(DEADLINE_S) == 1
        finally:
            process.kill()


def test_files_have_no_repeats(verdict: Verdict, tiny: Path) -> None:
    ran = verdict("repeats", tiny)
    assert (ran.code, ran.out) == (1, "")
    assert "decided once each" in ran.err
