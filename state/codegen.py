"""Python made of text: functions that are written for one pipeline and compiled when it starts."""

import linecache
from collections.abc import Callable, Iterable
from typing import Any


def define(name: str, head: str, lines: Iterable[str], scope: dict[str, Any]) -> Callable[..., Any]:
    """Compile a function of the lines of its body; a traceback through it shows them.

    Parameters
    ----------
    name
        What tracebacks and profilers call it.
    head
        Its arguments.
    lines
        Indented among each other; the first level is the function's own.
    scope
        What the lines can name beside their own variables.

    Examples
    --------
    >>> define("twice_and", "x", ["y = 2 * x", "return y + more"], {"more": 1})(5)
    11
    """
    body = "".join(f"    {line}\n" for line in lines)
    text = f"def {name}({head}):\n{body}"
    file = f"<{name} {len(linecache.cache)}>"
    linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)
    made = dict(scope)
    exec(compile(text, file, "exec"), made)
    compiled: Callable[..., Any] = made[name]
    return compiled
