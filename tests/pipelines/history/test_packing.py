"""What crosses from process to process arrives as it was, whatever a part holds."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from verdict.operators.events.decode import Decoded
from verdict.operators.events.event import Event
from verdict.operators.labels.label import Label
from verdict.operators.message import NEXT, Message
from verdict.operators.names import EVENTS, LABELS
from verdict.operators.score.carry import Carry
from verdict.pipelines.engines.embedded.runner import OutputRecord
from verdict.pipelines.history.packing import packed, unpacked

TEXT = st.text(max_size=5)
NUMBER = st.floats(allow_nan=False) | st.integers(-(1 << 70), 1 << 70)
VALUE = NUMBER | TEXT | st.booleans() | st.none()
AT = st.tuples(
    st.sampled_from(["a.avro", "b.avro"]),
    st.integers(0, 1),
    st.integers(0, 1 << 40),
    st.integers(-1, 1 << 50),
    st.sampled_from([(), (("trace", b"x"),)]),
)
LABEL = st.builds(
    Label,
    TEXT,
    st.none() | st.integers(0, 9),
    st.tuples(TEXT | st.none(), TEXT | st.none()),
    st.booleans(),
    st.integers(0, 1 << 50),
    TEXT,
    st.integers(0, 3),
)


def carries(fields: list[str], units: list[str]) -> st.SearchStrategy[Carry]:
    event = st.builds(
        Event,
        TEXT,
        st.integers(-(1 << 50), 1 << 50),
        st.tuples(TEXT, TEXT | st.none()),
        st.fixed_dictionaries(dict.fromkeys(fields, VALUE)),
        st.fixed_dictionaries({name: st.integers() | st.none() for name in units}),
    )
    raw = st.none() | st.binary(max_size=9) | st.builds(Decoded, st.binary(max_size=9))
    return st.builds(
        Carry,
        event,
        st.lists(TEXT, max_size=1),
        st.lists(NUMBER | st.none(), min_size=2, max_size=2),
        st.lists(TEXT | st.none(), min_size=1, max_size=1),
        st.none() | st.binary(max_size=3),
        raw,
        st.booleans(),
    )


def followings(fields: list[str], units: list[str]) -> st.SearchStrategy[list[Any]]:
    return st.lists(
        st.tuples(LABEL | carries(fields, units), AT, st.binary(max_size=3)), max_size=6
    )


@settings(max_examples=50, deadline=None)
@given(followings([], []) | followings(["amount"], []) | followings(["it's", "b.c"], ["b.c"]))
def test_a_part_arrives_as_it_was(rows: list[Any]) -> None:
    following = []
    for value, at, key in rows:
        stream = LABELS if isinstance(value, Label) else EVENTS
        cause = Message(stream, b"its own", b"body", *at)
        following.append(OutputRecord(NEXT, key, value, cause))
    letters = [OutputRecord("dead-letters", b"", b"letter", each.cause) for each in following]
    messages, outputs, more = unpacked(packed((following, letters, {"read": 7})))
    assert messages == [each.cause._replace(key=each.key, value=each.value) for each in following]
    assert (outputs, more) == (letters, {"read": 7})
    lists = [part for m in messages if isinstance(m.value, Carry) for part in m.value[1:4]]
    assert len({id(part) for part in lists}) == len(lists)  # each is its event's own
    for message in messages:
        assert type(message.stream) is str
        if isinstance(message.value, Carry):
            assert type(message.value.raw_value) in (bytes, type(None))
            assert type(message.value.event) is Event
