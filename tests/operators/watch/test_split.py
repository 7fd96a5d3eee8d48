"""Buckets against a recount of the raw events, and the whole watch job in memory."""

import json
import math
import struct
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verdict.operators.message import NEXT, Emit, Message, Operator
from verdict.operators.models.histogram import count
from verdict.operators.names import COMPARISON, DEAD_LETTERS, DECISIONS, DRIFT, SHADOW_SCORES
from verdict.operators.records.streams import Decode, Encode
from verdict.operators.watch.bucket import Bucket, Watched
from verdict.operators.watch.compare import Comparisons
from verdict.operators.watch.drift import Drifts
from verdict.operators.watch.merge import Merge
from verdict.operators.watch.split import BUCKETS, SCORE, Split, bucket
from verdict.state.store.keyed import MemoryState

WINDOW = 100
WATCHED = [
    Watched("amount", (10.0, 20.0), (3, 4, 3, 0), 15.0, 8.0, 0),
    Watched("online", (0.0,), (5, 5, 0), 0.5, 0.5, 0),
    Watched("bare", (), (), 0.0, 0.0, 0),
    Watched(SCORE, (0.5,), (9, 1, 0), 0.1, 0.2, 0),
]
NAMES = [item.name for item in WATCHED]

NUMBERS = st.floats(-1e6, 1e6) | st.sampled_from([math.nan, 0.1, 10.0, 20.0, -0.0, 1e300])
ROW = st.tuples(NUMBERS, NUMBERS, NUMBERS, st.floats(0, 1))
STREAM = st.lists(
    st.tuples(st.integers(0, 60), st.integers(-350, 900), ROW), max_size=60
)  # of event ids, so of buckets; of times; of numbers
ACTIONS = st.sampled_from(["approve", "decline"])


def decision(event: int, time: int, row: tuple[float, ...]) -> dict[str, Any]:
    *features, score = row
    return {
        "decision_id": "d",
        "pipeline": "shop",
        "event_id": f"e{event}",
        "event_time": time,
        "hops": [],
        "amount": None,
        "currency": None,
        "model": {"name": "old", "version": "1", "sha256": ""},
        "repeated": False,
        "score": score,
        "classes": [],
        "action": "approve",
        "because": "",
        "rules": [],
        "implausible": [],
        "features": dict(zip(NAMES, features, strict=False)),
        "fields": {},
    }


def shadow_score(
    event: int, time: int, actions: tuple[str, str], scores: tuple[float, float], amount: int | None
) -> dict[str, Any]:
    champion, challenger = (
        {
            "name": name,
            "version": "1",
            "sha256": "",
            "repeated": False,
            "score": score,
            "action": action,
            "because": "",
        }
        for name, score, action in zip(("old", "new"), scores, actions, strict=True)
    )
    return {
        "pipeline": "shop",
        "event_id": f"e{event}",
        "event_time": time,
        "amount": None if amount is None else amount.to_bytes(12, "big", signed=True),
        "currency": None if amount is None else ("EUR", "SEK")[event % 2],
        "champion": champion,
        "challenger": challenger,
    }


def message(stream: str, value: bytes | None, key: bytes = b"k") -> Message:
    return Message(stream, key, value, stream, 2, 9, 1_700_000_000_000)


@pytest.fixture(scope="session")
def job(
    encode: Callable[[str], Encode], decode: Callable[[str], Decode]
) -> Callable[[], list[Operator]]:
    """Makes the hops of a watch job."""

    def make() -> list[Operator]:
        drifts = Drifts("shop", WATCHED, WINDOW, 0.25, 0.002, 5, encode("drift"))
        comparisons = Comparisons("shop", WINDOW, encode("comparison"))
        split = Split(
            "shop", NAMES, decode("decision"), decode("shadow-score"), encode("dead-letter")
        )
        return [split, Bucket(WATCHED, WINDOW), Merge(drifts, comparisons)]

    return make


def one_of_each_bucket() -> list[int]:
    """Events of which each goes to another bucket, in the buckets' order."""
    found: dict[int, int] = {}
    for event in range(1_000):
        found.setdefault(bucket(f"e{event}"), event)
    return [found[number] for number in range(BUCKETS)]


@pytest.fixture(scope="session")
def flush(encode: Callable[[str], Encode]) -> list[Message]:
    """A decision and a shadow score for every bucket, far in the future: all windows close."""
    row = (15.0, 0.0, 0.0, 0.0)
    messages = []
    for at in (10**6, 2 * 10**6):
        for event in one_of_each_bucket():
            messages.append(message(DECISIONS, encode("decision")(decision(event, at, row))))
            scored = shadow_score(event, at, ("approve", "approve"), (0.0, 0.0), None)
            messages.append(message(SHADOW_SCORES, encode("shadow-score")(scored)))
    return messages


