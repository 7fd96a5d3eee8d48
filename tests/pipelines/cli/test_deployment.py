"""`verdict plan`: what it prints, and which numbers it takes."""

import json

import pytest
from typer.testing import CliRunner

from tests.pipelines.deployment.test_size import CARD_FRAUD
from verdict.pipelines.cli.app import app
from verdict.pipelines.errors import SpecError


def test_command_prints_it() -> None:
    asked = ["plan", str(CARD_FRAUD), "--rate", "500", "--entities", "50000"]
    shown = CliRunner().invoke(app, [*asked, "--entities", "terminal=10000"])
    assert shown.exit_code == 0, shown.output
    assert "slots                 2: a TaskManager each" in shown.output
    found = json.loads(CliRunner().invoke(app, [*asked, "--json"]).stdout)
    assert found["entities"]["terminal"]["keys"] == 50_000


@pytest.mark.parametrize("given", ["many", "0", "shop=3", "=5x"])
def test_entities_are_numbers(given: str) -> None:
    asked = ["plan", str(CARD_FRAUD), "--rate", "5", "--entities", given]
    result = CliRunner().invoke(app, asked)
    assert isinstance(result.exception, SpecError)
    assert f"--entities {given}: write N, or customer=N, terminal=N" in str(result.exception)


def test_each_entity_has_a_number() -> None:
    asked = ["plan", str(CARD_FRAUD), "--rate", "5", "--entities", "customer=5"]
    result = CliRunner().invoke(app, asked)
    assert "does not say how many keys 'terminal' has" in str(result.exception)
