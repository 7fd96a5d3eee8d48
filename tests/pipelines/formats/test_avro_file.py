"""Avro containers: what was committed survives a crash at any byte."""

from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import fastavro
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pipelines.formats.test_events import PAYMENT, body, container, payments, records
from verdict.operators.events.schema import parse
from verdict.pipelines.errors import FileError
from verdict.pipelines.formats.avro_file import AvroFile, cut, read_records

NUMBER: dict[str, Any] = {
    "type": "record",
    "name": "Number",
    "fields": [{"name": "n", "type": "long"}, {"name": "text", "type": "string"}],
}


NUMBER_SCHEMA = parse(NUMBER)


Batch = list[dict[str, Any]]


batches = st.lists(st.lists(records, max_size=4), max_size=5)


def readable(path: Path) -> Batch:
    with path.open("rb") as file:
        return list(fastavro.reader(file))


def append(file: AvroFile, batch: Batch) -> None:
    file.append(body(NUMBER_SCHEMA, record) for record in batch)


@settings(max_examples=60)
@given(st.data())
def test_what_was_committed_survives_a_crash_at_any_byte(data: st.DataObject) -> None:
    """Lives of a file: appends, some committed, a crash; then the next life, from the commit."""
    committed: Batch = []
    length = 0
    with TemporaryDirectory() as folder:
        path = Path(folder) / "out.avro"
        for _ in range(data.draw(st.integers(1, 4), label="lives")):
            file = AvroFile(path, NUMBER, length)
            kept = data.draw(batches, label="committed")
            for batch in kept:
                append(file, batch)
                committed += batch
                length = file.length
            for batch in data.draw(batches, label="lost"):
                append(file, batch)
            file.close()
            if length:  # the crash: what lies behind the commit is there in part
                size = data.draw(st.integers(length, path.stat().st_size), label="size")
                with path.open("r+b") as crashed:
                    crashed.truncate(size)
        file = AvroFile(path, NUMBER, length)
        file.close()
        assert readable(path) == committed
        assert list(read_records(path)) == committed


def test_without_a_commit_a_file_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "out.avro"
    file = AvroFile(path, NUMBER, 0)
    append(file, [{"n": 1, "text": "lost"}])
    file.close()
    AvroFile(path, NUMBER, 0).close()
    assert readable(path) == []


def test_nothing_to_append_is_no_block(tmp_path: Path) -> None:
    file = AvroFile(tmp_path / "out.avro", NUMBER, 0)
    length = file.length
    file.append([])
    assert file.length == length == (tmp_path / "out.avro").stat().st_size
    file.close()


@pytest.mark.parametrize("there", [True, False])
def test_a_file_shorter_than_the_state_knows_is_refused(tmp_path: Path, there: bool) -> None:
    path = tmp_path / "out.avro"
    if there:
        path.write_bytes(b"short")
    with pytest.raises(FileError, match="is shorter than it was: the state knows of 999 bytes; re"):
        AvroFile(path, NUMBER, 999)


def test_records_are_read_back_with_their_logical_types(tmp_path: Path) -> None:
    file = container(tmp_path / "a.avro", PAYMENT, payments(2))
    assert [record["amount"] for record in read_records(file)] == [Decimal("0"), Decimal("0.07")]


def test_reading_back_what_is_not_there_or_cut_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot read .*No such file"):
        list(read_records(tmp_path / "none.avro"))
    file = container(tmp_path / "a.avro", PAYMENT, payments(40))
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(FileError, match=r"a\.avro: damaged after \d+ records: "):
        list(read_records(file))


def test_a_path_may_be_text(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"cannot read .*nowhere\.avro"):
        list(read_records(str(tmp_path / "nowhere.avro")))


@pytest.mark.parametrize("again", [False, True])
def test_records_are_cut_without_logical_types_even_where_a_type_is_named_again(
    tmp_path: Path, again: bool
) -> None:
    decimal = {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2}
    money = {"type": "record", "name": "Money", "fields": [{"name": "sum", "type": decimal}]}
    fields = [{"name": "net", "type": money}]
    if again:
        fields.append({"name": "gross", "type": "Money"})
    schema = {"type": "record", "name": "Bill", "fields": fields}
    plain = {field["name"]: {"sum": bytes([i])} for i, field in enumerate(fields)}
    values = {field["name"]: {"sum": Decimal(i) / 100} for i, field in enumerate(fields)}
    file = tmp_path / "bills.avro"
    with file.open("wb") as out:
        fastavro.writer(out, schema, [values] * 3)
    encoded = b"".join(bytes([2, i]) for i in range(len(fields)))
    assert list(cut(file, schema, lambda _plain: None)) == [(encoded, plain)] * 3
