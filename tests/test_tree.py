"""The tests of a module are in the file of its name, or here stands why not."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAYERS = ("state", "operators", "pipelines")

DOCTESTS = "its doctests"
TYPES = "types and constants: what uses them tests them"
HOPS = "by what a hop makes of it: tests/operators/score/test_hops.py"
PLAN = "by what a window makes of it: tests/operators/features/test_windowed.py"
BUNDLE = "a bundle is read whole: tests/operators/models/test_bundle.py"
SPEC = "by every mistake that it finds: tests/pipelines/spec/test_load.py"
JOBS = "by the jobs as values, and run: tests/pipelines/jobs/test_score.py"
COMMANDS = "the command line as a whole: tests/pipelines/cli/test_app.py"
CLUSTER = "needs a Flink: tests/integration/test_flink.py"
UPGRADE = "needs a Flink cluster: tests/integration/test_flink_upgrade.py"
KAFKA = "needs a broker, with its clients: tests/pipelines/kafka/test_clients.py"
TABLES = "a table is filled, shared and followed: tests/pipelines/tables/test_open.py"
BOOTSTRAP = "needs a broker: tests/integration/test_bootstrap.py"
PARITY = "by what a check says: tests/pipelines/parity/test_check.py"
BACKFILL = "by the rows of a backfill: tests/pipelines/history/test_backfill.py"
LETTERS = "by the commands over a broker's letters: tests/pipelines/dead_letters/test_read.py"

EXCEPT: dict[str, str] = {
    "state/errors": TYPES,
    "state/windows/result": TYPES,
    "operators/errors": TYPES,
    "operators/events/quick": "by its users' events: tests/operators/events/test_extract.py",
    "operators/features/columns": PLAN,
    "operators/features/formulas": HOPS,
    "operators/features/functions": "users' functions: tests/pipelines/spec/test_load.py",
    "operators/message": TYPES,
    "operators/models/card": BUNDLE,
    "operators/models/outputs": BUNDLE,
    "operators/score/carry": HOPS,
    "operators/score/finish": HOPS,
    "operators/score/rows": HOPS,
    "pipelines/cli/backfill": BACKFILL,
    "pipelines/cli/bootstrap": COMMANDS,
    "pipelines/cli/broker": COMMANDS,
    "pipelines/cli/dead_letters": LETTERS,
    "pipelines/cli/outputs": COMMANDS,
    "pipelines/cli/parity": PARITY,
    "pipelines/cli/run": COMMANDS,
    "pipelines/cli/state": "needs a job that runs: tests/integration/test_state_commands.py",
    "pipelines/deployment/carried": "with what it carries: tests/pipelines/spec/test_package.py",
    "pipelines/deployment/handover": UPGRADE,
    "pipelines/deployment/main": CLUSTER,
    "pipelines/deployment/program": UPGRADE,
    "pipelines/deployment/record": "with its package: tests/pipelines/deployment/test_submit.py",
    "pipelines/engines/flink/java": CLUSTER,
    "pipelines/engines/flink/jvm": CLUSTER,
    "pipelines/engines/flink/prepare": CLUSTER,
    "pipelines/engines/flink/operator": "tests/integration/test_flink_operator.py, under Flink",
    "pipelines/engines/flink/run": CLUSTER,
    "pipelines/engines/flink/session": UPGRADE,
    "pipelines/engines/flink/submit": CLUSTER,
    "pipelines/engines/garbage": DOCTESTS,
    "pipelines/errors": DOCTESTS,
    "pipelines/formats/parquet": BACKFILL,
    "pipelines/history/bootstrap": BOOTSTRAP,
    "pipelines/history/bootstrap_files": BOOTSTRAP,
    "pipelines/history/bootstrap_flink": UPGRADE,
    "pipelines/history/columns": BACKFILL,
    "pipelines/history/hops": BACKFILL,
    "pipelines/jobs/catalog": JOBS,
    "pipelines/jobs/events": JOBS,
    "pipelines/jobs/labels": JOBS,
    "pipelines/jobs/parts": JOBS,
    "pipelines/jobs/shadow": JOBS,
    "pipelines/jobs/watch": JOBS,
    "pipelines/kafka/secret": KAFKA,
    "pipelines/local/daemon": "with the broker that it is: tests/pipelines/local/test_broker.py",
    "pipelines/local/ports": DOCTESTS,
    "pipelines/outputs/repeats_read": "with its counts: tests/pipelines/outputs/test_repeats.py",
    "pipelines/paths": DOCTESTS,
    "pipelines/spec/check_features": SPEC,
    "pipelines/spec/check_fields": SPEC,
    "pipelines/spec/checks": SPEC,
    "pipelines/spec/decide": SPEC,
    "pipelines/spec/events": SPEC,
    "pipelines/spec/features": SPEC,
    "pipelines/spec/labels": SPEC,
    "pipelines/spec/lookups": SPEC,
    "pipelines/spec/pipeline": SPEC,
    "pipelines/spec/settings": SPEC,
    "pipelines/spec/values": DOCTESTS,
    "pipelines/tables/followed": TABLES,
    "pipelines/tables/place": TABLES,
    "pipelines/tables/shared": TABLES,
    "pipelines/testing/check": "with the file of tests: tests/pipelines/testing/test_file.py",
    "pipelines/text": DOCTESTS,
    "pipelines/topology": TYPES,
}
"""Module -> why it has no file of tests, or where its tests are."""

OF_NO_MODULE: dict[str, str] = {
    "tests/pipelines/cli/test_init.py": "of what `verdict init` makes: resources/init/",
}
"""File of tests -> what it is of, that is no module."""


def modules() -> list[str]:
    return [
        path.relative_to(ROOT).with_suffix("").as_posix()
        for layer in LAYERS
        for path in sorted((ROOT / layer).rglob("*.py"))
        if path.name != "__init__.py" and "resources" not in path.parts
    ]


def file_of(module: str) -> Path:
    path = ROOT / "tests" / module
    return path.with_name(f"test_{path.name}.py")


def test_every_module_has_its_tests_or_says_why_not() -> None:
    wrong = []
    for module in modules():
        file, why = file_of(module), EXCEPT.get(module)
        if not file.exists() and not why:
            wrong.append(f"{module}.py has no tests: write {file.relative_to(ROOT)}")
        if file.exists() and why:
            wrong.append(f"{module}.py has tests of its own: strike it from EXCEPT")
        if why == DOCTESTS and ">>> " not in (ROOT / f"{module}.py").read_text():
            wrong.append(f"{module}.py has no doctest: say why it has no tests")
    assert not wrong, "\n".join(wrong)


def test_a_file_of_tests_has_its_module() -> None:
    files = {
        path.relative_to(ROOT).as_posix()
        for layer in LAYERS
        for path in (ROOT / "tests" / layer).rglob("test_*.py")
    }
    known = {file_of(module).relative_to(ROOT).as_posix() for module in modules()}
    assert sorted(files - known) == sorted(OF_NO_MODULE)


def test_reasons_are_of_what_is_there() -> None:
    assert set(EXCEPT) <= set(modules())
    for why in EXCEPT.values():
        for named in re.findall(r"tests/\S+\.py", why):
            assert (ROOT / named).exists(), f"{named} is gone"
