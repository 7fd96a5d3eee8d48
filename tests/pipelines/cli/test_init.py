"""What `verdict init` makes works as it is, in processes of its own, as a newcomer runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent
ENVIRONMENT = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("init")
    subprocess.run(
        ["verdict", "init", "my-pipeline"], cwd=folder, env=ENVIRONMENT, check=True, timeout=60
    )
    return folder / "my-pipeline"


def test_it_is_a_pipeline_of_few_lines_with_all_that_it_needs(made: Path) -> None:
    assert sorted(str(path.relative_to(made)) for path in made.rglob("*") if path.is_file()) == [
        "event.avsc",
        "events.jsonl",
        "make_model.py",
        "model/model.onnx",
        "model/model.yaml",
        "pipeline.yaml",
        "pipeline_test.yaml",
        "test_pipeline.py",
    ]
    assert len((made / "pipeline.yaml").read_text().splitlines()) <= 15
    assert len((made / "events.jsonl").read_text().splitlines()) == 10


def test_its_own_test_passes(made: Path) -> None:
    """By `python -m pytest`, which runs `verdict run` in turn."""
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_pipeline.py"],
        cwd=made,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "1 passed" in ran.stdout
    assert not (made / ".verdict").exists()
