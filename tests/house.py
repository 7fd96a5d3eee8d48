"""What the house looks like in figures, and its directory of modules.

    python tests/house.py [TREE]             figures of this checkout, or of another tree
    python tests/house.py --way [TREE]       the files that one event goes through
    python tests/house.py --modules          make docs/modules.md anew

A *floor* of a file is one more than the highest of those that it imports; so is a room's, by the
imports between its files and those of others. Imports inside functions count, those for the type
checker alone do not.
"""

import ast
import importlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ("state", "operators", "pipelines")
BENCH = Path("load-tests/bench")

Graph = Mapping[str, set[str]]


@dataclass(frozen=True)
class House:
    """The modules of a tree, ``layer.room.module``, and who imports whom."""

    root: Path = field(default=ROOT)

    @cached_property
    def files(self) -> dict[str, Path]:
        """Module -> its file, packages' own files left out."""
        return {
            ".".join(file.relative_to(self.root).with_suffix("").parts): file
            for layer in LAYERS
            for file in sorted((self.root / layer).rglob("*.py"))
            if "resources" not in file.parts and file.stem != "__init__"
        }

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """Module -> what it says."""
        return {module: ast.parse(file.read_text("utf-8")) for module, file in self.files.items()}

    @cached_property
    def imports(self) -> dict[str, set[str]]:
        """Module -> the modules that it imports."""
        return {
            module: {found for found in self._imported(tree) if found != module}
            for module, tree in self.trees.items()
        }

    def _imported(self, tree: ast.Module) -> Iterator[str]:
        for node in _run(tree):
            if isinstance(node, ast.ImportFrom) and node.module:
                base = node.module.removeprefix("verdict.")
                for name in node.names:
                    for found in (f"{base}.{name.name}", base):
                        if found in self.files:
                            yield found
                            break

    @cached_property
    def rooms(self) -> dict[str, set[str]]:
        """Room -> the rooms that its files import; a file beside the rooms is a room."""
        found: dict[str, set[str]] = {}
        for module, imported in self.imports.items():
            rooms = found.setdefault(room(module), set())
            rooms |= {room(other) for other in imported} - {room(module)}
        return found

    def lines(self) -> list[int]:
        """Lines of each file."""
        return [len(file.read_text("utf-8").splitlines()) for file in self.files.values()]

    def classes(self) -> Counter[str]:
        """Public class -> how many modules define one of that name."""
        return Counter(
            node.name
            for tree in self.trees.values()
            for node in tree.body
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
        )

    def says(self, module: str) -> str:
        """The first line of a module's docstring."""
        return (ast.get_docstring(self.trees[module]) or "").partition("\n")[0]


def _run(tree: ast.AST) -> Iterator[ast.AST]:
    """Walk what is executed: not what the type checker alone reads."""
    for node in ast.iter_child_nodes(tree):
        if not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield node
            yield from _run(node)


def room(module: str) -> str:
    """Return the folder of a module; a module beside the rooms, or of a flat layer, is its own.

    >>> room("state.windows.fast"), room("pipelines.engines.flink.hop"), room("state.exact")
    ('state.windows', 'pipelines.engines', 'state.exact')
    """
    return ".".join(module.split(".")[:2])


