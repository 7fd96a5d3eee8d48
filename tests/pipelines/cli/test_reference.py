"""The reference page is what the docstrings say today."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from verdict.operators.models.card import Card
from verdict.pipelines.cli import reference
from verdict.pipelines.spec.spec import Spec
from verdict.pipelines.testing.file import PipelineTests

DOCS = Path(__file__).parents[3] / "docs"


def test_the_page_in_the_docs_is_the_one_that_the_docstrings_make() -> None:
    assert (DOCS / "spec.md").read_text("utf-8") == reference.page(), "run 'make docs'"


def models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
        for field in annotation.model_fields.values():
            yield from models(field.annotation)
    for part in get_args(annotation):
        yield from models(part)


@pytest.mark.parametrize(
    "model", sorted({*models(Spec), *models(PipelineTests), *models(Card)}, key=str)
)
def test_every_setting_is_explained(model: type[BaseModel]) -> None:
    page = reference.page()
    for name, field in model.model_fields.items():
        row = re.search(rf"^\| `{field.alias or name}` \|.*\|$", page, re.MULTILINE)
        assert row is not None, f"{model.__name__}.{name} is not on the page"
        if model.__name__ != "Vector" and name not in ("mean", "std"):
            assert field.description, f"{model.__name__}.{name} has no docstring"


def test_links_lead_to_sections() -> None:
    page = reference.page()
    sections = {line[3:].lower().replace(" ", "-") for line in re.findall("^## .*$", page, re.M)}
    assert set(re.findall(r"\]\(#([^)]*)\)", page)) <= sections


def test_no_class_of_python_shows_through() -> None:
    assert not re.search(r"<class|Optional|NoneType|Annotated|(?<!`)``(?!`)", reference.page())


def test_durations_are_shown_as_they_are_written() -> None:
    assert "| `allowed_lateness` | duration | `1h` |" in reference.page()


@pytest.mark.parametrize("setting", ["dedupe", "maturity", "over", "half_life", "delay"])
def test_durations_that_may_be_left_out_are_durations(setting: str) -> None:
    assert f"| `{setting}` | duration |  |" in reference.page()


def test_the_page_is_written_into_a_folder_or_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["reference", str(tmp_path)])
    reference.main()
    assert (tmp_path / "spec.md").read_text("utf-8") == reference.page()
    monkeypatch.setattr(sys, "argv", ["reference"])
    reference.main()
    assert capsys.readouterr().out == reference.page()
