"""Judging windows: PSI and ADWIN by hand, states, and the alarm's beginning."""

import json
import math
import random
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from verdict.operators.models.histogram import psi
from verdict.operators.names import DRIFT
from verdict.operators.records.streams import Decode, Encode
from verdict.operators.watch.bucket import Watched
from verdict.operators.watch.drift import MEMORY, Drifts

WINDOW = 60
AMOUNT = Watched("amount", (10.0, 20.0), (300, 400, 300, 0), 15.0, 8.0, 0)
WARMING = Watched("warming", (10.0, 20.0), (300, 400, 300, 0), 15.0, 8.0, 2 * WINDOW)
UNKNOWN = Watched("unknown", (), (), 0.0, 0.0, 0)
SAME = (30, 40, 30, 0)
OTHER = (5, 40, 55, 0)


class Judge:
    """Judges windows one after the other; its memory goes through JSON between them, as it does
    between two messages of `Merge`."""

    def __init__(self, drifts: Drifts, decode: Decode) -> None:
        self.drifts = drifts
        self.decode = decode
        self.memory: dict[str, Any] = {}

    def __call__(self, name: str, start: int, *parts: dict[str, Any]) -> dict[str, Any]:
        emit = self.drifts(name, start, parts, self.memory)
        self.memory = json.loads(json.dumps(self.memory))
        assert (emit.output, emit.key) == (DRIFT, name.encode())
        return self.decode(emit.value)


def part(counts: tuple[int, ...], mean: float = 15.0, std: float = 8.0) -> dict[str, Any]:
    """A bucket's summary, its sums taken around the baseline's mean of 15."""
    known = sum(counts[:-1])
    offset = mean - 15.0
    return {
        "counts": list(counts),
        "sum": known * offset,
        "squares": known * (std * std + offset * offset),
    }


@pytest.fixture
def judge(encode: Callable[[str], Encode], decode: Callable[[str], Decode]) -> Judge:
    drifts = Drifts("shop", [AMOUNT, WARMING, UNKNOWN], WINDOW, 0.25, 0.002, 100, encode("drift"))
    return Judge(drifts, decode("drift"))


def test_a_window_in_full(judge: Judge) -> None:
    record = judge("amount", 120, part((10, 20, 30, 4), 16.0), part((20, 20, 0, 1), 13.0))
    after = [30, 40, 30, 5]
    mean = 15 + (60 * 1.0 + 40 * -2.0) / 100
    squares = 60 * (64 + 1) + 40 * (64 + 4)
    assert record == {
        "pipeline": "shop",
        "feature": "amount",
        "window_start": 120,
        "window_end": 180,
        "count": 105,
        "missing": 5,
        "mean": pytest.approx(mean),
        "std": pytest.approx(math.sqrt(squares / 100 - (mean - 15) ** 2)),
        "state": "stable",
        "psi": psi([300, 400, 300, 0], after),
        "detectors": [],
        "since": None,
        "edges": [10.0, 20.0],
        "before": [300, 400, 300, 0],
        "after": after,
    }


def test_psi_by_hand(judge: Judge) -> None:
    shares = [300.5 / 1002, 400.5 / 1002, 300.5 / 1002, 0.5 / 1002]
    now = [5.5 / 102, 40.5 / 102, 55.5 / 102, 0.5 / 102]
    expected = sum((a - e) * math.log(a / e) for e, a in zip(shares, now, strict=True))
    record = judge("amount", 0, part(OTHER))
    assert record["psi"] == pytest.approx(expected)
    assert expected > 0.25
    assert (record["state"], record["detectors"]) == ("alarm", ["psi"])


