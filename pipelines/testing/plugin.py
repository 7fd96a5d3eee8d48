"""A plugin of pytest's: each test of a ``pipeline_test.yaml`` is one of its tests.

It is there wherever verdict is installed; ``-p no:verdict`` turns it off. It has no options, no
settings and no fixtures, and whatever it needs is imported when it meets such a file: a project
without one pays nothing. A file of that name that is another tool's is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from _pytest._code.code import TerminalRepr

    from verdict.pipelines.spec.pipeline import Pipeline
    from verdict.pipelines.testing.check import Case
    from verdict.pipelines.testing.run import Harness, Outcome

NAME = "pipeline_test.yaml"
TEST_KEYS = {"tests", "events", "expect"}
"""What a file of ours has, here or there."""
PIPELINE_KEYS = {"pipeline", "events", "entities", "features", "model", "decide"}
"""What a pipeline file has at the beginning of its lines."""
ENOUGH = 4
"""How many of those tell one: two may be left out or mistyped, which is to be said."""
KEY = re.compile(r"""(?:^|[\s{,-])["']?(\w+)["']?\s*:(?=\s|$)""", re.MULTILINE)
FIRST = re.compile(r"""^["']?(\w+)["']?\s*:""", re.MULTILINE)
NAMED = re.compile(r"""^["']?pipeline["']?\s*:[ \t]*["']?([^"'#\r\n]+)""", re.MULTILINE)
LOOKED_AT = 1_000_000
"""Bytes of a file in which its keys are looked for; what is larger was not written by hand."""


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect ``pipeline_test.yaml`` and ``…_pipeline_test.yaml``, where they are ours."""
    if file_path.name != NAME and not file_path.name.endswith("_" + NAME):
        return None
    return YamlFile.from_parent(parent, path=file_path) if is_ours(file_path) else None


if not hasattr(pytest, "version_tuple"):  # before 7.0 the hook has other arguments, and fails
    del pytest_collect_file


def is_ours(path: Path) -> bool:
    """Whether a file of tests is for verdict, however wrong it may be otherwise.

    It is where the pipeline file that it names, or the one beside it, is one; or where it has tests
    with events and expectations, wherever its pipeline is. Both files are told by the words before
    their colons, not read as YAML: what is wrong with one of ours is to be said, not passed over.
    """
    text = _text(path)
    if TEST_KEYS.issubset(KEY.findall(text)):
        return True
    named = NAMED.search(text)
    beside = _text(path.parent / (named[1].strip() if named else "pipeline.yaml"))
    return len(PIPELINE_KEYS.intersection(FIRST.findall(beside))) >= ENOUGH


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return file.read(LOOKED_AT).decode("utf-8", "replace")
    except (OSError, ValueError):  # not there, a folder; a name that none can have
        return ""


class DiffersError(AssertionError):
    """An event came out otherwise than its test expects."""

    def __init__(self, outcome: Outcome) -> None:
        super().__init__(f"test '{outcome.case.name}' expects otherwise")
        self.outcome = outcome


class YamlFile(pytest.File):
    """A file of tests; what is wrong with it, or with its pipeline, is an error of collecting."""

    pipeline: Pipeline

    @cached_property
    def harness(self) -> Harness:
        """The pipeline, its models loaded: made by the first test that is run."""
        from verdict.pipelines.testing.run import Harness

        return Harness(self.pipeline)

    def collect(self) -> Iterator[pytest.Item]:
        """Read the file, and yield its tests."""
        from verdict.pipelines.spec.load import load
        from verdict.pipelines.testing.check import read

        tests = read(self.path)
        self.pipeline = load(tests.pipeline)
        for case in tests.cases(self.pipeline):
            yield PipelineTestItem.from_parent(self, name=case.name, case=case)

    def repr_failure(
        self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None
    ) -> str | TerminalRepr:
        """Say what is wrong with a file, and leave out where verdict found that."""
        from verdict.state.errors import VerdictError

        if isinstance(excinfo.value, VerdictError):
            return str(excinfo.value)
        return super().repr_failure(excinfo)


class PipelineTestItem(pytest.Item):
    """A test of the file."""

    def __init__(self, *, case: Case, parent: YamlFile, name: str) -> None:
        super().__init__(name, parent)
        self._file, self._case = parent, case

    def runtest(self) -> None:
        """Run it."""
        outcome = self._file.harness.run(self._case)
        if not outcome.ok:
            raise DiffersError(outcome)

    def repr_failure(
        self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None
    ) -> str | TerminalRepr:
        """Show what differs, or what kept the test from being run."""
        from verdict.pipelines.testing.text import failures
        from verdict.state.errors import VerdictError

        if isinstance(excinfo.value, DiffersError):
            return "\n".join(failures(excinfo.value.outcome, self.path))
        if isinstance(excinfo.value, VerdictError):
            return str(excinfo.value)
        return super().repr_failure(excinfo)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Say where it stands; pytest counts lines from 0."""
        return self.path, self._case.line - 1, self.name
