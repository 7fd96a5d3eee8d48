"""One job for another: whatever the new one dies of, the old one goes on."""

from pathlib import Path

import pytest

from verdict.pipelines.deployment.exchange import Standing, start_or_go_back
from verdict.pipelines.engines.flink.rest import Rest


def test_old_job_is_started_again_whatever_the_new_one_dies_of() -> None:
    """And where that fails too, the text says why, and what to go on from."""
    gone_back: list[Path] = []

    def start() -> str:
        raise OSError(28, "No space left on device")

    def start_old(savepoint: Path) -> str:
        gone_back.append(savepoint)
        raise RuntimeError("no gateway")

    with pytest.raises(Standing) as error:
        start_or_go_back(
            Rest("127.0.0.1:9"),
            "p/score",
            Path("/s"),
            start,
            start_old,
            seconds=1,
            say=lambda _: None,
            file="the old file",
        )
    assert gone_back == [Path("/s")]
    said = str(error.value)
    for part in ("No space left on device", "no gateway", "with the old file: it goes on from /s"):
        assert part in said
    assert "in start_old" in error.value.details
