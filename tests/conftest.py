"""What tests of every package may use."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import HealthCheck, settings

from verdict.pipelines.local.broker import LocalKafka

# Machines of CI are slow by turns: a property's examples have no deadline.
settings.register_profile("verdict", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("verdict")


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
