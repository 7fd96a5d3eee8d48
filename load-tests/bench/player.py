"""Plays events into a topic at a rate, whatever becomes of them, and notes when each was made.

    python player.py --bootstrap HOST:PORT --topic TOPIC --start N --count N --rate R --out FILE

Open loop: an event that is due is sent, though those before may still be on their way. ``FILE`` is
a numpy array: for each event the nanoseconds of the monotonic clock, which is the machine's, at
which it was made. Prints how late it was itself, in ms: the 99.9th percentile.
"""

import argparse
import gc
import time

import numpy as np
from confluent_kafka import Producer
from events import encoded

LOW_LATENCY = {"linger.ms": 0, "socket.nagle.disable": True}


def main() -> None:
    """Play."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--start", type=int, required=True, help="number of the first event")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--rate", type=float, required=True, help="events a second")
    parser.add_argument("--out", required=True)
    asked = parser.parse_args()
    producer = Producer({"bootstrap.servers": asked.bootstrap, "acks": "all", **LOW_LATENCY})
    producer.list_topics(asked.topic, timeout=10)
    events = list(encoded(asked.count, asked.start))
    created, late = np.zeros(asked.count, np.int64), np.zeros(asked.count)
    clock, produce, topic = time.monotonic_ns, producer.produce, asked.topic
    step = 1e9 / asked.rate
    gc.disable()
    began = clock()
    for number, event in enumerate(events):
        due = began + number * step
        while (wait := due - clock()) > 0:
            time.sleep(wait / 1e9)
        now = clock()
        produce(topic, event.value, event.key)
        producer.poll(0)
        created[number], late[number] = now, now - due
    if producer.flush(30):
        raise SystemExit("events were not acknowledged")
    np.save(asked.out, created)
    print(f"{np.quantile(late, 0.999) / 1e6:.3f}", flush=True)


if __name__ == "__main__":
    main()
