"""From an Avro body straight to the event: of its fields those are read that a pipeline asks for.

A function is written for each schema that bodies are written with. It finds each field where the
ones before it end, steps over those that nobody reads, and makes an event of the others, without a
record in between: a third of the time. Whatever is unusual about a body it leaves to the decoder
and `Extract`, which have the last word: so it may refuse what they take, never the other way round.
"""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import fastavro

from verdict.operators.events.decode import AvroDecoder, Decode
from verdict.operators.events.event import Event
from verdict.operators.events.extract import Extract
from verdict.operators.events.quick import EventLines
from verdict.operators.events.schema import LOGICAL, MILLIS, Field
from verdict.state.codegen import define

Take = Callable[[bytes], Event | None]
"""Takes an event out of a record's value; None leaves it to others."""
LINES = 2_000
"""A function of more lines is not written."""
DEPTH = 6
"""Arrays, maps and unions within each other that it steps into; Python has a bound, too."""
LONGEST = 9
"""Bytes of an integer, 63 bits; a longer one is the decoder's."""
SIZES = {"double": 8, "float": 4}
ROOT = ""
MORE, ODD = 128, 129
"""Bits of a varint's first byte: that more follow; and that it is a negative number, or more do."""


class Projection:
    """Takes events out of the values of records, where `AvroDecoder` decodes them.

    Parameters
    ----------
    decode
        Decodes them; of one that is none of Avro's, nothing can be taken.
    extract
        Takes events out of decoded records.

    Attributes
    ----------
    take
        Returns the event in a record's value, or None where the decoder must look.

    Examples
    --------
    >>> from verdict.operators.events.schema import parse
    >>> schema = parse({"type": "record", "name": "T", "fields": [
    ...     {"name": "id", "type": "string"}, {"name": "shop", "type": "string"},
    ...     {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]})
    >>> extract = Extract(schema, "id", "at", [["id"]], [], [], typed=True)
    >>> take = Projection(AvroDecoder(schema), extract).take
    >>> take(bytes([4, *b"e1", 2, *b"s", 10]))
    Event(id='e1', time=5, keys=('e1',), fields={}, units={})
    >>> take(bytes([4, *b"e1", 2, 0xff, 10])) is None  # no UTF-8
    True
    """

    def __init__(self, decode: Decode, extract: Extract) -> None:
        self.take: Take = _no_event
        if not isinstance(decode, AvroDecoder) or extract.quick is None:
            return
        self._decode, self._lines = decode, extract.quick
        self._takes: dict[bytes, Take] = {}
        if decode.header:
            self.take = self._by_header
        else:
            [writer] = decode.writers.values()
            self.take = _function(self._lines, decode.schema.fields, writer) or _no_event

    def _by_header(self, value: bytes) -> Event | None:
        header = value[: self._decode.header]
        take = self._takes.get(header) or self._written(header)
        return take(value)

    def _written(self, header: bytes) -> Take:
        """Write the function for a header, once a record with it has been decoded."""
        decode = self._decode
        writer = decode.writers.get(header)
        if writer is None:
            return _no_event
        schema, start = decode.schema, decode.header
        take = _function(self._lines, schema.fields, writer, schema.raw, start) or _no_event
        self._takes[header] = take
        return take


def _function(
    lines: EventLines, leaves: Mapping[str, Field], writer: Any, reader: Any = None, start: int = 0
) -> Take | None:
    """Write the function that takes events out of bodies; None where that cannot be done.

    Parameters
    ----------
    writer
        The schema of the bodies.
    reader
        That to which it is resolved; None where it is the same.
    start
        Where a body begins.
    """
    written = _Lines(lines.raws, leaves)
    try:
        written.write(fastavro.parse_schema(writer), reader, start)
    except _Unlike:
        return None
    body = lines.after(written.lines)
    if len(body) > LINES:
        return None
    return define("take", "value", body, {**lines.scope, **written.scope}, "body")


def _no_event(_value: bytes) -> Event | None:
    """Stand for the function where there is none."""
    return None


class _Unlike(Exception):
    """A schema for which no function is written."""


