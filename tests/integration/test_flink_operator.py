"""`BatchOperator` under Flink, without Kafka: a source of numbers before it, a list behind it."""

import json
import pickle
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.integration.flink_operator import FAILING

pytestmark = pytest.mark.server
ROOT = Path(__file__).parents[2]
PROGRAM = Path(__file__).with_name("run_operator.py")
KEYS = 3


def run(folder: Path, **asked: Any) -> list[Any]:
    """Run the operator alone; return what it put out: offset, batch, size, key, count, count."""
    base = {"records": 200, "rate": 1_000_000, "size": 64, "keys": KEYS, "operator": "Counting"}
    whole = {**base, "checkpoints": 0, "restarts": 0, **asked}
    done = subprocess.run(
        [sys.executable, str(PROGRAM), str(folder), json.dumps(whole)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: list[Any] = pickle.loads((folder / "found").read_bytes())
    return found


def sizes(found: list[Any]) -> dict[int, int]:
    """Return the size of each batch, by its number."""
    return {number: size for _, number, size, *_ in found}


def check_counts(found: list[Any], records: int) -> None:
    """A key's records, many of them in one batch, see one another's heads and chunks."""
    assert [each[0] for each in found] == list(range(records))
    counts: Counter[bytes] = Counter()
    for _, _, _, key, by_head, by_chunks in found:
        counts[key] += 1
        assert (by_head, by_chunks) == (counts[key], counts[key])


def test_records_that_are_there_make_batches_and_the_end_works_off_the_last(tmp_path: Path) -> None:
    found = run(tmp_path)
    check_counts(found, 200)
    batches = sizes(found)
    assert sum(batches.values()) == 200
    # What came while Python started was there at once.
    assert max(batches.values()) == 64


def test_a_batch_of_one_is_the_same(tmp_path: Path) -> None:
    found = run(tmp_path, size=1)
    check_counts(found, 200)
    assert set(sizes(found).values()) == {1}


def test_no_record_waits_for_one_that_is_not_there(tmp_path: Path) -> None:
    found = run(tmp_path, records=120, rate=20, size=1_000)
    check_counts(found, 120)
    # The source gives out 20 a second. Without its mails there would be one batch, at the end.
    assert len(sizes(found)) > 2


def test_what_is_buffered_is_worked_off_before_a_barrier(tmp_path: Path) -> None:
    """Fails once, long after the first checkpoint; what it then restores has counted them all."""
    found = run(tmp_path, records=400, rate=100, checkpoints=20, restarts=3, operator="fails_once")
    last = {key: (count, chunk) for _, _, _, key, count, chunk in found}
    assert last == {b"0": (134, 134), b"1": (133, 133), b"2": (133, 133)}
    assert {each[0] for each in found} == set(range(400))


def test_what_fails_says_where(tmp_path: Path) -> None:
    *_, error = run(tmp_path, operator="fails")
    assert (
        f"tests/alone/count failed on topic/0/{FAILING}: ValueError at flink_operator.py" in error
    )
