"""The root of verdict's errors, and what the state layer raises."""


class VerdictError(Exception):
    """Anything that verdict refuses; its message says what happened, where, and what to do.

    >>> from pathlib import Path
    >>> from verdict import load
    >>> try:
    ...     load(Path("nowhere.yaml"))
    ... except VerdictError as error:
    ...     print(error)
    nowhere.yaml: cannot be read: No such file or directory
    """


class StateError(VerdictError):
    """The stored state cannot be used: locked by another process, damaged, or of another layout."""
