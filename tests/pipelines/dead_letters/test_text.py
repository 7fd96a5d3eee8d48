"""Dead letters as lines of text: bytes are shown, and steer no terminal."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verdict.operators.records.dead_letter import MAX_RAW
from verdict.pipelines.dead_letters.text import body


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (None, ["(none)"]),
        (b"", ["(empty)"]),
        (b"a\nb\tc", ["a", "b\\tc"]),
        ("é\u202e\x85".encode(), ["é\\u202e", ""][:1]),
        (b"\x1b[2J", ["00000000  1b 5b 32 4a                                      |.[2J|"]),
        (b"\xff" * 600, None),
        (b"x" * 5_000, None),
    ],
)
def test_bytes_are_shown_as_text_or_in_hex_and_cut(
    data: bytes | None, shown: list[str] | None
) -> None:
    found = body(data)
    if shown is not None:
        assert found == shown
    assert sum(map(len, found)) < 6_000
    if data is not None and len(data) > 512:
        assert found[-1] in ("… 88 bytes more", "… 904 characters more")


def test_text_that_was_cut_within_a_character_is_still_text() -> None:
    for cut in range(MAX_RAW - 4, MAX_RAW + 1):
        whole = "x" * cut + "€" * 4
        data = whole.encode()[:MAX_RAW]
        assert body(data)[0].startswith("xxx")


@settings(max_examples=200)
@given(st.binary(max_size=700) | st.text(max_size=300).map(lambda text: text.encode()))
def test_whatever_the_bytes_no_terminal_obeys_them(data: bytes) -> None:
    assert all(row.isprintable() for row in body(data))
