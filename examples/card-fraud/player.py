"""Plays card transactions into a topic: a history at once, then live at a rate.

    python examples/card-fraud/player.py --rate 500 --seconds 60

It plays to ``$VERDICT_BOOTSTRAP``, else to the broker that ``verdict up`` started in this folder.
Event time is the world's own: with the standard 300 customers, 500 events a second play a day in
1.2 seconds. With ``--wait`` the live part starts when a line comes on standard input.
"""

import argparse
import signal
import sys
import time
from collections.abc import Iterator
from itertools import islice
from types import FrameType
from typing import Any

import generator
from confluent_kafka import Producer

from verdict import default_bootstrap

EVENTS_A_DAY = 2.04
"""Of one customer, on average: counted over 30 days of 300 customers."""
HISTORY = 5_000
"""Events of about eight days: the longest count's window, 7 days, is filled when live begins."""
CUSTOMERS, TERMINALS = 300, 600
BROKEN = 0.002


def story(history: int, live: float, seed: int) -> Iterator[Any]:
    """Yield a world without end whose genuine amounts rise half way through the live part."""
    drift = (history + live / 2) / (EVENTS_A_DAY * CUSTOMERS)
    world = generator.World(
        customers=CUSTOMERS,
        terminals=TERMINALS,
        days=None,
        seed=seed,
        drift_at=max(drift, 1.0),
        broken=BROKEN,
    )
    return generator.transactions(world)


def play(producer: Producer, topic: str, transactions: Iterator[Any], rate: float | None) -> int:
    """Produce transactions, at a rate or at once; return how many."""
    started, played = time.monotonic(), 0
    for transaction in transactions:
        if rate is not None:
            time.sleep(max(started + played / rate - time.monotonic(), 0))
        while True:
            try:
                producer.produce(topic, generator.encode(transaction), transaction.key)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
        played += 1
    return played


def main() -> int:
    """Play until the seconds are over, or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bootstrap", default=default_bootstrap(), help="of Kafka (%(default)s)")
    parser.add_argument("--topic", default="transactions")
    parser.add_argument("--rate", type=float, default=500, help="events a second (%(default)s)")
    parser.add_argument("--seconds", type=float, default=60, help="of live play (%(default)s)")
    parser.add_argument("--history", type=int, default=HISTORY, help="events before (%(default)s)")
    parser.add_argument("--seed", type=int, default=7, help="of the world (%(default)s)")
    parser.add_argument("--wait", action="store_true", help="for a line before live play")
    asked = parser.parse_args()

    def stop(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)
    producer = Producer(
        {
            "bootstrap.servers": asked.bootstrap,
            "partitioner": "murmur2_random",
            "linger.ms": 0,
            "acks": "all",
        }
    )
    live = int(asked.rate * asked.seconds)
    transactions = story(asked.history, live, asked.seed)
    played = 0
    try:
        played += play(producer, asked.topic, islice(transactions, asked.history), None)
        producer.flush(30)
        print(f"history {played}", flush=True)
        if asked.wait:
            sys.stdin.readline()
        played += play(producer, asked.topic, islice(transactions, live), asked.rate)
    except KeyboardInterrupt:
        pass
    producer.flush(10)
    print(f"played {played}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
