"""Labels of files find their events as they would have live, whatever the order of the files."""

import json
import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verdict.operators.message import NEXT, Message
from verdict.pipelines.engines.embedded.from_files import run_files
from verdict.pipelines.errors import SpecError
from verdict.pipelines.formats.avro_file import AvroFile, read_records
from verdict.pipelines.formats.events import read_events
from verdict.pipelines.history import backfill, bootstrap_files, columns
from verdict.pipelines.jobs import score
from verdict.pipelines.jobs.label_feed import LabelFeed, LabelSummary
from verdict.pipelines.parity import check, compare
from verdict.pipelines.paths import resource
from verdict.pipelines.replay.sources import Recorded, Sources
from verdict.pipelines.spec.load import load, over
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.state.store.keyed import MemoryState
from verdict.state.store.rocks import RocksStore

HOUR = 3_600_000
DELAY, OVER, MATURITY = 5, 10, 30
TIME = {"type": "long", "logicalType": "timestamp-millis"}
EVENT = {
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": TIME},
        {"name": "card", "type": "string"},
        {"name": "shop", "type": ["null", "string"]},
        {"name": "amount", "type": "double"},
    ],
}
LABEL: dict[str, Any] = {
    "type": "record",
    "name": "Label",
    "fields": [
        {"name": "payment", "type": "string"},
        {"name": "fraud", "type": "int"},
        {"name": "known_at", "type": TIME},
        {"name": "who", "type": "string"},
        {"name": "paid_at", "type": ["null", TIME], "default": None},
        {"name": "card", "type": ["null", "string"], "default": None},
        {"name": "shop", "type": ["null", "string"], "default": None},
    ],
}
PIPELINE = """\
pipeline: shop
events: {topic: payments, format: json, schema: event.avsc, id: id, time: at, EVENTS}
entities: {card: card, shop: shop}
labels:
  topic: reported
  format: json
  schema: label.avsc
  event_id: payment
  value: fraud
  known_at: known_at
  source: who
  precedence: [bank, analyst]
  maturity: 30h
  KEYS
features:
  amount: amount
  card_count_1h: {count: "*", over: 1h, by: card}
  card_risk: {rate: label, over: 10h, delay: 5h, by: card, default: -1}
  shop_risk: {rate: label, over: 10h, delay: 5h, by: shop, default: -1}
  shop_told: {count: label, over: 10h, delay: 5h, by: shop, default: 0}
model: model
"""
KEYS = "keys: {card: card, shop: shop}\n  event_time: paid_at"


class Event(NamedTuple):
    number: int
    hour: int
    card: str
    shop: str | None

    @property
    def id(self) -> str:
        return f"e{self.number}"


class Told(NamedTuple):
    of: int
    fraud: bool
    known: int
    who: str


@pytest.fixture(scope="module")
def pipelines(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Pipeline]:
    """With and without keys in the label records."""
    folder = tmp_path_factory.mktemp("shop")
    (folder / "event.avsc").write_text(json.dumps(EVENT))
    (folder / "label.avsc").write_text(json.dumps(LABEL))
    shutil.copytree(resource("init/model"), folder / "model")
    found = {}
    for whole in (True, False):
        file = folder / f"{'whole' if whole else 'joined'}.yaml"
        text = PIPELINE.replace("KEYS", KEYS if whole else "").replace(", EVENTS", "")
        file.write_text(text)
        found[whole] = load(file)
    return found


def write(folder: Path, events: Sequence[Event], labels: Sequence[Told]) -> tuple[Path, Path]:
    """Write both as JSON lines; a label says all that there is to say of its event."""
    by_number = {event.number: event for event in events}
    lines = [
        {"id": e.id, "at": e.hour * HOUR, "card": e.card, "shop": e.shop, "amount": 1.5}
        for e in events
    ]
    told = []
    for label in labels:
        event = by_number.get(label.of, Event(label.of, 0, "c0", "s0"))
        record = {"payment": event.id, "fraud": int(label.fraud), "known_at": label.known * HOUR}
        more = {"paid_at": event.hour * HOUR, "card": event.card, "shop": event.shop}
        told.append({**record, "who": label.who, **more})
    paths = folder / "events.jsonl", folder / "labels.jsonl"
    for path, records in ((paths[0], lines), (paths[1], told)):
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return paths


