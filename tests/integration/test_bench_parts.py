"""The benchmark's parts: bars judged, pauses read, runs recorded, the peer in Java."""

import doctest
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from verdict.pipelines.paths import cache_folder

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "load-tests" / "bench.py"
BENCH = SCRIPT.with_suffix("")
DEADLINE_S = 200.0

Import = Callable[[str], Any]


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Import]:
    """Imports a module of the benchmark, which is forgotten afterwards."""
    monkeypatch.syspath_prepend(str(BENCH))
    yield importlib.import_module
    for name, each in list(sys.modules.items()):
        if str(getattr(each, "__file__", "")).startswith(f"{BENCH}{os.sep}"):
            del sys.modules[name]


@pytest.mark.parametrize("name", ["bars", "pauses", "events"])
def test_examples_are_right(module: Import, name: str) -> None:
    failed, tried = doctest.testmod(module(name))
    assert tried > 0 and failed == 0


def test_a_bar_is_met_or_missed(module: Import) -> None:
    bars = module("bars")
    rates = {"flink": 30_000.0, "loop": 20_000.0, "quix": 12_001.0, "flink_two_hops": 24_000.0}
    latency = {"flink": {"2000": {"p50": 4.0, "p99": 15.1}, "500": {"p50": 99.0}}}
    found = {each.what: each.cells()[1:] for each in bars.judge(rates, latency, [])}
    assert found == {
        "flink >= 1.5x loop": ("1.50", "met", "goal 2x, not reached"),
        "flink >= 2.5x quix": ("2.50", "missed", ""),
        "flink_two_hops >= 0.8x flink": ("0.80", "met", ""),
        "flink p50 <= 4 ms at 2,000/s": ("4.00", "met", ""),
        "flink p99 <= 15 ms at 2,000/s": ("15.10", "missed", ""),
    }


def test_a_goal_alone_is_reached_or_not(module: Import) -> None:
    judge = module("bars").judge
    for rate, goal in ((60_000.0, "goal 0.6x, not reached"), (50_000.0, "goal 0.6x, reached")):
        [only] = judge({"flink": 30_000.0, "java": rate}, {}, [])
        assert only.cells() == ("flink to java", f"{30_000 / rate:.2f}", "", goal)
        assert only.as_json()["met"] is None


def test_what_failed_has_missed_its_bars(module: Import) -> None:
    """And what did not take part has none."""
    found = module("bars").judge({"loop": 20_000.0}, {}, ["embedded"])
    assert [each.what for each in found] == [
        "embedded >= 1.5x loop",
        "embedded p99 <= 6 ms at 2,000/s",
    ]
    assert all(each.met is False and each.value is None for each in found)


def test_safepoints_are_told_apart(module: Import) -> None:
    pauses = module("pauses")
    log = (
        "[1000ms][gc] Using G1",
        '[1001ms] Safepoint "G1CollectForAllocation", Time since last: 5 ns, Reaching safepoint: '
        "18477 ns, At safepoint: 2597106 ns, Total: 2617907 ns, Threads: 0",
        '[1002ms] Safepoint "ICBufferFull", Time since last: 5 ns, Total: 70000 ns, Threads: 0',
        '[1003ms] Safepoint "SerialCollectFor',
    )
    stops = pauses.safepoints(log)
    assert [(stop.what, pauses.is_collection(stop)) for stop in stops] == [
        ("G1CollectForAllocation", True),
        ("ICBufferFull", False),
    ]
    assert stops[0].lasted_ms == 2.617907


def results(module: Import, hour: int) -> Any:
    shares = module("usage").Shares(0.5, 0.2, 0.1, 0.0)
    measured = module("throughput").Measured(20_000.0, 30.0, 40.0, shares, {"python": 90.0}, None)
    found = module("report").Results(600_000, {})
    found.date = datetime(2026, 11, 28, hour, tzinfo=UTC)
    found.runs = {name: [measured] for name in ("flink", "java", "loop")}
    stop = {"count": 3, "longest_ms": 2.5, "longest": "G1CollectForAllocation"}
    pauses = {"gc": stop, "safepoints": stop, "checkpoints": stop, "jit_ms": 800}
    quantiles = {"p50": 3.0, "p99": 12.0, "p999": 20.0, "player_late": 0.4}
    window = module("latency").Window(2_000, quantiles, shares, pauses)
    found.windows = {"flink": [window]}
    return found


