"""What tests of every package may use."""

import difflib
import importlib.util
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

from verdict.pipelines.local.broker import LocalKafka

# Machines of CI are slow by turns: a property's examples have no deadline.
settings.register_profile("verdict", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("verdict")

# A shell without job control gives a command in the background a SIGINT that is ignored, and so do
# its children inherit it: those that tests end by Ctrl-C would go on until their deadline.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

DEAREST = (
    "tests/test_docs.py",
    "integration/test_flink_upgrade.py",
    "integration/test_kill_flink.py",
    "contract/test_jobs.py",
    "integration/test_flink.py",
    "windows/test_general.py",
    "integration/test_demo.py",
    "integration/test_state_commands.py",
    "integration/test_kill_embedded.py",
    "local/test_broker.py",
    "testing/test_plugin.py",
    "parity/test_check.py",
    "kafka/test_read.py",
    "kafka/test_java.py",
    "integration/test_bad_input.py",
    "integration/test_lookups.py",
    "integration/test_metrics.py",
    "integration/test_bench.py",
    "embedded/test_broker.py",
    "cli/test_app.py",
    "integration/test_bootstrap.py",
    "jobs/test_label_feed.py",
)
"""Files that take ten seconds and more, the longest first."""
GOLDEN = Path(__file__).parent / "golden"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update", action="store_true", help="write tests/golden/ anew")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs a server; begin with what takes longest, for a worker that got it last would
    go on alone.
    """
    for item in items:
        served = {"kafka", "secure", "tidying"} & set(getattr(item, "fixturenames", ()))
        if served or "integration" in item.path.parts:
            item.add_marker("server")
    order = {name: number for number, name in enumerate(DEAREST)}
    items.sort(key=lambda item: order.get("/".join(item.path.parts[-2:]), len(order)))


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalKafka]:
    """A running broker for the whole session: give each test topics of its own."""
    with LocalKafka(tmp_path_factory.mktemp("kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def generator() -> ModuleType:
    """`examples/card-fraud/generator.py`: no import statement can name its folder."""
    file = Path(__file__).parents[1] / "examples" / "card-fraud" / "generator.py"
    spec = importlib.util.spec_from_file_location("generator", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their own module up while it is being executed.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Callable[[str, str], None]:
    """Hold a text against a file of `tests/golden/`; with ``--update``, write the file."""

    def hold(name: str, text: str) -> None:
        file = GOLDEN / name
        if request.config.getoption("--update"):
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            return
        kept = file.read_text() if file.exists() else ""
        if text != kept:
            lines = difflib.unified_diff(
                kept.splitlines(), text.splitlines(), f"golden/{name}", "now", lineterm="", n=2
            )
            pytest.fail(
                "\n".join(
                    [*lines, "", f"If it is to be so: pytest {request.node.nodeid} --update"]
                ),
                pytrace=False,
            )

    return hold
