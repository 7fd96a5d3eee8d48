"""Python made of text: functions that are written for one pipeline and compiled when it starts."""

import linecache
import os
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any

from verdict.state.errors import StateError

FOLDER = "VERDICT_CODE"
"""The environment's name of a folder where the text of every function is put, for whoever reads."""
_numbers = count(1)


def define(
    name: str, arguments: str, lines: Iterable[str], scope: dict[str, Any], what: str = ""
) -> Callable[..., Any]:
    """Compile a function of the lines of its body; a traceback through it shows them.

    Parameters
    ----------
    name
        What profilers call it, and the text itself.
    arguments
        Their names, as a function has them.
    lines
        Indented among each other; the first level is the function's own.
    scope
        What the lines can name beside their own variables.
    what
        What it is, and of what: tracebacks call its file so, with a number, and so does
        `VERDICT_CODE`. Without it, its name.

    Raises
    ------
    StateError
        The folder that `VERDICT_CODE` names cannot be written.

    Examples
    --------
    >>> twice = define("twice", "x", ["y = 2 * x", "return y + more"], {"more": 1}, "twice and 1")
    >>> twice(5), twice.__code__.co_filename.rstrip("0123456789>")
    (11, '<verdict twice and 1 ')
    """
    body = "".join(f"    {line}\n" for line in lines)
    text = f"def {name}({arguments}):\n{body}"
    file = f"<verdict {_kept(what or name, text)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    made = dict(scope)
    exec(compile(text, file, "exec"), made)  # noqa: S102  to make code is what this is for
    compiled: Callable[..., Any] = made[name]
    return compiled


def _kept(what: str, text: str) -> str:
    """Number a function; put its text where `VERDICT_CODE` says, over no other's."""
    folder = os.environ.get(FOLDER)
    if not folder:
        return f"{what} {next(_numbers)}"
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        while True:  # what is there is another process's, or of another day
            unique = f"{what} {next(_numbers)}"
            name = re.sub(r"[^\w.]+", "-", unique) + ".py"
            with suppress(FileExistsError), Path(folder, name).open("x") as file:
                file.write(text)
                return unique
    except OSError as error:
        raise StateError(
            f"{FOLDER}={folder}: {error}; name a folder that can be written, or none"
        ) from None
