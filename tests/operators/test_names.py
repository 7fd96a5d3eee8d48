"""Names: what follows from one is there, and each is the text that it stands for."""

import json
import pickle
import re
from pathlib import Path

import pytest

from verdict.operators.names import DEAD_LETTERS, BadKind, InputStream, JobName, Stage, Stream
from verdict.pipelines.formats.streams import definition
from verdict.pipelines.paths import resource
from verdict.pipelines.spec.settings import Topics

NAMES = [*Stream, *InputStream, *Stage, *BadKind, *JobName]


@pytest.mark.parametrize("stream", Stream)
def test_a_stream_has_a_schema_and_a_topic(stream: Stream) -> None:
    assert definition(stream)["type"] == "record"
    assert Topics().of(stream) == stream
    assert Topics.model_validate({stream.value: "another"}).of(stream) == "another"
    assert stream.about


def test_every_schema_is_of_a_stream() -> None:
    files = {file.stem for file in resource("avro").glob("*.avsc")}
    assert files == {stream.schema for stream in Stream}


def test_every_kind_is_explained() -> None:
    page = (Path(__file__).parents[2] / "docs" / "semantics.md").read_text("utf-8")
    rows = re.findall(r"^\| `([a-z]+)` \| `([a-z-]+)` \|", page, re.MULTILINE)
    # A lookup's row without a key is left out, and has no dead letter.
    kinds = [kind for kind in BadKind if kind is not BadKind.MISSING_KEY]
    assert sorted(rows) == sorted((kind.stage, kind) for kind in kinds)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_its_text(name: str) -> None:
    text = str(name)
    assert (type(text), name, hash(name)) == (str, text, hash(text))
    assert (f"{name}", repr(name), f"{name!r}") == (text, repr(text), repr(text))
    assert json.dumps({name: name}) == json.dumps({text: text})
    again = pickle.loads(pickle.dumps(name))
    assert again is name


def test_names_are_keys_as_their_texts_are() -> None:
    counts: dict[tuple[str, str], int] = {(DEAD_LETTERS, Stage.DECODE): 1}
    assert counts["dead-letters", "decode"] == 1
