"""Card transactions with three kinds of fraud, from a seed.

The model is the transaction simulator that the Fraud Detection Handbook describes in its
chapter 3 (Le Borgne, Siblini, Lebichot, Bontempi; Université Libre de Bruxelles); the code is
our own. Customers and terminals lie on a plane of 100 x 100. A customer has a mean amount
(5 to 100 EUR, standard deviation half of it), a mean number of payments a day (0 to 4), and
pays at the terminals within a radius, mostly around noon. A payment is fraud when

1. its amount is above 220 EUR, or
2. its terminal is compromised: 2 in 10,000 terminals a day become so, for 28 days, or
3. the card is stolen: 3 in 5,000 customers a day, for 14 days. A third of the card's payments
   is then the thief's, at five times the usual amounts.

Where more than one holds, the last one names the kind.

It departs from the handbook where a streaming pipeline needs something to see:

- The handbook's numbers of compromised terminals (2 a day) and stolen cards (3 a day) belong to
  its 10,000 terminals and 5,000 customers; here they scale with the world's, and fall on evenly
  spaced days. The first day already finds some in criminal hands, so every day is alike.
- A quarter of the payments is online: no terminal, and a merchant category of the web.
  Terminals carry a merchant category and a country (a quarter of the plane each).
- A compromised terminal is also cashed out: on a third of its days 3 to 6 copied cards of
  anyone's, with their owners' usual amounts, within an hour of any time of the day. All of them
  are fraud. In the handbook only past labels give such a terminal away; here its pace does.
- The thief's payments come on top of the owner's instead of replacing them, and in sprees: on
  a third of the days, within an hour, half of them online, half at any terminal of the plane.
  So a stolen card is faster, as well as dearer; its share of fraud stays a third on average.
- A customer without a terminal within the radius pays at the nearest one.
- On request the amounts of all genuine payments are 1.6 times as high from some moment on
  (`World.drift_at`), also above 220 EUR, and some events are broken (`World.broken`, `BREAKS`).
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import signal
import sys
import threading
import time
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import fastavro
import numpy as np
import numpy.typing as npt

from verdict import VerdictError

SCHEMA = fastavro.parse_schema(json.loads(Path(__file__).with_name("transaction.avsc").read_text()))

SIDE = 100.0
"""Length of a side of the plane; `World.radius` is in the same unit."""
DAY = 86_400.0
"""Seconds."""
HOUR = 3_600.0
"""Seconds: how long a cash-out or a spree lasts."""
LARGE = 22_000
"""Cents. A payment above this is fraud (the handbook's 220 EUR)."""
COMPROMISES, COMPROMISED_DAYS = 2 / 10_000, 28
"""New compromised terminals a day and terminal, and how long each stays so."""
THEFTS, STOLEN_DAYS = 3 / 5_000, 14
"""New stolen cards a day and customer, and how long each is used."""
SPREE_DAYS = 1 / 3
"""Share of the criminal days on which a terminal is cashed out, or a thief goes shopping."""
ONLINE, ONLINE_STOLEN = 0.25, 0.5
"""Share of payments without a terminal: the owner's, and the thief's."""
DRIFT = 1.6
"""Factor on the amounts of genuine payments once they have drifted."""

COUNTRIES = ("BE", "DE", "FR", "NL")
POS_CATEGORIES = ("grocery", "fuel", "restaurant", "pharmacy", "fashion", "household")
ONLINE_CATEGORIES = ("electronics", "travel", "streaming", "games", "fashion")
KINDS = ("genuine", "large amount", "compromised terminal", "stolen card")

BREAKS = {"truncated": 0.3, "garbage": 0.2, "no-key": 0.2, "no-customer": 0.1, "amount": 0.2}
"""How a broken event is broken, and how often each way is taken.

`truncated`
    The Avro body ends too early, anywhere after its first byte.
`garbage`
    The body is not Avro: it announces a string longer than what follows.
`no-key`
    The Kafka message has no key; the body is whole.
`no-customer`
    The customer id is empty, in the key as in the body.
`amount`
    The amount is impossible: negative, or 9,999,999.00.
"""

# One stream of random numbers a purpose, so that asking for broken events, say, leaves the
# transactions as they were.
_PLACES, _PAYMENTS, _COMPROMISES, _THEFTS, _BREAKS = range(5)

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class WorldError(VerdictError):
    """A `World` was asked for that cannot be."""


class Terminal(NamedTuple):
    """Where a card is used in person."""

    id: str
    country: str


class Transaction(NamedTuple):
    """One card payment, and what only the generator knows of it: `kind` and `broken`.

    Parameters
    ----------
    event_time
        Milliseconds since 1970-01-01 UTC.
    terminal
        None for a payment online.
    channel
        `pos` or `online`.
    amount
        Euros, two decimals.
    kind
        0 genuine, 1 large amount, 2 compromised terminal, 3 stolen card (`KINDS`).
    broken
        None, or the way in which this event is broken (`BREAKS`). The fields are as the event
        shows them: a broken `amount` stands here already.
    """

    transaction_id: str
    event_time: int
    customer_id: str
    terminal: Terminal | None
    channel: str
    amount: Decimal
    currency: str
    merchant_category: str
    kind: int = 0
    broken: str | None = None

    @property
    def is_fraud(self) -> bool:
        """The label; it is in no encoded event."""
        return self.kind > 0

    @property
    def key(self) -> bytes | None:
        """The Kafka message key: the customer id in UTF-8."""
        return None if self.broken == "no-key" else self.customer_id.encode()


@dataclass(frozen=True)
class World:
    """What to simulate. Equal worlds give equal transactions (with the same numpy).

    Parameters
    ----------
    customers, terminals
        How many of each. A customer makes two payments a day on average.
    days
        Length of the story; None for one that never ends.
    seed
        Not negative. A day depends on the seed and its number only, not on the length.
    radius
        How far customers go to pay, on a plane of 100 x 100.
    start
        ISO date of the first day (UTC).
    drift_at
        From when on genuine amounts are `DRIFT` times as high: below 1 a fraction of the
        length, else a number of days. None: never.
    broken
        Share of events that are broken on purpose, 0 to 1.

    Examples
    --------
    >>> world = World(customers=50, terminals=100, days=10, drift_at=0.5)
    >>> world.drift_day
    5.0
    """

    customers: int = 300
    terminals: int = 600
    days: int | None = 30
    seed: int = 7
    radius: float = 10.0
    start: str = "2026-01-01"
    drift_at: float | None = None
    broken: float = 0.0

    def __post_init__(self) -> None:
        for name in ("customers", "terminals", "days"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise WorldError(f"World: {name} is {value}. Give a whole number above 0.")
        if self.seed < 0:
            raise WorldError(f"World: seed is {self.seed}. Give a whole number, 0 or above.")
        if not self.radius > 0:
            raise WorldError(f"World: radius is {self.radius}. Give a number above 0.")
        if not 0 <= self.broken <= 1:
            raise WorldError(f"World: broken is {self.broken}. Give a share from 0 to 1.")
        if self.drift_at is not None and not self.drift_at >= 0:
            raise WorldError(f"World: drift_at is {self.drift_at}. Give a number, 0 or above.")
        if self.drift_at is not None and self.drift_at < 1 and self.days is None:
            raise WorldError(
                f"World: drift_at is {self.drift_at}, a fraction of the length, but the world "
                "has no end. Give a number of days (1 or above), or set days."
            )
        try:
            date.fromisoformat(self.start)
        except ValueError:
            raise WorldError(
                f"World: start is {self.start!r}. Give a date as 2026-01-31."
            ) from None

    @property
    def start_ms(self) -> int:
        """Midnight (UTC) of the first day, milliseconds since 1970-01-01."""
        midnight = datetime.combine(date.fromisoformat(self.start), datetime.min.time(), UTC)
        return int(midnight.timestamp()) * 1000

    @property
    def drift_day(self) -> float:
        """Days from the start to the drift; infinite if there is none."""
        if self.drift_at is None:
            return math.inf
        if self.drift_at < 1 and self.days is not None:
            return self.drift_at * self.days
        return self.drift_at


class _Places(NamedTuple):
    """The plane: who lives and sells where. Fixed for a world, so drawn once."""

    mean: Floats
    """Each customer's mean amount, euros."""
    daily: Floats
    """Each customer's mean number of payments a day."""
    reach: Ints
    """The terminals within reach of customer 0, then of customer 1, and so on."""
    first: Ints
    """Where a customer's terminals begin in `reach`."""
    near: Ints
    """How many terminals a customer reaches."""
    customers: list[str]
    terminals: list[Terminal | None]
    """By number; the last is None, so that -1 means online."""
    categories: list[str]
    """What each terminal sells."""


class _Payments(NamedTuple):
    """Payments of one day as columns, in no order."""

    customer: Ints
    second: Floats
    """Since midnight."""
    cents: Ints
    terminal: Ints
    """-1: online."""
    kind: Ints


def transactions(world: World) -> Iterator[Transaction]:
    """Yield the transactions of a world in event-time order, a day in memory at a time.

    Examples
    --------
    >>> history = list(transactions(World(customers=50, terminals=100, days=3)))
    >>> first = history[0]
    >>> first.transaction_id, first.currency
    ('tx-00000-00000', 'EUR')
    >>> history == list(transactions(World(customers=50, terminals=100, days=3)))
    True
    """
    places = _places(world)
    day = 0
    while world.days is None or day < world.days:
        yield from _transactions(world, places, day)
        day += 1


def record(tx: Transaction) -> dict[str, Any]:
    """The event as `transaction.avsc` has it: no label, and nothing of how it is broken."""
    return {
        "transaction_id": tx.transaction_id,
        "event_time": tx.event_time,
        "customer_id": tx.customer_id,
        "terminal": tx.terminal and {"id": tx.terminal.id, "country": tx.terminal.country},
        "channel": tx.channel,
        "amount": tx.amount,
        "currency": tx.currency,
        "merchant_category": tx.merchant_category,
    }


def encode(tx: Transaction) -> bytes:
    """The Kafka message value: the bare Avro body, or less than that if it is broken so.

    Examples
    --------
    >>> tx = next(transactions(World(customers=50, terminals=100)))
    >>> event = fastavro.schemaless_reader(BytesIO(encode(tx)), SCHEMA, None)
    >>> event["transaction_id"] == tx.transaction_id, event["amount"] == tx.amount
    (True, True)
    """
    event = record(tx)
    if tx.terminal:
        # Naming the union's branch spares fastavro the search for it: a fifth of the time.
        event["terminal"] = ("verdict.examples.cards.Terminal", event["terminal"])
    buffer = BytesIO()
    fastavro.schemaless_writer(buffer, SCHEMA, event)
    body = buffer.getvalue()
    if tx.broken == "truncated":
        # A checksum instead of a random number: the same transaction, the same bytes.
        return body[: 1 + zlib.crc32(body) % (len(body) - 1)]
    if tx.broken == "garbage":
        # 0xFE 0xFF 0x03 is Avro's 32,767: no body is that long, so no reader takes it for one.
        return b"\xfe\xff\x03" + body[::-1]
    return body


def _generator(world: World, stream: int, day: int = 0) -> np.random.Generator:
    return np.random.default_rng((world.seed, stream, day))


def _places(world: World) -> _Places:
    rng = _generator(world, _PLACES)
    homes = rng.uniform(0, SIDE, (world.customers, 2))
    shops = rng.uniform(0, SIDE, (world.terminals, 2))
    reach = []
    for home in homes:
        distance = np.hypot(*(shops - home).T)
        within = np.flatnonzero(distance <= world.radius)
        reach.append(within if within.size else np.array([distance.argmin()]))
    near = np.array([len(within) for within in reach])
    east, north = (shops >= SIDE / 2).T
    categories = rng.integers(len(POS_CATEGORIES), size=world.terminals)
    return _Places(
        mean=rng.uniform(5, 100, world.customers),
        daily=rng.uniform(0, 4, world.customers),
        reach=np.concatenate(reach),
        first=np.cumsum(near) - near,
        near=near,
        customers=[f"c{number:05d}" for number in range(world.customers)],
        terminals=[
            *(
                Terminal(f"t{number:05d}", COUNTRIES[quarter])
                for number, quarter in enumerate((2 * east + north).tolist())
            ),
            None,
        ],
        categories=[POS_CATEGORIES[number] for number in categories.tolist()],
    )


def _transactions(world: World, places: _Places, day: int) -> Iterator[Transaction]:
    compromised = _victims(world, _COMPROMISES, day, world.terminals)
    stolen = _victims(world, _THEFTS, day, world.customers)
    rng = _generator(world, _PAYMENTS, day)
    payments = _merged(
        _usual(rng, places, compromised),
        _cash_outs(rng, places, compromised),
        _sprees(rng, places, stolen),
    )
    size = len(payments.second)
    drifted = (payments.kind == 0) & (day + payments.second / DAY >= world.drift_day)
    cents = np.where(drifted, np.rint(payments.cents * DRIFT), payments.cents).astype(np.int64)
    online = rng.integers(len(ONLINE_CATEGORIES), size=size)

    rng = _generator(world, _BREAKS, day)
    ways = (*BREAKS, None)
    way = rng.choice(len(BREAKS), size, p=list(BREAKS.values()))
    way[rng.random(size) >= world.broken] = len(BREAKS)

    midnight = world.start_ms + day * int(DAY) * 1000
    columns = (
        payments.customer,
        (payments.second * 1000).astype(np.int64) + midnight,
        cents,
        payments.terminal,
        payments.kind,
        online,
        way,
    )
    rows = zip(*(column.tolist() for column in columns), strict=True)
    for number, (customer, at, paid, terminal, kind, sold, broken) in enumerate(rows):
        tx = Transaction(
            f"tx-{day:05d}-{number:05d}",
            at,
            places.customers[customer],
            places.terminals[terminal],
            "online" if terminal < 0 else "pos",
            Decimal(paid).scaleb(-2),
            "EUR",
            ONLINE_CATEGORIES[sold] if terminal < 0 else places.categories[terminal],
            kind,
            ways[broken],
        )
        if tx.broken == "no-customer":
            tx = tx._replace(customer_id="")
        elif tx.broken == "amount":
            tx = tx._replace(amount=Decimal("9999999.00") if number % 2 else -tx.amount)
        yield tx


def _victims(world: World, stream: int, day: int, population: int) -> Ints:
    """Who is in criminal hands on a day: terminals (`_COMPROMISES`) or cards (`_THEFTS`)."""
    if stream == _COMPROMISES:
        rate, lasting = population * COMPROMISES, COMPROMISED_DAYS
    else:
        rate, lasting = population * THEFTS, STOLEN_DAYS
    victims: set[int] = set()
    for since in range(day - lasting + 1, day + 1):
        # The whole part of a running total: small worlds get one every so many days.
        if fresh := math.floor((since + 1) * rate) - math.floor(since * rate):
            rng = _generator(world, stream, since + lasting)
            victims.update(rng.choice(population, fresh, replace=False).tolist())
    return np.array(sorted(victims), dtype=np.int64)


def _merged(*parts: _Payments) -> _Payments:
    """All of them in the order of time; at the same time, in the order given."""
    order = np.concatenate([part.second for part in parts]).argsort(kind="stable")
    return _Payments(
        np.concatenate([part.customer for part in parts])[order],
        np.concatenate([part.second for part in parts])[order],
        np.concatenate([part.cents for part in parts])[order],
        np.concatenate([part.terminal for part in parts])[order],
        np.concatenate([part.kind for part in parts])[order],
    )


def _usual(rng: np.random.Generator, places: _Places, compromised: Ints) -> _Payments:
    """What the owners of the cards pay."""
    customer = np.repeat(np.arange(len(places.daily)), rng.poisson(places.daily))
    second = rng.normal(DAY / 2, 20_000, len(customer))
    today = (second >= 0) & (second < DAY)
    customer, second = customer[today], second[today]
    cents = _cents(rng, places, customer)
    terminal = places.reach[places.first[customer] + rng.integers(places.near[customer])]
    terminal[rng.random(len(customer)) < ONLINE] = -1
    kind = (cents > LARGE).astype(np.int64)
    kind[np.isin(terminal, compromised)] = 2
    return _Payments(customer, second, cents, terminal, kind)


def _cash_outs(rng: np.random.Generator, places: _Places, compromised: Ints) -> _Payments:
    """What copied cards pay at compromised terminals."""
    busy = compromised[rng.random(len(compromised)) < SPREE_DAYS]
    sizes = rng.integers(3, 7, len(busy))
    terminal = np.repeat(busy, sizes)
    customer = rng.integers(len(places.daily), size=len(terminal))
    cents = _cents(rng, places, customer)
    return _Payments(customer, _hour(rng, sizes), cents, terminal, np.full_like(terminal, 2))


def _sprees(rng: np.random.Generator, places: _Places, stolen: Ints) -> _Payments:
    """What thieves pay with stolen cards."""
    busy = stolen[rng.random(len(stolen)) < SPREE_DAYS]
    # Half as many payments as the owner's make a third of all, but on the spree days only.
    sizes = rng.poisson(places.daily[busy] / 2 / SPREE_DAYS)
    customer = np.repeat(busy, sizes)
    cents = 5 * _cents(rng, places, customer)
    terminal = rng.integers(len(places.categories), size=len(customer))
    terminal[rng.random(len(customer)) < ONLINE_STOLEN] = -1
    return _Payments(customer, _hour(rng, sizes), cents, terminal, np.full_like(terminal, 3))


def _cents(rng: np.random.Generator, places: _Places, customer: Ints) -> Ints:
    """An amount of each customer's habit, at least a cent."""
    mean = places.mean[customer]
    euros = rng.normal(mean, mean / 2)
    euros = np.where(euros < 0, rng.uniform(0, 2 * mean), euros)
    cents: Ints = np.maximum(np.rint(euros * 100), 1).astype(np.int64)
    return cents


def _hour(rng: np.random.Generator, sizes: Ints) -> Floats:
    """Times of the day, so many of each group within an hour of the group's own."""
    begin = rng.uniform(0, DAY - HOUR, len(sizes))
    return np.repeat(begin, sizes) + rng.uniform(0, HOUR, int(sizes.sum()))


EPILOG = """
examples:
  A month of 300 customers, with the answers beside it:
    python examples/card-fraud/generator.py --out events.avro --labels labels.csv
  Half way, all genuine amounts go up; one event in a hundred is broken:
    python examples/card-fraud/generator.py --drift-at 0.5 --broken 0.01 --out events.jsonl
  A stream without end at 500 events/s, as JSON lines:
    python examples/card-fraud/generator.py --days 0 --rate 500 --out - | head

The same options give the same events. Ctrl-C ends early and leaves whole files.
"""

REMEDY = "Name a folder that exists, is yours to write, and has room."
DRIFT_HELP = (
    f"from then on genuine amounts are {DRIFT} times as high: a fraction of the length if below "
    "1, else a number of days [never]"
)
BROKEN_HELP = (
    "share of events to break on purpose; those without a readable body fit no file: they are "
    "left out and counted [%(default)s]"
)


def main(argv: list[str] | None = None) -> int:
    """The command line; see `--help`."""
    parser = argparse.ArgumentParser(
        description="Card transactions with three kinds of fraud (large amounts, compromised "
        "terminals, stolen cards), written to a file or streamed.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    usual = World()
    for flag, kind, default, text in (
        ("--out", str, None, "an Avro container (.avro), JSON lines (.jsonl), or - for stdout"),
        ("--labels", Path, None, "also write transaction_id, is_fraud, kind (0 to 3) as CSV"),
        ("--days", int, usual.days, "length; 0: endless [%(default)s]"),
        ("--customers", int, usual.customers, "two payments a day each, about [%(default)s]"),
        ("--terminals", int, usual.terminals, "[%(default)s]"),
        ("--radius", float, usual.radius, "how far customers go, of 100 x 100 [%(default)s]"),
        ("--start", str, usual.start, "the first day, UTC [%(default)s]"),
        ("--seed", int, usual.seed, "[%(default)s]"),
        ("--drift-at", float, None, DRIFT_HELP),
        ("--broken", float, usual.broken, BROKEN_HELP),
        ("--rate", float, None, "events per second [as fast as they come]"),
    ):
        parser.add_argument(flag, type=kind, default=default, help=text, required=flag == "--out")
    asked = parser.parse_args(argv)
    if asked.out != "-" and Path(asked.out).suffix not in (".avro", ".jsonl"):
        parser.error(f"--out {asked.out}: the name must end in .avro or .jsonl, or be -")
    if asked.rate is not None and not asked.rate > 0:
        parser.error(f"--rate {asked.rate}: give a number of events per second above 0")
    try:
        world = World(
            customers=asked.customers,
            terminals=asked.terminals,
            days=asked.days or None,
            seed=asked.seed,
            radius=asked.radius,
            start=asked.start,
            drift_at=asked.drift_at,
            broken=asked.broken,
        )
    except WorldError as error:
        parser.error(str(error))

    stop = threading.Event()
    # A flag instead of an exception, so that the container's last block is written whole.
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    tally: Counter[int | str] = Counter()
    try:
        with ExitStack() as stack:
            played = _play(world, tally, asked.rate, stop)
            if asked.out != "-":
                played = _shown(stack, played, world)
            if asked.labels:
                labels = stack.enter_context(asked.labels.open("w", newline=""))
                played = _labelled(played, labels)
            _write(asked.out, played, flush=asked.rate is not None)
    except BrokenPipeError:
        # The reader (head, say) has enough. Python would complain once more at its own exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = error.filename or asked.out
        print(f"generator: cannot write {where}: {error.strerror}. {REMEDY}", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGINT, before)
    frauds = ", ".join(f"{tally[kind]:,} {KINDS[kind]}" for kind in range(1, len(KINDS)))
    summary = f"{sum(tally[kind] for kind in range(len(KINDS))):,} events ({frauds})"
    if tally["left out"]:
        summary += f"; left out {tally['left out']:,} broken ones"
    if stop.is_set():
        summary = f"Interrupted: {summary}"
    print(summary, file=sys.stderr)
    return 130 if stop.is_set() else 0


def _play(
    world: World, tally: Counter[int | str], rate: float | None, stop: threading.Event
) -> Iterator[Transaction]:
    """The transactions that a file can hold, at a pace, until told to stop."""
    begin = time.monotonic()
    for number, tx in enumerate(transactions(world)):
        if rate is not None and (wait := begin + number / rate - time.monotonic()) > 0:
            stop.wait(wait)
        if stop.is_set():
            return
        if tx.broken in ("truncated", "garbage"):
            tally["left out"] += 1
        else:
            tally[tx.kind] += 1
            yield tx


def _shown(stack: ExitStack, played: Iterable[Transaction], world: World) -> Iterator[Transaction]:
    """The same transactions, with a progress bar of days."""
    # Only the command line draws, so who imports the generator needs no rich.
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = Console(stderr=True)
    progress = stack.enter_context(
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("days, {task.fields[events]:,} events"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
    )
    task = progress.add_task("generating", total=world.days, events=0)
    for number, tx in enumerate(played, start=1):
        if number % 500 == 0:
            done = (tx.event_time - world.start_ms) // (int(DAY) * 1000)
            progress.update(task, completed=done, events=number)
        yield tx


def _labelled(played: Iterable[Transaction], out: TextIO) -> Iterator[Transaction]:
    """The same transactions, their labels written as they pass."""
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(("transaction_id", "is_fraud", "kind"))
    for tx in played:
        rows.writerow((tx.transaction_id, int(tx.is_fraud), tx.kind))
        yield tx


def _write(out: str, played: Iterable[Transaction], flush: bool) -> None:
    if out.endswith(".avro"):
        with Path(out).open("wb") as container:
            fastavro.writer(container, SCHEMA, map(record, played), codec="deflate")
        return
    with ExitStack() as stack:
        lines = sys.stdout if out == "-" else stack.enter_context(Path(out).open("w"))
        for tx in played:
            # A cent is exact in a float's shortest form, so the JSON number is the amount.
            print(json.dumps(record(tx), default=float), file=lines, flush=flush)
        lines.flush()


if __name__ == "__main__":
    sys.exit(main())
