"""`SchemaSource` against a folder, and against a server of the registry's documented endpoints."""

import base64
import io
import json
import logging
import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import fastavro
import pytest

from verdict.operators.errors import BadRecord, SchemaError
from verdict.operators.events import schema as schemas
from verdict.operators.events.decode import ConfluentDecoder
from verdict.pipelines.errors import RegistryError
from verdict.pipelines.formats.registry import SchemaSource
from verdict.pipelines.spec.settings import Schemas

PAYMENT = {
    "type": "record",
    "name": "Payment",
    "fields": [
        {"name": "id", "type": "string"},
        {
            "name": "amount",
            "type": {"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": 2},
        },
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
    ],
}
RECORD = {"id": "e1", "amount": b"\x04\xd2", "at": 5}


class Registry(ThreadingHTTPServer):
    """As much of a Schema Registry as a pipeline asks for, after Confluent's API reference."""

    daemon_threads = True

    def __init__(self, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.schemas: list[dict[str, Any]] = []  # the id is the index + 1
        self.subjects: dict[str, list[int]] = {}
        self.user: str | None = None
        self.read_only = False
        self.broken: tuple[int, bytes] | None = None
        self.requests: list[str] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def add(self, subject: str, schema: dict[str, Any]) -> int:
        if schema not in self.schemas:
            self.schemas.append(schema)
        schema_id = self.schemas.index(schema) + 1
        self.subjects.setdefault(subject, []).append(schema_id)
        return schema_id

    def close(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def _answer(self, method: str) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(length)) if length else None
        path = urlsplit(self.path).path
        self.server.requests.append(f"{method} {path}")
        status, answer = self.server.broken or self._route(method, path, body)
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _route(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        registry = self.server
        if registry.user is not None:
            basic = "Basic " + base64.b64encode(registry.user.encode()).decode()
            if self.headers.get("Authorization") != basic:
                return 401, {"error_code": 401, "message": "Unauthorized"}
        match [method, *map(unquote, path.strip("/").split("/"))]:
            case "GET", "schemas", "ids", wanted:
                if not 0 < int(wanted) <= len(registry.schemas):
                    return 404, {"error_code": 40403, "message": f"Schema {wanted} not found"}
                return 200, registry.schemas[int(wanted) - 1]
            case "GET", "subjects", subject, "versions", wanted:
                schema_id = registry.subjects[subject][int(wanted) - 1]
                named = {"subject": subject, "version": int(wanted), "id": schema_id}
                return 200, {**named, **registry.schemas[schema_id - 1]}
            case "POST", "subjects", subject:
                known = registry.subjects.get(subject)
                if known is None:
                    return 404, {"error_code": 40401, "message": "Subject not found"}
                for version, schema_id in enumerate(known, 1):
                    stored = registry.schemas[schema_id - 1]
                    if json.loads(stored["schema"]) == json.loads(body["schema"]):
                        named = {"subject": subject, "version": version, "id": schema_id}
                        return 200, {**named, **stored}
                return 404, {"error_code": 40403, "message": "Schema not found"}
            case "POST", "subjects", subject, "versions":
                if registry.read_only:
                    return 403, {"error_code": 40301, "message": "User may not write"}
                if "incompatible" in subject:
                    return 409, {"error_code": 409, "message": "Schema is incompatible"}
                return 200, {"id": registry.add(subject, {"schema": body["schema"]})}
        raise AssertionError(path)


@pytest.fixture
def registry() -> Iterator[Registry]:
    server = Registry()
    yield server
    server.close()


def encoded(schema_id: int) -> bytes:
    body = io.BytesIO()
    plain = schemas.without_logical_types(PAYMENT)
    fastavro.schemaless_writer(body, fastavro.parse_schema(plain), RECORD)
    return b"\0" + schema_id.to_bytes(4, "big") + body.getvalue()


def sources(tmp_path: Path, registry: Registry) -> list[SchemaSource]:
    return [
        SchemaSource(Schemas(registry=registry.address)),
        SchemaSource(Schemas(folder=Path("schemas")), tmp_path),
    ]


def test_what_is_registered_decodes_events(tmp_path: Path, registry: Registry) -> None:
    for source in sources(tmp_path, registry):
        schema_id = source.register("payments-value", PAYMENT)
        decode = ConfluentDecoder(schemas.parse(PAYMENT), source.writer_schema)
        assert decode(encoded(schema_id)) == RECORD  # bytes and an integer: no logical types
        with pytest.raises(BadRecord, match="unknown schema id 77"):
            decode(encoded(77))


def test_registering_again_gives_the_same_id(tmp_path: Path, registry: Registry) -> None:
    other = {"type": "record", "name": "Payment", "fields": [{"name": "id", "type": "string"}]}
    for source in sources(tmp_path, registry):
        ids = [source.register("a-value", each) for each in (PAYMENT, other, PAYMENT)]
        assert ids == [1, 2, 1]
        fresh = pickle.loads(pickle.dumps(source))
        assert fresh.register("a-value", PAYMENT) == 1
        assert fresh.writer_schema(2)["name"] == "Payment"


def test_an_id_is_asked_for_once(registry: Registry) -> None:
    source = SchemaSource(Schemas(registry=registry.address))
    schema_id = registry.add("a-value", {"schema": json.dumps(PAYMENT)})
    for _ in range(3):
        source.writer_schema(schema_id)
        with pytest.raises(KeyError):
            source.writer_schema(9)
    assert registry.requests == ["GET /schemas/ids/1", "GET /schemas/ids/9"]


def test_a_schema_that_is_not_avro_is_no_schema(registry: Registry) -> None:
    source = SchemaSource(Schemas(registry=registry.address))
    protobuf = registry.add("a", {"schema": 'syntax = "proto3";', "schemaType": "PROTOBUF"})
    nonsense = registry.add("b", {"schema": '{"type": "nothing"}'})
    for schema_id in (protobuf, nonsense):
        with pytest.raises(KeyError):
            source.writer_schema(schema_id)


def test_references_are_followed(registry: Registry) -> None:
    money = PAYMENT["fields"][1]["type"]  # type: ignore[index]
    amount = {"type": "record", "name": "shop.Amount", "fields": [{"name": "sum", "type": money}]}
    registry.add("amount", {"schema": json.dumps(amount)})
    order = {
        "type": "record",
        "name": "shop.Order",
        "fields": [{"name": "amount", "type": "shop.Amount"}],
    }
    reference = {"name": "shop.Amount", "subject": "amount", "version": 1}
    schema_id = registry.add("o", {"schema": json.dumps(order), "references": [reference]})
    writer = SchemaSource(Schemas(registry=registry.address)).writer_schema(schema_id)
    body = io.BytesIO()
    record = {"amount": {"sum": b"\x04\xd2"}}
    fastavro.schemaless_writer(body, writer, record)
    body.seek(0)
    assert fastavro.schemaless_reader(body, writer, None) == record


def test_an_unreachable_registry_is_worth_another_try() -> None:
    server = Registry()
    port, address = server.server_port, server.address
    schema = {"schema": json.dumps(PAYMENT)}
    server.close()
    source = SchemaSource(Schemas(registry=address))
    started = time.monotonic()
    with pytest.raises(RegistryError, match=f"{address} does not answer"):
        source.writer_schema(1)
    with pytest.raises(RegistryError, match="does not answer"):
        source.register("a-value", PAYMENT)
    assert time.monotonic() - started < 8
    server = Registry(port)
    try:
        server.add("a-value", schema)
        assert source.writer_schema(1)["name"] == "Payment"
    finally:
        server.close()


@pytest.mark.parametrize(
    "broken",
    [
        (500, b'{"error_code": 50001, "message": "Error in the backend data store"}'),
        (404, b"<html>Not Found</html>"),
        (200, b"<html>Sign in</html>"),
        (200, b"{}"),
    ],
)
def test_a_broken_registry_is_no_missing_schema(
    registry: Registry, broken: tuple[int, bytes]
) -> None:
    source = SchemaSource(Schemas(registry=registry.address))
    schema_id = registry.add("a-value", {"schema": json.dumps(PAYMENT)})
    registry.broken = broken
    with pytest.raises(RegistryError, match=registry.address):
        source.writer_schema(schema_id)
    registry.broken = None
    assert source.writer_schema(schema_id)["name"] == "Payment"


def test_credentials_are_sent_and_never_shown(
    registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    registry.user = "ann:p@ss/wörd"
    with_user = registry.address.replace("//", "//ann:p%40ss%2Fw%C3%B6rd@")
    source = SchemaSource(Schemas(registry=with_user))
    assert source.register("a-value", PAYMENT) == 1
    registry.user = "ann:another"
    with pytest.raises(RegistryError, match="Unauthorized") as refused:
        source.register("b-value", {"type": "string"})
    shown = [caplog.text, repr(source), str(refused.value), str(vars(refused.value))]
    assert registry.address in shown[0]  # so the HTTP library did log
    for text in shown:
        assert "p%40ss" not in text
        assert "p@ss" not in text


def test_an_address_that_is_none() -> None:
    with pytest.raises(RegistryError, match="'registry:8081' is no address") as refused:
        SchemaSource(Schemas(registry="ann:secret@registry:8081"))
    assert "secret" not in str(refused.value)


def test_a_refused_schema_is_not_worth_another_try(registry: Registry) -> None:
    source = SchemaSource(Schemas(registry=registry.address))
    with pytest.raises(SchemaError, match=r"of incompatible-value: Schema is incompatible"):
        source.register("incompatible-value", PAYMENT)


def test_who_may_only_read_finds_what_is_registered(registry: Registry) -> None:
    registry.add("a-value", {"schema": json.dumps(PAYMENT)})
    registry.read_only = True
    source = SchemaSource(Schemas(registry=registry.address))
    assert source.register("a-value", PAYMENT) == 1
    with pytest.raises(SchemaError, match="may not write"):
        source.register("a-value", {"type": "string"})


def test_the_folder_of_a_pipeline(tmp_path: Path) -> None:
    source = SchemaSource(Schemas(folder=Path("schemas")), tmp_path)
    with pytest.raises(RegistryError, match=r"schemas/7\.avsc"):
        source.writer_schema(7)  # the folder is away: of ids that says nothing
    (tmp_path / "schemas").mkdir()
    with pytest.raises(KeyError):
        source.writer_schema(7)
    file = tmp_path / "schemas/7.avsc"
    for text in ('{"type": "rec', '{"type": "nothing"}'):
        file.write_text(text)
        with pytest.raises(RegistryError, match=r"7\.avsc: not .*; mend it"):
            source.writer_schema(7)
    file.write_text(json.dumps(PAYMENT))
    assert source.writer_schema(7)["name"] == "Payment"
    (tmp_path / "schemas/notes.avsc").write_text("not one of ours")
    assert source.register("any", PAYMENT) == 7
    assert source.register("any", schemas.without_logical_types(PAYMENT)) == 8


def test_the_folder_gives_each_schema_one_id(tmp_path: Path) -> None:
    definitions = [{"type": "fixed", "name": f"F{n}", "size": 1} for n in range(8)] * 3

    def register(definition: dict[str, Any]) -> tuple[str, int]:
        source = SchemaSource(Schemas(folder=tmp_path))
        return str(definition["name"]), source.register("any", definition)

    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(register, definitions))
    assert len({name for name, _ in found}) == len(found) == len({number for _, number in found})
    assert sorted(number for _, number in found) == list(range(1, 9))
    assert {file.name for file in tmp_path.iterdir()} == {f"{n}.avsc" for n in range(1, 9)}
