"""`load-tests/chaos`: how long a killed process was missed, and where the time went."""

import doctest
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

CHAOS = Path(__file__).parents[2] / "load-tests" / "chaos"
BEGAN, RATE = 1000.0, 10.0


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"chaos_{name}", CHAOS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # dataclasses look it up
    spec.loader.exec_module(found)
    return found


recovery, phases, outcome = module("recovery"), module("phases"), module("outcome")


def decided(count: int, silences: list[tuple[float, float]]) -> NDArray[np.float64]:
    """Arrivals of decisions: at once, but for what is made in a silence, which comes at its end."""
    due = BEGAN + np.arange(count) / RATE
    arrived = due + 0.01
    for since, until in silences:
        arrived[(due >= BEGAN + since) & (due < BEGAN + until)] = BEGAN + until
    return arrived


def killed(at: float, settled: float) -> Any:
    return recovery.Kill("taskmanager", BEGAN + at, settled=BEGAN + settled)


@pytest.mark.parametrize("of", [recovery, phases])
def test_examples_are_so(of: ModuleType) -> None:
    found = doctest.testmod(of)
    assert found.attempted > 0
    assert found.failed == 0


def test_a_process_is_missed_until_the_longest_wait_ends() -> None:
    seen = recovery.outage(killed(20.0, 40.0), decided(600, [(20.0, 28.0)]), BEGAN, RATE)
    assert seen.back == pytest.approx(8.0, abs=0.1)
    assert seen.waited == pytest.approx(8.0, abs=0.2)
    assert seen.caught_up == pytest.approx(8.0, abs=0.1)


def test_who_goes_on_for_a_while_is_missed_from_when_it_stops() -> None:
    # TaskManagers whose JobManager is gone decide for 6 s more; the next attempt comes after 15.
    arrived = decided(600, [(26.0, 35.0)])
    kill = killed(20.0, 45.0)
    seen = recovery.outage(kill, arrived, BEGAN, RATE)
    assert seen.back == pytest.approx(15.0, abs=0.1)
    assert seen.waited == pytest.approx(9.0, abs=0.2)
    # The first decision after the kill says nothing of it.
    (first,) = recovery.first_decisions([kill], arrived, BEGAN, RATE)["taskmanager"]
    assert first < 0.2


def test_nobody_who_missed_nothing_has_to_catch_up() -> None:
    seen = recovery.outage(killed(20.0, 40.0), decided(600, []), BEGAN, RATE)
    assert seen.caught_up == 0.0
    assert seen.waited < 0.1


def test_what_was_made_after_the_last_event_is_no_outage() -> None:
    assert recovery.outage(killed(70.0, 72.0), decided(600, []), BEGAN, RATE) is None


def test_an_event_that_is_never_decided_is_waited_for_to_the_end() -> None:
    arrived = decided(600, [])
    arrived[250] = 0.0
    seen = recovery.outage(killed(20.0, 40.0), arrived, BEGAN, RATE)
    assert seen.waited == pytest.approx(15.0)


@given(
    at=st.floats(1.0, 20.0),
    idle=st.floats(0.0, 10.0),
    silent=st.floats(1.5, 15.0),
)
def test_outage_is_what_was_silent(at: float, idle: float, silent: float) -> None:
    since, until = at + idle, at + idle + silent
    seen = recovery.outage(killed(at, until + 3.0), decided(600, [(since, until)]), BEGAN, RATE)
    assert seen.back == pytest.approx(idle + silent, abs=1e-6)
    assert silent - 0.11 <= seen.waited <= silent + 1e-6


def test_calm_is_over_when_the_job_stops_once_more() -> None:
    calm = recovery.Calm(RATE)
    assert not calm.look(at=0.0, made=100, decided=100)
    assert not calm.look(at=1.5, made=115, decided=100)  # more than a second's events behind
    assert not calm.look(at=2.0, made=120, decided=115)
    assert calm.look(at=4.0, made=140, decided=140)


def test_a_way_is_read_from_the_logs(tmp_path: Path) -> None:
    def write(name: str, *lines: tuple[float, str]) -> None:
        (tmp_path / name).write_text(
            "".join(
                json.dumps({"time": f"2026-11-27T20:00:{second:06.3f}Z", "message": text}) + "\n"
                for second, text in lines
            )
            + "\tat a.stack(Trace.java)\n"
        )

    write(
        "jobmanager.log",
        (1.0, "Deploying an earlier attempt"),
        (12.7, "Job a switched from state RUNNING to RESTARTING."),
        (15.8, "Registering TaskManager with ResourceID 127.0.0.1:1"),
        (16.0, "Deploying one"),
        (16.1, "Deploying two"),
        (18.5, "one switched from INITIALIZING to RUNNING."),
    )
    write("taskmanager-3.log", (11.9, "Starting TaskManager (Version: 2.3.0)"))
    (tmp_path / "taskmanager-3.out").write_text("no log")
    log = list(phases.lines(tmp_path))
    since = phases.datetime.fromisoformat("2026-11-27T20:00:10Z").timestamp()
    found = phases.marks(log, since, since + 20.0)
    assert [(name, at) for name, at in phases.way([found])] == [
        ("TaskManager's Java is up", 1.9),
        ("JobManager knows of the loss", 2.7),
        ("TaskManagers are registered", 5.8),
        ("tasks are deployed", 6.1),
        ("tasks run: Python has started", 8.5),
    ]


def test_a_report_of_single_kills_says_where_the_time_goes(tmp_path: Path) -> None:
    outages = [recovery.Outage(8.0, 8.0, 9.0), recovery.Outage(6.0, 5.0, 12.0)]
    counts = {"lost": 0, "repeated": 2, "repeat_differs": 0, "unexpected": 0}
    result = {
        "date": "2026-11-27",
        "machine": "a machine",
        "engine": "flink",
        "minutes": 4.0,
        "rate": 500.0,
        "every_s": None,
        "seed": 1,
        "spare": 0,
        "events": 1000,
        "dead_letters": 0,
        "kills": {"broker": 2},
        "uncommitted": counts,
        "committed": counts,
        "recovery_s": {"broker": {"median": 1.0, "max": 2.0}},
        "load": [1.5, 12.0],
        "settled_s": recovery.summary({"broker": outages}),
        "way_s": {"broker": phases.way([{"started again": 4.0}, {"started again": 5.0}])},
    }
    file = tmp_path / "RESULTS.md"
    outcome.record(result, file)
    text = file.read_text()
    assert "one kill at a time" in text
    assert "SETTLED=1" in text
    assert "1.5 to 12 processes wanted" in text
    assert "decisions come 7.0 / 8.0 after the kill" in text
    assert "caught up 10.5 / 12.0" in text
    assert "4.5 started again" in text
    assert "spare" not in text
    result |= {"every_s": 10.0, "spare": 1}
    del result["settled_s"]
    outcome.record(result, file)
    assert "a kill every 10 s, 1 spare TaskManager" in file.read_text()
    assert "SPARE=1`" in file.read_text()
    assert "Recovery, median / max in seconds: broker 1.0 / 2.0." in file.read_text()
