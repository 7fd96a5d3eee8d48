"""What can be asked of a window is said once, and each way of asking is of it."""

from verdict.state.windows.aggregates import DECAYED, DELAYED, LABELLED, OPS, Aggregate


def test_each_way_of_asking_is_of_what_there_is() -> None:
    for names in (LABELLED, DECAYED, DELAYED):
        assert set(names) <= set(OPS)
    assert len(set(OPS)) == len(OPS)


def test_an_aggregate_is_over_all_events_with_the_event_itself_unless_said() -> None:
    count = Aggregate("count", 60_000)
    assert (count.column, count.delay, count.current, count.decayed) == (None, 0, True, False)
