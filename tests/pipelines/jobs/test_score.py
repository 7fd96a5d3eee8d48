"""The jobs are values that pickle, and decide the same whether their events come keyed or not."""

import json
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from verdict.operators.message import Message
from verdict.operators.names import DEAD_LETTERS, DECISIONS, EVENTS, ROWS
from verdict.operators.score.hops import DecodeHop, EntityHop
from verdict.pipelines.engines.embedded.runner import OutputRecord, Runner
from verdict.pipelines.errors import SpecError
from verdict.pipelines.formats.streams import stream_decoder
from verdict.pipelines.jobs import catalog, labels, score, shadow, watch
from verdict.pipelines.spec.load import load, over
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Job
from verdict.state.store.rocks import RocksStore

NOW = 1_790_000_000_000
"""After all events of the example."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("jobs")


@pytest.fixture(scope="module")
def keyed(folder: Path, variant: Callable[..., Path]) -> Pipeline:
    return load(variant(folder / "keyed.yaml"))


@pytest.fixture(scope="module")
def unkeyed(folder: Path, variant: Callable[..., Path]) -> Pipeline:
    return load(variant(folder / "unkeyed.yaml", events={"keyed_by": None}))


def hops(job: Job) -> list[tuple[str, bool]]:
    return [(hop.name, hop.keyed) for hop in job.hops]


def test_score_has_a_hop_an_entity(keyed: Pipeline) -> None:
    job = score.score(keyed)
    assert hops(job) == [("customer", True), ("terminal", True)]
    assert (job.inputs, job.outputs) == ((EVENTS,), (DECISIONS, DEAD_LETTERS))
    assert (job.name, job.pipeline) == ("score", "card-fraud")


def test_what_does_not_come_keyed_is_decoded_first(unkeyed: Pipeline, keyed: Pipeline) -> None:
    wanted = [("decode", False), ("customer", True), ("terminal", True)]
    assert hops(score.score(unkeyed)) == wanted
    assert hops(score.score(over(keyed, [Path("a.avro")]))) == wanted


def test_the_features_job_stops_short_of_the_model(keyed: Pipeline) -> None:
    job = score.backfill(keyed, features_only=True)
    assert hops(job) == hops(score.score(keyed))
    assert job.outputs == (ROWS, DEAD_LETTERS)


def test_shadow_and_watch_read_what_the_others_write(keyed: Pipeline) -> None:
    watching = watch.watch(keyed)
    assert shadow.shadow(keyed).inputs == (DECISIONS,)
    assert set(watching.inputs) == {DECISIONS, "shadow-scores"}
    assert hops(watching) == [("split", False), ("bucket", True), ("merge", True)]


@pytest.fixture(scope="module")
def labelled(folder: Path, variant: Callable[..., Path]) -> Pipeline:
    """Labels that know their event's id alone."""
    fields = [
        {"name": "id", "type": "string"},
        {"name": "fraud", "type": "boolean"},
        {"name": "known_at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ]
    schema = folder / "label.avsc"
    schema.write_text(json.dumps({"type": "record", "name": "Label", "fields": fields}))
    labels = {"topic": "reported", "schema": str(schema)}
    paths = {"event_id": "id", "value": "fraud", "known_at": "known_at"}
    risk = {"rate": "label", "over": "7d", "delay": "7d", "by": "terminal", "default": 0}
    return load(
        variant(
            folder / "labelled.yaml",
            labels={**labels, **paths, "maturity": "60d"},
            features={"terminal_risk": risk},
        )
    )


def test_labels_without_keys_are_joined_to_decisions(labelled: Pipeline, keyed: Pipeline) -> None:
    job = labels.labels(labelled)
    assert (job.inputs, job.outputs) == ((DECISIONS, "labels"), ("entity-labels", DEAD_LETTERS))
    assert hops(job) == [("label-route", False), ("label-join", True)]
    assert labels.remembered(labelled) == (60 + 30) * 86_400_000
    assert score.score(labelled).inputs == (EVENTS, "entity-labels")
    assert catalog.names(labelled) == list(catalog.JOBS)
    assert catalog.names(keyed) == ["score", "shadow", "watch"]
    with pytest.raises(SpecError, match=r"keyed\.yaml: there is nothing to do for the job labels"):
        labels.labels(keyed)


@pytest.mark.parametrize("name", catalog.JOBS)
def test_every_job_pickles_and_its_operators_are_made_where_they_run(
    labelled: Pipeline, name: str
) -> None:
    job = catalog.job(labelled, name)
    copy: Job = pickle.loads(pickle.dumps(job))
    assert (copy.name, copy.inputs, copy.outputs) == (job.name, job.inputs, job.outputs)
    assert len({hop.name for hop in job.hops}) == len(job.hops)
    assert all(callable(hop.operator()) for hop in copy.hops)


def test_an_unknown_job_is_refused(keyed: Pipeline) -> None:
    with pytest.raises(
        SpecError, match="there is no job 'scores'; there are score, shadow, watch, labels"
    ):
        catalog.job(keyed, "scores")


def test_an_entitys_aggregates_keep_the_order_of_the_file(keyed: Pipeline) -> None:
    assert [feature.name for feature in keyed.windowed("terminal")] == [
        "terminal_count_1h",
        "terminal_count_1d",
        "terminal_count_7d",
        "terminal_mean_7d",
    ]
    mean = keyed.windowed("terminal")[-1]
    assert (mean.op, mean.argument, mean.over, mean.default) == ("mean", "amount", 604_800_000, 0)


def test_the_features_of_the_event_alone_are_formulas(keyed: Pipeline) -> None:
    assert [formula.name for formula in keyed.formulas] == [
        "amount",
        "night",
        "weekend",
        "online",
    ]


def test_every_feature_but_the_ignored_is_watched_and_the_score_last(keyed: Pipeline) -> None:
    watched = watch.watched(keyed)
    names = [item.name for item in watched]
    assert names == [name for name in keyed.spec.features if name != "weekend"] + ["score"]
    by_name = {item.name: item for item in watched}
    assert by_name["night"].warm_up == 0
    assert by_name["customer_mean_30d"].warm_up == by_name["score"].warm_up == 30 * 86_400_000
    assert all(len(item.expected) == len(item.edges) + 2 for item in watched)


def test_what_the_baseline_lacks_is_watched_without_one(
    folder: Path, variant: Callable[..., Path]
) -> None:
    pipeline = load(variant(folder / "more.yaml", features={"cheap": "amount < 5"}))
    cheap = next(item for item in watch.watched(pipeline) if item.name == "cheap")
    assert (cheap.edges, cheap.expected) == ((), ())


def play(
    pipeline: Pipeline, messages: Iterable[tuple[bytes | None, bytes | None]], store: RocksStore
) -> Iterator[OutputRecord]:
    """Run the score job over records as Kafka would hand them over."""
    runner = Runner(score.score(pipeline), store)
    for offset, (key, value) in enumerate(messages):
        yield from runner(Message(EVENTS, key, value, "transactions", 0, offset, NOW + offset))


def outputs(pipeline: Pipeline, folder: Path, messages: Sequence[Any]) -> list[OutputRecord]:
    store = RocksStore(folder)
    try:
        return list(play(pipeline, messages, store))
    finally:
        store.close()


@dataclass(frozen=True)
class Played:
    """What a keyed stream's job makes of the events whose messages have their keys."""

    transactions: Sequence[Any]
    messages: Sequence[tuple[bytes, bytes]]
    outputs: Sequence[OutputRecord]


@pytest.fixture(scope="module")
def played(example: Any, keyed: Pipeline, folder: Path) -> Played:
    chosen = [
        (tx, message)
        for tx, message in zip(example.transactions, example.messages, strict=True)
        if tx.broken != "no-key"
    ]
    transactions, messages = zip(*chosen, strict=True)
    return Played(transactions, messages, outputs(keyed, folder / "played", messages))


def test_events_are_decided_the_same_whether_they_come_keyed_or_not(
    played: Played, unkeyed: Pipeline, tmp_path: Path
) -> None:
    """All but those whose message lacks its key, which only a keyed stream has to refuse."""
    other = outputs(unkeyed, tmp_path, played.messages)
    assert len(other) == len(played.messages)
    assert {output.stream for output in other} == {DECISIONS, DEAD_LETTERS}

    def known(output: OutputRecord) -> tuple[str, bytes, bytes, int]:
        return output.stream, output.key, output.value, output.cause.offset

    assert list(map(known, other)) == list(map(known, played.outputs))


def test_a_message_without_its_key_is_refused_only_where_the_stream_is_keyed(
    example: Any, keyed: Pipeline, unkeyed: Pipeline, tmp_path: Path
) -> None:
    chosen = [
        (message, tx)
        for message, tx in zip(example.messages, example.transactions, strict=True)
        if tx.broken == "no-key"
    ]
    messages = [message for message, _ in chosen]
    assert len(messages) > 5
    refused = outputs(keyed, tmp_path / "keyed", messages)
    decode = stream_decoder(DEAD_LETTERS, keyed.spec.settings)
    assert {(output.stream, decode(output.value)["reason"]) for output in refused} == {
        (
            DEAD_LETTERS,
            "the record's key is not its event's: mend the producer, or drop events.keyed_by",
        )
    }
    decided = outputs(unkeyed, tmp_path / "unkeyed", messages)
    decode = stream_decoder(DECISIONS, unkeyed.spec.settings)
    assert [decode(output.value)["event_id"] for output in decided] == [
        tx.transaction_id for _, tx in chosen
    ]
    assert [output.key.decode() for output in decided] == [tx.customer_id for _, tx in chosen]


def test_broken_events_become_dead_letters_that_say_why(played: Played, keyed: Pipeline) -> None:
    decode = stream_decoder(DEAD_LETTERS, keyed.spec.settings)
    letters = {
        output.cause.offset: decode(output.value)
        for output in played.outputs
        if output.stream == DEAD_LETTERS
    }
    broken = {
        offset: tx.broken for offset, tx in enumerate(played.transactions) if tx.broken is not None
    }
    assert letters.keys() == broken.keys()
    assert set(broken.values()) == {"truncated", "garbage", "no-customer", "amount"}
    says = {
        "truncated": ("decode", "not Avro of the schema: "),
        "garbage": ("decode", "not Avro of the schema: "),
        "no-customer": ("validate", "field 'customer_id' is missing"),
        "amount": ("validate", "field 'amount' is implausible: "),
    }
    for offset, way in broken.items():
        letter, (key, value) = letters[offset], played.messages[offset]
        stage, reason = says[way]
        assert letter["stage"] == stage, (way, letter["reason"])
        assert letter["reason"].startswith(reason), (way, letter["reason"])
        assert (letter["key"], letter["value"]) == (key, value)
        place = letter["topic"], letter["partition"], letter["offset"], letter["timestamp"]
        assert place == ("transactions", 0, offset, NOW + offset)


def test_a_tombstone_is_a_dead_letter(keyed: Pipeline, tmp_path: Path) -> None:
    (output,) = outputs(keyed, tmp_path, [(b"c1", None)])
    letter = stream_decoder(DEAD_LETTERS, keyed.spec.settings)(output.value)
    assert (letter["value"], letter["value_size"]) == (None, -1)
    assert letter["reason"] == "a tombstone: the record has a key and no value"


def test_events_of_files_are_plain_avro_whatever_the_topic_holds(
    example: Any, folder: Path, variant: Callable[..., Path], tmp_path: Path
) -> None:
    file = variant(
        folder / "confluent.yaml",
        events={"format": "confluent"},
        settings={"schemas": {"folder": str(tmp_path / "schemas")}},
    )
    pipeline = over(load(file), [example.events])
    found = outputs(pipeline, tmp_path / "state", example.messages[:20])
    whole = [tx for tx in example.transactions[:20] if tx.broken in (None, "no-key")]
    assert sum(output.stream == DECISIONS for output in found) == len(whole) > 10


def test_only_who_asks_for_more_than_events_pays_for_it(
    keyed: Pipeline, unkeyed: Pipeline, labelled: Pipeline
) -> None:
    for pipeline in (keyed, unkeyed):
        operators = [hop.operator() for hop in score.score(pipeline).hops]
        assert not any(
            isinstance(each, DecodeHop | EntityHop) and each.takers for each in operators
        )
    operators = [hop.operator() for hop in score.score(labelled).hops]
    assert all(isinstance(each, DecodeHop | EntityHop) and each.takers for each in operators)
