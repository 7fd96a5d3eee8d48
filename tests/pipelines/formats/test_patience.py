"""Waiting for a schema registry that is away: what is logged, and when it ends."""

import logging
import threading

import pytest

from verdict.pipelines.errors import RegistryError
from verdict.pipelines.formats import patience as module
from verdict.pipelines.formats.patience import Patience

LOGGER = logging.getLogger("verdict.test")
AWAY = RegistryError("the registry does not answer")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_S", 0.01)


@pytest.mark.parametrize(
    ("who", "lines"),
    [
        (
            "",
            [
                "the registry does not answer\nWaiting, and asking again; nothing is lost.",
                "The schema is there, after 0 s; going on.",
            ],
        ),
        (
            "hop card",
            [
                "hop card: the registry does not answer\n"
                "Waiting, and asking again; nothing is lost.",
                "hop card: the schema is there, after 0 s; going on.",
            ],
        ),
    ],
)
def test_each_absence_is_said_once_and_its_end(
    who: str, lines: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    patience = Patience(LOGGER, who)
    patience.answered()
    for _ in range(2):
        assert [patience.waits(AWAY) for _ in range(3)] == [True, True, True]
        patience.answered()
        patience.answered()
    assert caplog.messages == [*lines, *lines]


def test_told_to_stop_it_waits_no_more() -> None:
    stop = threading.Event()
    patience = Patience(LOGGER, stop=stop)
    assert patience.waits(AWAY)
    stop.set()
    assert not patience.waits(AWAY)


def test_it_ends_and_begins_anew_with_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("verdict.pipelines.formats.patience.time.monotonic", lambda: now)
    monkeypatch.setattr(module, "AGAIN_S", 0.0)
    patience = Patience(LOGGER, most=60)

    def waits(at: float) -> bool:
        nonlocal now
        now = at
        return patience.waits(AWAY)

    assert [waits(at) for at in (100.0, 130.0, 159.0)] == [True, True, True]
    patience.answered()
    assert [waits(at) for at in (160.0, 219.0, 220.0)] == [True, True, False]