class _Lines:
    """Writes how raw values are taken out of a body: ``at`` is where in it, ``text`` its Latin-1.

    A text's bytes are in ``text`` as characters, and if they are all ASCII, they are the text: to
    cut it out costs half of what it costs to cut out bytes and decode them.
    """

    def __init__(self, raws: Mapping[str, str], leaves: Mapping[str, Field]) -> None:
        self._raws = raws
        self._leaves = leaves
        self._texts: list[str] = []
        self._named: set[str] = set()
        self._types: dict[str, Any] = {}
        self._reader_types: dict[str, Any] = {}
        self.lines: list[str] = []
        self.scope: dict[str, Any] = {
            "double_at": struct.Struct("<d").unpack_from,
            "float_at": struct.Struct("<f").unpack_from,
            "varint": _varint,
            "length": _length,
            "range": range,
        }
        self._writers: Mapping[str, Callable[[Any, str | None, int], None]] = {
            "string": self._string,
            "bytes": self._bytes,
            "fixed": self._fixed,
            "enum": self._enum,
            "boolean": self._boolean,
            "int": self._long,
            "long": self._long,
            "float": self._float,
            "double": self._float,
        }

    def write(self, writer: Any, reader: Any, start: int) -> None:
        self._add(0, "text = value.decode('latin-1')", f"at = {start}")
        if reader is not None:
            self._reader_types = dict(reader.get("__named_schemas", {}))
        self._node(writer, reader, ROOT, 0, 0)
        self._add(0, "if at != len(value): return None")
        if self._texts:
            together = "".join(f"{{{name}}}" for name in self._texts)
            self._add(0, f"if not f'{together}'.isascii():")
            for name in self._texts:
                decoded = f"{name} = {name}.encode('latin-1').decode()"
                self._add(1, f"if {name} is not None: {decoded}")
        if self._named != set(self._raws):
            raise _Unlike

    def _add(self, indent: int, *lines: str) -> None:
        self.lines += ["    " * indent + line for line in lines]
        if len(self.lines) > LINES:
            raise _Unlike

    def _node(self, node: Any, reader: Any, path: str | None, indent: int, depth: int) -> None:
        """Step over a value; name those at a path, and below it, that are read."""
        node, reader = _resolved(node, self._types), _resolved(reader, self._reader_types)
        kind = (
            node if isinstance(node, str) else "union" if isinstance(node, list) else node["type"]
        )
        if depth > DEPTH:
            raise _Unlike
        if reader is not None:
            self._check(node, reader, kind)
        if kind == "record":
            self._record(node, reader, path, indent, depth)
        elif kind == "union":
            self._union(node, reader, path, indent, depth)
        elif kind in ("array", "map"):
            self._blocks(node, reader, kind, indent, depth)
        elif kind == "null":
            names = [self._name(leaf) for leaf in self._below(path)]
            self._add(indent, *(f"{name} = None" for name in names or ["_"]))
        else:
            write = self._writers.get(kind)
            if write is None:
                raise _Unlike
            write(node, path if path in self._raws else None, indent)

    def _name(self, path: str) -> str:
        """Return the variable of a path that is read, which now gets its value."""
        self._named.add(path)
        return self._raws[path]

    def _below(self, path: str | None) -> list[str]:
        """List the paths that are read at one, or below."""
        if path is None:
            return []
        return [leaf for leaf in self._raws if leaf == path or leaf.startswith(path + ".")]

    @staticmethod
    def _check(node: Any, reader: Any, kind: str) -> None:
        """Refuse what a reader's schema makes something else of: it is the decoder's."""
        if kind == "union":
            same = isinstance(reader, list) and len(node) == len(reader) == 2
            if not same or "null" not in node or node.index("null") != reader.index("null"):
                raise _Unlike
            return
        if isinstance(node, str) or isinstance(reader, str | list):
            if node != reader:
                raise _Unlike
            return
        if any(node.get(part) != reader.get(part) for part in ("type", "name", "size", "symbols")):
            raise _Unlike

    def _record(self, node: Any, reader: Any, path: str | None, indent: int, depth: int) -> None:
        theirs: dict[str, Any] | None = None
        if reader is not None:
            theirs = {field["name"]: field for field in reader["fields"]}
            if any("aliases" in field for field in reader["fields"]):
                raise _Unlike
        for field in node["fields"]:
            name, within = field["name"], None
            if path is not None and (theirs is None or name in theirs):
                within = f"{path}.{name}" if path else name
            reads = None if theirs is None or name not in theirs else theirs.pop(name)["type"]
            self._node(field["type"], reads, within, indent, depth)
        for name, field in (theirs or {}).items():
            if "default" not in field:
                raise _Unlike
            if path is not None:
                self._default(field["default"], f"{path}.{name}" if path else name, indent)
        if not node["fields"]:
            self._add(indent, "pass")

    def _default(self, default: Any, path: str, indent: int) -> None:
        """Name what is read of a field that the writer does not have."""
        for leaf in self._below(path):
            value = default
            for step in leaf[len(path) + 1 :].split(".") if leaf != path else ():
                if value is None:
                    break
                if not isinstance(value, dict) or step not in value:
                    raise _Unlike
                value = value[step]
            name = self._name(leaf)
            self.scope[f"default_{name}"] = value
            self._add(indent, f"{name} = default_{name}")

    def _union(self, node: Any, reader: Any, path: str | None, indent: int, depth: int) -> None:
        if len(node) > 2 and self._below(path):
            raise _Unlike
        self._add(indent, "branch = value[at]", "at += 1")
        for index, branch in enumerate(node):
            theirs = None if reader is None else reader[index]
            self._add(indent, f"{'el' if index else ''}if branch == {2 * index}:")
            self._node(branch, theirs, path, indent + 1, depth + 1)
        self._add(indent, "else: return None")

    def _blocks(self, node: Any, reader: Any, kind: str, indent: int, depth: int) -> None:
        part = "items" if kind == "array" else "values"
        self._many(indent)
        self._add(indent, "while n:", "    if n > 2 * len(value): return None")
        self._add(indent + 1, "for _ in range(n >> 1):")
        if kind == "map":
            self._string(node, None, indent + 2)
        theirs = None if reader is None else reader[part]
        self._node(node[part], theirs, None, indent + 2, depth + 1)
        self._many(indent + 1)

    def _many(self, indent: int) -> None:
        """Read a count, twice what it is."""
        self._add(indent, "n = value[at]", f"if n & {ODD}: n, at = length(value, at)", "at += 1")

    def _string(self, _node: Any, path: str | None, indent: int) -> None:
        self._many(indent)
        if path is None:
            self._add(indent, "value[at : (at := at + (n >> 1))].decode()")
            return
        self._texts.append(self._name(path))
        self._add(indent, f"{self._name(path)} = text[at : (at := at + (n >> 1))]")

    def _bytes(self, _node: Any, path: str | None, indent: int) -> None:
        self._many(indent)
        self._cut("(n >> 1)", path, indent)

    def _fixed(self, node: Any, path: str | None, indent: int) -> None:
        self._cut(node["size"], path, indent)

    def _cut(self, size: Any, path: str | None, indent: int) -> None:
        if path is None:
            self._add(indent, f"at += {size}")
        else:
            self._add(indent, f"{self._name(path)} = value[at : (at := at + {size})]")

    def _enum(self, node: Any, path: str | None, indent: int) -> None:
        self._many(indent)
        if path is None:
            self._add(indent, f"if n >= {2 * len(node['symbols'])}: return None")
            return
        name = self._name(path)
        self.scope[f"symbols_{name}"] = tuple(node["symbols"])
        self._add(indent, f"{name} = symbols_{name}[n >> 1]")

    def _boolean(self, _node: Any, path: str | None, indent: int) -> None:
        self._add(indent, "n = value[at]", "if n > 1: return None", "at += 1")
        if path is not None:
            self._add(indent, f"{self._name(path)} = n == 1")

    def _float(self, node: Any, path: str | None, indent: int) -> None:
        if path is not None:
            self._add(indent, f"{self._name(path)}, = {node}_at(value, at)")
        self._add(indent, f"at += {SIZES[node]}")

    def _long(self, _node: Any, path: str | None, indent: int) -> None:
        time = None if path is None else self._leaves[path].time
        if time is None:
            self._add(indent, "n = value[at]", f"if n & {MORE}: n, at = varint(value, at)")
            self._add(indent, "at += 1")
        else:  # one of 1970 to 2039 takes six bytes in milliseconds; in micros, since 1987, eight
            size = 6 if time == MILLIS else 8
            more, digits = _masks(size)
            self._add(indent, f"n = from_bytes(value[at : at + {size}], 'little')")
            self._add(indent, f"if n & {more | MORE << 8 * (size - 1)} == {more}:")
            self._add(indent, f"    n = {' | '.join(digits)}", f"    at += {size}")
            self._add(indent, "else:", "    n, at = varint(value, at)", "    at += 1")
        if path is not None:
            self._add(indent, f"{self._name(path)} = n >> 1 ^ -(n & 1)")


