"""The house keeps its shape: no circle, few floors, no name twice, a directory that is true."""

import ast
import re
from pathlib import Path

import pytest

from tests.house import LAYERS, ROOT, House, circles, figures, floors, modules_page, way

HOUSE = House()
NO_NAMES = {
    *("against", "beside", "ahead", "silence", "probe", "originals", "hush", "told", "found"),
    *("made", "said", "asked"),
}
"""Words that say nothing to who searches for what is behind them."""
NO_OTHER = {
    "state.windows.plan: silence": "stands in the mark of each stored head",
    "operators.features.columns: silence": "is that of the column",
    "pipelines.cli.check: against": "is the option `--against`",
}
TRADE = re.compile(r"`([A-Z]\w+)`")


def test_there_is_no_circle_and_few_floors() -> None:
    assert circles(HOUSE.imports) == []
    assert circles(HOUSE.rooms) == []
    sums = figures(HOUSE)
    assert sums["floors of rooms"] <= 13
    assert sums["max"] <= 500


def test_circles_and_floors_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set[str]()}
    assert circles(graph) == [["b", "c"]]
    assert floors({"a": {"b", "d"}, "b": {"d"}, "d": set()}) == 3


def test_a_module_is_known_by_its_last_word() -> None:
    for layer in LAYERS:
        rooms: dict[str, list[str]] = {}
        for module in HOUSE.files:
            if module.startswith(f"{layer}.") and not module.endswith(".text"):
                rooms.setdefault(module.rpartition(".")[2], []).append(module)
        # A room's own word may come again as a file in the room of commands, and of jobs.
        twice = {
            word: modules
            for word, modules in rooms.items()
            if len([m for m in modules if not m.startswith("pipelines.cli.")]) > 1
        }
        assert {word for word in twice if layer != "pipelines"} == set(), twice


def test_public_classes_have_names_of_their_own() -> None:
    assert [name for name, count in HOUSE.classes().items() if count > 1] == []


def test_names_can_be_searched_for() -> None:
    faults = []
    for module, tree in HOUSE.trees.items():
        if set(module.split(".")[-1].split("_")) & NO_NAMES:
            faults.append(module)
        for node in ast.walk(tree):
            names: list[str] = []
            if isinstance(node, ast.ClassDef):
                names = [node.name]
                names += [
                    item.target.id
                    for item in node.body
                    if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name)
                ]
            elif isinstance(node, ast.FunctionDef):
                arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
                names = [node.name, *(argument.arg for argument in arguments)]
            faults += [f"{module}: {name}" for name in names if name.strip("_").lower() in NO_NAMES]
    assert sorted(faults) == sorted(NO_OTHER)


def test_every_module_says_what_it_is_in_a_line() -> None:
    lines = {module: HOUSE.says(module) for module in HOUSE.files}
    assert [module for module, line in lines.items() if not line.endswith((".", "?"))] == []
    assert len(set(lines.values())) == len(lines), "two modules say the same of themselves"


def test_the_directory_of_modules_is_made_anew() -> None:
    page = (ROOT / "docs" / "modules.md").read_text("utf-8")
    assert page == modules_page(HOUSE), "make docs"


@pytest.mark.parametrize("page", ["words.md", "architecture.md"])
def test_classes_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / "docs" / page).read_text("utf-8")
    named = {
        name
        for row in re.findall(r"^\| .*$", text, re.MULTILINE)
        for name in TRADE.findall(row.split("|")[3] if page == "words.md" else "")
    }
    assert named - set(HOUSE.classes()) == set()


def test_the_rooms_of_the_page_are_those_of_the_contracts() -> None:
    """The order that docs/architecture.md shows is the one that import-linter holds."""
    contracts = re.findall(r"^layers = (\[.*?\])$", _pyproject(), re.MULTILINE | re.DOTALL)
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    for contract in contracts[1:]:
        layers = ast.literal_eval(contract)
        if not any("garbage" in layer for layer in layers):
            assert re.sub(r"\s+", " ", " ".join(layers)) in re.sub(r"\s+", " ", text)


def test_the_way_of_an_event_can_be_followed() -> None:
    """What `python tests/house.py --way` shows: through the three layers, and not through all."""
    found = way(ROOT)
    assert found["files"] <= 17
    assert {file.split("/")[0] for file in found["way"] if not file.startswith("<")} == set(LAYERS)


def _pyproject() -> str:
    return Path(ROOT / "pyproject.toml").read_text("utf-8")