def test_buckets_are_the_same_everywhere() -> None:
    assert [bucket(f"t{number}") for number in range(8)] == [10, 0, 7, 4, 9, 8, 13, 14]
    counts = count(list(range(BUCKETS - 1)), [bucket(f"e{number}") for number in range(16_000)])
    assert min(counts[:-1]) > 800


# Split


def test_a_decision_is_packed_for_its_bucket(
    job: Callable[[], list[Operator]], encode: Callable[[str], Encode]
) -> None:
    record = decision(7, -5, (1.5, 2.5, 3.5, 0.25))
    del record["features"]["online"]
    (emit,) = job()[0](message(DECISIONS, encode("decision")(record)), MemoryState())
    assert (emit.output, emit.key) == (NEXT, f"drift/{bucket('e7'):02d}".encode())
    time, amount, online, bare, score = struct.unpack("<q4d", emit.value)
    assert (time, amount, bare, score) == (-5, 1.5, 3.5, 0.25)
    assert math.isnan(online)


def test_a_shadow_score_goes_to_its_challengers_bucket(
    job: Callable[[], list[Operator]], encode: Callable[[str], Encode]
) -> None:
    record = shadow_score(7, 5, ("approve", "decline"), (0.25, 1.0), -123)
    (emit,) = job()[0](message(SHADOW_SCORES, encode("shadow-score")(record)), MemoryState())
    assert (emit.output, emit.key) == (NEXT, f"compare/new:1/{bucket('e7'):02d}".encode())
    assert json.loads(emit.value) == {
        "time": 5,
        "champion": "old:1",
        "actions": ["approve", "decline"],
        "difference": 0.75,
        "amount": -123,
        "currency": "SEK",
    }


@pytest.mark.parametrize("stream", [DECISIONS, SHADOW_SCORES])
@pytest.mark.parametrize("value", [None, b"", b"nonsense"])
def test_what_is_no_record_is_a_dead_letter(
    job: Callable[[], list[Operator]],
    decode: Callable[[str], Decode],
    stream: str,
    value: bytes | None,
) -> None:
    (emit,) = job()[0](message(stream, value), MemoryState())
    assert (emit.output, emit.key) == (DEAD_LETTERS, b"k")
    letter = decode("dead-letter")(emit.value)
    assert (letter["job"], letter["stage"], letter["value"]) == ("watch", "decode", value)
    assert (letter["topic"], letter["partition"], letter["offset"]) == (stream, 2, 9)


# Buckets against a recount


def recount(stream: list[tuple[int, int, tuple[float, ...]]]) -> dict[tuple[int, int], list[Any]]:
    """(bucket, window) -> its rows: an older event counts in the window that is open."""
    opened: dict[int, int] = {}
    rows: dict[tuple[int, int], list[Any]] = defaultdict(list)
    for event, time, row in stream:
        number = bucket(f"e{event}")
        start = math.floor(time / WINDOW) * WINDOW
        opened[number] = max(opened.get(number, start), start)
        rows[number, opened[number]].append(row)
    return rows


BASELINE = Bucket(WATCHED, WINDOW)._fingerprint.hex()


@settings(max_examples=60)
@given(STREAM)
def test_bucket_totals_are_a_recount_of_the_events(
    stream: list[tuple[int, int, tuple[float, ...]]],
) -> None:
    states: dict[bytes, MemoryState] = defaultdict(MemoryState)
    emits: list[Emit] = []
    closing = [(event, 10**6, (0.0, 0.0, 0.0, 0.0)) for event in one_of_each_bucket()]
    for event, time, row in stream + closing:
        key = b"drift/%02d" % bucket(f"e{event}")
        value = struct.pack("<q4d", time, *row)
        # Made anew for each event: all there is between two events are the state's bytes.
        emits += Bucket(WATCHED, WINDOW)(message(DECISIONS, value, key), states[key])

    expected = {}
    for (number, window), rows in recount(stream).items():
        for index, item in enumerate(WATCHED):
            values = [row[index] for row in rows]
            total = squares = 0.0
            for value in values:
                if not math.isnan(value):
                    total += value - item.mean
                    squares += (value - item.mean) * (value - item.mean)
            expected[f"drift/{item.name}".encode(), number, window] = {
                "window": window,
                "bucket": number,
                "baseline": BASELINE,
                "counts": count(item.edges, values),
                "sum": total,
                "squares": squares,
            }
    found = {}
    for emit in emits:
        assert emit.output == NEXT
        summary = json.loads(emit.value)
        found[emit.key, summary["bucket"], summary["window"]] = summary
    assert len(found) == len(emits)
    assert found == expected


def test_an_older_shadow_score_counts_in_the_open_window(
    job: Callable[[], list[Operator]], chain: Callable[..., Any], encode: Callable[[str], Encode]
) -> None:
    hops, pair = chain(job), ("approve", "decline")
    for time in (250, 310, 120, 399, 290):
        record = shadow_score(0, time, pair, (0.5, 0.75), 1)
        hops(message(SHADOW_SCORES, encode("shadow-score")(record)))
    ((key, state),) = hops.states[1].items()
    assert key == b"compare/new:1/%02d" % bucket("e0")
    assert json.loads(state.head) == {
        "layout": 1,
        "window": 300,
        "champion": "old:1",
        "difference": 1.0,
        "pairs": {'["approve", "decline"]': [4, {"EUR": 4}]},
    }


