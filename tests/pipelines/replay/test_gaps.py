"""What a key's history lacks is known from the numbers, and forgotten when the key begins anew."""

from contextlib import closing
from pathlib import Path

from verdict.operators.records.decision import hop_encoder
from verdict.pipelines.replay.decisions import Decisions
from verdict.pipelines.replay.gaps import Gap, Gaps
from verdict.pipelines.replay.order import Sequencer, order
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.state.store.rocks import RocksStore

HORIZON = 100


def gaps_of(race: Pipeline, folder: Path, said: list[tuple[int, int]]) -> Gaps:
    """Have decisions of one terminal, by number and time; all their events are there."""
    with closing(RocksStore(folder / "store")) as store:
        decisions = Decisions(store, race, by_id=False, one_by_one=False)
    for seq, time in said:
        decisions.places[1].add("t", seq, time)
    line = Sequencer(order(decisions.places[1], bytearray([1] * len(said)), HORIZON))
    return Gaps(1, "terminal", decisions, line)


def trace(seq: int) -> bytes:
    return hop_encoder("terminal", [])("t", seq, False, ())


def test_what_is_missing_is_the_difference_of_the_numbers(race: Pipeline, tmp_path: Path) -> None:
    """An event that came after the hole knows since when the history is whole."""
    gaps = gaps_of(race, tmp_path, [(1, 0), (4, 10), (5, 20)])
    assert gaps.take(None, 0, b"", 0) is None
    assert gaps.take("t", 0, trace(1), 0) is None
    assert gaps.take("t", 1, trace(2), 10) == Gap(2, 10)
    assert gaps.take("t", 2, trace(3), 20) == Gap(2, 10)


def test_a_key_that_begins_anew_lacks_nothing(race: Pipeline, tmp_path: Path) -> None:
    gaps = gaps_of(race, tmp_path, [(3, 0), (1, 1_000), (2, 1_010), (3, 1_020)])
    assert gaps.take("t", 0, trace(1), 0) == Gap(2, 0)
    assert gaps.take("t", 1, trace(1), 1_000) is None
    assert gaps.take("t", 2, trace(2), 1_010) is None
