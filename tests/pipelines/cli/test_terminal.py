"""What the commands share: the pipeline's file, times ago, signals."""

import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from verdict.pipelines.cli.terminal import after, file_of, stop_on_signals
from verdict.pipelines.errors import SpecError


def test_a_folder_stands_for_the_file_in_it(tmp_path: Path) -> None:
    assert file_of(tmp_path) == tmp_path / "pipeline.yaml"
    assert file_of(tmp_path / "other.yaml") == tmp_path / "other.yaml"


def test_since_is_a_time_ago() -> None:
    assert after(None) is None
    before = int(time.time() * 1_000)
    found = after("1h")
    assert found is not None
    assert before <= found + 3_600_000 <= time.time() * 1_000
    with pytest.raises(SpecError, match=r"^--since: 'yesterday' is no duration"):
        after("yesterday")


@pytest.fixture
def handlers() -> Iterator[None]:
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_at_the_next_batch_and_a_second_at_once(number: int) -> None:
    stop = stop_on_signals()
    assert not stop.is_set()
    signal.raise_signal(number)
    assert stop.is_set()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
