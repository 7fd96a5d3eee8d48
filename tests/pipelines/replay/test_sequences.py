"""The sequences of a key that began anew are told apart."""

from hypothesis import given
from hypothesis import strategies as st

from verdict.pipelines.replay.sequences import HopPlace, begins_anew, sequences

HORIZON = 10


@given(
    spans=st.lists(
        st.lists(st.integers(0, HORIZON - 1), min_size=1, max_size=5), min_size=1, max_size=4
    ),
    choose=st.randoms(),
)
def test_silences_tell_sequences_apart(spans: list[list[int]], choose: object) -> None:
    """In order, none late: each silence begins with the number 1."""
    places: list[HopPlace] = []
    expected: list[list[int]] = []
    time = 0
    for span in spans:
        numbers = []
        for seq, step in enumerate(span, 1):
            time += step if seq > 1 else 2 * HORIZON
            numbers.append(len(places))
            places.append(HopPlace(seq, time, False, False, len(places), len(places)))
        expected.append(numbers)
    choose.shuffle(places)  # type: ignore[attr-defined]
    assert [[place.number for place in each] for each in sequences(places, HORIZON)] == expected


def test_a_late_event_goes_where_its_neighbours_were_decided() -> None:
    """Both sequences lack their second number; it was decided behind the second's first."""
    first = [HopPlace(1, 0, False, False, 0, 0), HopPlace(3, 5, False, False, 2, 1)]
    second = [HopPlace(1, 30, False, False, 10, 2), HopPlace(3, 35, False, False, 12, 3)]
    late = HopPlace(2, -1, True, False, 11, 4)
    found = sequences([*first, *second, late], HORIZON)
    assert [[place.number for place in each] for each in found] == [[0, 1], [2, 4, 3]]


def test_a_retry_has_the_number_of_the_newest_before_it() -> None:
    firm = [HopPlace(1, 0, False, False, 0, 0), HopPlace(1, 30, False, False, 5, 1)]
    retry = HopPlace(1, 30, False, True, 6, 2)
    found = sequences([*firm, retry], HORIZON)
    assert [[place.number for place in each] for each in found] == [[0], [1, 2]]


def test_one_that_only_late_events_are_known_of_lies_where_it_was_decided() -> None:
    late = [HopPlace(2, 3, True, False, 1, 0), HopPlace(2, 40, True, False, 9, 1)]
    firm = [HopPlace(1, 30, False, False, 5, 2)]
    found = sequences([*late, *firm], HORIZON)
    assert sorted(place.number for each in found for place in each) == [0, 1, 2]
    assert [each[0].at for each in found] == sorted(each[0].at for each in found)


def test_what_tells_of_more_than_one() -> None:
    one = HopPlace(4, 100, False, False, 0, 0)
    assert begins_anew(one, one, HORIZON)
    following = one._replace(seq=5)
    assert not begins_anew(one, following, HORIZON)
    assert begins_anew(one, following._replace(time=110), HORIZON)
    assert begins_anew(one, following._replace(late=True), HORIZON)
    assert not begins_anew(one, following._replace(late=True, time=99), HORIZON)
    assert not begins_anew(one, one._replace(repeated=True), HORIZON)
    assert not begins_anew(one, one._replace(seq=7, time=1_000), HORIZON)
