"""Makes docs/spec.md from the docstrings: ``python -m verdict.pipelines.cli.reference docs``."""

import inspect
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import AwareDatetime, BaseModel
from pydantic.fields import FieldInfo

from verdict.operators.expressions import FUNCTIONS
from verdict.operators.models.card import Card
from verdict.pipelines.kafka import settings
from verdict.pipelines.paths import resource
from verdict.pipelines.spec import values
from verdict.pipelines.spec.spec import Spec
from verdict.pipelines.testing.file import PipelineTests

NAMES = {
    AwareDatetime: "time",
    Any: "value",
    str: "text",
    float: "number",
    int: "whole number",
    bool: "true or false",
    Path: "path",
}
FIRST = """# The pipeline file

One YAML file says what a pipeline reads, remembers, computes and decides. `verdict check PIPELINE`
finds its mistakes, each with its line. This page is made from the docstrings of
`pipelines/spec/spec.py`, `pipelines/testing/file.py` and `operators/models/bundle.py` by `make
docs`; a test holds the two together.

The smallest useful one, which `verdict init my-pipeline` makes:

```yaml
{smallest}```
"""
EXPRESSIONS = """## Expressions

Python's syntax, a small safe part of it, parsed and typed once by `verdict check`: numbers, strings
and booleans; `+ - * / // %`; `== != < <= > >=`, chained too; `in` a list of constants; `is None`;
`and`, `or`, `not`; `a if c else b`; and the functions {functions}. `hour` and `weekday` (Monday 0)
are of UTC. A nested field is written by its path: `terminal.country`. A decimal is a number, a time
is milliseconds since the epoch.

An expression whose operand is missing, or that divides by zero, has no value: the feature takes its
default, the rule does not fire.
"""

TESTS = """## The file of tests

The next four sections are not of the pipeline file, but of `pipeline_test.yaml` beside it.
`verdict test` sends the events of each test through the score job and the embedded engine. `verdict
test --file` and pytest take `…_pipeline_test.yaml` too.

Avro events are encoded by the schema and decoded as the live ones are, so what no producer could
send is a mistake of the file. JSON goes in as it is written, so a value of the wrong type becomes a
dead letter. Records have neither key nor Kafka timestamp, as those of files have none: dead letters
of the kinds `key-mismatch`, `ahead` and `time-in-seconds` cannot be tested.

A word is read as in JSON: `NO`, `0742` and a time are text without quotes.
"""


def page() -> str:
    """Make the whole page."""
    smallest = resource("init/pipeline.yaml").read_text("utf-8")
    functions = ", ".join(f"`{name}`" for name in FUNCTIONS)
    parts = [
        FIRST.format(smallest=smallest),
        "\n".join(_sections(Spec)),
        EXPRESSIONS.format(functions=functions),
        "## Kafka clients\n\nWhat `settings.kafka` takes, under librdkafka's names.\n",
        settings.reference(),
        TESTS,
        "\n".join(_sections(PipelineTests)),
        "## The model bundle\n\nA folder with `model.onnx` and `model.yaml`, which says:\n",
        "\n".join(_table(Card)),
        "\n".join(_sections(Card, root=False)),
    ]
    return "\n".join(part.rstrip() + "\n" for part in parts)


def _sections(model: type[BaseModel], *, root: bool = True) -> Iterator[str]:
    seen: list[type[BaseModel]] = []
    waiting = [model]
    while waiting:
        current = waiting.pop(0)
        if current in seen:
            continue
        seen.append(current)
        if root or current is not model:
            yield f"## {_title(current)}\n"
            # Examples in Python are for who imports it, and stand at its end.
            yield _text((inspect.getdoc(current) or "").partition("\n\n>>> ")[0]) + "\n"
            yield from _table(current)
            yield ""
        for info in current.model_fields.values():
            waiting += [part for part in _models(info.annotation) if part not in waiting]


def _table(model: type[BaseModel]) -> Iterator[str]:
    yield "| setting | | default | meaning |"
    yield "|---|---|---|---|"
    for name, info in model.model_fields.items():
        default = "required" if info.is_required() else _default(info)
        meaning = _text(info.description or "").replace("\n", " ").replace("|", "\\|")
        kind = _kind(info).replace("|", "\\|")
        yield f"| `{info.alias or name}` | {kind} | {default} | {meaning} |"


def _default(info: FieldInfo) -> str:
    value = info.get_default(call_default_factory=True)
    if value is None:
        return ""
    if isinstance(value, BaseModel) or value in ({}, [], ""):
        return ""
    if _is_duration(info):
        return f"`{_duration(value)}`"
    return f"`{value}`"


def _duration(value: int) -> str:
    for unit, size in sorted(values.UNITS_MS.items(), key=lambda item: -item[1]):
        if value % size == 0:
            return f"{value // size}{unit}"
    return f"{value}ms"


def _is_duration(info: FieldInfo) -> bool:
    # Pydantic moves what a `Duration` is annotated with to the field, but not that of one in a
    # union.
    inner = [part for kind in get_args(info.annotation) for part in get_args(kind)]
    found = [*info.metadata, *inner]
    return any(getattr(part, "func", None) is values.milliseconds for part in found)


def _kind(info: FieldInfo) -> str:
    return "duration" if _is_duration(info) else _named(info.annotation)


def _named(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _named(arguments[0])
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, types.UnionType):
        return " or ".join(
            dict.fromkeys(_named(part) for part in arguments if part is not type(None))
        )
    if origin is list:
        return f"list of {_named(arguments[0])}"
    if origin is dict:
        return f"{_named(arguments[0])} -> {_named(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return f"[{_title(annotation)}](#{_title(annotation).lower().replace(' ', '-')})"
    return NAMES.get(annotation, str(annotation))


def _models(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models(part)]


def _title(model: type[BaseModel]) -> str:
    name = model.__name__.removesuffix("Spec") or model.__name__  # AmountSpec is of `amount`
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).capitalize()


def _text(docstring: str) -> str:
    """Turn a docstring's double backticks into Markdown's single ones."""
    return re.sub(r"``(.+?)``", r"`\1`", docstring, flags=re.DOTALL)


def main() -> None:
    """Write ``spec.md`` into a folder, or print it."""
    if len(sys.argv) > 1:
        (Path(sys.argv[1]) / "spec.md").write_text(page(), "utf-8")
    else:
        print(page(), end="")


if __name__ == "__main__":
    main()
