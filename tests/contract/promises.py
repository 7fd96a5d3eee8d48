"""What every `KeyedState` promises, and a job that holds the state of its engine to it."""

from collections.abc import Iterable

from verdict.operators.message import Emit, Message
from verdict.pipelines.topology import Hop, Job
from verdict.state.store.keyed import KeyedState


def check_promises(state: KeyedState) -> None:
    """Hold the state of a key that was never seen to its promises."""
    assert state.get() is None
    assert state.chunk(0) is None
    state.drop()
    state.drop_chunk(0)  # of what is not there: nothing
    assert state.get() is None
    state.put(b"one")
    state.put(b"")
    assert state.get() == b""
    state.put_chunk(0, b"first")
    state.put_chunk(2**32, b"far")
    state.put_chunk(0, b"first again")
    assert (state.chunk(0), state.chunk(1), state.chunk(2**32)) == (b"first again", None, b"far")
    state.drop_chunk(0)
    assert state.chunk(0) is None
    assert state.get() == b""
    large = bytes(range(256)) * 4_096
    state.put(large)
    state.put_chunk(0, large)
    assert (state.get(), state.chunk(0)) == (large, large)
    state.drop()
    assert (state.get(), state.chunk(0)) == (None, large)
    state.put(b"last")


class Promising:
    """Holds the state of each key to its promises at its first event, and says what it has then."""

    def __call__(self, message: Message, state: KeyedState) -> Iterable[Emit]:
        if state.get() is None:
            check_promises(state)
        chunks = [state.chunk(number) for number in (0, 1, 2**32)]
        sizes = [-1 if chunk is None else len(chunk) for chunk in chunks]
        yield Emit("seen", message.key or b"", b"%s %r" % (state.get(), sizes))


def promising() -> Job:
    """Make the job."""
    return Job("promising", "tests", ("events",), (Hop("promising", True, Promising),), ("seen",))
