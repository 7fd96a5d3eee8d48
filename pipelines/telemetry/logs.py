"""What a process of verdict logs: nothing while all is well, else a line of JSON on stderr.

A person at a terminal gets text instead. No line quotes a record: see `pipelines.errors.safe_text`.
"""

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TextIO

from verdict.pipelines.errors import frames, safe_text
from verdict.state.errors import VerdictError

LOGGER = logging.getLogger(__name__)

LIBRDKAFKA = "verdict.pipelines.kafka.clients"
"""Logger of librdkafka. It warns of what it tries again by itself, as when a broker has just
started: only its errors are logged."""


class Logged(VerdictError):
    """An error that is in the log, so that nobody needs to say it again."""


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON.

    ``time`` (UTC), ``level``, ``logger``, ``message``; with an exception ``error`` and ``stack``;
    then what it was made with, and what a call gives as ``extra={"fields": {...}}``.

    Examples
    --------
    >>> record = logging.LogRecord("verdict.x", logging.WARNING, "", 0, "so %s", ("be it",), None)
    >>> record.created = 0.5
    >>> print(JsonLines(job="score").format(record))  # doctest: +NORMALIZE_WHITESPACE
    {"time": "1970-01-01T00:00:00.500Z", "level": "WARNING", "logger": "verdict.x",
     "message": "so be it", "job": "score"}
    """

    def __init__(self, **fields: str) -> None:
        super().__init__()
        self._fields = fields

    def format(self, record: logging.LogRecord) -> str:
        """Write a record as an object; an error without its text, which may quote data."""
        said = {
            "time": _time(record),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._fields,
            **getattr(record, "fields", {}),
        }
        error = record.exc_info[1] if record.exc_info else None
        if error is not None:
            said |= {"error": safe_text(error), "stack": frames(error)}
        return json.dumps(said)


class Lines(logging.Formatter):
    """Formats a record as a line for a person."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record's time, level, logger and message; an error without its text."""
        error = record.exc_info[1] if record.exc_info else None
        because = "" if error is None else f": {safe_text(error)}"
        return f"{_time(record)} {record.levelname} {record.name}: {record.getMessage()}{because}"


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what stderr is at the time."""

    def __init__(self, formatter: logging.Formatter) -> None:
        logging.Handler.__init__(self, logging.WARNING)
        self.setFormatter(formatter)
        self.addFilter(lambda each: each.name != LIBRDKAFKA or each.levelno >= logging.ERROR)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return _stderr()


def _stderr() -> TextIO:
    """Return stderr. Python inside Java has there what Java catches; below it is the process's."""
    found = sys.stderr if hasattr(sys.stderr, "isatty") else sys.__stderr__
    assert found is not None
    return found


def start(pipeline: str, job: str) -> logging.Handler:
    """Log warnings and errors of all loggers to stderr, in the name of a job; return the handler.

    What was started before in this process is replaced: hops of one job share an interpreter.
    """
    root = logging.getLogger()
    stop()
    handler = _Stderr(Lines() if _stderr().isatty() else JsonLines(pipeline=pipeline, job=job))
    root.addHandler(handler)
    return handler


def stop() -> None:
    """Undo `start`."""
    root = logging.getLogger()
    for handler in [each for each in root.handlers if isinstance(each, _Stderr)]:
        root.removeHandler(handler)


@contextmanager
def to_stderr(pipeline: str, job: str) -> Iterator[None]:
    """Log a job's run to stderr, and the error that ends it.

    Raises
    ------
    Logged
        In place of that error, where lines of JSON are written: text between them could not be
        read.
    """
    handler = start(pipeline, job)
    try:
        yield
    except VerdictError as error:
        if not isinstance(handler.formatter, JsonLines):
            raise
        LOGGER.error("%s", error)
        raise Logged(str(error)) from error
    finally:
        stop()
