"""Up to where a job only reads: state is made of those records, and nothing is put out.

Flink hands it to a job's hops as text, when the job starts: so a program can be built before it is
known where the silence ends.
"""

from collections.abc import Callable, Mapping
from typing import Any

SILENT = "verdict.silent"
"""Flink's job parameter that holds it."""
ALL = "all"
Silent = Mapping[str, int] | bool
"""``topic/partition`` -> the first offset that is decided; true: none is, false: all are."""


def written(silent: Silent) -> str:
    """Write it as text.

    Examples
    --------
    >>> written({"events/0": 7, "events/1": 0}), written(True), written(False)
    ('events/0=7;events/1=0', 'all', '')
    """
    if isinstance(silent, bool):
        return ALL if silent else ""
    return ";".join(f"{partition}={offset}" for partition, offset in sorted(silent.items()))


def is_silent(text: str, topics: tuple[str, ...]) -> Callable[[int, int, int], bool] | None:
    """Read what `written` wrote, as a question: whether a record is silent; None if none is.

    Parameters
    ----------
    text
        What `written` made.
    topics
        Of a job's inputs; the question goes by their indexes.

    Examples
    --------
    >>> asked = is_silent("events/0=7", ("labels", "events"))
    >>> asked(1, 0, 6), asked(1, 0, 7), asked(0, 0, 6)
    (True, False, False)
    >>> is_silent("", ("events",)) is None
    True
    """
    if not text:
        return None
    if text == ALL:
        return lambda _source, _partition, _offset: True
    ends: dict[tuple[int, int], int] = {}
    for part in text.split(";"):
        place, _, offset = part.rpartition("=")
        topic, _, partition = place.rpartition("/")
        if topic in topics:
            ends[topics.index(topic), int(partition)] = int(offset)
    return lambda source, partition, offset: offset < ends.get((source, partition), 0)


def mute(env: Any, silent: Silent) -> None:
    """Tell the hops of a program, before it is executed, which records are silent."""
    from pyflink.java_gateway import get_gateway

    parameters = get_gateway().jvm.org.apache.flink.util.ParameterTool
    config = env._j_stream_execution_environment.getConfig()
    config.setGlobalJobParameters(parameters.fromMap({SILENT: written(silent)}))
