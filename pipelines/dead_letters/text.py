"""Dead letters as lines of text."""

from collections.abc import Sequence

from verdict.operators.records.dead_letter import MAX_RAW
from verdict.pipelines.dead_letters.letter import Letter, OriginalState
from verdict.pipelines.dead_letters.read import LetterCount
from verdict.pipelines.text import moment, printable

SHOWN_BYTES, SHOWN_CHARACTERS = 512, 4_096
"""What `body` shows of a value at most, in hex and as text."""
STATES = {
    OriginalState.THERE: "still there, the same",
    OriginalState.GONE: "gone from its topic",
    OriginalState.CHANGED: "another record lies there now",
}


def table(tallies: Sequence[LetterCount]) -> list[str]:
    r"""Lay a summary out in columns.

    >>> print(*table([LetterCount("decode", "not-avro", "score", 12, 0, 60_000)]), sep="\n")
       count  stage     kind             job     first                     last
          12  decode    not-avro         score   1970-01-01T00:00:00.000Z  1970-01-01T00:01:00.000Z
    """
    rows = [("count", "stage", "kind", "job", "first", "last")]
    for each in tallies:
        first, last = moment(each.first) or "-", moment(each.last) or "-"
        rows.append((f"{each.count:,}", each.stage, each.kind, each.job, first, last))
    return [
        f"{count:>8}  {stage:<8}  {kind:<15}  {job:<6}  {first:<24}  {last}".rstrip()
        for count, stage, kind, job, first, last in rows
    ]


def line(letter: Letter) -> str:
    """Say a letter in one line."""
    written = f"{moment(letter.at)} " if letter.at >= 0 else ""
    what = f"{letter.job} {letter.stage}/{letter.kind}"
    return f"{written}{letter.original} {what}: {printable(letter.reason)}"


def body(data: bytes | None) -> list[str]:
    """Show bytes: text line by line if they are UTF-8, else what `xxd` shows; cut.

    >>> body(b'{"id": 1}')
    ['{"id": 1}']
    >>> body(bytes([0, 255]))
    ['00000000  00 ff                                            |..|']
    """
    if data is None:
        return ["(none)"]
    if not data:
        return ["(empty)"]
    try:
        # A cut at 65,536 bytes may have gone through a character.
        text = data[: len(data) - _torn(data)].decode() if len(data) >= MAX_RAW else data.decode()
    except UnicodeDecodeError:
        text = ""
    if text and not any(ord(c) < 32 and c not in "\t\r\n" for c in text):
        shown = [printable(each) for each in text[:SHOWN_CHARACTERS].splitlines()]
        left = len(text) - SHOWN_CHARACTERS
        return [*shown, f"… {left:,} characters more"] if left > 0 else shown
    rows = []
    for start in range(0, min(len(data), SHOWN_BYTES), 16):
        row = data[start : start + 16]
        seen = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        rows.append(f"{start:08x}  {row.hex(' '):<47}  |{seen}|")
    left = len(data) - SHOWN_BYTES
    return [*rows, f"… {left:,} bytes more"] if left > 0 else rows


def _torn(data: bytes) -> int:
    """Count the bytes of a character that the end cuts."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte >= 0xC0:
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return back if length > back else 0
        if byte < 0x80:
            return 0
    return 0


def described(letter: Letter, state: OriginalState | None) -> list[str]:
    """Say all of a letter.

    Parameters
    ----------
    letter
        The letter.
    state
        What became of the original; None of one in a file.
    """
    size = "a tombstone" if letter.value_size < 0 else f"{letter.value_size:,} bytes"
    if not letter.complete:
        size += f", of which the letter holds {len(letter.value or b''):,}"
    facts = {
        "original": str(letter.original) + ("" if state is None else f", {STATES[state]}"),
        "its timestamp": moment(letter.timestamp) or "none",
        "pipeline": f"{letter.pipeline}/{letter.job}",
        "stage/kind": f"{letter.stage}/{letter.kind}",
        "reason": printable(letter.reason),
        "written": moment(letter.at) or "-",
        "size": size,
        "sha256": letter.value_sha256 or "-",
    }
    shown = [f"{name:<14}{text}" for name, text in facts.items()]
    for name, data in (("key", letter.key), ("value", letter.value)):
        shown += [f"{name}:", *(f"  {row}" for row in body(data))]
    return shown
