"""Dead letters: what one says, which are asked for, and what became of its original.

A letter keeps 65,536 bytes of what it is about, and the coordinates of the whole.
"""

import base64
import hashlib
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from verdict.operators.records.dead_letter import MAX_RAW
from verdict.pipelines.kafka.clients import clients
from verdict.pipelines.kafka.coordinates import Coordinates
from verdict.pipelines.kafka.fetch import Original, RecordFetcher
from verdict.pipelines.spec.pipeline import Pipeline
from verdict.pipelines.text import moment


@dataclass(frozen=True)
class Letter:
    """A dead letter.

    Attributes
    ----------
    at
        When it was written, milliseconds since the epoch; negative in a file, which does not say.
    pipeline, job, stage, kind, reason
        Whose it is, and what was wrong.
    original
        Where the record lies that it is about.
    timestamp
        The record's, milliseconds since the epoch; negative where it had none.
    key, value
        Of the record, each cut at 65,536 bytes.
    value_size
        Bytes of the whole value; -1 for a tombstone.
    value_sha256
        Of the whole value.
    """

    at: int
    pipeline: str
    job: str
    stage: str
    kind: str
    reason: str
    original: Coordinates
    timestamp: int
    key: bytes | None
    value: bytes | None
    value_size: int
    value_sha256: str | None

    @property
    def complete(self) -> bool:
        """Whether it holds the whole of the record."""
        whole_key = self.key is None or len(self.key) < MAX_RAW
        return whole_key and (self.value is None or len(self.value) == self.value_size)

    def as_json(self, raw: bool = True) -> dict[str, Any]:
        """Say it in what JSON knows; ``raw`` with the bytes, in base64."""
        found = asdict(self) | self.original._asdict()
        del found["original"]
        found["at"] = moment(self.at)
        found["timestamp"] = moment(self.timestamp)
        for name in ("key", "value"):
            data: bytes | None = found.pop(name)
            if raw or name == "key":
                found[name] = None if data is None else data.decode("utf-8", "backslashreplace")
            if raw:
                encoded = None if data is None else base64.b64encode(data).decode()
                found[f"{name}_base64"] = encoded
        return found


@dataclass(frozen=True)
class LetterFilter:
    """Which letters: each part that is not None must fit.

    Attributes
    ----------
    stage, kind
        Of the letter.
    since
        Milliseconds since the epoch; letters written before it are left out.
    places
        Of the records.
    """

    stage: str | None = None
    kind: str | None = None
    since: int | None = None
    places: frozenset[Coordinates] | None = None

    def fits(self, letter: Letter) -> bool:
        """Whether a letter is one of those."""
        return (
            self.stage in (None, letter.stage)
            and self.kind in (None, letter.kind)
            and (self.since is None or letter.at >= self.since)
            and (self.places is None or letter.original in self.places)
        )


class OriginalState(StrEnum):
    """What became of an original."""

    THERE = "there"
    GONE = "gone"
    CHANGED = "changed"


def compared(letter: Letter, original: Original | None) -> OriginalState:
    """Say whether an original is still there, and the same by size and sha256."""
    if original is None:
        return OriginalState.GONE
    value = original.value
    if value is None or letter.value_sha256 is None:
        same = value is None and letter.value_sha256 is None
    else:
        same = len(value) == letter.value_size and _sha256(value) == letter.value_sha256
    return OriginalState.THERE if same else OriginalState.CHANGED


def _sha256(value: bytes) -> str:
    return hashlib.sha256(value).hexdigest()


def look(pipeline: Pipeline, letter: Letter) -> OriginalState:
    """Fetch a letter's original and say what became of it."""
    with RecordFetcher(clients(pipeline.spec.settings, pipeline.path.parent)) as fetcher:
        return compared(letter, fetcher.fetch(letter.original))
