"""Plays events into a topic at a rate, whatever becomes of them, and notes when each was made.

    python player.py --bootstrap HOST:PORT --topic TOPIC --start N --count N --rate R --out FILE

Open loop: an event that is due is sent, though those before may still be on their way. ``FILE`` is
a numpy array: for each event from ``--start`` on the nanoseconds of the monotonic clock, which is
the machine's, at which it was made; 0 where it was not. Prints a line when the first ``--lead-in``
events are out, and in the end how late it was itself, in ms: the 99.9th percentile.
"""

import argparse
import gc
import time

import numpy as np
from confluent_kafka import Producer
from events import HALVES, encoded, half

LOW_LATENCY = {"linger.ms": 1, "socket.nagle.disable": True}


def main() -> None:
    """Play."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--start", type=int, required=True, help="number of the first event")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--span", type=int, help="events that half of the customers' are taken of")
    parser.add_argument("--lead-in", type=int, default=0)
    parser.add_argument("--rate", type=float, required=True, help="events a second")
    parser.add_argument("--out", required=True)
    asked = parser.parse_args()
    producer = Producer({"bootstrap.servers": asked.bootstrap, "acks": "all", **LOW_LATENCY})
    producer.list_topics(asked.topic, timeout=10)
    if asked.span is None:
        numbered = list(enumerate(encoded(asked.count, asked.start)))
    else:
        numbered = half(asked.start, asked.span, HALVES[0])[: asked.count]
    created = np.zeros(asked.span or asked.count, np.int64)
    late = np.zeros(asked.count)
    clock, produce, topic = time.monotonic_ns, producer.produce, asked.topic
    step = 1e9 / asked.rate

    def play(first: int, last: int, began: int) -> None:
        for turn in range(first, last):
            due = began + turn * step
            while (wait := due - clock()) > 0:
                time.sleep(wait / 1e9)
            number, event = numbered[turn]
            now = clock()
            produce(topic, event.value, event.key)
            producer.poll(0)
            created[number], late[turn] = now, now - due

    gc.disable()
    began = clock()
    play(0, asked.lead_in, began)
    print("window", flush=True)
    play(asked.lead_in, asked.count, began)
    print(f"{np.quantile(late, 0.999) / 1e6:.3f}", flush=True)
    if producer.flush(30):
        raise SystemExit("events were not acknowledged")
    np.save(asked.out, created)


if __name__ == "__main__":
    main()
