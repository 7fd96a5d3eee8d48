"""`RocksStore`: what a commit keeps, what a crash loses, who may open the folder."""

from pathlib import Path

import pytest

from verdict.state.errors import StateError
from verdict.state.store.rocks import RocksStore


def test_a_commit_keeps_state_and_meta_together(tmp_path: Path) -> None:
    store = RocksStore(tmp_path / "made" / "on the way")
    state = store.keyed("customer", b"c1")
    state.put(b"head")
    state.put_chunk(7, b"log")
    store.commit({"offset": b"42"})
    store.close()

    store = RocksStore(tmp_path / "made" / "on the way")
    state = store.keyed("customer", b"c1")
    assert (state.get(), state.chunk(7), store.meta("offset")) == (b"head", b"log", b"42")
    assert store.meta("other") is None
    store.close()


def test_what_was_not_committed_is_gone(tmp_path: Path) -> None:
    store = RocksStore(tmp_path)
    state = store.keyed("customer", b"c1")
    state.put(b"committed")
    state.put_chunk(1, b"committed")
    store.commit({"offset": b"1"})
    state.put(b"lost")
    state.drop_chunk(1)
    assert (state.get(), state.chunk(1)) == (b"lost", None)  # its own writes are seen at once
    store.close()

    store = RocksStore(tmp_path)
    state = store.keyed("customer", b"c1")
    assert (state.get(), state.chunk(1), store.meta("offset")) == (b"committed", b"committed", b"1")
    store.close()


def test_one_view_serves_every_key(tmp_path: Path) -> None:
    store = RocksStore(tmp_path)
    state = store.keyed("customer")
    for key in (b"a", b"b"):
        state.key = key
        state.put(b"head of " + key)
        state.put_chunk(0, b"chunk of " + key)
    state.key = b"a"
    assert (state.get(), state.chunk(0)) == (b"head of a", b"chunk of a")
    store.close()


def test_hops_and_meta_do_not_meet(tmp_path: Path) -> None:
    store = RocksStore(tmp_path)
    store.keyed("card", b"x").put(b"of card")
    store.keyed("card2", b"x").put(b"of card2")
    store.keyed("card", b"2\0x").put(b"another key of card")
    store.commit({"card": b"meta"})
    assert store.keyed("card", b"x").get() == b"of card"
    assert store.keyed("card2", b"x").get() == b"of card2"
    assert store.meta("card") == b"meta"
    store.close()


def test_a_second_owner_is_refused(tmp_path: Path) -> None:
    store = RocksStore(tmp_path)
    with pytest.raises(StateError, match=r"in use by another process.*settings\.state"):
        RocksStore(tmp_path)
    store.close()
    RocksStore(tmp_path).close()  # free again


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    RocksStore(tmp_path).close()
    (tmp_path / "CURRENT").write_bytes(b"nonsense\n")
    with pytest.raises(StateError, match="cannot be opened"):
        RocksStore(tmp_path)


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "state"
    file.write_text("not a folder")
    with pytest.raises(StateError, match="cannot be opened"):
        RocksStore(file)


def test_a_sweep_goes_round_and_takes_a_keys_chunks_and_no_others(tmp_path: Path) -> None:
    store = RocksStore(tmp_path)
    state, other = store.keyed("customer"), store.keyed("customers")
    for hop in (state, other):
        for key in (b"c1", b"c10", b"c1" + bytes(8), b"c2"):
            hop.key = key
            hop.put(b"old" if key == b"c1" else b"new")
            for number in (0, 3, (1 << 64) - 1):
                hop.put_chunk(number, key)
    store.commit({})
    looked: list[bytes] = []

    def forgotten(head: bytes) -> bool:
        looked.append(head)
        return head == b"old"

    assert [state.sweep(forgotten, most=3) for _ in range(3)] == [1, 0, 1]
    assert len(looked) == 3 + 1 + 3  # the third begins anew: nothing was committed
    store.commit({})
    assert state.sweep(forgotten, most=100) == 0
    for hop in (state, other):
        for key in (b"c1", b"c10", b"c1" + bytes(8), b"c2"):
            hop.key = key
            gone = hop is state and key == b"c1"
            assert hop.get() == (None if gone else b"old" if key == b"c1" else b"new")
            for number in (0, 3, (1 << 64) - 1):
                assert hop.chunk(number) == (None if gone else key)
    store.close()