def test_each_run_is_a_line_in_each_table(module: Import, tmp_path: Path) -> None:
    file = tmp_path / "RESULTS.md"
    file.write_text("# Results\n\n## make bench\n\n| old |\n|---|\n| 1 |\n\n## Chaos\n\ntext\n")
    write = module("record").write
    for hour in (9, 10):
        write(results(module, hour), tmp_path)
    text = file.read_text()
    before, _, section = text.partition(f"{module('record').SECTION}\n")
    assert before == "# Results\n\n## make bench\n\n| old |\n|---|\n| 1 |\n\n## Chaos\n\ntext\n\n"
    tables = section.split("### ")[1:]
    assert len(tables) == 4
    for table in tables:
        title, header, rule, *lines = [line for line in table.splitlines() if line]
        assert [line[:18] for line in lines] == ["| 2026-11-28 09:00", "| 2026-11-28 10:00"], title
        assert {line.count("|") for line in (header, rule, *lines)} == {header.count("|")}
    assert "3.0 / 12.0 / 20.0" in text and "12.00 met" in text and "1.00 missed" in text
    assert json.loads((tmp_path / "results" / "latest.json").read_text())["broker"]["java"] == 0.2


def test_the_tables_fit(module: Import) -> None:
    console = importlib.import_module("rich.console").Console(width=100, record=True, quiet=False)
    with console.capture() as capture:
        results(module, 9).show(console)
    shown = capture.get()
    assert "…" not in shown and "3, 2.5" in shown and "goal 0.6x, reached" in shown


def without_java_peer(folder: Path) -> dict[str, str]:
    """An environment that has no Maven, and of the cache all but what Maven built."""
    folder.mkdir()
    for each in cache_folder().iterdir():
        if each.name != "java-peer":
            (folder / each.name).symlink_to(each)
    return {**os.environ, "VERDICT_CACHE": str(folder), "PATH": ""}


@pytest.mark.server
def test_without_maven_the_peer_in_java_is_left_out_with_a_sentence(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--quick", "--only", "java"]
    done = subprocess.run(
        command,
        env=without_java_peer(tmp_path / "cache"),
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    sentence = (
        "java is left out: the peer in Java is built by Maven, and there is no mvn on the PATH"
    )
    assert done.stdout.strip() == sentence


@pytest.mark.long
@pytest.mark.skipif(shutil.which("mvn") is None, reason="there is no Maven here")
def test_the_peer_in_java_decides_as_the_loop_does(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), "--quick", "--only", "java,loop", "--json"]
    done = subprocess.run(
        [*command, "--rates", "500"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = json.loads(done.stdout)
    assert printed["failed"] == printed["skipped"] == {}
    assert set(printed["throughput"]) == {"java", "loop"}
    assert printed["largest_score_difference"] <= 1e-6
    assert set(printed["pauses"]) == {"java"}
    assert set(printed["pauses"]["java"]["500"]) == {"gc", "safepoints", "checkpoints", "jit_ms"}
    assert 0 < printed["latency_shares"]["java"]["500"]["broker"] < 1


@pytest.mark.long
def test_latency_is_measured_beside_a_backlog() -> None:
    command = [sys.executable, str(SCRIPT), "--quick", "--only", "embedded,loop", "--json"]
    done = subprocess.run(
        [*command, "--rounds", "0", "--rates", "200", "--backlog", "5000"],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = json.loads(done.stdout)
    assert printed["latency_ms"]["embedded"]["200"]["backlog_s"] > 0
    assert "one partition" in printed["skipped"]["loop"]
