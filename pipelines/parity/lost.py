"""Which events without decision were lost: nobody decided them, and nobody says why.

What the replay decides and the job did not is lost only where a decision must be there: between
two others of its partition that were surely not removed yet and surely followed by it, and where no
dead letter stands in its place.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from verdict.operators.names import DEAD_LETTERS, SCORE_JOB
from verdict.pipelines.dead_letters.letter import LetterFilter
from verdict.pipelines.dead_letters.read import letters
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.topology import Stop
from verdict.state.store.rocks import RocksStore


class Letters:
    """The records that are dead letters of the score job, in a temporary store."""

    def __init__(self, store: RocksStore) -> None:
        self._store = store

    def read(self, sources: Iterator[str], most: int) -> None:
        """Take their places; ``most`` is after how many to write them out."""
        for number, source in enumerate(sources, 1):
            self._store.put(source.encode(), b"")
            if number % most == 0:
                self._store.commit({})
        self._store.commit({})

    def __contains__(self, source: str) -> bool:
        return self._store.get(source.encode()) is not None


def read_letters(pipeline: Pipeline, decisions: Sequence[Path] | None, stop: Stop) -> Iterator[str]:
    """Yield where the records lie that are dead letters of the score job.

    Parameters
    ----------
    pipeline
        Whose letters.
    decisions
        Files: the letters are looked for beside them. None reads the topic.
    stop
        Ends it.

    Raises
    ------
    KafkaError
        The broker does not answer, or has no such topic.
    FileError
        A file cannot be read.
    """
    folders: list[Path | None] = [None]
    if decisions is not None:
        name = f"{pipeline.topics[DEAD_LETTERS]}.avro"
        beside = dict.fromkeys(file.parent for file in decisions)
        folders = [folder for folder in beside if (folder / name).exists()]
    for folder in folders:
        for letter in letters(pipeline, LetterFilter(), folder):
            if stop.is_set():
                return
            if (letter.pipeline, letter.job) == (pipeline.spec.pipeline, SCORE_JOB):
                yield str(letter.original)
