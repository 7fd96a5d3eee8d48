"""YAML with line numbers: every error of a file says where, and a mistyped key what was meant."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from pipelines.errors import SpecError


class Model(BaseModel):
    """Base of every section of a file: unknown keys are errors, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


M = TypeVar("M", bound=BaseModel)
Place = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """A parsed YAML file that remembers the line of each of its parts."""

    path: Path
    data: Any
    lines: Mapping[Place, int]

    def line(self, place: Sequence[str | int]) -> int:
        """Return the line of a part, or of the nearest part around it."""
        for end in range(len(place), 0, -1):
            found = self.lines.get(tuple(place[:end]))
            if found is not None:
                return found
        return 1

    def error(self, place: Sequence[str | int], message: str) -> SpecError:
        """Make the error of one part of the file."""
        return SpecError([f"{self.path}:{self.line(place)}: {message}"])


def read(path: Path) -> Source:
    """Read a YAML file of one mapping.

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
    loader = yaml.SafeLoader(text)
    try:
        node = loader.get_single_node()
        if not isinstance(node, yaml.MappingNode):
            raise SpecError([f"{path}:1: a mapping is wanted, such as 'pipeline: my-pipeline'"])
        lines: dict[Place, int] = {}
        _walk(path, node, (), lines)
        data = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        line = mark.line + 1 if mark else 1
        raise SpecError([f"{path}:{line}: not YAML: {error.problem}"]) from None
    except (yaml.YAMLError, ValueError) as error:
        raise SpecError([f"{path}: not YAML: {error}"]) from None
    finally:
        loader.dispose()
    return Source(path, data, lines)


def _walk(path: Path, node: yaml.Node, place: Place, lines: dict[Place, int]) -> None:
    lines.setdefault(place, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            inner = (*place, key.value)
            if inner in lines:
                line = key.start_mark.line + 1
                raise SpecError([f"{path}:{line}: '{key.value}' stands twice"])
            lines[inner] = key.start_mark.line + 1
            _walk(path, value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _walk(path, value, (*place, index), lines)


def parse(source: Source, model: type[M]) -> M:
    """Validate a file's data as a model.

    Raises
    ------
    SpecError
        One line an error, each with file and line and what to write instead.
    """
    try:
        return model.model_validate(source.data)
    except ValidationError as errors:
        found = []
        for error in errors.errors():
            place = _in_data(error["loc"], source.data)
            found.append((source.line(place), _say(error, place, model)))
        raise SpecError([f"{source.path}:{line}: {text}" for line, text in sorted(found)]) from None


def _in_data(loc: Sequence[str | int], data: Any) -> Place:
    """Drop from pydantic's location what names a union's branch, not a part of the file."""
    place: list[str | int] = []
    for step in loc:
        if isinstance(data, Mapping):
            if step in data:
                data = data[step]
            elif step is not loc[-1]:
                continue
        elif isinstance(data, list) and isinstance(step, int) and step < len(data):
            data = data[step]
        else:
            continue
        place.append(step)
    return tuple(place)


def _say(error: Any, place: Place, model: type[BaseModel]) -> str:
    where = ".".join(str(step) for step in place)
    match error["type"]:
        case "extra_forbidden":
            known = _known_keys(model, place[:-1])
            close = difflib.get_close_matches(str(place[-1]), known, n=1)
            hint = f"Did you mean '{close[0]}'?" if close else f"There are: {', '.join(known)}."
            return f"there is no setting '{where}'. {hint}"
        case "missing":
            return f"'{where}' is missing"
        case "value_error":
            return f"{where}: {error['ctx']['error']}" if where else str(error["ctx"]["error"])
        case _:
            return f"{where}: {error['msg']}, not {_shown(error.get('input'))}"


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _known_keys(model: type[BaseModel], place: Sequence[str | int]) -> list[str]:
    """List the keys that a part of the file may have, by following the models."""
    models: list[type[BaseModel]] = [model]
    for step in place:
        found: list[type[BaseModel]] = []
        for candidate in models:
            field = candidate.model_fields.get(str(step)) or next(
                (f for f in candidate.model_fields.values() if f.alias == step), None
            )
            if field is not None:
                found += _models_in(field.annotation)
        models = found or models
    return [
        field.alias or name
        for candidate in models
        for name, field in candidate.model_fields.items()
    ]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found = []
    for argument in getattr(annotation, "__args__", ()):
        found += _models_in(argument)
    return found
