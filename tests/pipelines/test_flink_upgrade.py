"""What keeps a job from going on from the state of another; the record of what was submitted."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines import jobs
from pipelines.errors import FlinkError, SpecError
from pipelines.flink import FlinkSettings
from pipelines.flink_program import PACKAGES, Program, Submitted, submitted
from pipelines.flink_upgrade import conflicts
from pipelines.package import pack
from pipelines.pipeline import Pipeline, load

EXAMPLE = Path(__file__).parents[2] / "examples" / "card-fraud"


def program(pipeline: Pipeline) -> Program:
    settings = FlinkSettings("b:9092", Path("/f"), Path("/c"))
    return Program(jobs.score(pipeline), pipeline.topics, settings)


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
