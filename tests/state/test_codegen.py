"""Compiled text: what it is called, and where it can be read."""

import traceback
from pathlib import Path

import pytest

from verdict.state.codegen import define
from verdict.state.errors import StateError


def test_a_traceback_shows_the_line_and_says_what_it_is_of() -> None:
    divide = define("divide", "x", ["y = 0", "return x / y"], {}, "windows customer")
    with pytest.raises(ZeroDivisionError) as error:
        divide(1)
    last = traceback.extract_tb(error.tb)[-1]
    assert last.filename.startswith("<verdict windows customer ")
    assert (last.lineno, last.name, last.line) == (3, "divide", "return x / y")


def test_no_two_have_one_name() -> None:
    made = [define("same", "", ["return 1"], {}) for _ in range(2)]
    assert len({each.__code__.co_filename for each in made}) == 2


def test_texts_are_written_where_the_environment_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "to" / "come"
    monkeypatch.setenv("VERDICT_CODE", str(folder))
    name = define("one", "", ["return 1"], {}, "windows ../a b").__code__.co_filename
    number = int(name.rstrip(">").rpartition(" ")[2])
    (file,) = folder.iterdir()
    assert file.name == f"windows-..-a-b-{number}.py"
    assert file.read_text() == "def one():\n    return 1\n"

    (folder / f"two-{number + 1}.py").write_text("another process's")
    assert define("two", "", ["return 2"], {}).__code__.co_filename == f"<verdict two {number + 2}>"
    assert (folder / f"two-{number + 1}.py").read_text() == "another process's"


def test_a_folder_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("VERDICT_CODE", str(tmp_path / "file"))
    with pytest.raises(StateError, match=r"^VERDICT_CODE=.*file: .*name a folder"):
        define("one", "", ["return 1"], {})
