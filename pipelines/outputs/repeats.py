"""Decisions that came more than once: how many, and which of them say something else.

After a crash an engine puts out again what the last checkpoint, or the last commit, did not hold.
Who reads uncommitted sees both copies. Which records are copies of one decision, the header
``source`` says: it names the input record behind it. A producer's retry is another input record,
and so another decision. The copies have one key, so they lie in one partition, in their order.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from verdict.pipelines.kafka.coordinates import Coordinates
from verdict.pipelines.telemetry.page import Page
from verdict.pipelines.text import printable

PAGE = 4_096
"""Input offsets of which are remembered together: those between two decisions cost their share,
too, be they dead letters or the markers of a producer's transactions."""
MOST = 33_554_432
"""Decisions remembered at most, 570 MB; then the oldest are forgotten, a page at a time."""
OFFSET_BITS = 48
"""Of a place's 64 bits, those for the offset; the others are the partition's."""


class Repeats:
    """Counts how often each decision came, and whether every copy had the bytes of the first.

    Of each decision 17 bytes are kept, in pages by the input record's offset: 64 bits of Python's
    keyed hash of the first copy's bytes, where that copy lies, and whether the newest one differs.
    A million decisions took 17 MB of memory. Of two copies that differ, once in 2**64 times they
    pass for equal.

    Parameters
    ----------
    most
        Decisions to remember; of those forgotten a repeat counts as a decision.

    Attributes
    ----------
    read
        Records counted.
    repeats
        Of them, those whose decision had come before.
    repeat_differs
        Of the repeats, those whose bytes are not the first copy's.
    last_differs
        Decisions whose newest copy is not the same as the first.
    left_out
        Records that are no decisions of this release: they name no source, or have no value.
    forgotten
        Input offsets that are remembered no more.

    Examples
    --------
    >>> seen = Repeats()
    >>> seen.take(b"payments/0/7", b"approve", 0, 100)
    >>> seen.take(b"payments/0/7", b"approve", 0, 101)
    >>> seen.take(b"payments/0/7", b"decline", 0, 102)
    Coordinates(topic='', partition=0, offset=100)
    >>> seen.decisions, seen.repeats, seen.repeat_differs
    (1, 2, 1)
    """

    def __init__(self, most: int = MOST) -> None:
        self.read = 0
        self.repeats = 0
        self.repeat_differs = 0
        self.last_differs = 0
        self.left_out = 0
        self.forgotten = 0
        self._pages: dict[tuple[bytes, int], tuple[array[int], array[int], bytearray]] = {}
        self._most = max(1, most // PAGE)

    @property
    def decisions(self) -> int:
        """How many different decisions were read."""
        return self.read - self.repeats

    def take(self, source: bytes, value: bytes, partition: int, offset: int) -> Coordinates | None:
        """Count one copy; return where the first one lies, without its topic, if it differs.

        Parameters
        ----------
        source
            ``topic/partition/offset`` of the input record.
        value
            The decision's bytes.
        partition, offset
            Where this copy lies.

        Raises
        ------
        ValueError
            The source is none.
        """
        where, _, number = source.rpartition(b"/")
        if not number.isdigit():
            raise ValueError("no topic/partition/offset")
        index, at = divmod(int(number), PAGE)
        page = self._pages.get((where, index))
        if page is None:
            page = self._page(where, index)
        digests, places, differ = page
        digest = hash(value) or 1  # 0 stands for none yet
        known = digests[at]
        self.read += 1
        if not known:
            digests[at] = digest
            places[at] = partition << OFFSET_BITS | offset
            return None
        self.repeats += 1
        if known == digest:
            self.last_differs -= differ[at]
            differ[at] = 0
            return None
        self.repeat_differs += 1
        self.last_differs += 1 - differ[at]
        differ[at] = 1
        first = places[at]
        return Coordinates("", first >> OFFSET_BITS, first & (1 << OFFSET_BITS) - 1)

    def _page(self, where: bytes, index: int) -> tuple["array[int]", "array[int]", bytearray]:
        if len(self._pages) == self._most:
            del self._pages[next(iter(self._pages))]
            self.forgotten += PAGE
        page = (array("q", [0]) * PAGE, array("q", [0]) * PAGE, bytearray(PAGE))
        self._pages[where, index] = page
        return page

    def as_json(self) -> dict[str, int]:
        """Say it in what JSON knows."""
        return {
            "decisions": self.decisions,
            "repeats": self.repeats,
            "repeat_differs": self.repeat_differs,
            "last_differs": self.last_differs,
            "left_out": self.left_out,
            "forgotten": self.forgotten,
        }


class RepeatsMeter:
    """Shows what was counted up to now: a source of `telemetry.server.serve`.

    Parameters
    ----------
    pipeline
        Its name: the only label.
    seen
        What counts.
    """

    def __init__(self, pipeline: str, seen: Repeats) -> None:
        self.labels: Mapping[str, str] = {"pipeline": pipeline}
        self._seen = seen

    def show(self, page: Page) -> None:
        """Add the counts."""
        page.counter("decisions_read", self.labels, self._seen.read)
        page.counter("repeats", self.labels, self._seen.repeats)
        page.counter("repeat_differs", self.labels, self._seen.repeat_differs)


@dataclass(frozen=True)
class Differing:
    """A repeat that is not as the first copy was.

    Attributes
    ----------
    event_id
        None where this copy cannot be decoded.
    source
        The input record.
    first, again
        Where the two copies lie.
    fields
        What differs, ``features.terminal_count_1d`` for instance. Empty where only the encoding
        does; None where the first copy is gone, or one of the two cannot be decoded.
    """

    event_id: str | None
    source: str
    first: Coordinates
    again: Coordinates
    fields: Sequence[str] | None

    def as_json(self) -> dict[str, Any]:
        """Say it in what JSON knows."""
        return {
            "event_id": self.event_id,
            "source": self.source,
            "first": str(self.first),
            "again": str(self.again),
            "fields": None if self.fields is None else list(self.fields),
        }


def line(differing: Differing) -> str:
    """Say in one line how a repeat differs.

    >>> first, again = Coordinates("decisions", 0, 17), Coordinates("decisions", 0, 90)
    >>> print(line(Differing("p1", "payments/0/3", first, again, ["score"])))
    p1 decisions/0/17, again decisions/0/90: score
    """
    what = "cannot be compared" if differing.fields is None else ", ".join(differing.fields)
    name = printable(differing.source if differing.event_id is None else differing.event_id)
    said = printable(what) or "the encoding alone"
    return f"{name} {differing.first}, again {differing.again}: {said}"


def summary_lines(seen: Repeats) -> list[str]:
    r"""Say what was counted.

    >>> print(*summary_lines(Repeats()), sep="\n")
    0 decisions, 0 repeats, 0 that differ
    """
    differ = f"{seen.repeat_differs:,} that differ"
    lines = [f"{seen.decisions:,} decisions, {seen.repeats:,} repeats, {differ}"]
    if seen.repeat_differs:
        lines.append(f"  newest copy not as the first: {seen.last_differs:,}")
    if seen.left_out:
        lines.append(f"  left out, without a source in their headers or empty: {seen.left_out:,}")
    if seen.forgotten:
        lines.append(f"  forgotten, so that a repeat counts as a decision: {seen.forgotten:,}")
    return lines


def differences(first: Mapping[str, Any], again: Mapping[str, Any]) -> list[str]:
    """Name the fields in which two records differ, to the bit.

    >>> hops = [{"entity": "card", "hop_seq": 4}]
    >>> first = {"score": 0.25, "features": {"n": 1.0, "mean": float("nan")}, "hops": hops}
    >>> again = {**first, "features": {"n": 2.0, "mean": float("nan")}}
    >>> differences(first, again)
    ['features.n']
    >>> differences(first, {**again, "hops": [{"entity": "card", "hop_seq": 5}]})
    ['features.n', 'hops.0.hop_seq']
    """
    one, other = dict(_leaves("", first)), dict(_leaves("", again))
    # By repr, which tells -0.0 from 0.0, and one NaN not from another.
    return [
        name
        for name in dict.fromkeys((*one, *other))
        if repr(one.get(name)) != repr(other.get(name))
    ]


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    parts: Iterator[tuple[Any, Any]]
    if isinstance(value, Mapping):
        parts = iter(value.items())
    elif isinstance(value, list):
        parts = enumerate(value)
    else:
        yield name, value
        return
    for part, item in parts:
        yield from _leaves(f"{name}.{part}" if name else str(part), item)
