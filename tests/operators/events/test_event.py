"""An entity's key of several parts is no other's."""

from hypothesis import given
from hypothesis import strategies as st

from verdict.operators.events.event import composed

PART = st.text("a|\\", min_size=1, max_size=3)
PARTS = st.lists(PART, min_size=2, max_size=3)


@given(PARTS, PARTS)
def test_other_parts_make_another_key(one: list[str], other: list[str]) -> None:
    assert (composed(one) == composed(other)) is (one == other)


@given(st.lists(st.none() | st.text("a|", max_size=2), min_size=1, max_size=3))
def test_without_one_of_its_parts_there_is_no_key(parts: list[str | None]) -> None:
    assert (composed(parts) is None) is (not all(parts))
