"""What a changed pipeline file does to the state that another one wrote."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from verdict.pipelines.jobs.compatibility import Effect, changes
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.pipeline import Pipeline

EXAMPLE = Path(__file__).parents[3] / "examples" / "card-fraud"
Verdict = Callable[..., Any]


@pytest.fixture
def former() -> Pipeline:
    return load(EXAMPLE / "pipeline.yaml")


def changed(folder: Path, *pairs: tuple[str, str]) -> Pipeline:
    """The example with some texts replaced."""
    for name in ("transaction.avsc", "models"):
        if not (folder / name).exists():
            (folder / name).symlink_to(EXAMPLE / name)
    text = (EXAMPLE / "pipeline.yaml").read_text()
    for old, new in pairs:
        assert text.count(old) >= 1, old
        text = text.replace(old, new)
    (folder / "pipeline.yaml").write_text(text)
    return load(folder / "pipeline.yaml")


def found(former: Pipeline, pipeline: Pipeline) -> dict[str, Effect]:
    return {change.what: change.effect for change in changes(former, pipeline)}


MAX_7D = "  customer_max_7d: {max: amount, over: 7d, by: customer}\n"


def test_what_is_as_it_was_is_not_said(former: Pipeline, tmp_path: Path) -> None:
    assert found(former, former) == {}
    assert found(former, changed(tmp_path, ("at: 0.8", "at: 0.7"))) == {}


@pytest.mark.parametrize(
    ("more", "effect"),
    [
        ("customer_sum_30d: {sum: amount, over: 30d, by: customer}", Effect.KEPT),
        ("customer_sum_60d: {sum: amount, over: 60d, by: customer}", Effect.COLD),
        ("customer_online: {count: '*', over: 1d, by: customer, where: online}", Effect.COLD),
        ("customer_shops: {distinct: terminal.id, over: 1d, by: customer}", Effect.COLD),
        ("customer_faded: {count: '*', half_life: 1d, by: customer}", Effect.KEPT),
        ("customer_faded: {count: '*', half_life: 7d, by: customer}", Effect.COLD),
    ],
)
def test_a_feature_that_is_new(former: Pipeline, tmp_path: Path, more: str, effect: Effect) -> None:
    more = more.replace("where: online", "where: \"channel == 'online'\"")
    new = changed(tmp_path, (MAX_7D, f"{MAX_7D}  {more}\n"))
    name = more.partition(":")[0]
    assert found(former, new) == {f"feature {name}": effect}


def test_a_window_that_grows_and_a_feature_that_goes(former: Pipeline, tmp_path: Path) -> None:
    mean = "terminal_mean_7d: {mean: amount, over: 7d"
    new = changed(tmp_path, (mean, mean.replace("over: 7d", "over: 20d")), (MAX_7D, ""))
    said = list(changes(former, new))
    assert [(change.what, change.effect) for change in said] == [
        ("feature customer_max_7d", Effect.GONE),
        ("feature terminal_mean_7d", Effect.COLD),
    ]
    assert said[1].days == 20
    assert "called cold, for 20 d at most" in said[1].says
    assert found(new, former) == {"feature customer_max_7d": Effect.KEPT}


def test_an_entity_that_is_another(former: Pipeline, tmp_path: Path) -> None:
    new = changed(tmp_path, ("terminal: terminal.id", "terminal: [terminal.id, channel]"))
    assert found(former, new) == {"entity terminal": Effect.REFUSED}
    new = changed(
        tmp_path, ("terminal: terminal.id", "shop: terminal.id"), ("by: terminal", "by: shop")
    )
    assert found(former, new) == {"entity terminal": Effect.GONE, "entity shop": Effect.BEGINS}


def test_the_first_entity_has_the_ids(tmp_path: Path) -> None:
    dedupe = ("  max_ahead:", "  dedupe: 1d\n  max_ahead:")
    (tmp_path / "old").mkdir()
    old = changed(tmp_path / "old", dedupe)
    first = ("keyed_by: customer", "keyed_by: terminal")
    given = ("by: customer}", "by: customer, default: 0}")
    new = changed(tmp_path, dedupe, first, given)
    assert found(old, new) == {"entity terminal": Effect.BEGINS}


def test_the_command_says_so(verdict: Verdict, tmp_path: Path) -> None:
    more = "customer_sum: {sum: amount, over: 1d, by: customer}"
    new = changed(tmp_path, (MAX_7D, f"{MAX_7D}  {more}\n"))
    ran = verdict("check", EXAMPLE, "--against", new.path)
    assert ran.code == 0
    assert "feature customer_sum (gone): what it alone kept goes with it" in ran.out
    ran = verdict("check", EXAMPLE, "--against", EXAMPLE, "--json")
    assert json.loads(ran.out)["changes"] == []

    changed(tmp_path, ("terminal: terminal.id", "terminal: [terminal.id, channel]"))
    ran = verdict("check", tmp_path, "--against", EXAMPLE, "--json")
    assert ran.code == 1
    assert json.loads(ran.out)["changes"][0]["effect"] == "refused"