def rows(
    pipeline: Pipeline, events: Path, labels: list[Path] | None, **more: Any
) -> list[dict[str, Any]]:
    made = backfill.batches(pipeline, [events], features_only=True, labels=labels, **more)
    return [row for batch in made for row in batch.to_pylist()]


RANKS = {"bank": 0, "analyst": 1}


def best(labels: Sequence[Told]) -> Told | None:
    """The rule once more: the first of the sources, what it knew last, and positive before not."""
    for rank in range(3):
        said = [label for label in labels if RANKS.get(label.who, 2) == rank]
        if said:
            last = max(label.known for label in said)
            said = [label for label in said if label.known == last]
            return max(said, key=lambda label: label.fraud)
    return None


def expected(events: Sequence[Event], labels: Sequence[Told]) -> list[tuple[float | None, ...]]:
    """Label, both rates and the count of each event, from all events and all labels."""
    newest = max((label.known for label in labels), default=-1)
    found = []
    for now in events:
        label = best([label for label in labels if label.of == now.number])
        if label is not None:
            value = float(label.fraud)
        else:
            value = 0.0 if labels and now.hour + MATURITY <= newest else None  # type: ignore[assignment]
        numbers: list[float | None] = []
        for entity in ("card", "shop"):
            old = [
                event
                for event in events
                if getattr(event, entity) == getattr(now, entity)
                and now.hour - DELAY - OVER < event.hour <= now.hour - DELAY
            ]
            in_time = [
                best([x for x in labels if x.of == e.number and x.known <= e.hour + DELAY])
                for e in old
            ]
            said = [each for each in in_time if each is not None]
            positive = sum(each.fraud for each in said)
            missing = getattr(now, entity) is None
            numbers.append(-1.0 if missing or not old else positive / len(old))
        numbers.append(0.0 if now.shop is None else float(len(said)))
        found.append((value, *numbers))
    return found


events_of = st.lists(
    st.tuples(st.integers(0, 6), st.sampled_from("ab"), st.sampled_from(["x", "y", None])),
    max_size=25,
)
labels_of = st.lists(
    st.builds(
        Told,
        st.integers(0, 27),
        st.booleans(),
        st.integers(0, 90),
        st.sampled_from(["bank", "analyst", "customer"]),
    ),
    max_size=40,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events_of, labels_of, st.booleans())
def test_labels_and_rates_are_those_of_a_recomputation_from_all(
    pipelines: dict[bool, Pipeline],
    tmp_path: Path,
    gaps: list[tuple[int, str, str | None]],
    labels: list[Told],
    whole: bool,
) -> None:
    events, hour = [], 0
    for number, (gap, card, shop) in enumerate(gaps):
        hour += gap
        events.append(Event(number, hour, card, shop))
    summary = columns.BackfillSummary()
    paths = write(tmp_path, events, labels)
    found = rows(pipelines[whole], paths[0], [paths[1]], summary=summary)
    names = ("label", "card_risk", "shop_risk", "shop_told")
    assert [tuple(row[name] for name in names) for row in found] == expected(events, labels)
    told = summary.labels
    assert told is not None
    assert (told.read, told.bad, told.late) == (len(labels), 0, 0)
    assert told.without_event == sum(label.of >= len(events) for label in labels)


def test_one_is_fed_before_the_first_event_that_is_not_older(
    pipelines: dict[bool, Pipeline], tmp_path: Path
) -> None:
    events = [Event(number, number, "c", "s") for number in range(5)]
    labels = [Told(0, True, 3, "bank"), Told(4, True, 2, "bank"), Told(3, True, 9, "bank")]
    paths = write(tmp_path, events, [*labels, Told(9, True, 1, "bank")])
    order = {}
    for whole in (True, False):
        moved = over(pipelines[whole], [paths[0]], [paths[1]])
        feed = LabelFeed(moved, [paths[1]])
        groups = list(feed.groups(read_events([paths[0]], moved.schema, "events")))
        order[whole] = [[m.value.event_id for m in group[:-1]] for group in groups]
        messages, by_batch = LabelFeed(moved, [paths[1]]), []
        batches = read_events([paths[0]], moved.schema, "events")
        while batch := list(islice(batches, 2)):
            by_batch += messages.among(batch)
        assert by_batch == list(chain.from_iterable(groups))
        assert [m.value.event_id for m in feed.rest()] == ["e3"]
        assert feed.without_event == 1
    # Without its keys, that of e4 has to wait for e4; and that of no event for ever.
    assert order == {
        True: [[], ["e9"], ["e4"], ["e0"], []],
        False: [[], [], [], ["e0"], ["e4"]],
    }


