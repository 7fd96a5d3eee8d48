"""`HeadCache`: never a head that is not the last, and never more than it may hold."""

from hypothesis import given
from hypothesis import strategies as st

from verdict.state.store.cache import HeadCache

KEYS = st.sampled_from([bytes([i]) for i in range(12)])
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "get", "drop"]), KEYS, st.integers(0, 400)), max_size=80
)
EACH = 151
"""What a key of one byte costs, beside its head."""


@given(STEPS, st.integers(500, 3_000))
def test_it_knows_the_last_head_of_a_key_or_none(
    steps: list[tuple[str, bytes, int]], capacity: int
) -> None:
    cache, stored = HeadCache(capacity), dict[bytes, bytes]()
    asked = 0
    for number, (what, key, length) in enumerate(steps):
        if what == "put":
            stored[key] = number.to_bytes(2, "big") + bytes(length)
            cache.put(key, stored[key])
        elif what == "drop":
            stored.pop(key, None)
            cache.drop(key)
            assert cache.get(key) is None
            asked += 1
        else:
            found = cache.get(key)
            asked += 1
            assert found is None or found == stored[key]
        held = {**cache._old, **cache.young}
        assert held.items() <= stored.items()
        for each in (cache.young, cache._old):
            # The one that makes a generation full is still let in.
            kept = sum(len(head) + EACH for head in each.values())
            assert kept <= capacity // 2 + 402 + EACH
    assert cache.hits + cache.misses == asked


def test_what_is_put_again_and_again_stays() -> None:
    cache = HeadCache(10 * (EACH + 100))
    for number in range(1_000):
        cache.put(b"b", b"busy".ljust(100))
        cache.put(bytes([number % 200]) * 2, b"once".ljust(99))
        assert cache.get(b"b") == b"busy".ljust(100)
