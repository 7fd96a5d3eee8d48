"""A plugin of pytest's: each test of a ``pipeline_test.yaml`` is one of its tests.

It is there wherever verdict is installed; ``-p no:verdict`` turns it off. Whatever it needs is
imported when it meets such a file, so it costs a project without one nothing.
"""

from __future__ import annotations

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


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> pytest.Collector | None:
    """Collect ``pipeline_test.yaml`` and ``…_pipeline_test.yaml``."""
    if file_path.name == NAME or file_path.name.endswith("_" + NAME):
        return YamlFile.from_parent(parent, path=file_path)
    return None


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
            yield OneTest.from_parent(self, name=case.name, case=case)

    def repr_failure(
        self, excinfo: pytest.ExceptionInfo[BaseException], style: object = None
    ) -> str | TerminalRepr:
        """Say what is wrong with a file, and leave out where verdict found that."""
        from verdict.state.errors import VerdictError

        if isinstance(excinfo.value, VerdictError):
            return str(excinfo.value)
        return super().repr_failure(excinfo)


class OneTest(pytest.Item):
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
