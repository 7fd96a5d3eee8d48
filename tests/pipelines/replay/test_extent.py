"""Where a decision must be: between two others of a settled time."""

from pathlib import Path

from verdict.pipelines.replay.extent import Extent, WholeSpan, whole_span
from verdict.pipelines.spec.load import load


def test_an_event_must_have_a_decision_between_two_of_a_settled_time() -> None:
    extent = Extent()
    whole = WholeSpan(until=50)
    whole.begins(0, 40)  # nothing was cut there
    whole.begins(9, 20)
    whole.begins(3, 10)
    for offset, when in enumerate([None, 15, None, 20, None, 50, None, 60, None]):
        extent.take(1, (0, offset), when is not None, when is not None and whole.holds(when))
    places = [(0, offset) for offset in range(9)]
    assert [at[1] for at in places if extent.missing(1, at)] == [4]
    assert [at[1] for at in places if not extent.begun(1, at)] == [0]
    assert [at[1] for at in places if extent.ended(1, at)] == [8]
    assert extent.missed == 1
    assert extent.ended(2, (0, 0)) and not extent.missing(2, (0, 0))


def test_a_job_that_checkpoints_seldom_has_longer_to_commit(tiny: Path) -> None:
    file = tiny / "pipeline.yaml"
    often = whole_span(load(file)).until
    file.write_text(file.read_text() + "\nsettings: {checkpoint_interval: 10m}\n")
    assert often - whole_span(load(file)).until > 1_000_000
