"""What is carried along of a key's rows so that its aggregates need not look at all of them.

Everything is an integer, so that what is added can be taken out again exactly: counts, sums of
integers, sums of doubles as multiples of 2**-1074, sums of squares. What cannot be taken out again
(extremes, distinct values) is kept so that it need not be.
"""

import struct
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple
from zlib import crc32

from verdict.state.errors import StateError
from verdict.state.windows.aggregates import DECAYED, LABELLED, OPS, Aggregate
from verdict.state.windows.values import FADE_BITS, FADE_BITS_D, NULL, Code

LEAST_HORIZON = 2 * 86_400_000
"""Milliseconds: no key is forgotten sooner, whatever is asked of it."""
FADED = 10
"""Half-lives after which what is missing of a decayed aggregate weighs less than 0.1 %."""
FADED_AWAY = 84
"""Half-lives after which it is as if it had never been."""
MOST = 63
"""Each has a kind of chunk to itself (`state.windows.head`)."""


class Settled(NamedTuple):
    """A column of labels: 1 or 0, missing until its event enters the delayed windows.

    Attributes
    ----------
    delay
        Milliseconds after its event's time at which its label is settled, once for all: that of the
        windows over the column.
    ids
        Index of the column with the events' ids, by which labels find theirs.
    where
        Index of a column of flags; a row without it takes no label, and does not count.
    silence
        A row without label counts as one that is negative, not as one of which nothing is known.
    """

    delay: int
    ids: int
    where: int | None = None
    silence: bool = False


class Column(NamedTuple):
    """A column of the rows.

    Attributes
    ----------
    code
        ``q`` for 64-bit integers (decimals as unscaled integers), ``d`` for doubles, ``?`` for
        flags: whether an event counts.
    scale
        Decimal places of unscaled decimals.
    nullable
        Whether a new event's value may be missing; that of a flag is False. Rows that were kept
        before the column was may lack it in any case.
    meaning
        What it holds, in the caller's words: a column of another meaning is another one.
    label
        Of integers that are not known with the event.
    """

    code: Code
    scale: int = 0
    nullable: bool = True
    meaning: str = ""
    label: Settled | None = None

    @property
    def mark(self) -> int:
        """What tells it from others in the state."""
        return crc32(f"{self.code}{self.scale} {self.meaning}".encode())


class Cursor(NamedTuple):
    """Where rows are older than ``offset``; with a column, behind those without a value too."""

    offset: int
    column: int | None = None


class Tally(NamedTuple):
    """Behind a cursor: how many values a column has (power 0), their sum, or that of squares."""

    cursor: int
    column: int
    power: int


class Extreme(NamedTuple):
    """The smallest or largest values of a column, in windows that end with the event."""

    column: int
    largest: bool


class Decay(NamedTuple):
    """A faded count (power 0) or sum of a column, or of events."""

    column: int | None
    power: int
    half_life: int


