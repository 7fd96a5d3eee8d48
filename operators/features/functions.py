"""Users' Python functions, loaded and called."""

import importlib.util
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from verdict.operators.errors import BadRecord, FunctionError
from verdict.operators.names import BadKind


def load_function(target: str) -> Callable[[Mapping[str, Any]], Any]:
    """Load ``/path/file.py:function``.

    Raises
    ------
    FunctionError
        There is no such file or function, or the file does not import.
    """
    file, _, name = target.rpartition(":")
    path = Path(file)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.exists():
        raise FunctionError(f"there is no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise FunctionError(f"{path} does not import: {type(error).__name__}: {error}") from error
    function = getattr(module, name, None)
    if not callable(function):
        raise FunctionError(f"{path} has no function '{name}'")
    typed: Callable[[Mapping[str, Any]], Any] = function
    return typed


def guarded(
    name: str, function: Callable[[Mapping[str, Any]], Any]
) -> Callable[[Mapping[str, Any]], Any]:
    """Make of a user's function one that returns a float or None, and fails as a `BadRecord`."""

    def guarded(fields: Mapping[str, Any]) -> Any:
        try:
            value = function(fields)
            return None if value is None else float(value)
        except Exception as error:
            raise BadRecord(
                BadKind.FUNCTION_ERROR,
                f"feature '{name}' raised {type(error).__name__}: {error}",
            ) from error

    return guarded
