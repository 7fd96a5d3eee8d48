"""Events come out of containers as they went in; outputs survive a crash at any byte."""

import io
import json
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import fastavro
import pytest
from hypothesis import strategies as st

from verdict.operators.events.decode import Decoded
from verdict.operators.events.schema import Schema, parse
from verdict.pipelines.errors import FileError
from verdict.pipelines.formats.events import read_events

DECIMAL = {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}
NULLABLE = [
    "null",
    {"type": "record", "name": "Shop", "fields": [{"name": "id", "type": "string"}]},
]
PAYMENT: dict[str, Any] = {
    "type": "record",
    "name": "Payment",
    "namespace": "shop",
    "fields": [
        {"name": "id", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "amount", "type": DECIMAL},
        {"name": "shop", "type": NULLABLE, "default": None},
    ],
}
SCHEMA = parse(PAYMENT)
CODECS = ("null", "deflate")


def payments(count: int) -> list[dict[str, Any]]:
    return [
        {
            "id": f"p{number}",
            "at": 1_000 * number,
            "amount": Decimal(number * 7) / 100,
            "shop": {"id": f"s{number}"} if number % 3 else None,
        }
        for number in range(count)
    ]


def body(schema: Schema, record: Any) -> bytes:
    """Encode as a producer would: the bytes that `read_events` should hand over."""
    raw = io.BytesIO()
    fastavro.schemaless_writer(raw, fastavro.parse_schema(schema.definition), record)
    return raw.getvalue()


def container(path: Path, schema: Any, records: Sequence[Any], codec: str = "null") -> Path:
    with path.open("wb") as file:
        fastavro.writer(file, schema, records, codec=codec, sync_interval=200)
    return path


@pytest.mark.parametrize("codec", CODECS)
def test_a_container_of_the_same_schema_is_cut_not_encoded_anew(tmp_path: Path, codec: str) -> None:
    file = container(tmp_path / "a.avro", PAYMENT, payments(100), codec)
    messages = list(read_events([file], SCHEMA, "events"))
    assert {type(message.value) for message in messages} == {Decoded}
    assert [message.value for message in messages] == [body(SCHEMA, p) for p in payments(100)]
    assert [message.offset for message in messages] == list(range(100))
    assert {message[:2] + message[3:5] for message in messages} == {("events", None, "a.avro", 0)}


def test_the_examples_events_are_cut_too(example: Any) -> None:
    values = [value for _, value in example.messages]
    read = [m.value for m in read_events([example.events], example.pipeline.schema, "events")]
    assert len(read) > 1_000
    assert {type(value) for value in read} == {Decoded}
    assert set(read) < set(values)


ORDER: dict[str, Any] = {**PAYMENT, "fields": PAYMENT["fields"][::-1]}
FEWER: dict[str, Any] = {**PAYMENT, "fields": PAYMENT["fields"][:3]}
MORE: dict[str, Any] = {
    **PAYMENT,
    "fields": [{"name": "note", "type": "string"}, *PAYMENT["fields"]],
}
OTHER_DOC: dict[str, Any] = {**PAYMENT, "doc": "The same fields, told otherwise."}


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize(
    "writer", [ORDER, FEWER, MORE, OTHER_DOC], ids=["order", "fewer", "more", "doc"]
)
def test_a_container_of_another_schema_is_read_by_avros_rules(
    tmp_path: Path, writer: dict[str, Any], codec: str
) -> None:
    names = [field["name"] for field in writer["fields"]]
    records = [{**payment, "note": "x"} for payment in payments(100)]
    written = [{name: record[name] for name in names} for record in records]
    file = container(tmp_path / "a.avro", writer, written, codec)
    read = [message.value for message in read_events([file], SCHEMA, "events")]
    if "shop" not in names:
        records = [{**record, "shop": None} for record in records]
    assert read == [body(SCHEMA, record) for record in records]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ({"name": "new", "type": "string", "default": "none"}, "none"),
        ({"name": "new", "type": "long", "default": 7}, 7),
        ({"name": "new", "type": "boolean", "default": True}, True),
        ({"name": "new", "type": DECIMAL, "default": "\u0001\u00ff"}, Decimal("5.11")),
        (
            {"name": "new", "type": {"type": "enum", "name": "E", "symbols": ["A", "B"]}}
            | {"default": "B"},
            "B",
        ),
        ({"name": "new", "type": ["null", "string"], "default": None}, None),
    ],
    ids=lambda value: None if isinstance(value, dict) else type(value).__name__,
)
def test_a_field_that_came_later_has_its_default(
    tmp_path: Path, field: dict[str, Any], value: Any
) -> None:
    later = parse({**PAYMENT, "fields": [*PAYMENT["fields"], field]})
    file = container(tmp_path / "a.avro", PAYMENT, payments(3))
    read = [message.value for message in read_events([file], later, "events")]
    assert read == [body(later, {**payment, "new": value}) for payment in payments(3)]


