"""What must not be printed."""


class Secret(str):
    """A string whose repr, and so that of whatever dict it is in, does not show it.

    >>> {"sasl.password": Secret("hunter2")}
    {'sasl.password': '***'}
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"
