"""What keeps a job from going on from the state of another; the record of what was submitted."""

from dataclasses import replace
from pathlib import Path

import pytest

from verdict.pipelines.deployment.exchange import RolledBack, noted
from verdict.pipelines.deployment.program import Program, submitted
from verdict.pipelines.deployment.record import (
    PACKAGES,
    Submitted,
    decided_before,
    try_writing,
    write_decided,
)
from verdict.pipelines.deployment.submit import conflicts
from verdict.pipelines.engines.flink.settings import FlinkSettings
from verdict.pipelines.errors import FlinkError, SpecError
from verdict.pipelines.history.bootstrap_flink import _room, silent_twin
from verdict.pipelines.jobs import score
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.package import pack
from verdict.pipelines.spec.pipeline import Pipeline

EXAMPLE = Path(__file__).parents[3] / "examples" / "card-fraud"


def program(pipeline: Pipeline) -> Program:
    settings = FlinkSettings("b:9092", Path("/f"), Path("/c"))
    return Program(score.score(pipeline), pipeline.topics, settings)


@pytest.fixture
def former() -> Pipeline:
    return load(EXAMPLE / "pipeline.yaml")


@pytest.fixture
def before(former: Pipeline) -> Submitted:
    return submitted(program(former), former.path, pack(former), "c:8081", "1")


def changed(folder: Path, *changes: tuple[str, str]) -> Pipeline:
    """Load the example with some texts replaced."""
    for name in ("transaction.avsc", "models"):
        (folder / name).symlink_to(EXAMPLE / name)
    text = (EXAMPLE / "pipeline.yaml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "pipeline.yaml").write_text(text)
    return load(folder / "pipeline.yaml")


def test_nothing_keeps_a_job_from_what_it_was(before: Submitted, former: Pipeline) -> None:
    assert conflicts(before, former, program(former), former) == []
    fewer = replace(before, max_parallelism=64)
    assert "in 64 key groups" in conflicts(fewer, former, program(former), former)[0]


def test_hop_that_goes_takes_its_state_with_it(
    before: Submitted, former: Pipeline, tmp_path: Path
) -> None:
    new = changed(tmp_path, ("by: terminal", "by: shop"), ("terminal: ", "shop: "))
    faults = conflicts(before, former, program(new), new)
    assert len(faults) == 1
    assert faults[0].startswith("card-fraud/score/terminal, card-fraud/score/terminal/sink/")
    assert "--allow-non-restored" in faults[0]
    assert conflicts(before, former, program(new), new, allow_non_restored=True) == []


def test_record_is_kept_with_its_package(
    before: Submitted, former: Pipeline, tmp_path: Path
) -> None:
    with pytest.raises(FlinkError, match="this state knows of no job"):
        Submitted.read(tmp_path)
    before.write(tmp_path, pack(former))
    assert Submitted.read(tmp_path) == (before, pack(former))

    (tmp_path / "new").mkdir()
    new = changed(tmp_path / "new", ("at: 0.", "at: 0.0"))
    after = submitted(program(new), new.path, pack(new), "c:8081", "2")
    after.write(tmp_path, pack(new))
    assert Submitted.read(tmp_path)[0] == after
    assert [file.stem for file in (tmp_path / PACKAGES).iterdir()] == [after.package]

    (tmp_path / PACKAGES / f"{after.package}.package").write_bytes(b"half")
    with pytest.raises(SpecError, match="is damaged"):
        Submitted.read(tmp_path)


def test_room_stays_as_long_as_a_job_may_start_from_it(former: Pipeline, tmp_path: Path) -> None:
    settings = replace(program(former).settings, checkpoint_folder=tmp_path / "checkpoints")
    silent = silent_twin(replace(program(former), settings=settings))
    kept = silent.settings.checkpoint_folder / "savepoints" / "one"

    def fail(standing: bool) -> None:
        with _room(silent) as needed:
            assert not kept.exists()
            kept.mkdir(parents=True)
            needed += [kept] if standing else []
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail(standing=True)
    assert kept.exists()
    with pytest.raises(KeyboardInterrupt):
        fail(standing=False)
    assert not silent.settings.checkpoint_folder.exists()


def test_folder_that_cannot_be_written_is_found_before_a_job_is_stopped(
    before: Submitted, former: Pipeline, tmp_path: Path
) -> None:
    write_decided(tmp_path, {"events/0": 7})
    try_writing(tmp_path, pack(former))
    assert decided_before(tmp_path) == {"events/0": 7}
    before.write(tmp_path, pack(former))

    full = tmp_path / "full"
    full.mkdir()
    (full / PACKAGES).write_text("in the way")
    with pytest.raises(FlinkError, match=f"goes on as it was: {full} could not take"):
        try_writing(full, pack(former))
    with pytest.raises(FlinkError, match=r"runs as 1, and .* does not know of it"):
        before.write(full, pack(former))
    told = noted(RolledBack("it runs as before", "1"), before, full, pack(former))
    assert str(told).startswith("it runs as before\ncard-fraud/score runs as 1, and ")