def test_a_schema_that_does_not_resolve_is_said(tmp_path: Path) -> None:
    added = {"name": "new", "type": "string"}
    later = parse({**PAYMENT, "fields": [*PAYMENT["fields"], added]})
    file = container(tmp_path / "a.avro", PAYMENT, payments(3))
    with pytest.raises(FileError, match=r"a\.avro: damaged after 0 records: .*new"):
        list(read_events([file], later, "events"))


def test_lines_of_json_are_records_as_they_stand(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(b'{"id": "a"}\n\n  {"id": "b"}\r\nnot json\n{"id": "c"}')
    messages = list(read_events([file], SCHEMA, "events"))
    assert [(message.offset, message.value) for message in messages] == [
        (0, b'{"id": "a"}'),
        (1, b'{"id": "b"}'),
        (2, b"not json"),
        (3, b'{"id": "c"}'),
    ]


def test_each_file_is_a_partition_and_is_read_from_its_own_start(tmp_path: Path) -> None:
    one = container(tmp_path / "a.avro", PAYMENT, payments(5))
    two = container(tmp_path / "b.avro", PAYMENT, payments(3))
    read = list(read_events([one, two], SCHEMA, "events", [4, 1]))
    assert [(message.topic, message.partition, message.offset) for message in read] == [
        ("a.avro", 0, 4),
        ("b.avro", 1, 1),
        ("b.avro", 1, 2),
    ]


@pytest.mark.parametrize("name", ["none.avro", "none.jsonl"])
def test_a_file_that_is_not_there_is_said(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileError, match=rf"cannot read .*{name}: No such file or directory"):
        list(read_events([tmp_path / name], SCHEMA, "events"))


@pytest.mark.parametrize("content", [b"", b"no container", b"Obj\x01"])
def test_what_is_no_container_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.avro").write_bytes(content)
    with pytest.raises(FileError, match=r"a\.avro: damaged after 0 records: "):
        list(read_events([tmp_path / "a.avro"], SCHEMA, "events"))


@pytest.mark.parametrize("codec", CODECS)
def test_a_container_cut_at_any_byte_gives_whole_blocks_and_says_how_many_records(
    tmp_path: Path, codec: str
) -> None:
    whole = container(tmp_path / "whole.avro", PAYMENT, payments(40), codec)
    content = whole.read_bytes()
    with whole.open("rb") as file:
        blocks = [
            (block.offset, block.offset + block.size, block.num_records)
            for block in fastavro.block_reader(file)
        ]
    assert len(blocks) > 2
    wanted = [body(SCHEMA, payment) for payment in payments(40)]
    cut = tmp_path / "cut.avro"
    first, last = blocks[0][0], blocks[-1][1]
    assert last == len(content)
    for length in [*range(first, last, 3), *(end - 1 for _, end, _ in blocks)]:
        cut.write_bytes(content[:length])
        complete = sum(count for _, end, count in blocks if end <= length)
        read: list[bytes | None] = []
        try:
            for message in read_events([cut], SCHEMA, "events"):
                read.append(message.value)  # noqa: PERF401  what came before the error counts
        except FileError as error:
            assert f"damaged after {len(read)} records" in str(error)
            assert length not in [end for _, end, _ in blocks]
        else:
            assert length == first or length in [end for _, end, _ in blocks], length
        assert len(read) >= complete
        assert read == wanted[: len(read)]


def test_a_damaged_byte_in_a_deflated_block_is_said(tmp_path: Path) -> None:
    file = container(tmp_path / "a.avro", PAYMENT, payments(100), "deflate")
    content = bytearray(file.read_bytes())
    content[-40] ^= 0xFF
    file.write_bytes(content)
    with pytest.raises(FileError, match=r"a\.avro: damaged after \d+ records"):
        list(read_events([file], SCHEMA, "events"))


records = st.fixed_dictionaries(
    {"n": st.integers(-(2**63), 2**63 - 1), "text": st.text(max_size=9)}
)


def test_a_line_that_is_json_keeps_its_digits(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"amount": 0.1}) + "\n")
    (message,) = read_events([tmp_path / "a.jsonl"], SCHEMA, "events")
    assert message.value == b'{"amount": 0.1}'
