"""The example's pipeline, run over three hundred payments: what its outputs are shown from."""

import signal
from pathlib import Path
from types import ModuleType

import pytest

from tests.pipelines.conftest import CARD_FRAUD, UNREADABLE, tiny, verdict
from verdict.pipelines.cli import app
from verdict.pipelines.formats.avro_file import AvroFile
from verdict.pipelines.spec.load import load

__all__ = ["tiny", "verdict"]

EVERY = 6
"""Of three days' payments, so that days close."""


@pytest.fixture(scope="package")
def ran_over(generator: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``events.avro``, and what all jobs put out of it in ``out``."""
    folder = tmp_path_factory.mktemp("golden")
    world = generator.World(days=3, broken=0.05)
    payments = [
        tx for tx in list(generator.transactions(world))[::EVERY] if tx.broken not in UNREADABLE
    ]
    file = folder / "events.avro"
    container = AvroFile(file, load(CARD_FRAUD / "pipeline.yaml").schema.definition, 0)
    container.append(map(generator.encode, payments))
    container.close()
    command = ["verdict", "run", str(CARD_FRAUD), "--events", str(file), "--json"]
    handlers = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "sys.argv", [*command, "--to", str(folder / "out"), "--state", str(folder / "state")]
        )
        with pytest.raises(SystemExit) as end:
            app.main()
    for each, handler in handlers.items():
        signal.signal(each, handler)
    assert end.value.code == 0
    return folder