def test_silence_means_negative_once_the_files_tell_of_what_came_after_the_maturity(
    pipelines: dict[bool, Pipeline], tmp_path: Path
) -> None:
    events, labels = write(tmp_path, [], [Told(0, True, 40, "bank")])
    feed = LabelFeed(over(pipelines[True], [events], [labels]), [labels])
    assert feed.value("e0", 40 * HOUR) == 1.0
    assert feed.value("e1", (40 - MATURITY) * HOUR) == 0.0
    assert feed.value("e1", (40 - MATURITY) * HOUR + 1) is None


def test_what_is_no_label_is_a_dead_letter_and_no_event(
    pipelines: dict[bool, Pipeline], tmp_path: Path
) -> None:
    events, labels = write(tmp_path, [Event(0, 0, "c", "s")], [Told(0, True, 1, "bank")])
    labels.write_bytes(b'{"payment": "e0"}\n' + labels.read_bytes())
    out, dead = tmp_path / "rows.parquet", tmp_path / "dead.avro"
    for whole in (True, False):
        pipeline = pipelines[whole]
        summary = backfill.write(pipeline, [events], out, dead, features_only=True, labels=[labels])
        assert (summary.events, summary.rows, summary.dead_letters) == (1, 1, 0)
        # One that all hops take that ask for labels: the card's and the shop's.
        assert summary.labels == LabelSummary(read=2, bad=1, taken=2)
        [letter] = read_records(dead)
        assert (letter["kind"], letter["topic"], letter["offset"]) == (
            "missing-field",
            "labels.jsonl",
            0,
        )
        assert pq.read_table(out).to_pylist()[0]["label"] == 1.0


def test_without_files_of_labels_it_says_what_is_missing(
    pipelines: dict[bool, Pipeline], tmp_path: Path
) -> None:
    events, labels = write(tmp_path, [Event(0, 0, "c", "s")], [])
    with pytest.raises(SpecError, match=r"whole\.yaml:\d+: events come from files, and there are"):
        rows(pipelines[True], events, None)
    assert rows(pipelines[True], events, [labels])[0]["label"] is None
    with pytest.raises(SpecError, match=r"'labels.avro': labels of format json lie in \.jsonl fil"):
        rows(pipelines[True], events, [Path("labels.avro")])


def test_a_pipeline_without_labels_says_where_to_describe_them(example: Any) -> None:
    with pytest.raises(SpecError, match="there is no 'labels' section, which says how label files"):
        rows(example.pipeline, example.events, [Path("labels.avro")])


def test_avro_and_parquet_hold_the_same_labels(
    pipelines: dict[bool, Pipeline], tmp_path: Path
) -> None:
    events = [Event(number, number, "c", "s") for number in range(12)]
    files = write(tmp_path, events, [Told(n, n % 2 == 0, n + 2, "bank") for n in range(8)])
    wanted = rows(pipelines[True], files[0], [files[1]])
    assert {row["label"] for row in wanted} == {1.0, 0.0, None}
    text = pipelines[True].path.read_text().replace("  format: json\n", "")
    file = pipelines[True].path.with_name("avro.yaml")
    file.write_text(text)
    pipeline = load(file)
    records = [json.loads(line) for line in files[1].read_text().splitlines()]
    avro, parquet = tmp_path / "labels.avro", tmp_path / "labels.parquet"
    assert pipeline.label_schema is not None
    container = AvroFile(avro, pipeline.label_schema.definition, 0)
    container.append(_encoded(pipeline, record) for record in records)
    container.close()
    pq.write_table(pa.Table.from_pylist(records), parquet)
    assert rows(pipeline, files[0], [avro]) == rows(pipeline, files[0], [parquet]) == wanted
    assert rows(pipeline, files[0], [parquet, avro]) == wanted


