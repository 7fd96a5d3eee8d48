"""The examples are scripts in folders that no import statement can name; load them by path."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

CARD_FRAUD = Path(__file__).parents[2] / "examples" / "card-fraud"


@pytest.fixture(scope="session")
def generator() -> ModuleType:
    """`examples/card-fraud/generator.py`."""
    spec = importlib.util.spec_from_file_location("generator", CARD_FRAUD / "generator.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their own module up while it is being executed.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
