"""Reads decisions as they come, and notes when each was read.

    python reader.py --bootstrap HOST:PORT --topic TOPIC --start N --count N --flat --out FILE

Prints ``ready`` once it reads from the topic's end. ``FILE`` is a numpy array: for each of the
events from ``--start`` on, the nanoseconds of the monotonic clock at which its decision was first
read, 0 where none was. It ends after ``--count`` decisions, which are decoded then. It polls one
record at a time: ``consume(n, timeout)`` would wait for more.
"""

import argparse
import gc
import time

import decisions
import numpy as np
from confluent_kafka import Consumer, TopicPartition
from events import event_number

GIVES_UP_S = 15.0
COMES_S = 90.0
"""How long the first decision may take: before it, the player makes its events."""


def main() -> None:
    """Read."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--topic", required=True)
    parser.add_argument("--start", type=int, required=True, help="number of the first event")
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--span", type=int, help="events that these are of; all, if left out")
    parser.add_argument("--flat", action="store_true", help="the decisions are a peer's")
    parser.add_argument("--committed", action="store_true", help="read committed decisions only")
    parser.add_argument("--out", required=True)
    asked = parser.parse_args()
    consumer = Consumer(
        {
            "bootstrap.servers": asked.bootstrap,
            "group.id": "bench-reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed" if asked.committed else "read_uncommitted",
            "socket.nagle.disable": True,
        }
    )
    partition = TopicPartition(asked.topic, 0)
    partition.offset = consumer.get_watermark_offsets(partition, 10)[1]
    consumer.assign([partition])
    consumer.poll(0.5)
    print("ready", flush=True)
    decode = decisions.flat_decoder() if asked.flat else decisions.verdict_decoder()
    values: list[bytes] = []
    times: list[int] = []
    clock, poll = time.monotonic_ns, consumer.poll
    gc.disable()
    last, patience = clock(), COMES_S
    while len(values) < asked.count:
        record = poll(0.1)
        now = clock()
        if record is not None and record.error() is None:
            values.append(record.value())
            times.append(now)
            last, patience = now, GIVES_UP_S
        elif now - last > patience * 1e9:
            break
    consumer.close()
    span = asked.span or asked.count
    read = np.zeros(span, np.int64)
    for value, at in zip(values, times, strict=True):
        number = event_number(decode(value)["event_id"]) - asked.start
        if 0 <= number < span and read[number] == 0:
            read[number] = at
    np.save(asked.out, read)


if __name__ == "__main__":
    main()
