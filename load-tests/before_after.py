"""Whether an event has become dearer: this checkout beside a commit, by turns, in one run.

    python load-tests/before_after.py COMMIT [--pipeline two-entities] [--rounds 60]

The score job of both runs the same events with RocksDB and without Kafka, each in a process of its
own, a chunk of 3,000 events by turns. What slows the machine slows both, so the median of the
chunks' ratios says within about 2 % what two runs one after the other cannot.
"""

import argparse
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CHUNK = 3_000
BATCH = 500
"""Events between two commits of the state."""
WARM_UP = 1 / 3
"""Share of the rounds before one counts: the windows fill meanwhile."""


def module(name: str, before: str) -> Any:
    """Import a module of `verdict`, or what it was called where there is no `verdict` yet."""
    there = (Path(os.environ["PYTHONPATH"]) / "verdict").exists()
    return importlib.import_module(f"verdict.{name}" if there else before)


def work(pipeline: Path) -> None:
    """Run a chunk for each line of input; print the CPU seconds that it took."""
    sys.path.insert(0, str(HERE / "bench"))
    from events import encoded

    runner_module = module("pipelines.engines.embedded.runner", "pipelines.embedded")
    score = module("pipelines.jobs.score", "pipelines.jobs").score
    load = module("pipelines.spec.load", "pipelines.pipeline").load
    spared = module("pipelines.engines.garbage", "pipelines.garbage").spared
    rocks = module("state.store.rocks", "state.rocks")

    events = enumerate(encoded(1 << 40))
    with tempfile.TemporaryDirectory(prefix="verdict-before-after-") as folder, spared():
        store = rocks.RocksStore(Path(folder))
        runner = runner_module.Runner(score(load(pipeline)), store)
        print(json.dumps(runner_module.__file__), flush=True)
        for _ in sys.stdin:
            messages = [
                runner_module.Message("events", event.key, event.value, "payments", 0, number, -1)
                for number, event in islice(events, CHUNK)
            ]
            began = time.process_time()
            for start in range(0, CHUNK, BATCH):
                runner.many(messages[start : start + BATCH])
                store.commit({})
            print(time.process_time() - began, flush=True)
        store.close()


@contextmanager
def tree(commit: str) -> Iterator[Path]:
    """Have a commit's files in a folder of their own."""
    with tempfile.TemporaryDirectory(prefix="verdict-before-") as name:
        folder = Path(name)
        archive = subprocess.run(["git", "archive", commit], cwd=ROOT, stdout=subprocess.PIPE)
        if archive.returncode:
            sys.exit(archive.returncode)  # git has said why
        subprocess.run(["tar", "-x", "-C", name], input=archive.stdout, check=True)
        yield folder


@contextmanager
def worker(of: Path, pipeline: Path) -> Iterator[subprocess.Popen[str]]:
    """Start a process that takes its modules from a folder."""
    with subprocess.Popen(
        [sys.executable, "-P", __file__, "--work", str(pipeline)],
        env={**os.environ, "PYTHONPATH": str(of)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            said = process.stdout.readline()
            if not said:
                sys.exit(process.wait() or 1)
            if not Path(json.loads(said)).is_relative_to(of):
                sys.exit(f"{of} was to be measured, not {json.loads(said)}")
            yield process
        finally:
            process.stdin.close()  # it ends


def chunk(process: "subprocess.Popen[str]") -> float:
    """Return the CPU microseconds of an event in one more chunk."""
    assert process.stdin is not None and process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return float(process.stdout.readline()) / CHUNK * 1e6


def main() -> None:
    """Measure both, say the ratio."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("commit", nargs="?", help="what to compare with")
    parser.add_argument("--pipeline", default="one-entity", help="of bench/")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.work is not None:
        work(asked.work)
        return
    if asked.commit is None:
        parser.error("say the commit to compare with")
    times: tuple[list[float], list[float]] = ([], [])
    with tree(asked.commit) as before:
        pipeline = before / "load-tests" / "bench" / f"{asked.pipeline}.yaml"
        with worker(before, pipeline) as old, worker(ROOT, pipeline) as new:
            for number in range(asked.rounds):
                turns = [(old, times[0]), (new, times[1])]
                for process, found in turns if number % 2 else reversed(turns):
                    found.append(chunk(process))
    first = int(asked.rounds * WARM_UP)
    was, now = times[0][first:], times[1][first:]
    ratios = [b / a for a, b in zip(was, now, strict=True)]
    result = {
        "commit": asked.commit,
        "pipeline": asked.pipeline,
        "before_us": round(statistics.median(was), 1),
        "after_us": round(statistics.median(now), 1),
        "ratio": round(statistics.median(ratios), 3),
    }
    if asked.json:
        print(json.dumps(result))
    else:
        print(
            "{pipeline}: {before_us} us of CPU an event before, {after_us} now: {ratio}".format(
                **result
            )
        )


if __name__ == "__main__":
    main()
