"""What checks of a pipeline file share: what a field is, and what was meant by a name."""

import difflib
from collections.abc import Iterable, Sequence

from verdict.operators.events.schema import Field, Schema
from verdict.operators.expressions import Kind
from verdict.pipelines.errors import SpecError
from verdict.pipelines.spec.yaml_file import SourceFile

Faults = Iterable[SpecError]


def is_key_type(leaf: Field) -> bool:
    """Whether a field can be an id or a key: what `Extract` makes text of."""
    return leaf.kind is Kind.STRING or (leaf.integer and not leaf.is_decimal)


def kind_of(leaf: Field) -> str:
    """Say what a field is, for a message."""
    return "decimal" if leaf.is_decimal else str(leaf.kind)


def check_field(
    source: SourceFile,
    place: Sequence[str | int],
    path: str,
    schema: Schema,
    whose: str = "the schema",
) -> Faults:
    """Check that a schema has a field."""
    if path not in schema.fields:
        hint = meant(path, schema.fields)
        yield source.error(place, f"{whose} has no field '{path}'.{hint}")


def meant(name: str, known: Iterable[str]) -> str:
    """Say which of the known names was meant, or what they are, to put behind an error's message.

    >>> meant("amuont", ["amount", "km"]), meant("x", ["amount", "km"]), meant("x", [])
    (" Did you mean 'amount'?", ' There are: amount, km.', ' There are none.')
    """
    known = list(dict.fromkeys(known))
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f" Did you mean '{close[0]}'?"
    return f" There are: {', '.join(known)}." if known else " There are none."
