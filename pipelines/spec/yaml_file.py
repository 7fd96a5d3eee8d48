"""YAML with line numbers: every error of a file says where, and a mistyped key what was meant."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Tag, ValidationError

from verdict.pipelines.errors import SpecError


class Model(BaseModel):
    """Base of every section of a file: unknown keys are errors, values do not change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False
    )


M = TypeVar("M", bound=BaseModel)
Place = tuple[str | int, ...]
WANTED: Mapping[str, str] = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "path_type": "a path",
}
"""pydantic's kind of error -> what the value should have been."""


class Fault(ValueError):
    """What a model's validator refuses, where the fault lies in one of the model's parts.

    Parameters
    ----------
    place
        Of the part, seen from the model.
    message
        What is wrong.
    """

    def __init__(self, place: Place, message: str) -> None:
        super().__init__(message)
        self.place = place


@dataclass(frozen=True)
class SourceFile:
    """A parsed YAML file that remembers the line of each of its parts."""

    path: Path
    data: Any
    lines: Mapping[Place, int]

    def line(self, place: Sequence[str | int]) -> int:
        """Return the line of a part, or of the nearest part around it."""
        for end in range(len(place), 0, -1):
            *around, last = place[:end]
            for step in (last, str(last)):  # a key such as 1 is text in the file
                if (*around, step) in self.lines:
                    return self.lines[*around, step]
        return 1

    def error(self, place: Sequence[str | int], message: str) -> SpecError:
        """Make the error of one part of the file."""
        return SpecError([f"{self.path}:{self.line(place)}: {message}"])


def read(path: Path, loader: type[yaml.SafeLoader] = yaml.SafeLoader) -> SourceFile:
    """Read a YAML file of one mapping.

    Parameters
    ----------
    path
        Of the file.
    loader
        What makes values of the file's words.

    Raises
    ------
    SpecError
        It cannot be read, is no YAML, holds a key twice, or is no mapping.
    """
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise SpecError([f"{path}: cannot be read: {error.strerror}"]) from None
    except UnicodeDecodeError as error:
        raise SpecError([f"{path}: not UTF-8: {error}"]) from None
    try:
        return _read(path, loader(text))
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise SpecError([f"{path}:{line}: not YAML: {error.reason}"]) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else 1
        raise SpecError([f"{path}:{line}: not YAML: {error.problem}"]) from None
    except RecursionError:
        raise SpecError([f"{path}:1: not for a pipeline: nested without end"]) from None


def _read(path: Path, loader: yaml.SafeLoader) -> SourceFile:
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise SpecError([f"{path}:1: a mapping is wanted, such as 'pipeline: my-pipeline'"])
        lines: dict[Place, int] = {}
        for line, fault in _walk(loader, node, (), lines):
            raise SpecError([f"{path}:{line}: {fault}"])
        return SourceFile(path, loader.construct_document(node), lines)
    finally:
        loader.dispose()