class Plan:
    """What has to be carried for some aggregates, and how they are read from it.

    Parameters
    ----------
    aggregates
        The aggregates.
    columns
        Of the rows.
    retention
        Milliseconds for which a row is kept behind the newest: the longest window with its delay,
        and the allowed lateness.

    Attributes
    ----------
    formulas
        Python for each aggregate. It names, by their index: ``rows_0`` the number of rows behind a
        cursor, ``tally_0``, ``distinct_0`` a count of distinct values, ``first_0`` the row of a
        first value or None, ``last_time_0`` and ``last_value_0``, ``extreme_0_60`` an extreme over
        60 ms, ``decay_0`` what fades as it stands at ``now``, the time of the key's newest event;
        ``at`` is the event's own.
    before
        Indices of the aggregates that do not see the event itself.
    """

    def __init__(
        self, aggregates: Sequence[Aggregate], columns: Sequence[Column], retention: int
    ) -> None:
        if any(each.op not in OPS for each in aggregates):
            raise ValueError(f"there are the aggregates {', '.join(OPS)}")
        self.asked = tuple(aggregates)
        self.columns = tuple(columns)
        self.retention = retention
        self.cursors: list[Cursor] = []
        self.tallies: list[Tally] = []
        self.distincts: list[tuple[int, int]] = []
        self.firsts: list[int] = []
        self.lasts: list[int | None] = []
        self.extremes: list[Extreme] = []
        self.windows: list[list[int]] = []
        """Of each extreme, the longest first."""
        self.decays: list[Decay] = []
        self.delays = sorted({column.label.delay for column in columns if column.label})
        """After which labels are settled."""
        self.ids = next((column.label.ids for column in columns if column.label), None)
        self.settled = [
            (delay, self._cursor(delay), [i for i, each in enumerate(columns) if _at(each, delay)])
            for delay in self.delays
        ]
        """Of each delay the cursor of the rows that enter its windows, and its columns."""
        self.formulas = [self._formula(each) for each in aggregates]
        if len(self.extremes) > MOST or any(column >= MOST for _, column in self.distincts):
            raise StateError(
                f"an entity's features keep more than {MOST} arguments of min, max and distinct: "
                "make another entity with the same key for some of them"
            )
        for windows in self.windows:
            windows.sort(reverse=True)
        self.before: Collection[int] = [
            i
            for i, each in enumerate(aggregates)
            if not each.current or each.op == "time_since_last"
        ]
        self.horizon = max(
            [LEAST_HORIZON, retention, *(FADED_AWAY * each.half_life for each in self.decays)]
        )
        """Milliseconds of silence after which nothing of a key is left, not even its seq."""
        self.slots = [
            *(f"rows_{i}" for i in range(len(self.cursors))),
            *(f"tally_{i}" for i in range(len(self.tallies))),
            *(f"distinct_{i}" for i in range(len(self.distincts))),
            *(f"first_{i}" for i in range(len(self.firsts))),
            *(f"last_{what}_{i}" for i in range(len(self.lasts)) for what in ("time", "value")),
            *(f"extreme_{i}_{w}" for i, windows in enumerate(self.windows) for w in windows),
            *(f"decay_{i}" for i in range(len(self.decays))),
        ]
        """What the formulas name, in the order in which the general way gives it."""
        self.asks = crc32(
            repr(
                (
                    [column.mark for column in columns],
                    [column.nullable for column in columns],
                    self.cursors,
                    self.tallies,
                    self.distincts,
                    self.firsts,
                    self.lasts,
                    self.extremes,
                    self.windows,
                    self.decays,
                    [column.label for column in columns],
                    retention,
                )
            ).encode()
        )
        """What tells it from others in the state."""

    def wide(self, tally: Tally) -> bool:
        """Whether a tally may need more than 64 bits at any time."""
        return tally.power == 2 or (tally.power == 1 and self.columns[tally.column].code == "d")

    def missing(self, column: int, value: str) -> str:
        """Write the condition that a value of a column is missing."""
        code = self.columns[column].code
        return {"q": f"{value} == {NULL}", "d": f"{value} != {value}", "?": f"not {value}"}[code]

    def described(self, aggregate: Aggregate) -> str:
        """Say what an aggregate is, for whoever reads the code."""
        of = "" if aggregate.column is None else f" of {self.columns[aggregate.column].meaning!r}"
        span = "half-life" if aggregate.decayed else "over"
        delay = f", delay {aggregate.delay} ms" if aggregate.delay else ""
        without = "" if aggregate.current else ", without the event"
        return f"{aggregate.op}{of}, {span} {aggregate.over} ms{delay}{without}"

    def _unit(self, column: int) -> int:
        return int(10 ** self.columns[column].scale)

    def _cursor(self, offset: int, column: int | None = None) -> int:
        return _place(self.cursors, Cursor(offset, column))

    def _behind(self, each: Aggregate, find: Callable[[int], str]) -> str:
        """Write what lies in a window, from what lies behind its two ends."""
        begin = find(self._cursor(each.delay + each.over))
        if not each.delay:
            return begin
        return f"({begin} - {find(self._cursor(each.delay))})"

    def _tallied(self, each: Aggregate, power: int) -> str:
        column = each.column
        if column is None:
            return self._behind(each, lambda cursor: f"rows_{cursor}")
        return self._behind(
            each, lambda cursor: f"tally_{_place(self.tallies, Tally(cursor, column, power))}"
        )

    def _formula(self, each: Aggregate) -> str:
        if each.decayed:
            return self._faded(each)
        op, over, column, _, _, _ = each
        if column is not None and self.columns[column].label is not None:
            return self._over_labels(each, self.columns[column].label)
        if op == "rate":
            raise ValueError("rate is of a label")
        if op == "count":
            return f"float({self._tallied(each, 0)})"
        if op == "time_since_last":
            i = _place(self.lasts, column)
            return f"(at - last_time_{i}) / 1000 if last_time_{i} > at - {over} else None"
        if column is None:
            raise ValueError(f"{op} is of a column")
        unit, floats = self._unit(column), self.columns[column].code == "d"
        match op:
            case "sum":
                total = self._tallied(each, 1)
                return f"nearest({total})" if floats else f"{total} / {unit}"
            case "mean":
                total, count = self._tallied(each, 1), self._tallied(each, 0)
                if floats:
                    return f"divided(nearest({total}), {count})"
                return f"{total} / ({count} * {unit}) if {count} else None"
            case "std":
                parts = ", ".join(self._tallied(each, power) for power in (0, 1, 2))
                return f"deviation({parts}, {'units' if floats else unit})"
            case "distinct":
                i = _place(self.distincts, (self._cursor(over), column))
                return f"float(distinct_{i})"
            case "first":
                i = _place(self.firsts, self._cursor(over, column))
                value = f"first_{i}[{column + 1}]" + ("" if floats else f" / {unit}")
                return f"None if first_{i} is None else {value} + 0.0"
            case "last":
                i = _place(self.lasts, column)
                return f"last_value_{i} / {unit} + 0.0 if last_time_{i} > at - {over} else None"
            case _:
                i = _place(self.extremes, Extreme(column, op == "max"))
                if i == len(self.windows):
                    self.windows.append([])
                if over not in self.windows[i]:
                    self.windows[i].append(over)
                return f"None if extreme_{i}_{over} is None else extreme_{i}_{over} / {unit} + 0.0"

    def _over_labels(self, each: Aggregate, label: Settled | None) -> str:
        assert label is not None
        if each.op not in LABELLED or each.decayed or each.delay != label.delay:
            raise ValueError(f"over labels there are {', '.join(LABELLED)}, after their delay")
        if each.op == "sum":
            return f"float({self._tallied(each, 1)})"
        every = each.op == "rate" or label.silence
        count = self._tallied(each._replace(column=label.where) if every else each, 0)
        if each.op == "count":
            return f"float({count})"
        return f"{self._tallied(each, 1)} / {count} if {count} else None"

    def _faded(self, each: Aggregate) -> str:
        op, half_life, column, _, _, _ = each
        if op not in DECAYED:
            raise ValueError(f"with a half-life there are {', '.join(DECAYED)}")

        def faded(power: int) -> str:
            i = _place(self.decays, Decay(column, power, half_life))
            unit = self.fade_unit(self.decays[i])
            return f"faded(decay_{i}, now, {half_life}, {unit})"

        if op == "count" or column is None:
            return faded(0)
        if op == "sum":
            return faded(1)
        i, j = (_place(self.decays, Decay(column, power, half_life)) for power in (1, 0))
        return f"quotient(decay_{i}, {self.fade_unit(self.decays[i])}, decay_{j})"

    def fade_unit(self, decay: Decay) -> int:
        """How many units of a decay's total make one."""
        if decay.power and decay.column is not None:
            column = self.columns[decay.column]
            return (1 << FADE_BITS_D) if column.code == "d" else 10**column.scale << FADE_BITS
        return 1 << FADE_BITS


def _at(column: Column, delay: int) -> bool:
    return column.label is not None and column.label.delay == delay


def _place(known: list[Any], wanted: object) -> int:
    """Return the index of what is wanted, which is added if it is new."""
    if wanted not in known:
        known.append(wanted)
    found: int = known.index(wanted)
    return found


ROW = "<q"


def row_layout(columns: Sequence[Column]) -> struct.Struct:
    """Return how a row is packed: its time, and a value each column."""
    return struct.Struct(ROW + "".join(column.code for column in columns))
