"""A decision: its id, and its record put together from parts made beforehand."""

import struct
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from verdict.operators.records import avro as out
from verdict.state.codegen import define

ID_BYTES = 16
"""Of a decision's id; twice as many hexadecimal digits."""
AMOUNT_SCALE = 6
"""Decimal places of an amount in every output schema."""
PRESENT = b"\x02"
"""The branch of a union behind null."""
NO_MONEY = out.NULL + out.NULL


def decision_id(pipeline: str, event_id: str) -> str:
    """Derive a decision's id from its pipeline and event: 32 hexadecimal digits.

    >>> decision_id("card-fraud", "t1") == decision_id("card-fraud", "t1")
    True
    >>> decision_id("a", "bc") == decision_id("ab", "c")
    False
    """
    digest = _namespace(pipeline)
    digest.update(event_id.encode())
    return digest.hexdigest()


def _namespace(pipeline: str) -> blake2b:
    """Hash what comes before an event's id where a decision's is made of it.

    A copy of it costs half of what a new hash would.
    """
    return blake2b(f"{pipeline}\0".encode(), digest_size=ID_BYTES)


def amount_bytes(unscaled: int, scale: int) -> bytes:
    """Encode an amount as the output schemas' decimal, big-endian two's complement.

    >>> amount_bytes(1234, 2) == (12_340_000).to_bytes(4, "big")
    True
    """
    value: int = unscaled * 10 ** (AMOUNT_SCALE - scale)
    length = value.bit_length() // 8 + 1
    return value.to_bytes(length, "big", signed=True)


EncodeDecision = Callable[..., bytes]
"""What `decision_encoder` makes."""


def hop_encoder(
    entity: str, features: Sequence[str]
) -> Callable[[str, int, bool, Sequence[int]], bytes]:
    r"""Compile the encoder of what an entity's hop says in a decision.

    It takes the entity's key, the event's number in the key's sequence, whether it is late, and
    which of the features are cold.

    >>> hop_encoder("card", ["spent"])("c1", 7, False, ())
    b'\x08card\x02\x04c1\x02\x0e\x00\x00'
    """
    start = out.text(entity) + PRESENT
    names = [out.text(name) for name in features]

    def encode(key: str, seq: int, late: bool, cold: Sequence[int]) -> bytes:
        flag = out.TRUE if late else out.FALSE
        end = out.array([names[i] for i in cold]) if cold else out.END
        return b"".join((start, out.text(key), PRESENT, out.long(seq), flag, end))

    return encode


def no_hop(entity: str) -> bytes:
    """Encode what the hop of an entity says that the event does not have: no key and no number."""
    return out.text(entity) + out.NULL + out.NULL + out.FALSE + out.END


def decision_encoder(
    pipeline: str,
    model: Mapping[str, str],
    hops: int,
    features: Sequence[str],
    known: Sequence[str],
    fields: Sequence[str],
    prefix: bytes = b"",
) -> EncodeDecision:
    """Compile the encoder of a pipeline's decisions; the schema is ``avro/decision.avsc``.

    Parameters
    ----------
    pipeline
        Its name.
    model
        ``name``, ``version`` and ``sha256`` of the model that decides.
    hops
        How many there are.
    features
        Names, in the order in which the record has them.
    known
        The same, in the order in which the values are given.
    fields
        Names of the fields that the record has.
    prefix
        Confluent's header, or nothing.

    Returns
    -------
    EncodeDecision
        Takes the event's id and its time in milliseconds, what `hop_encoder` made in each hop,
        amount and currency encoded, whether the event is a repeat, the score or None, the classes'
        probabilities, the action, what decided it, the rules that fired, the implausible fields,
        the features, and the fields by name.
    """
    told: dict[tuple[Any, ...], bytes] = {}
    """Encoded verdicts, none of which an event can choose."""

    def tell(verdict: tuple[str, str, tuple[str, ...]], implausible: Sequence[str]) -> bytes:
        if implausible:
            return _verdict(*verdict, implausible)
        encoded = told.get(verdict)
        if encoded is None:
            encoded = told[verdict] = _verdict(*verdict, ())
        return encoded

    keys = [out.text(name) for name in features]
    if keys:
        keys[0] = out.long(len(features)) + keys[0]
    values = [f"key_{i}, feature_{known.index(name)}" for i, name in enumerate(features)]
    by_name = ", ".join(f"field_{i}, value(fields[{name!r}])" for i, name in enumerate(fields))
    # What follows the features, as far as no event changes it.
    rest = out.END + (out.long(len(fields)) if fields else out.END)
    layout = "<" + "".join(f"{len(key)}sd" for key in keys) + f"{len(rest)}s"
    what = b"".join(out.text(model[part]) for part in ("name", "version", "sha256"))
    scope = {
        "join": b"".join,
        "long": out.long,
        "text": out.text,
        "double": out.double,
        "doubles": out.doubles,
        "value": out.value,
        "tell": tell,
        "namespace": _namespace(pipeline).copy,
        # A decision's id is 32 characters, whose length Avro writes as one byte.
        "start": prefix + out.long(2 * ID_BYTES),
        "after_id": out.text(pipeline),
        "hops": out.long(hops),
        "after_hops": out.END if hops else b"",
        "first_time": what + out.FALSE,
        "again": what + out.TRUE,
        "features": struct.Struct(layout).pack,
        **{f"key_{i}": key for i, key in enumerate(keys)},
        **{f"field_{i}": out.text(name) for i, name in enumerate(fields)},
        "rest": rest,
        "null": out.NULL,
        "end": out.END,
        "present": PRESENT,
    }
    return define(
        "encode",
        "event_id, time, made, money, repeated, score, classes, verdict, implausible, known, "
        "fields",
        [
            f"{', '.join(f'feature_{i}' for i in range(len(known)))}, = known" if known else "pass",
            "encoded = event_id.encode()",
            "digest = namespace()",
            "digest.update(encoded)",
            "return join((",
            "    start, digest.hexdigest().encode(), after_id,",
            "    long(len(encoded)), encoded, long(time),",
            "    hops, *made, after_hops, money, again if repeated else first_time,",
            "    null if score is None else present + double(score),",
            "    doubles(classes) if classes else end,",
            "    tell(verdict, implausible),",
            f"    features({', '.join([*values, 'rest'])}),",
            *([f"    {by_name}, end,"] if fields else []),
            "))",
        ],
        {**scope, "len": len},
        "decision",
    )


def _verdict(action: str, because: str, rules: Sequence[str], implausible: Sequence[str]) -> bytes:
    lists = [out.array(list(map(out.text, names))) for names in (rules, implausible)]
    return b"".join((out.text(action), out.text(because), *lists))
