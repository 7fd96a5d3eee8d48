"""Schemas of which a few bytes could take the process down, and those of which none can."""

from typing import Any

import pytest

from verdict.operators.events.bounds import unbounded


def record(name: str, *types: Any) -> dict[str, Any]:
    fields = [{"name": f"f{number}", "type": kind} for number, kind in enumerate(types)]
    return {"type": "record", "name": name, "fields": fields}


def array(items: Any) -> dict[str, Any]:
    return {"type": "array", "items": items}


EMPTY = record("Empty")
NOTHING = {"type": "fixed", "name": "Nothing", "size": 0}


@pytest.mark.parametrize(
    ("definition", "says"),
    [
        (record("N", ["null", "N"]), "record 'N' is within itself"),
        (record("N", array("N")), "record 'N' is within itself"),
        (record("N", {"type": "map", "values": "N"}), "record 'N' is within itself"),
        (record("A", record("B", ["null", "A"])), "record 'A' is within itself"),
        (record("A", record("B", ["null", "B"]), "B"), "record 'B' is within itself"),
        (array("null"), "an array of items without bytes"),
        (array(EMPTY), "an array of items without bytes"),
        (array(record("R", EMPTY, NOTHING, "null")), "an array of items without bytes"),
        (record("R", EMPTY, array("Empty")), "an array of items without bytes"),
        (array(array("null")), "an array of items without bytes"),
    ],
)
def test_without_bound(definition: Any, says: str) -> None:
    assert unbounded(definition) == says


@pytest.mark.parametrize(
    "definition",
    [
        "string",
        record("R", "int", ["null", "string"]),
        record("R", record("S", "int"), "S", array("S")),
        array(["null"]),  # each item has the number of its branch
        array({"type": "fixed", "name": "F", "size": 1}),
        {"type": "map", "values": "null"},  # each has a key
        record("R", EMPTY, NOTHING),
    ],
)
def test_bounded(definition: Any) -> None:
    assert unbounded(definition) is None


def test_names_that_another_schema_brought_are_looked_up() -> None:
    named = {"N": record("N", ["null", "N"])}
    assert unbounded({**array("N"), "__named_schemas": named}) == "record 'N' is within itself"