# The whole job

Feed = list[Message]


def played(hops: Any, messages: Feed, decode: Callable[[str], Decode]) -> dict[str, list[Any]]:
    """What a chain of hops puts out, by stream."""
    found: dict[str, list[Any]] = defaultdict(list)
    for one in messages:
        for emit in hops(one):
            found[emit.output].append(decode(emit.output)(emit.value))
    return found


@settings(max_examples=25)
@given(stream=STREAM)
def test_every_decision_is_counted_once(
    job: Callable[[], list[Operator]],
    chain: Callable[..., Any],
    encode: Callable[[str], Encode],
    decode: Callable[[str], Decode],
    flush: Feed,
    stream: list[tuple[int, int, tuple[float, ...]]],
) -> None:
    values = [encode("decision")(decision(*event)) for event in stream]
    out = played(chain(job), [message(DECISIONS, value) for value in values] + flush, decode)
    for index, item in enumerate(WATCHED):
        records = [record for record in out[DRIFT] if record["feature"] == item.name]
        starts = [record["window_start"] for record in records]
        assert starts == sorted(set(starts))
        assert starts[-1] == 10**6
        missing = sum(1 for *_, row in stream if math.isnan(row[index]))
        assert sum(record["count"] for record in records) == len(stream) + BUCKETS
        assert sum(record["missing"] for record in records) == missing


SCORED = st.lists(
    st.tuples(
        st.integers(0, 60),
        st.integers(0, 900),
        st.tuples(ACTIONS, ACTIONS),
        st.tuples(st.floats(0, 1), st.floats(0, 1)),
        st.none() | st.integers(-(10**24) + 1, 10**24 - 1),
    ),
    max_size=60,
)


@settings(max_examples=25)
@given(stream=SCORED)
def test_comparisons_are_a_recount_of_the_shadow_scores(
    job: Callable[[], list[Operator]],
    chain: Callable[..., Any],
    encode: Callable[[str], Encode],
    decode: Callable[[str], Decode],
    flush: Feed,
    stream: list[Any],
) -> None:
    values = [encode("shadow-score")(shadow_score(*scored)) for scored in stream]
    out = played(chain(job), [message(SHADOW_SCORES, value) for value in values] + flush, decode)
    last = out[COMPARISON][-1]
    matrix: dict[tuple[str, str], list[Any]] = {("approve", "approve"): [BUCKETS, {}]}
    for event, _, actions, _, amount in stream:
        cell = matrix.setdefault(actions, [0, {}])
        cell[0] += 1
        if amount is not None:
            currency = ("EUR", "SEK")[event % 2]
            cell[1][currency] = cell[1].get(currency, 0) + amount
    found = {
        (cell["champion"], cell["challenger"]): [
            cell["count"],
            {
                currency: int.from_bytes(amount, "big", signed=True)
                for currency, amount in cell["amounts"].items()
            },
        ]
        for cell in last["actions"]
    }
    assert found == matrix
    assert last["total"] == len(stream) + BUCKETS
    assert last["total"] == sum(record["count"] for record in out[COMPARISON])
    assert last["agreed"] == sum(n for (a, b), (n, _) in matrix.items() if a == b)
    differences = [abs(one - other) for *_, (one, other), _ in stream]
    assert last["score_difference"] * last["total"] == pytest.approx(math.fsum(differences))


@settings(max_examples=10)
@given(decisions=STREAM, scored=SCORED)
def test_a_restart_at_every_message_changes_no_byte(
    job: Callable[[], list[Operator]],
    chain: Callable[..., Any],
    encode: Callable[[str], Encode],
    flush: Feed,
    decisions: list[Any],
    scored: list[Any],
) -> None:
    messages = [message(DECISIONS, encode("decision")(decision(*one))) for one in decisions]
    messages += [
        message(SHADOW_SCORES, encode("shadow-score")(shadow_score(*one))) for one in scored
    ]
    steady, restarted = chain(job), chain(job, restart=True)
    for one in messages[::2] + messages[1::2] + flush:
        assert restarted(one) == steady(one)
    for mine, theirs in zip(steady.states, restarted.states, strict=True):
        assert {key: state.head for key, state in mine.items()} == {
            key: state.head for key, state in theirs.items()
        }


@given(st.sampled_from([DECISIONS, SHADOW_SCORES]), st.binary(max_size=80))
def test_arbitrary_bytes_never_stop_it(
    job: Callable[[], list[Operator]], chain: Callable[..., Any], stream: str, value: bytes
) -> None:
    hops = chain(job)
    assert all(emit.output == DEAD_LETTERS for emit in hops(message(stream, value)))
