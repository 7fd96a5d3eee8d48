"""The package: its public names, and its wheel in an environment that knows no checkout."""

import ast
import doctest
import importlib
import inspect
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

import verdict

ROOT = Path(__file__).parents[1]
HEAVY = {
    "confluent_kafka",
    "fastavro",
    "jgo",
    "numpy",
    "onnxruntime",
    "pyarrow",
    "pydantic",
    "pyflink",
    "rich",
    "river",
    "rocksdict",
    "typer",
    "yaml",
}
RUN_ELSEWHERE = {"LocalKafka": "tests/pipelines/local/test_broker.py"}
"""Public names whose example is not run as a doctest: a broker takes seconds to start."""


def imported_for_types() -> dict[str, tuple[str, str]]:
    """What `verdict/__init__.py` imports where a type checker looks: name -> module, its name."""
    tree = ast.parse(Path(verdict.__file__).read_text())
    (checked,) = [
        node
        for node in tree.body
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
    ]
    return {
        alias.asname or alias.name: (node.module or "", alias.name)
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def test_the_lists_of_public_names_agree() -> None:
    assert imported_for_types() == verdict._FROM
    assert verdict.__all__ == sorted(verdict._FROM, key=_as_ruff_sorts)
    assert set(verdict.__all__) <= set(dir(verdict))


def _as_ruff_sorts(name: str) -> tuple[bool, str]:
    return not name[0].isupper(), name


@pytest.mark.parametrize("name", verdict.__all__)
def test_a_public_name_has_an_example(name: str) -> None:
    """That it runs is for `--doctest-modules` to say."""
    value = getattr(verdict, name)
    module, attribute = verdict._FROM[name]
    assert value.__module__ == module, "a name is taken from where it is defined"
    assert (inspect.getdoc(value) or "").partition("\n")[0].endswith((".", "…"))
    found = doctest.DocTestFinder(recurse=False).find(value, attribute)
    examples = [example for test in found for example in test.examples]
    assert any(attribute.lower() in example.source.lower() for example in examples)
    skipped = any(doctest.SKIP in example.options for example in examples)
    assert skipped == (name in RUN_ELSEWHERE)


def test_a_name_that_is_not_there_is_an_error() -> None:
    with pytest.raises(AttributeError, match="module 'verdict' has no attribute 'laod'"):
        verdict.laod  # noqa: B018
    with pytest.raises(ImportError):
        importlib.import_module("verdict.laod")


def in_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_the_package_alone_imports_nothing_heavy() -> None:
    heavy = in_python("""
        import sys, verdict
        dir(verdict)
        print(*{name.partition(".")[0] for name in sys.modules})
    """).split()
    assert "verdict" in heavy
    assert set(heavy) & HEAVY == set()


def test_a_star_brings_every_name() -> None:
    names = in_python("""
        from verdict import *
        print(*[name for name in dir() if not name.startswith("_")])
    """).split()
    assert sorted(names) == sorted(verdict.__all__)


def test_the_page_names_every_name_once() -> None:
    page = (ROOT / "docs/api.md").read_text()
    rows = re.findall(r"^\| `(\w+)[(`]", page, re.MULTILINE)
    assert sorted(rows) == sorted(verdict.__all__)


def test_the_page_shows_parameters_as_they_are() -> None:
    page = (ROOT / "docs/api.md").read_text()
    for name, shown in re.findall(r"^\| `(\w+)\((.*?)\)`", page, re.MULTILINE):
        given = [part for part in shown.split(", ") if part and part != "…"]
        has = list(inspect.signature(getattr(verdict, name)).parameters)
        assert given == has[: len(given)], name
        assert shown.endswith("…") or len(given) == len(has) or name == "over"


def test_the_page_has_a_program_that_runs(tmp_path: Path) -> None:
    program = re.search(r"```python\n(.*?)```", (ROOT / "docs/api.md").read_text(), re.DOTALL)
    assert program is not None
    subprocess.run(
        [sys.executable, "-m", "verdict", "init", "my-pipeline"], cwd=tmp_path, check=True
    )
    done = subprocess.run(
        [sys.executable, "-c", program[1]],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[5] == "p06 review"


@pytest.mark.parametrize(
    ("file", "code", "rule"),
    [
        ("examples/card-fraud/new.py", "from verdict.pipelines.spec.load import load", "TID251"),
        ("examples/card-fraud/new.py", "from verdict.state.errors import VerdictError", "TID251"),
        ("pipelines/resources/init/new.py", "import verdict.operators.models.card", "TID251"),
        ("pipelines/resources/init/new.py", "from state import errors", "TID251"),
        ("examples/card-fraud/new.py", "import pipelines.spec.load", "TID251"),
        ("tests/new.py", "from pipelines.spec.load import load", "TID251"),
        ("pipelines/new.py", "from operators.message import Message", "TID251"),
        ("pipelines/cli/new.py", "from confluent_kafka import Consumer", "TID253"),
        ("pipelines/engines/flink/run.py", "import pyflink", "TID253"),
        ("pipelines/spec/new.py", "import onnxruntime", "TID253"),
        ("examples/card-fraud/new.py", "from verdict import load", None),
        ("pipelines/new.py", "from verdict.state.errors import VerdictError", None),
        ("pipelines/kafka/new.py", "from confluent_kafka import Consumer", None),
    ],
)
def test_ruff_knows_who_may_import_what(file: str, code: str, rule: str | None) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--select=TID", "--output-format=concise",
         f"--stdin-filename={file}", "-"],
        cwd=ROOT, input=code, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert re.findall(r" (TID\d+) ", done.stdout) == ([] if rule is None else [rule]), done.stdout


def test_pages_import_from_the_package_alone() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        if page.name != "semantics.md":  # which shows operators, and says whose they are
            deep = re.findall(r"^(?:>>> )?(?:from|import) verdict\.\S+", page.read_text(), re.M)
            assert deep == [], page.name
