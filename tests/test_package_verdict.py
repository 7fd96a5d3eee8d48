"""The package: its public names, and its wheel in an environment that knows no checkout."""

import ast
import doctest
import importlib
import inspect
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zipfile import ZipFile

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
        verdict.laod  # type: ignore[attr-defined]  # noqa: B018
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


LAYERS = ("avro", "deploy", "operators", "pipelines", "state")
BUILD = "import sys, hatchling.build as b; b.build_sdist(sys.argv[1]); b.build_wheel(sys.argv[1])"
"""What `python -m build` calls, without an environment of its own to fetch hatchling into."""


def build(checkout: Path, to: Path) -> Path:
    subprocess.run([sys.executable, "-c", BUILD, str(to)], cwd=checkout, check=True)
    (wheel,) = to.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, a source distribution beside it."""
    return build(ROOT, tmp_path_factory.mktemp("dist"))


def test_the_wheel_holds_the_package_alone(wheel: Path) -> None:
    files = {name for name in ZipFile(wheel).namelist() if not name.startswith("verdict-")}
    wanted = {
        f"verdict/{file.relative_to(ROOT)}"
        for layer in LAYERS
        for file in (ROOT / layer).rglob("*")
        if file.is_file() and file.suffix != ".pyc" and file.name != "ruff.toml"
    }
    assert files == wanted | {"verdict/__init__.py", "verdict/__main__.py", "verdict/py.typed"}
    assert {
        "verdict/avro/decision.avsc",
        "verdict/deploy/jars.txt",
        "verdict/pipelines/resources/init/pipeline_test.yaml",
    } <= files
    assert not [name for name in files if "test" in Path(name).parts or name.endswith(".pyc")]


def test_the_source_distribution_makes_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    (packed,) = wheel.parent.glob("*.tar.gz")
    with tarfile.open(packed) as archive:
        archive.extractall(tmp_path, filter="data")
    (checkout,) = tmp_path.iterdir()
    again = ZipFile(build(checkout, tmp_path / "dist"))
    assert {f.filename: f.CRC for f in again.infolist()} == {
        f.filename: f.CRC for f in ZipFile(wheel).infolist()
    }


OWN_LIBRARIES = pytest.param(True, marks=[pytest.mark.long, pytest.mark.timeout(900)])


@pytest.fixture(
    scope="module", params=[False, OWN_LIBRARIES], ids=["alone", "with libraries of its own"]
)
def clean(wheel: Path, request: pytest.FixtureRequest, tmp_path_factory: Any) -> Path:
    """An environment where the wheel is installed, and no checkout is known."""
    folder: Path = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    python = folder / "bin" / "python"
    command = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q"]
    alone = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    if request.param:
        limits = ["-c", str(ROOT / "constraints.txt")]
        subprocess.run([*command, *limits, "pytest", str(wheel)], env=alone, check=True)
        return folder
    subprocess.run([*command, "--no-deps", "--no-index", str(wheel)], env=alone, check=True)
    # The libraries of these tests; not what .pth files there name, such as this checkout.
    at = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True, text=True, check=True,
    ).stdout.strip()  # fmt: skip
    Path(at, "libraries.pth").write_text(sysconfig.get_path("purelib"))
    return folder


@pytest.fixture
def in_project(clean: Path, tmp_path: Path) -> Callable[..., str]:
    """Run a command in a project that has folders called as those of the house."""
    for name in LAYERS:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("OWNER = 'the user'\n")
    kept = {k: v for k, v in os.environ.items() if k in ("HOME", "TMPDIR") or "CACHE" in k}

    def run(*command: str) -> str:
        done = subprocess.run(
            [str(clean / "bin" / command[0]), *command[1:]],
            cwd=tmp_path, env={**kept, "PATH": f"{clean / 'bin'}:{os.defpath}"},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
        return done.stdout

    return run


def test_the_wheel_works_beside_folders_of_the_same_names(
    in_project: Callable[..., str], clean: Path
) -> None:
    assert str(clean) in in_project("python", "-c", "import verdict; print(verdict.__file__)")
    in_project("verdict", "init", "mine")
    assert "is right" in in_project("python", "-m", "verdict", "check", "mine")  # with them first
    assert "3 passed" in in_project("verdict", "test", "mine")
    assert "10 events" in in_project("verdict", "run", "mine")
    assert "p06 0.8161 review" in in_project("verdict", "tail", "mine", "decisions")
    assert "4 passed" in in_project("python", "-m", "pytest", "mine")
    own = "import pipelines, state, operators as o; print(pipelines.OWNER, state.OWNER, o.OWNER)"
    assert in_project("python", "-c", own) == "the user the user the user\n"


def test_a_type_checker_knows_the_public_names(clean: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "from pathlib import Path\n"
        "from verdict import load, write_bundle\n"
        "reveal_type(load(Path('pipeline.yaml')))\n"
        "load(3)\n"
        "from verdict import laod\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", clean / "bin/python",
         "--cache-dir", tmp_path / "cache", "mine.py"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = done.stdout.splitlines()
    assert said[0].endswith('Revealed type is "verdict.pipelines.spec.pipeline.Pipeline"')
    assert said[1].startswith("mine.py:4: error: Argument 1")
    assert said[2].startswith('mine.py:5: error: Module "verdict" has no attribute "laod"')
    assert said[3].startswith("Found 2 errors in 1 file")
