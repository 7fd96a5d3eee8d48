"""`load-tests/bench.py`, small: the shape of its results, equal scores, nothing left running."""

import doctest
import importlib.util
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import fastavro
import pytest

ROOT = Path(__file__).parents[2]
BENCH = ROOT / "load-tests" / "bench.py"
NAMES = ("embedded", "loop")
DEADLINE_S = 180.0


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Whatever the benchmark starts has the test's folder in its command line."""
    return {**os.environ, "TMPDIR": str(tmp_path)}


def running(folder: Path) -> list[str]:
    """Command lines of the processes that name a folder."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


@pytest.mark.long
def test_a_quick_run_has_the_results_in_their_shape(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    command = [sys.executable, str(BENCH), "--quick", "--only", ",".join(NAMES), "--json"]
    command += ["--rates", "500"]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "out")],
        env=environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert running(tmp_path) == []
    printed = json.loads(done.stdout)
    assert json.loads((tmp_path / "out" / "results" / "latest.json").read_text()) == printed
    assert printed["failed"] == {}
    assert printed["largest_score_difference"] == 0.0
    assert set(printed["throughput"]) == set(NAMES)
    assert all(rate > 0 for rate in printed["throughput"].values())
    for name in NAMES:
        assert printed["rss_mb"][name] > 10
        found = printed["latency_ms"][name]["500"]
        assert 0 < found["p50"] <= found["p99"] <= found["p999"]
    assert set(printed["ratios"]) == {"embedded/loop"}
    results = (tmp_path / "out" / "RESULTS.md").read_text().splitlines()
    header, _, line = results[-3:]
    assert header.count("|") == line.count("|")
    assert line.startswith(f"| {printed['date'][:10]}")


def test_an_interrupt_leaves_nothing_running(tmp_path: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, str(BENCH), "--only", "embedded", "--out", str(tmp_path / "out")]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as bench:
        deadline = time.monotonic() + DEADLINE_S
        # The command line of the engine: it has begun to work.
        while not any(" run " in command for command in running(tmp_path)):
            assert bench.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        bench.send_signal(signal.SIGINT)
        assert bench.wait(DEADLINE_S) == 130
    assert running(tmp_path) == []
    assert [file.name for file in tmp_path.iterdir() if file.name.startswith("verdict-")] == []


def test_events_are_encoded_as_fastavro_encodes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH.parent / "bench"))
    file = BENCH.parent / "bench" / "events.py"
    spec = importlib.util.spec_from_file_location("bench_events", file)
    assert spec is not None and spec.loader is not None
    events = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(events)
    assert doctest.testmod(events).failed == 0
    schema = fastavro.parse_schema(events.SCHEMA)
    made = zip(events.encoded(12_000, 5_000), events.records(12_000, 5_000), strict=True)
    for event, record in made:
        assert fastavro.schemaless_reader(io.BytesIO(event.value), schema, None) == record


def test_windows_are_measured() -> None:
    script = BENCH.parent / "windows.py"
    done = subprocess.run(
        [sys.executable, str(script), "--quick", "--only", "entities", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)["entities"]
    assert list(found) == ["1,000", "10,000"]
    assert all(100 < each["bytes_an_idle_entity"] < 400 for each in found.values())
    assert found["10,000"]["disk_mb"] > 5 * found["1,000"]["disk_mb"]


def test_a_commit_is_held_against_the_checkout(tmp_path: Path) -> None:
    """In a repository of one commit: what was checked out may have none."""
    names = ("avro", "verdict", "load-tests", "operators", "pipelines", "state", "deploy")
    for name in names:
        left_out = shutil.ignore_patterns("__pycache__", "results")
        shutil.copytree(BENCH.parents[1] / name, tmp_path / name, ignore=left_out, symlinks=True)
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(tmp_path)]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        subprocess.run([*git, *command], check=True)
    script = tmp_path / "load-tests" / "before_after.py"
    done = subprocess.run(
        [sys.executable, str(script), "HEAD", "--rounds", "3", "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout)
    assert found["commit"] == "HEAD" and found["pipeline"] == "one-entity"
    assert found["before_us"] > 0 and 0.2 < found["ratio"] < 5