def circles(graph: Graph) -> list[list[str]]:
    """List the sets of nodes that reach each other, of more than one node (Tarjan, 1972)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(node: str) -> None:
        index[node] = low[node] = len(index)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in index:
                visit(other)
                low[node] = min(low[node], low[other])
            elif other in stack:
                low[node] = min(low[node], index[other])
        if low[node] == index[node]:
            group = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            if len(group) > 1:
                found.append(sorted(group))

    for node in sorted(graph):
        if node not in index:
            visit(node)
    return found


def floors(graph: Graph) -> int:
    """Count the floors of a graph; a circle stands on one."""
    found: dict[str, int] = {}

    def floor(node: str, above: tuple[str, ...] = ()) -> int:
        if node not in found:
            below = [
                floor(other, (*above, node)) for other in graph[node] if other not in (*above, node)
            ]
            found[node] = 1 + max(below, default=0)
        return found[node]

    return max((floor(node) for node in sorted(graph)), default=0)


def figures(house: House) -> dict[str, Any]:
    """Sum a house up."""
    lines = sorted(house.lines())
    return {
        "files": len(lines),
        "lines": sum(lines),
        "median": int(statistics.median(lines)),
        "p90": lines[int(len(lines) * 0.9)],
        "max": lines[-1],
        "above 300": sum(count > 300 for count in lines),
        "arrows between files": sum(map(len, house.imports.values())),
        "floors of files": floors(house.imports),
        "circles of files": len(circles(house.imports)),
        "rooms": len(house.rooms),
        "arrows between rooms": sum(map(len, house.rooms.values())),
        "floors of rooms": floors(house.rooms),
        "circles of rooms": len(circles(house.rooms)),
        "class names twice": sum(count > 1 for count in house.classes().values()),
    }


def way(root: Path) -> dict[str, Any]:
    """Follow one event through the embedded engine, in a process that imports from ``root``."""
    done = subprocess.run(
        [sys.executable, "-P", __file__, "--follow", str(root)],
        env={**os.environ, "PYTHONPATH": str(root)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def follow(root: Path) -> dict[str, Any]:
    """Trace the second event of one card, two entities, through the embedded runner."""

    def module(name: str, before: str) -> Any:
        there = (root / "verdict").exists()
        return importlib.import_module(f"verdict.{name}" if there else before)

    sys.path.insert(0, str(ROOT / BENCH))
    events = importlib.import_module("events")
    runner_module = module("pipelines.engines.embedded.runner", "pipelines.embedded")
    rocks = module("state.store.rocks", "state.rocks")
    load = module("pipelines.spec.load", "pipelines.pipeline").load
    score = module("pipelines.jobs.score", "pipelines.jobs").score
    stack: list[str] = []

    def trace(frame: Any, event: str, _argument: Any) -> None:
        if event == "call":
            file = frame.f_code.co_filename.replace(f"{root}/verdict/", f"{root}/")
            if file.startswith(tuple(f"{root}/{layer}/" for layer in LAYERS)):
                stack.append(file.removeprefix(f"{root}/"))
            elif file.startswith("<") and not file.startswith("<frozen"):
                stack.append(f"<{frame.f_code.co_name}>")

    with tempfile.TemporaryDirectory() as folder:
        store = rocks.RocksStore(Path(folder))
        runner = runner_module.Runner(score(load(root / BENCH / "two-entities.yaml")), store)
        made = events.encoded(1 << 30)
        for number in range(5_000):  # caches are warm, windows hold rows
            event = next(made)
            message = runner_module.Message(
                "events", event.key, event.value, "payments", 0, number, -1
            )
            sys.setprofile(trace if number == 4_999 else None)
            runner.many([message])
            sys.setprofile(None)
        store.close()
    moves = [a for a, b in zip(stack, [*stack[1:], ""], strict=True) if a != b]
    layers = [file.split("/")[0] for file in moves if not file.startswith("<")]
    return {
        "files": len({file for file in stack if not file.startswith("<")}),
        "generated": len({file for file in stack if file.startswith("<")}),
        "moves": len(moves) - 1,
        "crossings": sum(a != b for a, b in pairwise(layers)),
        "climbs": sum(LAYERS.index(b) > LAYERS.index(a) for a, b in pairwise(layers)),
        "way": moves,
    }


def modules_page(house: House) -> str:
    """Make docs/modules.md: every room and module by the first line of its docstring."""
    text = [
        "# Modules",
        "",
        "Every room and what stands in it, by the first lines of their docstrings; made by",
        "`make docs`. Which may import which is in pyproject.toml (`[tool.importlinter]`); what",
        "they do together, in [architecture.md](architecture.md).",
    ]
    for layer in LAYERS:
        text += ["", f"## {layer}/", "", _own(house.root / layer)]
        by_folder: dict[Path, list[str]] = {}
        for module, file in house.files.items():
            if module.startswith(f"{layer}."):
                by_folder.setdefault(file.parent, []).append(module)
        for folder in sorted(by_folder):
            name = folder.relative_to(house.root)
            if folder != house.root / layer:
                text += ["", f"### {name}/", "", _own(folder)]
            text += ["", "| module | |", "|---|---|"]
            for module in by_folder[folder]:
                says = house.says(module).replace("``", "`")
                text.append(f"| `{module.rpartition('.')[2]}` | {says} |")
    return "\n".join([*text, ""])


def _own(folder: Path) -> str:
    tree = ast.parse((folder / "__init__.py").read_text("utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]


def main() -> None:
    """See above."""
    asked = [argument for argument in sys.argv[1:] if not argument.startswith("--")]
    root = Path(asked[0]).resolve() if asked else ROOT
    if "--follow" in sys.argv:
        print(json.dumps(follow(root)))
    elif "--way" in sys.argv:
        print(json.dumps(way(root), indent=1))
    elif "--modules" in sys.argv:
        (ROOT / "docs" / "modules.md").write_text(modules_page(House()), "utf-8")
    else:
        print(json.dumps(figures(House(root)), indent=1))


if __name__ == "__main__":
    main()