def _encoded(pipeline: Pipeline, record: dict[str, Any]) -> bytes:
    from verdict.operators.records.streams import encoder

    assert pipeline.label_schema is not None
    return encoder(pipeline.label_schema.raw)(record)


class Always:
    def is_set(self) -> bool:
        return True


@pytest.mark.parametrize("whole", [True, False])
def test_stopped_after_every_few_events_it_makes_the_same_decisions(
    pipelines: dict[bool, Pipeline], tmp_path: Path, whole: bool
) -> None:
    events = [Event(number, number * 2, "c", "s") for number in range(20)]
    labels = [Told(n, True, 2 * n + 1 + n % 5, "bank") for n in range(0, 20, 2)]
    files = write(tmp_path, events, labels)
    files[1].write_bytes(b"{\n" + files[1].read_bytes())
    moved = over(pipelines[whole], [files[0]], [files[1]])

    def run(folder: Path, label_file: Path, **more: Any) -> int:
        feed = LabelFeed(moved, [label_file])
        places = (folder / "state", folder / "out")
        chosen = [score.score(moved)]
        return run_files(
            chosen, [files[0]], moved.schema, moved.topics, *places, labels=feed, **more
        )

    assert run(tmp_path / "whole", files[1]) == 20
    while run(tmp_path / "parts", files[1], stop=Always(), pace=lambda _: 3) < 20:
        pass
    for name in ("decisions", "dead-letters"):
        one, other = (
            list(read_records(tmp_path / folder / f"out/{name}.avro"))
            for folder in ("whole", "parts")
        )
        assert one == other
        assert len(one) == (20 if name == "decisions" else 1)
    risks = [
        record["features"]["shop_risk"]
        for record in read_records(tmp_path / "parts/out/decisions.avro")
    ]
    assert any(risk > 0 for risk in risks)


def test_labels_that_are_new_in_a_file_come_before_the_next_event(
    pipelines: dict[bool, Pipeline], tmp_path: Path
) -> None:
    """Too late for those that were decided, in time for those that were not."""
    events = [Event(number, number, "c", "s") for number in range(12)]
    labels = [Told(n, True, n + 1, "bank") for n in range(12)]
    files = write(tmp_path, events, labels)
    lines = files[1].read_text().splitlines(keepends=True)
    for whole in (True, False):
        moved = over(pipelines[whole], [files[0]], [files[1]])
        files[1].write_text("".join(lines[:2]))
        before = LabelFeed(moved, [files[1]])
        first = list(before.groups(read_events([files[0]], moved.schema, "events")))[:6]
        assert [len(group) for group in first] == [1, 2, 2, 1, 1, 1]
        files[1].write_text("".join(lines))
        again = LabelFeed(moved, [files[1]])
        messages = read_events([files[0]], moved.schema, "events")
        groups = list(again.groups(messages, [6], before.counts))
        fed = [[m.value.event_id for m in group[:-1]] for group in groups]
        assert fed[:2] == [["e2", "e3", "e4", "e5"], ["e6"]]
        assert len(groups) == 6


def test_the_command_says_what_became_of_them(
    pipelines: dict[bool, Pipeline], tmp_path: Path, verdict: Callable[..., Any]
) -> None:
    events = [Event(number, number * 3, "c", "s") for number in range(4)]
    labels = [Told(0, True, 1, "bank"), Told(1, True, 50, "bank"), Told(9, True, 5, "bank")]
    files = write(tmp_path, events, [labels[0], *labels])
    asked = ("backfill", pipelines[False].path, "--events", files[0], "--labels", files[1])
    done = verdict(*asked, "--features-only", "--out", tmp_path / "rows.parquet")
    assert done.code == 0, done.err
    assert "4 labels" in done.out
    assert "2 count from when their event enters the delayed windows" in done.out
    assert "2 came again" in done.out
    assert "1 are of no event" in done.out
    told = json.loads(verdict(*asked, "--json", "--out", tmp_path / "rows.parquet").out)
    assert told["labels"]["unknown_in_time"] == 2
    assert pq.read_schema(tmp_path / "rows.parquet").names[:8] == [
        *("event_id", "event_time", "card", "shop", "score", "action", "model", "label")
    ]


