"""docs/decisions/: each decision has its parts, and docs/architecture.md lists it."""

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
DECISIONS = sorted((DOCS / "decisions").glob("*.md"))
PARTS = ["Context", "Decision", "Measured", "Look again when"]
HEAD = re.compile(r"# (\d+)\. (.+)\n\nDate: \d{4}-\d\d-\d\d\. Status: (accepted|replaced by \d+)\b")


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_a_decision_has_its_parts_and_its_row(page: Path) -> None:
    text = page.read_text("utf-8")
    head = HEAD.match(text)
    assert head is not None, "number and title, then 'Date: YYYY-MM-DD. Status: accepted.'"
    number, title, _ = head.groups()
    assert page.name.startswith(f"{int(number):04d}-")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == PARTS
    row = f"| [{number}](decisions/{page.name}) | {title} |"
    assert row in (DOCS / "architecture.md").read_text("utf-8")
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", text):
        assert (page.parent / target).exists(), target


def test_numbers_have_no_gap_and_none_is_given_twice() -> None:
    numbers = [int(page.name[:4]) for page in DECISIONS]
    assert numbers == list(range(1, len(numbers) + 1))
