"""What must not be printed."""

from collections.abc import Mapping
from typing import Any


class Secret(str):
    """A string whose repr, and so that of whatever dict it is in, does not show it.

    >>> {"sasl.password": Secret("hunter2")}
    {'sasl.password': '***'}
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


def without_secrets(text: str, config: Mapping[str, Any]) -> str:
    """Write ``***`` in a text for each secret of a client's settings."""
    for value in config.values():
        if isinstance(value, Secret) and value:
            text = text.replace(value, "***")
    return text
