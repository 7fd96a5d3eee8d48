"""The generator keeps its promises: the seed, the order, the shares, the schema, the breaks."""

import csv
import doctest
import io
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter, defaultdict
from pathlib import Path
from types import ModuleType
from typing import Any

import fastavro
import pytest

ROOT = Path(__file__).parents[2]
DAY = 86_400_000


def play(generator: ModuleType, **settings: Any) -> list[Any]:
    return list(generator.transactions(generator.World(**settings)))


@pytest.fixture(scope="module")
def month(generator: ModuleType) -> list[Any]:
    return play(generator)


def test_the_examples_in_its_docstrings_run(generator: ModuleType) -> None:
    result = doctest.testmod(generator)
    assert result.attempted > 0 and result.failed == 0


def test_the_seed_decides_everything(generator: ModuleType, month: list[Any]) -> None:
    assert play(generator) == month
    assert play(generator, seed=8) != month


def test_a_day_does_not_depend_on_the_length(generator: ModuleType, month: list[Any]) -> None:
    endless = generator.transactions(generator.World(days=None))
    assert list(itertools.islice(endless, len(month))) == month


def test_events_come_in_order_with_unique_ids(generator: ModuleType, month: list[Any]) -> None:
    times = [tx.event_time for tx in month]
    assert times == sorted(times)
    start = generator.World().start_ms
    assert start <= times[0] and times[-1] < start + 30 * DAY
    assert len({tx.transaction_id for tx in month}) == len(month)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_each_kind_of_fraud_has_its_share(generator: ModuleType, seed: int) -> None:
    story = play(generator, days=90, seed=seed)
    kinds = Counter(tx.kind for tx in story)
    # Expected by the world's numbers: 0.06 % (handbook), 1.3 %, 0.5 %. The few victims of a
    # world of 300 customers differ much in pace, hence the room.
    assert 0.000_1 < kinds[1] / len(story) < 0.002
    assert 0.008 < kinds[2] / len(story) < 0.02
    assert 0.002 < kinds[3] / len(story) < 0.01
    # Two payments a customer and day; 3 % would fall on another day; the fraud is on top.
    assert 500 < len(story) / 90 < 700


def test_large_amounts_are_fraud(month: list[Any]) -> None:
    assert all(tx.amount > 220 for tx in month if tx.kind == 1)
    assert all(tx.is_fraud for tx in month if tx.amount > 220)
    assert not any(tx.is_fraud for tx in month if tx.kind == 0)
    assert all(tx.amount > 0 for tx in month)


def test_stolen_cards_spend_a_third_in_sprees_of_large_amounts(generator: ModuleType) -> None:
    story = play(generator, customers=3_000, terminals=6_000, days=20, radius=5)
    cards = defaultdict(list)
    for tx in story:
        cards[tx.customer_id].append(tx)
    shares, factors, quick = [], [], []
    for payments in cards.values():
        thefts = [tx for tx in payments if tx.kind == 3]
        own = [tx for tx in payments if tx.kind == 0]
        if len(thefts) < 3 or len(own) < 10:
            continue
        meantime = [tx for tx in own if thefts[0].event_time < tx.event_time]
        meantime = [tx for tx in meantime if tx.event_time < thefts[-1].event_time]
        shares.append((len(thefts), len(meantime)))
        factors.append(mean_amount(thefts) / mean_amount(own))
        gaps = [b.event_time - a.event_time for a, b in itertools.pairwise(thefts)]
        quick.append(sum(gap < 3_600_000 for gap in gaps) / len(gaps))
    assert len(shares) > 10
    thefts_made, own_made = map(sum, zip(*shares, strict=True))
    # Counted between the first and the last theft, so a little over the third of all 14 days.
    assert 0.25 < thefts_made / (thefts_made + own_made) < 0.55
    assert 4 < sum(factors) / len(factors) < 6
    assert sum(quick) / len(quick) > 0.4


def test_compromised_terminals_are_busier(month: list[Any]) -> None:
    visits = Counter(tx.terminal.id for tx in month if tx.terminal)
    compromised = {tx.terminal.id for tx in month if tx.kind == 2}
    others = [count for terminal, count in visits.items() if terminal not in compromised]
    busy = [visits[terminal] for terminal in compromised]
    assert sum(busy) / len(busy) > 1.5 * sum(others) / len(others)


def test_online_payments_have_no_terminal(month: list[Any]) -> None:
    online = [tx for tx in month if tx.channel == "online"]
    assert 0.2 < len(online) / len(month) < 0.3
    assert all((tx.terminal is None) == (tx.channel == "online") for tx in month)
    assert all(tx.terminal.country in ("BE", "DE", "FR", "NL") for tx in month if tx.terminal)


def test_drift_moves_genuine_amounts_and_nothing_else(
    generator: ModuleType, month: list[Any]
) -> None:
    drifted = play(generator, drift_at=0.5)
    turn = generator.World().start_ms + 15 * DAY
    for plain, moved in zip(month, drifted, strict=True):
        if plain.event_time >= turn and not plain.is_fraud:
            assert abs(float(plain.amount) * 1.6 - float(moved.amount)) <= 0.005_000_1
            assert moved == plain._replace(amount=moved.amount)
        else:
            assert moved == plain
    genuine = [tx for tx in drifted if not tx.is_fraud]
    before = mean_amount([tx for tx in genuine if tx.event_time < turn])
    after = mean_amount([tx for tx in genuine if tx.event_time >= turn])
    assert 1.5 < after / before < 1.7
    assert play(generator, drift_at=15) == drifted