def _resolved(node: Any, types: dict[str, Any]) -> Any:
    """Return the type that a name stands for, or that is wrapped; remember those with names."""
    while True:
        if isinstance(node, str) and node in types:
            node = types[node]
        elif isinstance(node, dict) and "name" in node:
            types[node["name"]] = node
            return node
        elif isinstance(node, dict) and node["type"] not in ("array", "map"):
            if LOGICAL in node:  # of a decoder that makes more of it than bytes and numbers
                raise _Unlike
            node = node["type"]
        else:
            return node


def _masks(size: int) -> tuple[int, Sequence[str]]:
    """Return which bits say that more bytes follow, and how seven bits a byte come together."""
    more = sum(MORE << 8 * i for i in range(size - 1))
    return more, [f"n >> {i} & {0x7F << 7 * i}" if i else f"n & {0x7F}" for i in range(size)]


def _varint(value: bytes, at: int) -> tuple[int, int]:
    """Return the bits of an integer, zigzag as they are, and where its last byte is."""
    bits = 0
    for i in range(LONGEST):
        byte = value[at + i]
        bits |= (byte & 0x7F) << 7 * i
        if byte < MORE:
            return bits, at + i
    raise ValueError


def _length(value: bytes, at: int) -> tuple[int, int]:
    """Return twice a length, which is not negative, and where its last byte is."""
    bits, at = _varint(value, at)
    if bits & 1:
        raise ValueError
    return bits, at
