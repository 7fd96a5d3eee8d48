"""Schemas whose values may nest without end, or hold nothing."""

from collections.abc import Mapping
from typing import Any


def unbounded(definition: Any) -> str | None:
    """Say what in a schema lets a few bytes take a process down; None if nothing does.

    A record within itself can be nested so deep that fastavro's recursion overflows the stack. An
    array of items that take no bytes can claim to have 2**62 of them.

    >>> node = {"type": "record", "name": "N", "fields": [{"name": "n", "type": ["null", "N"]}]}
    >>> unbounded(node)
    "record 'N' is within itself"
    >>> unbounded({"type": "array", "items": "null"})
    'an array of items without bytes'
    """
    named = dict(definition.get("__named_schemas", {})) if isinstance(definition, dict) else {}
    return _unbounded(definition, named, (), set())


def _unbounded(
    node: Any, named: dict[str, Any], within: tuple[str, ...], done: set[str]
) -> str | None:
    if isinstance(node, str):
        if node in within:
            return f"record '{node}' is within itself"
        if node not in named or node in done:
            return None
        node = named[node]
    inner = node
    if isinstance(node, dict):
        kind, name = node["type"], node.get("name")
        inner = [node[part] for part in ("items", "values") if part in node]
        if isinstance(kind, dict | list):
            inner = [kind]
        if name is not None:
            named[name] = node
        if kind == "record":
            within = (*within, str(name))
            inner = [field["type"] for field in node["fields"]]
    for each in inner:
        found = _unbounded(each, named, within, done)
        if found is not None:
            return found
    if isinstance(node, dict):
        if node["type"] == "array" and _is_empty(node["items"], named):
            return "an array of items without bytes"
        done.add(node.get("name", ""))
    return None


def _is_empty(node: Any, named: Mapping[str, Any]) -> bool:
    """Whether every value takes no bytes at all."""
    if isinstance(node, str) and node in named:
        node = named[node]
    match node:
        case {"type": "record", "fields": fields}:
            return all(_is_empty(field["type"], named) for field in fields)
        case {"type": "fixed", "size": size}:
            return not size
        case {"type": kind}:
            return _is_empty(kind, named)
        case _:
            return bool(node == "null")  # a union begins with the number of its branch