def test_events_round_trip_through_avro(generator: ModuleType, month: list[Any]) -> None:
    schema = json.loads((ROOT / "examples/card-fraud/transaction.avsc").read_text())
    for tx in month[:2_000]:
        event = decode(schema, generator.encode(tx))
        event["event_time"] = round(event["event_time"].timestamp() * 1000)
        assert event == generator.record(tx)
        assert event["amount"].as_tuple().exponent == -2
        assert tx.key == event["customer_id"].encode()
        assert "kind" not in event and "is_fraud" not in event


def test_broken_events_are_broken_as_documented(generator: ModuleType, month: list[Any]) -> None:
    story = play(generator, broken=0.2)
    ways = Counter(tx.broken for tx in story)
    assert 0.18 < 1 - ways[None] / len(story) < 0.22
    for way, share in generator.BREAKS.items():
        assert abs(ways[way] / (len(story) - ways[None]) - share) < 0.04
    for tx, whole in zip(story, month, strict=True):
        body = generator.encode(tx)
        match tx.broken:
            case None:
                assert tx == whole
            case "truncated" | "garbage":
                with pytest.raises((EOFError, ValueError, IndexError)):
                    decode(generator.SCHEMA, body)
            case "no-key":
                assert tx.key is None
                assert decode(generator.SCHEMA, body)["customer_id"] == whole.customer_id
            case "no-customer":
                assert tx.key == b""
                assert decode(generator.SCHEMA, body)["customer_id"] == ""
            case "amount":
                amount = decode(generator.SCHEMA, body)["amount"]
                assert amount < 0 or amount > 1_000_000
    assert [generator.encode(tx) for tx in play(generator, broken=0.2)] == [
        generator.encode(tx) for tx in story
    ]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"customers": 0}, "customers is 0"),
        ({"days": -1}, "days is -1"),
        ({"seed": -1}, "seed is -1"),
        ({"radius": 0.0}, "radius is 0.0"),
        ({"broken": 1.5}, "broken is 1.5"),
        ({"start": "yesterday"}, "start is 'yesterday'"),
        ({"drift_at": -1.0}, "drift_at is -1.0"),
        ({"drift_at": 0.5, "days": None}, "has no end"),
    ],
)
def test_an_impossible_world_is_refused_with_the_remedy(
    generator: ModuleType, settings: dict[str, Any], names: str
) -> None:
    with pytest.raises(generator.WorldError, match=names):
        generator.World(**settings)


def test_the_smallest_world_works(generator: ModuleType) -> None:
    assert play(generator, customers=1, terminals=1, days=10, radius=0.001)


def test_files_and_labels_agree(
    generator: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels, options = tmp_path / "labels.csv", ["--days", "5", "--broken", "0.1"]
    readable = [
        tx
        for tx in play(generator, days=5, broken=0.1)
        if tx.broken not in ("truncated", "garbage")
    ]
    container, lines = tmp_path / "events.avro", tmp_path / "events.jsonl"
    assert generator.main([*options, "--out", str(container), "--labels", str(labels)]) == 0
    assert f"{len(readable):,} events" in capsys.readouterr().err
    assert generator.main([*options, "--out", str(lines)]) == 0
    assert "left out" in capsys.readouterr().err
    with container.open("rb") as file:
        stored = list(fastavro.reader(file))
    ids = [tx.transaction_id for tx in readable]
    assert [event["transaction_id"] for event in stored] == ids
    parsed = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [event["transaction_id"] for event in parsed] == ids
    assert [f"{event['amount']:.2f}" for event in parsed] == [str(tx.amount) for tx in readable]
    with labels.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["transaction_id"], row["is_fraud"], row["kind"]) for row in rows] == [
        (tx.transaction_id, str(int(tx.is_fraud)), str(tx.kind)) for tx in readable
    ]


def test_stdout_gets_json_lines(generator: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert generator.main(["--days", "1", "--customers", "20", "--out", "-"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == len(play(generator, days=1, customers=20))
    assert set(json.loads(printed[0])) == set(generator.record(play(generator, days=1)[0]))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--out", "events.csv"], "must end in .avro or .jsonl"),
        (["--out", "-", "--rate", "0"], "above 0"),
        (["--out", "-", "--days", "-3"], "days is -3"),
    ],
)
def test_wrong_options_are_refused(
    generator: ModuleType, capsys: pytest.CaptureFixture[str], options: list[str], says: str
) -> None:
    with pytest.raises(SystemExit) as refusal:
        generator.main(options)
    assert refusal.value.code == 2
    assert says in capsys.readouterr().err


def test_a_missing_folder_is_said(
    generator: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "nowhere" / "events.avro"
    assert generator.main(["--days", "1", "--out", str(out)]) == 1
    assert f"cannot write {out}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "pace"), [("events.avro", []), ("events.jsonl", ["--rate", "99"])]
)
def test_ctrl_c_leaves_a_whole_file(tmp_path: Path, name: str, pace: list[str]) -> None:
    out = tmp_path / name
    script = ROOT / "examples/card-fraud/generator.py"
    process = subprocess.Popen(
        [sys.executable, str(script), "--days", "0", "--out", str(out), *pace],
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        text=True,
    )
    try:
        deadline = time.monotonic() + 30
        while not (out.exists() and out.stat().st_size) and time.monotonic() < deadline:
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 130
    assert told.strip().startswith("Interrupted:") and "Traceback" not in told
    if name.endswith(".avro"):
        with out.open("rb") as file:
            assert sum(1 for _ in fastavro.reader(file)) > 0
    else:
        assert [json.loads(line) for line in out.read_text().splitlines()]


def mean_amount(story: list[Any]) -> float:
    return float(sum(tx.amount for tx in story)) / len(story)


def decode(schema: Any, body: bytes) -> dict[str, Any]:
    event = fastavro.schemaless_reader(io.BytesIO(body), schema, None)
    assert isinstance(event, dict)
    return event
