"""Schemas by the ids of Confluent's wire format: from a Schema Registry, or a folder of files."""

import json
import os
import re
import tempfile
import time
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import fastavro
from fastavro.schema import SchemaParseException, UnknownType

from verdict.operators.errors import SchemaError
from verdict.operators.events.schema import without_logical_types
from verdict.pipelines.errors import RegistryError
from verdict.pipelines.spec.settings import Schemas

TIMEOUT_S = 5
"""How long a registry may take to answer one request."""
MISSING_S = 10.0
"""How long an id that does not exist is not asked for again: a producer of garbage would otherwise
cost one request a record."""
MISSING_MOST = 10_000
UNKNOWN_ID = 40403
"""Of the registry's error codes: no schema has this id."""
NOT_REGISTERED = (40401, 40403)
"""No such subject; the subject has no such schema."""
REFUSALS = (401, 403, 409, 422)
"""HTTP statuses that trying again does not mend: not allowed, incompatible, invalid."""

ID = re.compile("0|[1-9][0-9]*")
NOT_AVRO = (SchemaParseException, UnknownType, KeyError, TypeError, ValueError)


class SchemaSource:
    """Where schemas are, by the pipeline file's ``settings.schemas``.

    It can be pickled, and connects when it is first asked.

    Parameters
    ----------
    schemas
        The settings.
    folder
        Of the pipeline file, which a folder of schemas is relative to.

    Raises
    ------
    RegistryError
        The registry's address is none.

    Examples
    --------
    >>> folder = tempfile.TemporaryDirectory()
    >>> source = SchemaSource(Schemas(folder=Path(folder.name)))
    >>> source.register("decisions-value", {"type": "bytes", "logicalType": "decimal",
    ...                                     "precision": 9, "scale": 2})
    1
    >>> source.writer_schema(1)["type"], os.listdir(folder.name)
    ('bytes', ['1.avsc'])
    """

    def __init__(self, schemas: Schemas, folder: Path = Path()) -> None:
        self._made_of = (schemas, folder)
        self._place: _Place
        if schemas.registry is not None:
            self._place = _Registry(schemas.registry)
        else:
            assert schemas.folder is not None  # the model asks for one of them
            self._place = _Folder((folder / schemas.folder).absolute())
        self._parsed: dict[int, Any] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return SchemaSource, self._made_of

    def writer_schema(self, schema_id: int) -> Any:
        """Return a schema by its id, parsed.

        Its logical types are dropped, as in `operators.events.schema`.

        Raises
        ------
        KeyError
            There is none, or it is not Avro.
        RegistryError
            It cannot be had just now; try again.
        """
        parsed = self._parsed.get(schema_id)
        if parsed is None:
            parsed = self._parsed[schema_id] = self._place.get(schema_id)
        return parsed

    def register(self, subject: str, definition: Any) -> int:
        """Return the id of a schema, which is registered if need be.

        Parameters
        ----------
        subject
            Of the registry: a topic's name and ``-value``. A folder has none.
        definition
            The schema's JSON form.

        Raises
        ------
        SchemaError
            The registry does not take it.
        RegistryError
            It does not answer.
        """
        return self._place.register(subject, definition)


class _Place(Protocol):
    def get(self, schema_id: int) -> Any: ...

    def register(self, subject: str, definition: Any) -> int: ...


