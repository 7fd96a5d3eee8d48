"""Sums that do not drift: a float is an integer over a power of two, so its sum can be exact."""

SCALE_BITS = 1074
"""The smallest positive double is 2**-1074: every finite one is an integer multiple of it."""

_UNIT = 1 << SCALE_BITS


def exact(value: float) -> int:
    """Return a finite float as an integer number of 2**-1074.

    >>> exact(0.5) == 1 << 1073
    True
    """
    numerator, denominator = value.as_integer_ratio()
    return numerator << (SCALE_BITS - denominator.bit_length() + 1)


def rounded(total: int) -> float:
    """Round an exact sum to the nearest double: what ``math.fsum`` of the same values returns.

    >>> rounded(10 * exact(0.1))
    1.0
    """
    return total / _UNIT


def pack_integer(value: int) -> bytes:
    """Pack an integer of any size: trailing zero bits counted, the rest as bytes.

    >>> unpack_integer(pack_integer(-(5 << 1074)), 0) == (-(5 << 1074), 5)
    True
    """
    zeros = (value & -value).bit_length() - 1 if value else 0
    mantissa = value >> zeros
    length = mantissa.bit_length() // 8 + 1
    return (
        zeros.to_bytes(2, "little")
        + length.to_bytes(2, "little")
        + mantissa.to_bytes(length, "little", signed=True)
    )


def unpack_integer(data: bytes, at: int) -> tuple[int, int]:
    """Return the integer packed at an offset, and the offset behind it."""
    zeros = int.from_bytes(data[at : at + 2], "little")
    end = at + 4 + int.from_bytes(data[at + 2 : at + 4], "little")
    return int.from_bytes(data[at + 4 : end], "little", signed=True) << zeros, end