def test_a_run_over_files_reads_the_labels_that_the_pipeline_names(
    pipelines: dict[bool, Pipeline], tmp_path: Path, verdict: Callable[..., Any]
) -> None:
    events = [Event(number, number * 3, "c", "s") for number in range(5)]
    files = write(tmp_path, events, [Told(0, True, 1, "bank"), Told(1, True, 5, "bank")])
    file = pipelines[False].path.with_name("named.yaml")
    text = pipelines[False].path.read_text()
    asked = ("run", file, "--events", files[0], "--to", tmp_path / "out", "--state", tmp_path / "s")
    file.write_text(text)
    refused = verdict(*asked)
    assert refused.code == 1
    assert "named.yaml:4: events come from files, and there are features over lab" in refused.err
    file.write_text(text.replace("topic: reported", f"topic: reported\n  files: [{files[1]}]"))
    done = verdict(*asked)
    assert done.code == 0, done.err
    assert not (tmp_path / "out" / "entity-labels.avro").exists()
    decided = list(read_records(tmp_path / "out" / "decisions.avro"))
    assert [each["features"]["shop_risk"] for each in decided] == [-1, -1, 1, 1, 2 / 3]


class After:
    """Asks to stop once it has been asked so often."""

    def __init__(self, times: int) -> None:
        self._times = times

    def is_set(self) -> bool:
        self._times -= 1
        return self._times < 0


def heads(folder: Path) -> dict[bytes, bytes]:
    store = RocksStore(folder)
    try:
        return {key: value for key, value in store.items(b"") if key[:1] != b"m"}
    finally:
        store.close()


@pytest.mark.parametrize("whole", [True, False])
def test_history_from_files_knows_its_labels(
    pipelines: dict[bool, Pipeline],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    whole: bool,
) -> None:
    """A bootstrap that is stopped twice leaves the state that a run over the files does."""
    monkeypatch.setattr(bootstrap_files, "BATCH", 4)
    events = [Event(number, number * 2, "c", "s") for number in range(20)]
    labels = [Told(n, n % 3 == 0, 2 * n + n % 5, "bank") for n in range(18)]
    files = write(tmp_path, events, labels)
    with pytest.raises(SpecError, match="name the files of the labels, too"):
        bootstrap_files.read_files(
            pipelines[whole], tmp_path / "none", [files[0]], 99 * HOUR, stop=After(9)
        )
    named = pipelines[whole].spec.labels
    assert named is not None
    spec = pipelines[whole].spec.model_copy(
        update={"labels": named.model_copy(update={"files": [files[1]]})}
    )
    pipeline = replace(pipelines[whole], spec=spec)

    def history(stop: After) -> int:
        return bootstrap_files.read_files(
            pipeline, tmp_path / "new", [files[0]], 99 * HOUR, stop=stop
        )

    assert [history(After(n)) for n in (0, 1, 99)] == [4, 8, 8]
    moved = over(pipeline, [files[0]])
    run_files(
        [score.score(moved)],
        [files[0]],
        moved.schema,
        moved.topics,
        tmp_path / "state",
        tmp_path / "out",
        labels=LabelFeed(moved, [files[1]]),
    )
    assert heads(bootstrap_files.home(pipeline, tmp_path / "new")) == heads(tmp_path / "state")


@pytest.mark.parametrize("whole", [True, False])
def test_parity_feeds_the_labels_and_finds_one_that_came_too_late(
    pipelines: dict[bool, Pipeline], tmp_path: Path, whole: bool
) -> None:
    events = [Event(number, number * 2, "c", "s") for number in range(20)]
    labels = [Told(n, True, 2 * n + 1 + n % 5, "bank") for n in range(0, 20, 2)]
    files = write(tmp_path, events, labels)
    moved = over(pipelines[whole], [files[0]], [files[1]])
    places = (tmp_path / "state", tmp_path / "out")
    feed = LabelFeed(moved, [files[1]])
    chosen = [score.score(moved)]
    run_files(chosen, [files[0]], moved.schema, moved.topics, *places, labels=feed)
    decided = [tmp_path / "out/decisions.avro"]
    stop = threading.Event()

    found = check.check(pipelines[whole], [files[0]], decided, [files[1]], stop=stop)
    assert (found.compared, found.differences, found.equal) == (20, 0, 20)
    write(tmp_path, events, [*labels, Told(5, True, 12, "bank")])
    found = check.check(pipelines[whole], [files[0]], decided, [files[1]], stop=stop)
    assert {each.feature for each in found.shown} == {"card_risk", "shop_risk", "shop_told"}
    assert {each.why for each in found.shown} == {compare.LABELS}
    # Of e8, 16 hours: it is the first that e5, 10 hours, has entered the windows of.
    assert found.shown[0].event_id == "e8"


