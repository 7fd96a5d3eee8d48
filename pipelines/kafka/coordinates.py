"""Where a record lies, or lay."""

from typing import NamedTuple

from verdict.pipelines.errors import KafkaError


class Coordinates(NamedTuple):
    """Where a record lies.

    >>> str(coordinates("payments/0/17"))
    'payments/0/17'
    """

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


def coordinates(text: str) -> Coordinates:
    """Read ``topic/partition/offset``.

    Raises
    ------
    KafkaError
        It is none.
    """
    topic, partition, offset = [*text.rsplit("/", 2), "", ""][:3]
    if not topic or not (partition.isdecimal() and offset.isdecimal()):
        raise KafkaError(
            f"'{text}' is no place of a record; write TOPIC/PARTITION/OFFSET, as 'verdict dlq "
            "list' shows it: transactions/0/17"
        )
    return Coordinates(topic, int(partition), int(offset))
