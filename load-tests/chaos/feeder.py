"""Plays the benchmark's events at a rate into a topic whose broker may go away and come back.

    python feeder.py --bootstrap HOST:PORT --topic TOPIC --count N --rate R

Event ``i`` is due ``i / rate`` seconds after the moment that it prints (seconds of the monotonic
clock, which is the machine's). What the broker does not take waits, in order, and is sent once.
"""

import argparse
import time

from confluent_kafka import Producer
from events import encoded

PATIENCE_MS = 600_000
"""How long an event may wait for the broker."""


def main() -> None:
    """Play."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="events a second")
    asked = parser.parse_args()
    producer = Producer(
        {
            "bootstrap.servers": asked.bootstrap,
            "enable.idempotence": True,
            "message.timeout.ms": PATIENCE_MS,
            "reconnect.backoff.max.ms": 500,
            "linger.ms": 1,
            "log_level": 0,
        }
    )
    began = time.monotonic()
    print(began, flush=True)
    for number, event in enumerate(encoded(asked.count)):
        wait = began + number / asked.rate - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        while True:
            try:
                producer.produce(asked.topic, event.value, event.key)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    if producer.flush(PATIENCE_MS / 1e3):
        raise SystemExit("events were not acknowledged")


if __name__ == "__main__":
    main()
