"""Every error of a file says where, and a mistyped key what was meant."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Discriminator, Field, Tag, model_validator

from verdict.pipelines.errors import SpecError
from verdict.pipelines.spec.yaml_file import Fault, Model, SourceFile, parse, read


class Circle(Model):
    """A branch of a union."""

    radius: float


class Square(Model):
    """The other branch."""

    side: float


Shape = Annotated[
    Annotated[Circle, Tag("circle")] | Annotated[Square, Tag("square")],
    Discriminator(lambda value: "circle" if "radius" in value else "square"),
]


class Part(Model):
    """A part of the whole."""

    colour: str = "red"
    amount: int | bool = 0
    from_: str = Field(default="", alias="from")


class Whole(Model):
    """A file."""

    name: str
    parts: list[Part] = []
    shapes: dict[str, Shape] = {}
    level: float = Field(default=1, gt=0)

    @model_validator(mode="after")
    def _rules(self) -> "Whole":
        if self.name == "fault":
            raise Fault(("parts", 1), "the second part is too much")
        if self.name == "value":
            raise ValueError("'value' is no name")
        return self


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "file.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\nb: [\n", ":3: not YAML: expected the node content, but found '<stream end>'"),
        ("a: 1\n\tb: 2\n", ":2: not YAML: found character '\\t' that cannot start any token"),
        ("a: 1\nb: x: y\n", ":2: not YAML: mapping values are not allowed here"),
        ("a: *nobody\n", ":1: not YAML: found undefined alias 'nobody'"),
        ("a: 1\n---\nb: 2\n", ":2: not YAML: but found another document"),
        ("a: !!python/object x\n", ":1: not YAML: could not determine a constructor for the tag"),
        ("a: 1\nb: \0\n", ":2: not YAML: special characters are not allowed"),
        ("a: 1\nb: 2026-13-01\n", ":2: not YAML: 2026-13-01: month must be in 1..12"),
        ("a: 1\nb: 2\na: 3\n", ":3: 'a' stands twice"),
        ("a:\n  b: 1\n  c: {d: 1,\n    d: 2}\n", ":4: 'd' stands twice"),
        ("a: 1\n? [b]\n: 2\n", ":2: a key is text, no list and no mapping"),
        ("", ":1: a mapping is wanted, such as 'pipeline: my-pipeline'"),
        ("- a\n- b\n", ":1: a mapping is wanted"),
        ("just text", ":1: a mapping is wanted"),
        ("a: &a [*a]\n", ":1: not for a pipeline: nested without end"),
        ("a: " + "[" * 1_500, ":1: not for a pipeline: nested without end"),
        (b"a: \xff\n", ": not UTF-8: "),
    ],
)
def test_what_is_no_good_yaml_is_refused_in_one_line(
    tmp_path: Path, text: str | bytes, says: str
) -> None:
    path = write(tmp_path, text)
    with pytest.raises(SpecError) as refusal:
        read(path)
    assert len(refusal.value.messages) == 1
    assert str(refusal.value).startswith(f"{path}{says}")


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(SpecError) as refusal:
        read(tmp_path / "none.yaml")
    assert str(refusal.value) == f"{tmp_path}/none.yaml: cannot be read: No such file or directory"


def test_a_part_knows_its_line(tmp_path: Path) -> None:
    source = read(write(tmp_path, "a: 1\nb:\n  - c: 2\n  -\n    d: 3\n1: {e: 4}\n"))
    assert source.line(("a",)) == 1
    assert source.line(("b", 0)) == source.line(("b", 0, "c")) == 3
    assert source.line(("b", 1, "d")) == 5
    assert source.line(("b", 1, "not", "there")) == 5
    assert source.line((1, "e")) == 6
    assert source.line(("nowhere",)) == source.line(()) == 1


def test_merge_keys_are_no_duplicates(tmp_path: Path) -> None:
    source = read(write(tmp_path, "a: &a {x: 1}\nb: {<<: *a, y: 2}\n"))
    assert source.data["b"] == {"x": 1, "y": 2}


@given(st.dictionaries(st.from_regex("[a-z]{1,5}", fullmatch=True), st.integers(), min_size=1))
def test_every_key_of_a_flat_file_has_its_own_line(entries: dict[str, int]) -> None:
    lines = [f"k{key}: {value}" for key, value in entries.items()]
    with TemporaryDirectory() as folder:
        source = read(write(Path(folder), "\n".join(lines)))
    assert [source.line((f"k{key}",)) for key in entries] == list(range(1, len(entries) + 1))


def faults(folder: Path, text: str) -> list[str]:
    path = write(folder, text)
    with pytest.raises(SpecError) as refusal:
        parse(read(path), Whole)
    return [message.removeprefix(f"{path}:") for message in refusal.value.messages]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("parts: []\n", "1: 'name' is missing"),
        ("name: x\n\nlevle: 2\n", "3: there is no setting 'levle'. Did you mean 'level'?"),
        (
            "name: x\nzzz: 2\n",
            "2: there is no setting 'zzz'. There are: name, parts, shapes, level.",
        ),
        ("namme: x\n", "1: there is no setting 'namme'. Did you mean 'name'?"),
        (
            "name: x\nparts:\n- {colour: red}\n- colr: red\n",
            "4: there is no setting 'parts.1.colr'. Did you mean 'colour'?",
        ),
        (
            "name: x\nparts:\n- {from_: a}\n",
            "3: there is no setting 'parts.0.from_'. Did you mean 'from'?",
        ),
        (
            "name: x\nshapes:\n  a: {radius: 1, sid: 1}\n",
            "3: there is no setting 'shapes.a.sid'. There are: radius.",
        ),
        (
            "name: x\nshapes:\n  a: {sid: 1}\n",
            "3: there is no setting 'shapes.a.sid'. Did you mean 'side'?",
        ),
        (
            "name: x\nshapes:\n  circle: {radius: big}\n",
            "3: shapes.circle.radius: a number is wanted, not 'big'",
        ),
        ("name: x\nshapes:\n  a: {}\n", "3: 'shapes.a.side' is missing"),
        ("name: 5\n", "1: name: text is wanted, not 5"),
        ("name: x\nparts: {}\n", "2: parts: a list is wanted, not {}"),
        ("name: x\nparts: [a]\n", "2: parts.0: a mapping is wanted, not 'a'"),
        ("name: x\nshapes: []\n", "2: shapes: a mapping is wanted, not []"),
        (
            "name: x\nparts:\n- amount: 1.5\n",
            "3: parts.0.amount: a whole number or true or false is wanted, not 1.5",
        ),
        ("name: x\nlevel: 0\n", "2: level: Input should be greater than 0, not 0"),
        ("name: x\nlevel: .nan\n", "2: level: Input should be a finite number, not nan"),
        (
            "name: x\nshapes:\n  yes: {side: 1}\n",
            "2: shapes: the key True is no text; quote it",
        ),
        ("name: fault\nparts:\n- {}\n- {}\n", "4: the second part is too much"),
        ("\nname: value\n", "1: 'value' is no name"),
        (
            f"name: [{'x' * 99}]\n",
            f"1: name: text is wanted, not ['{'x' * 55}...",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_one_line(tmp_path: Path, text: str, says: str) -> None:
    assert faults(tmp_path, text) == [says]


def test_all_that_does_not_fit_is_said_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    text = "nme: x\nlevel: high\nparts:\n" + "- {}\n" * 8 + "- colour: 1\nzzz: 1\n"
    assert [int(fault.partition(":")[0]) for fault in faults(tmp_path, text)] == [1, 2, 12, 13]


def test_a_source_makes_errors_of_its_own(tmp_path: Path) -> None:
    source = SourceFile(tmp_path / "f.yaml", {}, {("a",): 7})
    assert str(source.error(("a", "b"), "wrong")) == f"{tmp_path}/f.yaml:7: wrong"


def test_a_file_that_fits_becomes_the_model(tmp_path: Path) -> None:
    whole = parse(read(write(tmp_path, "name: x\nparts: [{from: here}]\n")), Whole)
    assert (whole.name, whole.parts[0].from_, whole.level) == ("x", "here", 1)
