"""Champion against challenger: the matrix and the money by hand."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from verdict.operators.names import COMPARISON
from verdict.operators.records.streams import Decode, Encode
from verdict.operators.watch.compare import MAX_CODE, MAX_CURRENCIES, Comparisons

Add = Callable[..., dict[str, Any]]


@pytest.fixture
def add(encode: Callable[[str], Encode], decode: Callable[[str], Decode]) -> Add:
    """Adds a window; the memory goes through JSON between two, as it does in `Merge`."""
    comparisons = Comparisons("shop", 60, encode("comparison"))
    memory: dict[str, Any] = {}

    def add(start: int, *parts: dict[str, Any]) -> dict[str, Any]:
        nonlocal memory
        emit = comparisons("new:2", start, parts, memory)
        memory = json.loads(json.dumps(memory))
        assert (emit.output, emit.key) == (COMPARISON, b"new:2")
        record = decode("comparison")(emit.value)
        for cell in record["actions"]:
            cell["amounts"] = {
                currency: int.from_bytes(amount, "big", signed=True)
                for currency, amount in cell["amounts"].items()
            }
        return record

    return add


def part(
    pairs: dict[tuple[str, str], tuple[int, dict[str, int]]],
    difference: float,
    champion: str = "old:1",
) -> dict[str, Any]:
    return {
        "champion": champion,
        "difference": difference,
        "pairs": {json.dumps(pair): list(cell) for pair, cell in pairs.items()},
    }


def test_two_windows_by_hand(add: Add) -> None:
    first = add(
        60,
        part({("approve", "approve"): (6, {"EUR": 600}), ("approve", "decline"): (2, {})}, 0.5),
        part({("approve", "decline"): (1, {"EUR": 70, "SEK": -5})}, 0.25),
    )
    assert first == {
        "pipeline": "shop",
        "champion": "old:1",
        "challenger": "new:2",
        "window_start": 60,
        "window_end": 120,
        "count": 9,
        "total": 9,
        "agreed": 6,
        "agreement": 6 / 9,
        "score_difference": 0.75 / 9,
        "actions": [
            {
                "champion": "approve",
                "challenger": "approve",
                "count": 6,
                "amounts": {"EUR": 600},
            },
            {
                "champion": "approve",
                "challenger": "decline",
                "count": 3,
                "amounts": {"EUR": 70, "SEK": -5},
            },
        ],
    }
    second = add(
        180,
        part({("decline", "decline"): (1, {"EUR": 10**20})}, 0.0, champion="old:2"),
        part({("decline", "decline"): (1, {"EUR": 1})}, 0.25, champion="old:2"),
        part({("approve", "decline"): (1, {"EUR": 30})}, 1.0, champion="old:3"),
    )
    assert (second["count"], second["total"], second["agreed"]) == (3, 12, 8)
    assert (second["agreement"], second["score_difference"]) == (8 / 12, 2.0 / 12)
    assert second["champion"] == "old:3"
    assert [
        (cell["champion"], cell["challenger"], cell["count"], cell["amounts"])
        for cell in second["actions"]
    ] == [
        ("approve", "approve", 6, {"EUR": 600}),
        ("approve", "decline", 4, {"EUR": 100, "SEK": -5}),
        ("decline", "decline", 2, {"EUR": 10**20 + 1}),
    ]


def test_actions_of_any_name(add: Add) -> None:
    record = add(0, part({('say "no"', "å, ö"): (1, {})}, 0.0))
    assert record["actions"] == [
        {"champion": 'say "no"', "challenger": "å, ö", "count": 1, "amounts": {}}
    ]
    assert record["agreement"] == 0.0


def test_a_producer_of_garbage_currencies_makes_no_record_that_kafka_refuses(add: Add) -> None:
    garbage = {f"{number:x}": 1 for number in range(20_000)} | {"E" * (MAX_CODE + 1): 1}
    for start in (60, 120):
        record = add(start, part({("approve", "approve"): (2, {"EUR": 5, **garbage})}, 0.0))
    (cell,) = record["actions"]
    assert cell["count"] == 4
    assert len(cell["amounts"]) == MAX_CURRENCIES
    assert cell["amounts"]["EUR"] == 10
    assert max(map(len, cell["amounts"])) <= MAX_CODE