@pytest.mark.parametrize("key", [b"c", b"another"])
def test_parity_takes_no_label_that_is_a_dead_letter_live(
    pipelines: dict[bool, Pipeline], key: bytes
) -> None:
    file = pipelines[True].path.with_name("keyed.yaml")
    text = PIPELINE.replace("KEYS", KEYS).replace("EVENTS", "keyed_by: card")
    file.write_text(text)
    pipeline = load(file)
    begin = 1_700_000_000_000
    events = [
        Message(
            "events",
            b"c",
            json.dumps(
                {"id": f"e{n}", "at": begin + n * HOUR, "card": "c", "shop": "s", "amount": 1.5}
            ).encode(),
            "payments",
            0,
            n,
            begin + n * HOUR,
        )
        for n in range(12)
    ]
    told = {"payment": "e1", "fraud": 1, "known_at": begin + 2 * HOUR, "who": "bank"}
    told |= {"paid_at": begin + HOUR, "card": "c", "shop": "s"}
    label = Message("labels", key, json.dumps(told).encode(), "reported", 0, 0, begin)
    hops = [hop.operator() for hop in score.score(pipeline).hops]
    states: list[dict[bytes | None, MemoryState]] = [{}, {}]
    decisions, letters = [], []
    for message in (*events[:2], label, *events[2:]):
        ready = [message]
        for hop, state in zip(hops, states, strict=True):
            following = []
            for one in ready:
                for emit in hop(one, state.setdefault(one.key, MemoryState())):
                    if emit.output == NEXT:
                        following.append(one._replace(key=emit.key, value=emit.value))
                    elif emit.output == "dead-letters":
                        letters.append(emit)
                    else:
                        source = f"payments/0/{message.offset}".encode()
                        decisions.append(Recorded(source, emit.value, message.offset))
            ready = following
    assert (len(decisions), len(letters)) == (12, key != b"c")
    sources = Sources(lambda: iter(decisions), lambda: iter(events), lambda: iter([label]))
    found = check.compare(pipeline, sources, stop=threading.Event())
    assert (found.shown, found.equal) == ([], 12)


TESTS = """\
pipeline: PIPELINE
tests:
  - name: a chargeback counts five hours later, if it was known by then
    given: {shop: s1, amount: 3.0}
    events:
      - {id: e1, at: 2026-01-01T00:00:00Z, card: c1}
      - {id: e2, at: 2026-01-01T01:00:00Z, card: c2}
      - {id: e3, at: 2026-01-01T05:00:00Z, card: c1}
      - {id: e4, at: 2026-01-01T06:00:00Z, card: c1}
    labels:
      - {event: e1, known_at: 2026-01-01T02:00:00Z, source: bank}
      - {event: e1, known_at: 2026-01-01T03:00:00Z, source: someone, positive: false}
      - {event: EVENT, known_at: 2026-01-01T06:00:01Z}
    expect:
      - {event: e3, features: {card_risk: 1, shop_risk: 1, shop_told: 1}}
      - {event: e4, features: {card_risk: 1, shop_risk: 0.5, shop_told: 1}}
"""


@pytest.mark.parametrize("whole", [True, False])
def test_users_tests_have_labels(
    pipelines: dict[bool, Pipeline], tmp_path: Path, whole: bool, verdict: Callable[..., Any]
) -> None:
    file = tmp_path / "pipeline_test.yaml"
    text = TESTS.replace("PIPELINE", str(pipelines[whole].path))
    file.write_text(text.replace("EVENT", "e2"))
    asked = ("test", pipelines[whole].path, "--file", file)
    done = verdict(*asked)
    assert done.code == 0, done.out + done.err
    file.write_text(text.replace("EVENT", "e9"))
    done = verdict(*asked)
    assert done.code == 2
    assert f"{file}:13: no event of the test is 'e9'" in done.err.replace("\n", "")
