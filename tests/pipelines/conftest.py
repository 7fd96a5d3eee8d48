"""What tests of the pipelines share: the command line in this process, and the example's events."""

import shutil
import signal
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

from tests.pipelines.races import SPEC, write
from verdict.pipelines.cli import app
from verdict.pipelines.formats.avro_file import AvroFile
from verdict.pipelines.kafka.admin import create_topics
from verdict.pipelines.kafka.clients import Clients, clients
from verdict.pipelines.local.broker import LocalKafka
from verdict.pipelines.paths import resource
from verdict.pipelines.spec.load import load
from verdict.pipelines.spec.pipeline import Pipeline

CARD_FRAUD = Path(__file__).parents[2] / "examples" / "card-fraud"
UNREADABLE = ("truncated", "garbage")
"""Ways of being broken that a container of records cannot hold."""

STREAMS = ("decisions", "dead-letters", "shadow-scores", "drift", "comparison")


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def verdict(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Ran]]:
    """`verdict …` without the seconds that a process of its own takes to import everything."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def run(*arguments: str | Path) -> Ran:
        capsys.readouterr()
        monkeypatch.setattr("sys.argv", ["verdict", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            app.main()
        said = capsys.readouterr()
        return Ran(int(end.value.code or 0), said.out, said.err)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The folder of what `verdict init` makes."""
    return Path(shutil.copytree(resource("init"), tmp_path / "tiny"))


@pytest.fixture(scope="session")
def race(tmp_path_factory: pytest.TempPathFactory) -> Pipeline:
    """Two keyed hops over a topic."""
    return write(tmp_path_factory.mktemp("race"), SPEC)


@dataclass(frozen=True)
class Example:
    """The example's pipeline and some days of card payments, two in a hundred of them broken.

    Attributes
    ----------
    transactions
        As the generator made them.
    messages
        Their Kafka keys and values.
    events
        An Avro container of those that one can hold.
    """

    pipeline: Pipeline
    transactions: Sequence[Any]
    messages: Sequence[tuple[bytes | None, bytes]]
    events: Path


@pytest.fixture(scope="session")
def example(generator: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Example:
    """1,900 payments of three days."""
    pipeline = load(CARD_FRAUD / "pipeline.yaml")
    transactions = list(generator.transactions(generator.World(days=3, broken=0.02)))
    events = tmp_path_factory.mktemp("example") / "events.avro"
    container = AvroFile(events, pipeline.schema.definition, 0)
    container.append(generator.encode(tx) for tx in transactions if tx.broken not in UNREADABLE)
    container.close()
    messages = [(tx.key, generator.encode(tx)) for tx in transactions]
    return Example(pipeline, transactions, messages, events)


Variant = Callable[..., Path]


@pytest.fixture(scope="session")
def variant() -> Variant:
    """Write the example's pipeline file with some settings replaced, or dropped where None.

    ``variant(path, pipeline="other", events={"keyed_by": None})``
    """

    def write(path: Path, **changes: Any) -> Path:
        data = yaml.safe_load((CARD_FRAUD / "pipeline.yaml").read_text())
        data["events"]["schema"] = str(CARD_FRAUD / "transaction.avsc")
        data["model"] = {
            "champion": str(CARD_FRAUD / "models/champion"),
            "challengers": [str(CARD_FRAUD / "models/challenger")],
        }
        for section, change in changes.items():
            if isinstance(change, dict):
                merged = {**data.get(section, {}), **change}
                change = {key: value for key, value in merged.items() if value is not None}
            data[section] = change
        path.write_text(yaml.safe_dump(data, sort_keys=False))
        return path

    return write


@dataclass(frozen=True)
class OnKafka:
    """The example's pipeline on topics of its own."""

    file: Path
    pipeline: Pipeline
    clients: Clients


@pytest.fixture(scope="session")
def on_kafka(variant: Variant, kafka: LocalKafka) -> Callable[..., OnKafka]:
    """Make the example's pipeline on topics of its own: ``on_kafka(folder, "prefix")``."""

    def make(folder: Path, prefix: str, create: bool = True) -> OnKafka:
        file = variant(
            folder / f"{prefix}.yaml",
            pipeline=prefix,
            events={"topic": f"{prefix}-events"},
            topics={stream: f"{prefix}-{stream}" for stream in STREAMS},
            # A topic's end is told by an answer without records, which a broker puts off.
            settings={"kafka": {"bootstrap.servers": kafka.bootstrap, "fetch.wait.max.ms": 50}},
        )
        pipeline = load(file)
        made = clients(pipeline.spec.settings)
        if create:
            create_topics(made, list(pipeline.topics.values()))
        return OnKafka(file, pipeline, made)

    return make
