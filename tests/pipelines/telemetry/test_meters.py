"""Metrics: a page says what was counted, one server does for a process, and nobody waits for it."""

import threading
import time
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from verdict.operators.message import NEXT, Emit, Message
from verdict.operators.meter import Meter
from verdict.pipelines.engines.embedded.from_kafka import run_kafka
from verdict.pipelines.engines.embedded.runner import OutputRecord
from verdict.pipelines.errors import OperatorError
from verdict.pipelines.telemetry import server
from verdict.pipelines.telemetry.meters import HopMeter, RunMeter, hop_labels
from verdict.pipelines.telemetry.page import Page
from verdict.pipelines.telemetry.server import Endpoint, serve
from verdict.pipelines.topology import Hop, Job
from verdict.state.store.cache import HeadCache
from verdict.state.store.keyed import KeyedState

ANY = Endpoint("127.0.0.1", 0, 0)

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def scrape(port: int | None) -> Samples:
    """Read a page as Prometheus does; it would refuse one with a sample twice."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page:
        text = page.read().decode()
    found: Samples = {}
    for family in text_string_to_metric_families(text):
        assert family.name.startswith("verdict_"), family.name
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found
            found[key] = sample.value
    return found


def value(samples: Samples, name: str, /, **labels: str) -> float:
    """Return the one sample of a name that has these labels, and perhaps others."""
    wanted = set(labels.items())
    (found,) = [v for (each, has), v in samples.items() if each == name and wanted <= has]
    return found


class Card(SimpleNamespace):
    name, version, sha256 = "m", "3", "ab"


class Half:
    """Passes on every other record, and is an operator with all that one can have."""

    def __init__(self) -> None:
        self.meter = Meter()
        self.models = (Card(),)

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        state.put(state.get() or b"1")
        if self.meter.start():
            self.meter.lap("decode")
        if message.offset % 2:
            self.meter.counts["dead-letters", "decode", "not-avro"] += 1
            yield Emit("dead-letters", b"", b"")
        else:
            yield Emit(NEXT, b"k", message.value)


class Last:
    """Decides, and has nothing to show."""

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        if message.value == b"fail":
            raise KeyError("card-4711")
        return (Emit("decisions", b"", b""),)


JOB = Job(
    "score",
    "p",
    ("events",),
    (Hop("first", True, Half), Hop("last", False, Last)),
    ("decisions", "dead-letters"),
)


class Topic:
    """A broker in memory that lags; ``asked`` is called with each poll."""

    def __init__(self, messages: list[Message], asked: Any = None) -> None:
        self.left, self.asked, self.sent = messages, asked, 0
        self.end = len(messages)

    def poll(self, most: int, timeout: float) -> list[Message]:
        if self.asked is not None:
            self.asked()
        taken, self.left = self.left[:4], self.left[4:]
        return taken

    def send(self, output: OutputRecord) -> None:
        self.sent += 1

    def flush(self) -> None: ...

    def at_end(self, offsets: Mapping[str, int]) -> bool:
        return not self.left

    def lags(self, offsets: Mapping[str, int]) -> dict[tuple[str, int], int]:
        return {("t", 0): self.end - offsets.get("t/0", 0)}

    def close(self) -> None: ...


def messages(count: int, timestamp: int, value: bytes = b"v") -> list[Message]:
    return [Message("events", b"k", value, "t", 0, n, timestamp) for n in range(count)]


def test_a_run_shows_what_it_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[Samples] = []
    ports: list[int | None] = []

    def serve_here(where: Endpoint, source: Any) -> server.Served:
        served = serve(where, source)
        ports.append(served.port)
        return served

    monkeypatch.setattr("verdict.pipelines.engines.embedded.from_kafka.serve", serve_here)
    now = int(time.time() * 1000)
    topic = Topic(messages(10, now - 1_500), lambda: pages.append(scrape(ports[0])))
    run_kafka(
        JOB,
        lambda _: topic,
        tmp_path,
        stop=threading.Event(),
        bounded=True,
        commit_s=0,
        metrics=ANY,
    )
    assert [value(page, "verdict_events_total", hop="first") for page in pages] == [0, 4, 8]
    assert [value(page, "verdict_consumer_lag_records", topic="t") for page in pages] == [10, 6, 2]
    page = pages[-1]
    of = {"pipeline": "p", "job": "score"}
    assert value(page, "verdict_events_total", hop="last", subtask="0", **of) == 4
    assert value(page, "verdict_hop_seconds_count", hop="first", **of) == 8
    assert value(page, "verdict_hop_seconds_bucket", hop="first", le="+Inf") == 8
    assert value(page, "verdict_dead_letters_total", stage="decode", kind="not-avro") == 4
    assert value(page, "verdict_stage_seconds_count", stage="decode", hop="first") == 1
    assert value(page, "verdict_state_cache_hits_total", hop="first") == 7
    assert value(page, "verdict_state_cache_misses_total", hop="first") == 1
    assert value(page, "verdict_model_info", name="m", version="3", sha256="ab", hop="first") == 1
    assert value(page, "verdict_commit_seconds_count", **of) == 2
    assert value(page, "verdict_process_resident_memory_bytes") > 1e6
    # Dead letters have no latency, and the first hop no end.
    assert value(page, "verdict_end_to_end_seconds_count", hop="last") == 4
    assert value(page, "verdict_end_to_end_seconds_bucket", le="1.0") == 0
    assert 6 <= value(page, "verdict_end_to_end_seconds_sum") < 60
    assert value(page, "verdict_end_to_end_seconds_bucket", le="3600.0") == 4
    with pytest.raises(OSError, match="refused"):
        scrape(ports[0])


def test_without_metrics_nothing_is_timed(tmp_path: Path) -> None:
    made: list[Half] = []

    def half() -> Half:
        made.append(Half())
        return made[0]

    job = Job("score", "p", ("events",), (Hop("first", True, half), JOB.hops[1]), JOB.outputs)
    topic = Topic(messages(3, 5))
    run_kafka(job, lambda _: topic, tmp_path, stop=threading.Event(), bounded=True)
    assert topic.sent == 3
    assert made[0].meter.clock is None and not made[0].meter.stages


@pytest.mark.parametrize("where", [None, ANY])
def test_an_operator_that_fails_is_named_with_coordinates_alone(
    where: Endpoint | None, tmp_path: Path
) -> None:
    topic = Topic(messages(1, 5, b"fail"))
    with pytest.raises(OperatorError) as caught:
        run_kafka(JOB, lambda _: topic, tmp_path, stop=threading.Event(), metrics=where)
    said = str(caught.value)
    assert said.startswith("p/score/last failed on t/0/0: KeyError at test_meters.py:")
    assert "4711" not in said
    assert isinstance(caught.value.__cause__, KeyError)


def meter(hop: str = "last", subtask: int = 0) -> HopMeter:
    return HopMeter(hop_labels(JOB, hop, subtask), hop == "last", Half(), HeadCache())


def test_the_oldest_undecided_record(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1_000.0
    monkeypatch.setattr("verdict.pipelines.telemetry.meters.time.time", lambda: now)
    offsets: dict[str, int] = {}
    topic = Topic([])
    run = RunMeter(JOB, [meter()], offsets, topic)

    def age() -> float:
        page = Page()
        run.show(page)
        (family,) = [each for each in page.families() if each.name.endswith("undecided_seconds")]
        return float(family.samples[0].value)

    assert age() == 0
    # What waits is known to be there, but not since when: no longer than the run.
    topic.end, now = 3, 1_010.0
    assert age() == 10
    run.batch = messages(2, 400_000)
    assert age() == 610
    # The third is not older than the second.
    offsets["t/0"] = 2
    run.decided(run.batch[-1:])
    assert age() == 10
    # A poll brought nothing, but it is still to come.
    run.idle()
    assert age() == 10
    offsets["t/0"] = 3
    assert age() == 0
    run.idle()
    topic.end, now = 4, 1_012.0
    assert age() == 2
    run.batch = messages(1, 2_000_000)  # a producer's clock is ahead
    assert age() == 0


def test_what_a_batch_took_is_folded_as_one_by_one() -> None:
    one, many = meter(), meter()
    times = [1, 1_000, 1_001, 5_000_000_000, 6_000_000_000, 77_777]
    for took in times:
        one.times.append(took)
        one.fold()
    many.times += times
    many.fold()
    pages = []
    for each in (one, many):
        page = Page()
        each.show(page)
        pages.append([f.samples for f in page.families() if f.name == "verdict_hop_seconds"])
    assert pages[0] == pages[1]
    assert many.times == []


def test_labels_are_shown_by_outcome_and_the_late_ones_by_themselves() -> None:
    operator = SimpleNamespace(meter=Meter())
    operator.meter.counts["labels", "shop", "late"] = 2
    operator.meter.counts["labels-late", "shop"] = 2
    served = serve(ANY, HopMeter(hop_labels(JOB, "shop"), False, operator, None))
    page = scrape(served.port)
    served.close()
    assert value(page, "verdict_labels_total", entity="shop", outcome="late") == 2
    assert value(page, "verdict_labels_late_total", entity="shop") == 2
