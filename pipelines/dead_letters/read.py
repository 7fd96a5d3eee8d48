"""Dead letters, read back from their topic or from the file of a run from files; and counted."""

import heapq
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from verdict.operators.errors import BadRecord
from verdict.operators.message import NO_TIMESTAMP
from verdict.operators.names import DEAD_LETTERS
from verdict.pipelines.dead_letters.letter import Letter, LetterFilter
from verdict.pipelines.errors import FileError
from verdict.pipelines.formats.avro_file import read_records
from verdict.pipelines.formats.streams import stream_decoder
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.kafka.coordinates import Coordinates
from verdict.pipelines.kafka.read import Reader
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.text import moment


def letters(
    pipeline: Pipeline,
    wanted: LetterFilter,
    folder: Path | None = None,
    strange: Callable[[str], None] = lambda _where: None,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Iterator[Letter]:
    """Read the dead letters that are there now, oldest first in each partition.

    Only one is in memory at a time.

    Parameters
    ----------
    pipeline
        Whose they are.
    wanted
        Which of them.
    folder
        Of the output files of a run from files; None reads the topic.
    strange
        Told where a record lies that is no dead letter.
    progress
        Told how many records were read, and of how many.

    Raises
    ------
    KafkaError
        The broker does not answer, or has no such topic.
    FileError
        There is no such file; or ``since`` is wanted of one.
    """
    found = _of_topic(pipeline, wanted.since, strange, progress)
    if folder is not None:
        if wanted.since is not None:
            raise FileError("--since goes by the time at which Kafka got a letter; a file has none")
        found = _of_file(pipeline, folder)
    with closing(found):
        yield from filter(wanted.fits, found)


def newest(all_letters: Iterable[Letter], most: int) -> list[Letter]:
    """Return the newest of some letters, oldest first, without their values.

    >>> newest([], 3)
    []
    """
    kept: list[tuple[int, int, Letter]] = []
    for number, letter in enumerate(all_letters):
        slim = Letter(**{**vars(letter), "value": None})
        (heapq.heappush if len(kept) < most else heapq.heappushpop)(kept, (letter.at, number, slim))
    return [letter for *_, letter in sorted(kept)]


def _of_file(pipeline: Pipeline, folder: Path) -> Generator[Letter, None, None]:
    path = folder / f"{pipeline.topics[DEAD_LETTERS]}.avro"
    if not path.exists():
        raise FileError(f"there is no {path}: run the pipeline first, or name its folder by --from")
    for record in read_records(path):
        at = record["timestamp"]
        stamp = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
        yield _letter({**record, "timestamp": stamp}, NO_TIMESTAMP)


def _of_topic(
    pipeline: Pipeline,
    since: int | None,
    strange: Callable[[str], None],
    progress: Callable[[int, int], None],
) -> Generator[Letter, None, None]:
    settings = clients(pipeline.spec.settings, pipeline.path.parent)
    topic = pipeline.topics[DEAD_LETTERS]
    decode = stream_decoder(DEAD_LETTERS, pipeline.spec.settings)
    # As `verdict tail`: at once, not up to a checkpoint later.
    with Reader(settings, "verdict-dlq") as reader:
        for record in reader.read(topic, since=since, progress=progress):
            try:
                yield _letter(decode(record.value() or b""), record.timestamp()[1])
            except BadRecord:
                strange(f"{topic}/{record.partition()}/{record.offset()}")


def _letter(record: Mapping[str, Any], at: int) -> Letter:
    return Letter(
        at,
        record["pipeline"],
        record["job"],
        record["stage"],
        record["kind"],
        record["reason"],
        Coordinates(record["topic"], record["partition"], record["offset"]),
        record["timestamp"],
        record["key"],
        record["value"],
        record["value_size"],
        record["value_sha256"],
    )


@dataclass
class LetterCount:
    """How many letters of one stage, kind and job there are, and from when to when."""

    stage: str
    kind: str
    job: str
    count: int = 0
    first: int = NO_TIMESTAMP
    last: int = NO_TIMESTAMP

    def as_json(self) -> dict[str, Any]:
        """Say it in what JSON knows."""
        return asdict(self) | {"first": moment(self.first), "last": moment(self.last)}


def summary(all_letters: Iterable[Letter]) -> list[LetterCount]:
    """Count letters by stage, kind and job, the most first."""
    tallies: dict[tuple[str, str, str], LetterCount] = {}
    for letter in all_letters:
        key = (letter.stage, letter.kind, letter.job)
        tally = tallies.setdefault(key, LetterCount(*key))
        tally.count += 1
        tally.first = letter.at if tally.first < 0 else min(tally.first, letter.at)
        tally.last = max(tally.last, letter.at)
    return sorted(tallies.values(), key=lambda tally: -tally.count)