class _Folder:
    """A folder of ``ID.avsc`` files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def get(self, schema_id: int) -> Any:
        path = self._folder / f"{schema_id}.avsc"
        # A folder that is away, not mounted, says nothing of ids; nor does a file half written.
        if self._folder.is_dir() and not path.exists():
            raise KeyError(schema_id)
        try:
            return _parse(_read(path), {})
        except NOT_AVRO as error:
            raise RegistryError(f"{path}: not an Avro schema: {error}; mend it") from None

    def register(self, subject: str, definition: Any) -> int:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            while True:
                files = [file for file in self._folder.glob("*.avsc") if ID.fullmatch(file.stem)]
                ids = {int(file.stem): file for file in files}
                for schema_id, path in sorted(ids.items()):
                    if _read(path) == definition:
                        return schema_id
                schema_id = max(ids, default=0) + 1
                with suppress(FileExistsError):  # another process took the id; look again
                    self._write(schema_id, definition)
                    return schema_id
        except OSError as error:
            raise RegistryError(
                f"{self._folder}: cannot keep schemas there: {error.strerror}"
            ) from None

    def _write(self, schema_id: int, definition: Any) -> None:
        """Make a file appear whole, or raise FileExistsError."""
        with tempfile.NamedTemporaryFile("w", dir=self._folder, encoding="utf-8") as file:
            json.dump(definition, file, indent=2, ensure_ascii=False)
            file.write("\n")
            file.flush()
            Path(file.name).chmod(0o644)
            os.link(file.name, self._folder / f"{schema_id}.avsc")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise RegistryError(f"cannot read the schema {path}: {error.strerror}") from None
    except ValueError as error:
        raise RegistryError(f"{path}: not JSON: {error}; mend it") from None


class _Registry:
    """A Schema Registry, through Confluent's client."""

    def __init__(self, address: str) -> None:
        users, urls = [], []
        for each in address.split(","):
            url = urlsplit(each.strip())
            if url.scheme not in ("http", "https") or not url.hostname:
                raise RegistryError(
                    f"settings.schemas.registry: '{_shown(each)}' is no address such as "
                    "http://127.0.0.1:8081"
                )
            if url.username is not None:
                users.append(f"{unquote(url.username)}:{unquote(url.password or '')}")
            urls.append(url._replace(netloc=url.netloc.rpartition("@")[2]).geturl())
        # Out of the address, which the client's HTTP library logs.
        self._user = users[0] if users else None
        self._address = ",".join(urls)
        self._missing: dict[int, float] = {}

    @cached_property
    def _client(self) -> Any:
        # It takes a quarter of a second to import.
        from confluent_kafka.schema_registry import SchemaRegistryClient

        user = {"basic.auth.user.info": self._user} if self._user is not None else {}
        # The engines try again, and say so.
        return SchemaRegistryClient(
            {"url": self._address, "timeout": TIMEOUT_S, "max.retries": 0, **user}
        )

    def get(self, schema_id: int) -> Any:
        now = time.monotonic()
        if now < self._missing.get(schema_id, 0.0):
            raise KeyError(schema_id)
        answer = self._ask("get_schema", schema_id, none=(UNKNOWN_ID,))
        if answer is None:
            if len(self._missing) >= MISSING_MOST:
                self._missing.clear()
            self._missing[schema_id] = now + MISSING_S
            raise KeyError(schema_id)
        try:
            return self._resolve(answer, {})
        except NOT_AVRO as error:
            raise KeyError(schema_id) from error

    def _resolve(self, schema: Any, named: dict[str, Any]) -> Any:
        """Parse a schema after those that it refers to."""
        if not schema.schema_str:
            self._client.clear_caches()  # where the client has it from now on
            raise RegistryError(f"the schema registry {self._address} answers without a schema")
        if schema.schema_type not in (None, "AVRO"):
            raise ValueError(f"{schema.schema_type} is not Avro")
        for reference in schema.references or []:
            version = self._ask("get_version", reference.subject, reference.version)
            self._resolve(version.schema, named)
        return _parse(json.loads(schema.schema_str), named)

    def register(self, subject: str, definition: Any) -> int:
        from confluent_kafka.schema_registry import Schema

        schema = Schema(json.dumps(definition), "AVRO")
        # Asked for first: who may read a registry may not always write to it.
        known = self._ask("lookup_schema", subject, schema, none=NOT_REGISTERED)
        if known is not None:
            return int(known.schema_id)
        return int(self._ask("register_schema", subject, schema))

    def _ask(self, method: str, *arguments: Any, none: tuple[int, ...] = ()) -> Any:
        """Call the client; None for the registry's error codes in ``none``."""
        from confluent_kafka.schema_registry.error import SchemaRegistryError

        try:
            return getattr(self._client, method)(*arguments)
        except SchemaRegistryError as error:
            if error.error_code in none:
                return None
            what = f"{error.error_message} (HTTP {error.http_status_code})"
            if method == "register_schema" and error.http_status_code in REFUSALS:
                raise SchemaError(
                    f"the schema registry {self._address} does not take the schema of "
                    f"{arguments[0]}: {what}"
                ) from None
            raise RegistryError(f"the schema registry {self._address} answers: {what}") from None
        except Exception as error:  # its HTTP library, of which there are two, has its own kinds
            raise RegistryError(
                f"the schema registry {self._address} does not answer: "
                f"{error or type(error).__name__}; "
                "is it up, and settings.schemas right?"
            ) from None


def _shown(address: str) -> str:
    return address.strip().rpartition("@")[2]


def _parse(definition: Any, named: dict[str, Any]) -> Any:
    return fastavro.parse_schema(without_logical_types(definition), named_schemas=named)
