"""Which of several labels of an event counts."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from verdict.operators.labels.label import Label, best

labels = st.builds(
    Label,
    event_id=st.just("e1"),
    event_time=st.none(),
    keys=st.just(()),
    positive=st.booleans(),
    known_at=st.integers(0, 3),
    source=st.sampled_from(["bank", "customer"]),
    rank=st.integers(0, 2),
)


@given(st.lists(labels, min_size=1), st.randoms())
def test_the_best_source_decides_by_what_it_knew_last(found: list[Label], rng: Any) -> None:
    chosen = best(found)
    assert chosen is not None
    first = min(label.rank for label in found)
    last = max(label.known_at for label in found if label.rank == first)
    assert (chosen.rank, chosen.known_at) == (first, last)
    rng.shuffle(found)
    again = best(found)
    assert again is not None and again.positive == chosen.positive
