"""What an operator counts and times."""

from hypothesis import given
from hypothesis import strategies as st

from verdict.operators.meter import BOUNDS_NS, SAMPLE, Histogram, Meter


@given(st.lists(st.integers(0, 10**11)))
def test_each_observation_falls_into_one_bucket(observed: list[int]) -> None:
    histogram = Histogram()
    for value in observed:
        histogram.observe(value)
    assert histogram.total == sum(observed)
    below = 0
    for bound, count in zip(BOUNDS_NS, histogram.counts, strict=False):
        below += count
        assert below == sum(value <= bound for value in observed)
    assert sum(histogram.counts) == len(observed)


def test_nothing_is_timed_without_a_clock() -> None:
    meter = Meter()
    assert not any(meter.start() for _ in range(2 * SAMPLE))


def test_one_event_in_so_many_is_timed() -> None:
    meter, now = Meter(), iter(range(0, 10_000, 100))
    meter.clock = lambda: next(now)
    for _ in range(2 * SAMPLE):
        if meter.start():
            meter.lap("decode")
            meter.lap("score")
    assert {stage: sum(times.counts) for stage, times in meter.stages.items()} == {
        "decode": 2,
        "score": 2,
    }
    assert meter.stages["score"].total == 200
