"""No event is replayed a second time in one run, wherever it lies."""

from hypothesis import given
from hypothesis import strategies as st

from verdict.pipelines.dead_letters.replay_once import ReplayedOnce, first_place
from verdict.pipelines.kafka.coordinates import Coordinates

PLACES = st.builds(
    Coordinates, st.sampled_from(["a", "b/c"]), st.integers(0, 2), st.integers(0, 2**63 - 1)
)


@given(st.lists(PLACES), PLACES)
def test_it_knows_what_was_added_and_nothing_else(
    added: list[Coordinates], other: Coordinates
) -> None:
    once = ReplayedOnce()
    once.add(*added)
    assert all(place in once for place in added)
    assert (other in once) == (other in added)


@given(PLACES, PLACES)
def test_the_header_says_where_an_event_failed_first(first: Coordinates, now: Coordinates) -> None:
    header = ("replayed-from", str(first).encode())
    assert first_place([("trace", b"x"), header], now) == first
    assert first_place([("trace", b"x")], now) == now
    for strange in (None, b"", b"\xff", b"a/0", b"a/0/-1"):
        assert first_place([("replayed-from", strange)], now) == now
