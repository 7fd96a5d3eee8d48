"""The plugin, in pytest processes of their own, found by the entry point as an installed one is."""

import os
import tomllib
from pathlib import Path

import pytest

from verdict.pipelines.testing import plugin
from verdict.pipelines.testing.plugin import is_ours

ROOT = Path(__file__).parents[3]
pytest_plugins = ["pytester"]
NAMES = [
    "the third payment within the hour is reviewed",
    "payments of another card, and of an hour ago, do not count",
    "an amount that is no number becomes a dead letter",
]
SHOW_IMPORTS = """
import sys

def pytest_unconfigure(config):
    packages = ("verdict", "pyflink", "onnxruntime", "pydantic", "yaml")
    for name in sorted(sys.modules):
        if name.split(".")[0] in packages:
            print("imported", name)
"""


@pytest.fixture
def installed(
    pytester: pytest.Pytester,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> pytest.Pytester:
    """This checkout as it is when it has been installed, with the entry points of its project."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    site = tmp_path_factory.mktemp("site")
    info = site / "verdict_checkout-0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: verdict-checkout\nVersion: 0\n")
    points = "".join(f"{k} = {v}\n" for k, v in project["entry-points"]["pytest11"].items())
    (info / "entry_points.txt").write_text(f"[pytest11]\n{points}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(site)]))
    return pytester


@pytest.fixture
def here(installed: pytest.Pytester, tiny: Path) -> pytest.Pytester:
    """In the folder of what `verdict init` makes, without its Python test."""
    (tiny / "test_pipeline.py").unlink()
    for path in tiny.iterdir():
        path.rename(installed.path / path.name)
    return installed


def break_it(pytester: pytest.Pytester, file: str, old: str, new: str) -> None:
    path = pytester.path / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


def test_every_test_of_the_file_is_an_item(here: pytest.Pytester) -> None:
    ran = here.runpytest_subprocess("-v")
    ran.assert_outcomes(passed=3)
    ran.stdout.fnmatch_lines([f"pipeline_test.yaml::{name} PASSED*" for name in NAMES])
    here.runpytest_subprocess("-k", "third").assert_outcomes(passed=1, deselected=2)
    one = here.runpytest_subprocess(f"pipeline_test.yaml::{NAMES[1]}")
    one.assert_outcomes(passed=1)


def test_a_failure_is_the_diff_and_nothing_of_python(here: pytest.Pytester) -> None:
    break_it(here, "pipeline.yaml", "over: 1h", "over: 2m")
    ran = here.runpytest_subprocess()
    assert ran.ret == 1
    ran.assert_outcomes(passed=2, failed=1)
    ran.stdout.fnmatch_lines(
        [
            f"*_ {NAMES[0]} _*",
            "event p3, *pipeline_test.yaml:12",
            "*expected*found",
            "  ≠ card_count_1h  3  * 2  * -1",
            "  ≠ score          0.816 ± 0.001  0.62*",
        ]
    )
    ran.stdout.no_fnmatch_line("*Traceback*")
    ran.stdout.no_fnmatch_line("*testing/plugin.py*")


@pytest.mark.parametrize(
    ("file", "old", "new", "says"),
    [
        ("pipeline_test.yaml", "card_count_1h: 1", "card_cuont_1h: 1", "*test.yaml:11: the pipe*"),
        ("pipeline.yaml", "over: 1h", "ovr: 1h", "*pipeline.yaml:11: there is no setting*"),
    ],
)
def test_a_faulty_file_is_an_error_of_collecting(
    here: pytest.Pytester, file: str, old: str, new: str, says: str
) -> None:
    break_it(here, file, old, new)
    ran = here.runpytest_subprocess()
    assert ran.ret == 2
    ran.assert_outcomes(errors=1)
    ran.stdout.fnmatch_lines([says])
    ran.stdout.no_fnmatch_line("*Traceback*")


def test_a_model_that_is_refused_is_said_by_each_test(here: pytest.Pytester) -> None:
    break_it(here, "model/model.yaml", "name: tiny", "nme: tiny")
    ran = here.runpytest_subprocess()
    ran.assert_outcomes(failed=3)
    ran.stdout.fnmatch_lines(["*pipeline.yaml:12: *"])
    ran.stdout.no_fnmatch_line("*Traceback*")


def test_workers_share_the_items(here: pytest.Pytester) -> None:
    pytest.importorskip("xdist")
    path = here.path / "pipeline_test.yaml"
    path.with_name("more_pipeline_test.yaml").write_text(path.read_text())
    path.with_name("pipeline_tests.yaml").write_text("no: file of tests")
    break_it(here, "pipeline.yaml", "over: 1h", "over: 2m")
    ran = here.runpytest_subprocess("-n", "2")
    ran.assert_outcomes(passed=4, failed=2)
    ran.stdout.fnmatch_lines(["  ≠ card_count_1h  3  * 2  * -1"])


def test_a_project_without_such_a_file_pays_nothing(installed: pytest.Pytester) -> None:
    installed.makepyfile(test_own="def test_own(): pass")
    installed.makeconftest(SHOW_IMPORTS)
    ran = installed.runpytest_subprocess("-s")
    ran.assert_outcomes(passed=1)
    found = [text for text in ran.outlines if text.startswith("imported ")]
    assert found == [
        "imported verdict",
        "imported verdict.pipelines",
        "imported verdict.pipelines.testing",
        "imported verdict.pipelines.testing.plugin",
    ]
    off = installed.runpytest_subprocess("-s", "-p", "no:verdict")
    off.assert_outcomes(passed=1)
    assert not [text for text in off.outlines if text.startswith("imported ")]


STRANGERS = {
    "of another tool": b"unit_tests:\n  - name: a\n    input_batch: []\n",
    "with tests": b"pipeline: ci.yaml  # x\ntests:\n  - name: a\n    steps: [{run: make}]\n",
    "not YAML": b"tests: [\n\tevents: }",
    "binary": bytes(range(256)) * 8,
    "names a folder": b"pipeline: .\n",
    "a name that none can have": b"pipeline: a\0b\n",
    "empty": b"",
}


THEIR_PIPELINES = {
    "of a build": b"trigger: [main]\npool: {vmImage: x}\nsteps: []\n",
    "a bit like ours": b"pipeline: ci\nmodel: x\nfeatures: [y]\nstages:\n  events: []\n",
    "binary": b"\xff\0",
}
MISTAKES = [
    ("tests:", "test:", "*there is no setting 'test'. Did you mean 'tests'*"),
    ("    expect:", "    expcet:", "*'tests.0.expcet'. Did you mean 'expect'*"),
    ("    events:", "    evnets:", "*'tests.0.evnets'. Did you mean 'events'*"),
    ("tests:", "pipeline: pipline.yaml\ntests:", "*pipline.yaml: cannot be read*"),
    ("tests:", "tests: [", "*: not YAML*"),
    ("tests:", "\0tests:", "*: not YAML*"),
]


def test_files_of_strangers_are_left_alone(installed: pytest.Pytester) -> None:
    installed.makepyfile(test_own="def test_own(): pass")
    for name, content in STRANGERS.items():
        file = installed.path / name / "pipeline_test.yaml"
        file.parent.mkdir()
        file.write_bytes(content)
        file.with_name("etl_pipeline_test.yaml").write_bytes(content)
    installed.runpytest_subprocess("--strict-markers").assert_outcomes(passed=1)


@pytest.mark.parametrize("beside", THEIR_PIPELINES.values(), ids=THEIR_PIPELINES)
@pytest.mark.parametrize("content", STRANGERS.values(), ids=STRANGERS)
def test_a_pipeline_of_strangers_makes_no_file_ours(
    tmp_path: Path, content: bytes, beside: bytes
) -> None:
    (tmp_path / "pipeline_test.yaml").write_bytes(content)
    (tmp_path / "pipeline.yaml").write_bytes(beside)
    assert not is_ours(tmp_path / "pipeline_test.yaml")


def test_mistakes_in_ours_are_said(here: pytest.Pytester) -> None:
    files = ("pipeline.yaml", "pipeline_test.yaml", "event.avsc")
    for number, (old, new, _) in enumerate(MISTAKES):
        folder = here.mkdir(f"mistake-{number}")
        for name in files:
            (folder / name).write_bytes((here.path / name).read_bytes())
        break_it(here, f"mistake-{number}/pipeline_test.yaml", old, new)
    # Not even the pipeline file is right.
    break_it(here, "mistake-0/pipeline.yaml", "entities:", "entites:")
    break_it(here, "mistake-0/pipeline.yaml", "decide:", "dceide:")
    ran = here.runpytest_subprocess(*(f"mistake-{number}" for number in range(len(MISTAKES))))
    ran.assert_outcomes(errors=len(MISTAKES))
    ran.stdout.fnmatch_lines([says for _, _, says in MISTAKES])
    ran.stdout.no_fnmatch_line("*Traceback*")


CLASHES = """
import pytest

def pytest_addoption(parser):
    parser.addoption("--verdict")
    parser.addoption("--pipeline")
    parser.addini("verdict", "theirs")

def pytest_collect_file(file_path, parent):
    if file_path.name == "theirs_pipeline_test.yaml":
        return Theirs.from_parent(parent, path=file_path)

class Theirs(pytest.File):
    def collect(self):
        yield Passes.from_parent(self, name="theirs")

class Passes(pytest.Item):
    def runtest(self):
        pass

@pytest.fixture
def verdict(): return 1

@pytest.fixture
def pipeline(): return 2
"""


def test_a_plugin_of_theirs_may_have_any_names(installed: pytest.Pytester) -> None:
    installed.makeconftest(CLASHES)
    installed.makepyfile(test_own="def test_own(verdict, pipeline): assert verdict < pipeline")
    (installed.path / "theirs_pipeline_test.yaml").write_text("theirs: true")
    ran = installed.runpytest_subprocess("--verdict=a", "--pipeline=b", "-o", "verdict=c")
    ran.assert_outcomes(passed=2)
    assert [name for name in dir(plugin) if name.startswith("pytest_")] == ["pytest_collect_file"]


def test_a_plugin_that_is_off_collects_nothing(here: pytest.Pytester) -> None:
    ran = here.runpytest_subprocess("-p", "no:verdict")
    ran.assert_outcomes()
    assert ran.ret == pytest.ExitCode.NO_TESTS_COLLECTED


def test_flink_is_not_imported(here: pytest.Pytester) -> None:
    here.makeconftest(SHOW_IMPORTS)
    ran = here.runpytest_subprocess("-s")
    ran.assert_outcomes(passed=3)
    found = [text for text in ran.outlines if text.startswith("imported ")]
    assert "imported onnxruntime" in found
    assert not [text for text in found if "pyflink" in text]