def _walk(
    loader: yaml.SafeLoader, node: yaml.Node, place: Place, lines: dict[Place, int]
) -> Iterator[tuple[int, str]]:
    """Note the line of every part; yield the line and the fault of what is no good YAML."""
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                yield line, "a key is text, no list and no mapping"
                return
            inner = (*place, key.value)
            if inner in lines:
                yield line, f"'{key.value}' stands twice"
            lines[inner] = line
            yield from _walk(loader, value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            yield from _walk(loader, value, (*place, index), lines)
    else:
        try:
            loader.construct_object(node)
        except ValueError as error:  # a date such as 2026-13-01
            yield node.start_mark.line + 1, f"not YAML: {node.value}: {error}"


def parse(source: SourceFile, model: type[M]) -> M:
    """Validate a file's data as a model.

    Raises
    ------
    SpecError
        One line an error, each with file and line and what to write instead.
    """
    try:
        return model.model_validate(source.data)
    except ValidationError as error:
        errors = error.errors()
    faults: dict[Place, list[Any]] = {}
    for each in errors:
        place = _in_data(each, source.data)
        fault = each.get("ctx", {}).get("error")
        if isinstance(fault, Fault):
            place = (*place, *fault.place)
        faults.setdefault(place, []).append(each)
    found = []
    for place, alternatives in faults.items():
        if alternatives[0]["type"] == "extra_forbidden":
            text, meant = _unknown(place, _known_keys(model, alternatives[0]["loc"][:-1]))
            if meant is not None:  # mistyped, so not missing too
                missing = faults.get((*place[:-1], meant), [])
                missing[:] = [each for each in missing if each["type"] != "missing"]
            found.append((place, text))
    for place, alternatives in faults.items():
        if alternatives and alternatives[0]["type"] != "extra_forbidden":
            found.append((place, _say(alternatives, place)))
    lines = sorted((source.line(place), text) for place, text in found)
    raise SpecError([f"{source.path}:{line}: {text}" for line, text in lines])


def _in_data(error: Any, data: Any) -> Place:
    """Drop from pydantic's location what names a union's branch, not a part of the file."""
    place: list[str | int] = []
    for step in error["loc"]:
        if isinstance(data, Mapping):
            if step in data:
                data = data[step]
            elif error["type"] != "missing" or step is not error["loc"][-1]:
                continue
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        else:
            continue
        place.append(step)
    return tuple(place)


def _say(errors: Sequence[Any], place: Place) -> str:
    """Say in one line what is wrong with one part; several errors are a union's branches."""
    where = ".".join(map(str, place))
    error = errors[0]
    if error["loc"][-1:] == ("[key]",) and error["type"] in WANTED:
        return f"{'.'.join(map(str, place[:-1]))}: the key {error['input']!r} is no text; quote it"
    if error["type"] == "missing":
        return f"'{where}' is missing"
    if error["type"] == "value_error":
        fault = error["ctx"]["error"]
        return f"{where}: {fault}" if where and not isinstance(fault, Fault) else str(fault)
    given = _shown(error.get("input"))
    wanted = [WANTED[each["type"]] for each in errors if each["type"] in WANTED]
    if wanted:
        return f"{where}: {' or '.join(dict.fromkeys(wanted))} is wanted, not {given}"
    return f"{where}: {error['msg']}, not {given}"


def _unknown(place: Place, known: Sequence[str]) -> tuple[str, str | None]:
    """Say that there is no such key, and return the one that was meant, if it can be guessed."""
    close = difflib.get_close_matches(str(place[-1]), known, n=1)
    hint = f"Did you mean '{close[0]}'?" if close else f"There are: {', '.join(known)}."
    where = ".".join(map(str, place))
    return f"there is no setting '{where}'. {hint}", close[0] if close else None


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _known_keys(model: type[BaseModel], loc: Sequence[str | int]) -> list[str]:
    """List the keys that a part of the file may have, by following the models."""
    models: list[Tagged] = [(None, model)]
    for step in loc:
        branch = [tagged for tagged in models if tagged[0] == step]
        inner = [
            tagged
            for _, candidate in models
            for name, field in candidate.model_fields.items()
            if step in (name, field.alias)
            for tagged in _models_in(field.annotation)
        ]
        models = branch or inner or models
    return [
        field.alias or name
        for _, candidate in models
        for name, field in candidate.model_fields.items()
    ]


Tagged = tuple[str | None, type[BaseModel]]
"""A model, and the tag that it has as a branch of a union."""


def _models_in(annotation: Any, tag: str | None = None) -> list[Tagged]:
    arguments = get_args(annotation)
    if get_origin(annotation) is Annotated:
        tags = [part.tag for part in arguments[1:] if isinstance(part, Tag)]
        return _models_in(arguments[0], tags[0] if tags else tag)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [(tag, annotation)]
    return [found for argument in arguments for found in _models_in(argument, tag)]
