"""Where a record lies, as text."""

import pytest

from verdict.pipelines.errors import KafkaError
from verdict.pipelines.kafka.coordinates import Coordinates, coordinates


@pytest.mark.parametrize(
    ("text", "place"),
    [("a/0/1", Coordinates("a", 0, 1)), ("a/b.avro/3/44", Coordinates("a/b.avro", 3, 44))],
)
def test_a_place(text: str, place: Coordinates) -> None:
    assert coordinates(text) == place
    assert str(place) == text


@pytest.mark.parametrize("text", ["", "a", "a/0", "a/x/1", "a/0/-1", "/0/1", "a/0/1.5", "a/0/"])
def test_what_is_no_place(text: str) -> None:
    with pytest.raises(KafkaError, match="is no place of a record; write TOPIC/PARTITION/OFFSET"):
        coordinates(text)
