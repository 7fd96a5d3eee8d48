"""The root of verdict's errors, and what the state layer raises."""


class VerdictError(Exception):
    """Anything that verdict refuses; its message says what happened, where, and what to do."""


class StateError(VerdictError):
    """The stored state cannot be used: locked by another process, damaged, or of another layout."""