def test_an_alarm_begins_goes_on_and_ends(judge: Judge) -> None:
    few = (1, 1, 1, 0)
    stream = [SAME, OTHER, OTHER, few, OTHER, SAME, SAME, OTHER]
    found = [judge("amount", 60 * index, part(counts)) for index, counts in enumerate(stream)]
    assert [(record["state"], record["since"]) for record in found] == [
        ("stable", None),
        ("alarm", 60),
        ("alarm", 60),
        ("sparse", 60),  # too few to say that it is over
        ("alarm", 60),
        ("stable", None),
        ("stable", None),
        ("alarm", 420),
    ]


def test_a_window_is_cold_until_the_features_own_is_filled(judge: Judge) -> None:
    found = [judge("warming", start, part(OTHER))["state"] for start in (600, 660, 720)]
    assert found == ["cold", "cold", "alarm"]


def test_min_events_is_enough(judge: Judge) -> None:
    assert judge("amount", 0, part((30, 40, 29, 0)))["state"] == "sparse"
    assert judge("amount", 60, part((30, 40, 29, 1)))["state"] == "stable"  # NaN is an event too


def test_nothing_but_missing_values(judge: Judge) -> None:
    record = judge("amount", 0, part((0, 0, 0, 500)))
    assert (record["state"], record["mean"], record["std"]) == ("sparse", None, None)
    assert (record["count"], record["missing"]) == (500, 500)


def test_without_a_baseline_there_is_no_psi(judge: Judge) -> None:
    record = judge("unknown", 0, {"counts": [500, 0], "sum": 1000.0, "squares": 2500.0})
    assert (record["psi"], record["state"], record["before"]) == (None, "stable", [])
    assert (record["mean"], record["std"]) == (2.0, 1.0)


def shifting(judge: Judge, windows: int, shift_at: int | None) -> list[dict[str, Any]]:
    """Windows of 1,000 events whose histogram stays, and whose mean moves by 5 standard errors."""
    source = random.Random(7)
    found = []
    for index in range(windows):
        error = AMOUNT.std / math.sqrt(1_000)
        distance = source.gauss(0, 1) + (5 if shift_at is not None and index >= shift_at else 0)
        found.append(judge("amount", 60 * index, part((300, 400, 300, 0), 15 + distance * error)))
    return found


def test_adwin_is_silent_on_a_stable_stream(judge: Judge) -> None:
    assert {record["state"] for record in shifting(judge, 200, None)} == {"stable"}


def test_adwin_finds_a_shift_that_the_histogram_does_not_show(judge: Judge) -> None:
    found = shifting(judge, 120, 60)
    alarms = [record for record in found if record["state"] == "alarm"]
    assert alarms
    assert {tuple(record["detectors"]) for record in alarms} == {("adwin",)}
    assert 60 * 60 <= alarms[0]["window_start"] <= 60 * 75
    assert all(record["since"] is not None for record in alarms)
    assert found[-1]["state"] == "stable"  # the new level is what it knows now
    assert found[-1]["since"] is None
    assert len(judge.memory["means"]) < 75  # what lies before the shift is forgotten


def test_adwin_remembers_a_bounded_number_of_windows(judge: Judge) -> None:
    judge.memory["means"] = [0.0] * MEMORY
    judge("amount", 0, part((300, 400, 300, 0)))
    assert len(judge.memory["means"]) == MEMORY


@pytest.mark.parametrize("mean", [1e150, -1e150, 1e308])
def test_extreme_means_are_judged(judge: Judge, mean: float) -> None:
    for index in range(8):
        extreme = {"counts": [0, 0, 500, 0], "sum": mean, "squares": math.inf}
        record = judge("amount", 60 * index, part(SAME) if index < 6 else extreme)
    assert record["state"] == "alarm"


def test_of_river_no_more_than_adwin_is_imported_and_all_of_it_can_be() -> None:
    program = """
import sys
from verdict.operators.watch.drift import load_adwin
adwin = load_adwin()
assert load_adwin() is adwin
assert not {"pandas", "scipy", "river.datasets", "river.drift"} & set(sys.modules)
import river.drift
assert river.drift.ADWIN is adwin is load_adwin()
assert "river.drift.datasets" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
