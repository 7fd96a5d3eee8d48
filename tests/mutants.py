"""Break the code in small ways, one at a time, and name what no test notices.

mutmut makes the mutants and runs, for each, the tests that come by it. It does so on a copy in a
temporary folder, in which `verdict/` holds the folders themselves and no links: a mutant is named
by its file's path, and found only if that is the path it is imported by.

This file is a plugin of those runs as well (`pytest -p tests.mutants`): they are to say the same
each time, and soon.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

ROOT = Path(__file__).parents[1]
FILES = ("operators/policy/*.py", "state/windows/*.py")
LEFT_OUT = "test_general.py"
"""It holds windows as a whole against a recomputation: a minute for each mutant, through mutmut's
wrappers. What it alone would notice is named as well, for want of a test of its own."""
EQUIVALENT = (
    (
        r"zip\(.*, (strict=(None|False))?\)",
        "what is zipped is of one length, made so beside it",
    ),
    (r"return NEVER, 1", "a value at no time is in no window, and not read"),
    (
        r"window (> head.newest -|>= head.newest \+) longest|best\[0\] < at\)",
        "the rows say what the candidates would have said, at more cost",
    ),
    (r"if \(plan\.before\) or True", "what is read is not used, at more cost"),
    (r"^end = None$", "the newest row lies after a late event, and sets it"),
)
"""Survivors that do what the code does: the line as it becomes, and why."""
CONFIG = """
[tool.mutmut]
source_paths = ["verdict"]
only_mutate = {files}
pytest_add_cli_args = ["-p", "tests.mutants", "-p", "no:cacheprovider"]
pytest_add_cli_args_test_selection = {tests}
use_git_change_detection = false
track_dependencies = false
"""

settings.register_profile(
    "mutants",
    deadline=None,
    database=None,
    derandomize=True,
    max_examples=40,
    phases=(Phase.explicit, Phase.generate),  # nobody reads the example: do not make it small
    suppress_health_check=list(HealthCheck),
)


def pytest_configure() -> None:
    settings.load_profile("mutants")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that mirror the mutant's module."""
    items[:] = [item for item in items if item.path.name != LEFT_OUT]
    *_, module, _ = ["", "", *os.environ.get("MUTANT_UNDER_TEST", "").split(".")]
    items.sort(key=lambda item: item.path.name != f"test_{module}.py")


def copied(files: list[str], folder: Path) -> None:
    """Copy what the tests need, links followed, with mutmut's settings."""
    for name in ("verdict", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    tests = sorted({str(Path("tests", file).parent) for file in files})
    config = CONFIG.format(files=[f"verdict/{file}" for file in files], tests=tests)
    (folder / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text() + config)


def mutmut(*arguments: str, folder: Path) -> str:
    """Return what a command of mutmut says."""
    command = [str(Path(sys.executable).with_name("mutmut")), *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout


def run(folder: Path, seconds: float, processes: int) -> None:
    """Try mutants, those with the quickest tests first, until all are or the time is up."""
    command = [str(Path(sys.executable).with_name("mutmut")), "run", f"--max-children={processes}"]
    said = folder / "said"
    with said.open("w") as file:
        process = subprocess.Popen(command, cwd=folder, stdout=file, stderr=subprocess.STDOUT)
    try:
        code = process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGINT)  # it keeps what it has
        code = process.wait()
    if code:
        sys.exit(f"{said.read_text()[-5_000:]}\nmutmut ended with {code}: see its output above")


def changed(diff: str) -> str:
    """Return the lines that a mutant has in place of others, in one."""
    lines = [line[1:].strip() for line in diff.splitlines() if re.match(r"\+(?!\+\+)", line)]
    return " ".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("files", nargs="*", default=FILES, help="from the root, or patterns")
    parser.add_argument("--seconds", type=float, default=600, help="after which what is left stays")
    parser.add_argument("--processes", type=int, default=2)
    asked = parser.parse_args()
    files = sorted(
        str(path.relative_to(ROOT))
        for pattern in asked.files
        for path in ROOT.glob(pattern)
        if path.name != "__init__.py"
    )
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copied(files, folder)
        run(folder, asked.seconds, asked.processes)
        found = [
            line.strip().rsplit(": ", 1)
            for line in mutmut("results", "--all=true", folder=folder).splitlines()
        ]
        counts = Counter(status for _, status in found)
        for mutant, status in found:
            if status in ("survived", "no tests"):
                diff = mutmut("show", mutant, folder=folder)
                if any(re.search(line, changed(diff)) for line, _ in EQUIVALENT):
                    counts["equivalent"] += 1
                    counts[status] -= 1
                else:
                    print(diff)
        print(f"{len(found)} mutants:", ", ".join(f"{n} {each}" for each, n in counts.items()))


if __name__ == "__main__":
    main()
