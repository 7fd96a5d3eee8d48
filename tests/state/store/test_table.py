"""The table: a dict that survives, with offsets of the same moment."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verdict.state.store.table import Table, TableInUse

KEYS = st.binary(min_size=1, max_size=3)
CHANGES = st.dictionaries(KEYS, st.none() | st.binary(max_size=4), max_size=6)
STEPS = st.lists(st.tuples(CHANGES, st.booleans()), max_size=12)


@settings(max_examples=40)  # each opens a store several times
@given(STEPS)
def test_it_is_a_dict_that_survives_being_closed(
    steps: list[tuple[dict[bytes, bytes | None], bool]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        table, model = Table(Path(folder), "a"), dict[bytes, bytes]()
        for number, (changes, again) in enumerate(steps):
            table.apply(changes, {"t/0": number}, as_of=float(number))
            model |= {key: row for key, row in changes.items() if row is not None}
            for key in [key for key, row in changes.items() if row is None]:
                model.pop(key, None)
            if again:
                table.close()
                table = Table(Path(folder), "a")
            assert table.rows == len(model)
            assert table.offsets == {"t/0": number} and table.as_of == number
            for key in {*model, *changes, b"", b"note"}:
                assert table.get(key) == model.get(key)
        table.close()


def test_offsets_that_are_not_named_stay(tmp_path: Path) -> None:
    table = Table(tmp_path, "a")
    table.apply({}, {"t/0": 1, "t/1": 5})
    table.apply({}, {"t/0": 2})
    assert table.offsets == {"t/0": 2, "t/1": 5}
    table.close()


def test_what_was_made_of_something_else_is_dropped(tmp_path: Path) -> None:
    table = Table(tmp_path, "a")
    table.apply({b"k": b"row"}, {"t/0": 1})
    table.compact()
    assert table.get(b"k") == b"row"
    table.close()
    table = Table(tmp_path, "b")
    assert (table.get(b"k"), table.rows, table.offsets) == (None, 0, {})
    table.close()
    table = Table(tmp_path, "b")
    assert table.get(b"k") is None
    table.close()


def test_a_folder_has_one_owner(tmp_path: Path) -> None:
    table = Table(tmp_path, "a")
    with pytest.raises(TableInUse, match=str(tmp_path)):
        Table(tmp_path, "a")
    table.close()


APPLYING = """
import sys
from pathlib import Path
from verdict.state.store.table import Table
table = Table(Path(sys.argv[1]), "a")
number = table.offsets.get("t/0", 0)
while True:
    number += 1
    rows = {b"%d" % key: b"%d" % number for key in range(200)}
    table.apply(rows, {"t/0": number})
    print(number, flush=True)
"""


def test_kill_9_in_mid_apply_leaves_rows_and_offsets_of_one_moment(tmp_path: Path) -> None:
    for lines in (3, 40, 150):
        process = subprocess.Popen(
            [sys.executable, "-c", APPLYING, str(tmp_path)],
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
        )
        assert process.stdout is not None
        said = [int(process.stdout.readline()) for _ in range(lines)]
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        table = Table(tmp_path, "a")
        number = table.offsets["t/0"]
        assert number >= said[-1] and table.rows == 200
        assert {table.get(b"%d" % key) for key in range(200)} == {b"%d" % number}
        table.close()
