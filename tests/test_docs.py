"""README.md and docs/: every command is run, and what they show of its output is what comes out.

A fenced block ``sh`` is a script for bash; the blocks of a page run in their order, in a copy of
the checkout. A block ``text`` right behind it is the output of the whole block; ``...`` stands for
what differs from run to run. HTML comments, which no reader sees, say what else is to be known of
the block below: ``<!-- exit code 1 -->``, or ``<!-- not run here: why -->``.
"""

import doctest
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from verdict.pipelines.local import daemon

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

RUN_ELSEWHERE = {
    "make demo": "tests/integration/test_demo.py",
    "make test": ".ci/run",
}
"""Commands that have a test of their own, wherever they stand."""

NOT_RUN = {
    "docs/tutorial.md": [
        "make setup",
        ". .venv/bin/activate",
        ".venv/bin/pip install -c constraints.txt -e '.[train]'",
        "python examples/card-fraud/train.py",
    ],
    "docs/operations.md": [
        "verdict run examples/card-fraud --job score",
        "verdict run examples/card-fraud --job shadow",
        "verdict run examples/card-fraud --job watch",
        "verdict run examples/card-fraud --job score --engine flink",
        "verdict run examples/card-fraud --job score --engine flink --cluster 127.0.0.1:8081",
        "verdict upgrade examples/card-fraud --job score --cluster 127.0.0.1:8081",
    ],
}
"""What a comment ``not run here`` keeps from being run. Nothing else is left out."""

PASSED_ON = ("HOME", "LANG", "TMPDIR", "VERDICT_CACHE", "VERDICT_MAVEN", "XDG_CACHE_HOME")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")
DEADLINE_S = 120
"""Of one block; the longest takes 15 s on two idle cores."""

FENCE = re.compile(
    r"(?P<above>(?:<!--[^\n]*-->\n+)*)```sh\n(?P<script>.*?)\n```\n"
    r"(?:\n```text\n(?P<shown>.*?)```\n)?",
    re.DOTALL,
)
PORT = re.compile(r"127\.0\.0\.1:\d+")


class Block(NamedTuple):
    """One fenced block of commands."""

    line: int
    script: str
    exit_code: int
    skipped: bool
    shown: str | None


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text("utf-8")
    for found in FENCE.finditer(text):
        above = found["above"]
        code = re.search(r"<!-- exit code (\d+) -->", above)
        skipped = "<!-- not run here: " in above or found["script"] in RUN_ELSEWHERE
        line = text.count("\n", 0, found.start("script")) + 1
        yield Block(line, found["script"], int(code[1]) if code else 0, skipped, found["shown"])


def environment() -> dict[str, str]:
    """What a newcomer's shell has after ``. .venv/bin/activate``, and no more."""
    kept = {name: os.environ[name] for name in (*PASSED_ON, *PROXIES) if name in os.environ}
    return {**kept, "PATH": f"{Path(sys.executable).parent}:{os.defpath}"}


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Path]:
    """A copy of the checkout, whose broker is stopped at the end."""
    left_out = shutil.ignore_patterns(".git", ".venv", ".verdict", ".*_cache", "__pycache__", "out")
    copy = shutil.copytree(ROOT, tmp_path / "verdict", ignore=left_out)
    try:
        yield copy
    finally:
        daemon.down(copy / ".verdict" / "broker")


@pytest.mark.server
@pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(not block.skipped for block in blocks(page))],
    ids=lambda page: page.name,
)
def test_commands_do_what_the_page_says(page: Path, checkout: Path) -> None:
    for block in blocks(page):
        if block.skipped:
            continue
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", block.script],
            cwd=checkout,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        where = f"{page.name}:{block.line}"
        assert done.returncode == block.exit_code, f"{where}\n{block.script}\n{done.stdout}"
        if block.shown is not None:
            shown, put_out = (PORT.sub("127.0.0.1:0", text) for text in (block.shown, done.stdout))
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            fits = doctest.OutputChecker().check_output(shown, put_out, flags)
            assert fits, f"{where} shows\n{block.shown}\nbut it puts out\n{done.stdout}"
    assert not daemon.down(checkout / ".verdict" / "broker"), f"{page.name} leaves a broker running"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_nothing_is_left_out_silently(page: Path) -> None:
    marked = [
        command
        for block in blocks(page)
        if block.skipped
        for command in block.script.splitlines()
        if command not in RUN_ELSEWHERE
    ]
    assert marked == NOT_RUN.get(str(page.relative_to(ROOT)), [])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_fence_is_understood(page: Path) -> None:
    """A block that the pattern above does not find would not be run."""
    text = page.read_text("utf-8")
    assert text.count("```sh\n") == len(list(blocks(page)))
    opened = re.findall(r"^```(\S*)", text, re.MULTILINE)[::2]
    assert set(opened) <= {"sh", "text", "yaml", "json", "pycon", "python"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        assert (page.parent / target).exists(), f"{page.name}: {target}"
