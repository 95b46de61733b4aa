"""Byte sequences made wrong on purpose, the same ones for the same seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

_NUMBERS = (
    b"\x00",
    b"\xff",
    b"\x7f\xff\xff\xff",
    b"\x80\x00\x00\x00",
    b"\xff\xff\xff\xff",
    b"\x00\x00",
)
"""Bytes that lengths and counts are tried with."""


def mutate(content: bytes, rng: random.Random) -> bytes:
    """`content` with one to four faults: bytes changed, cut, doubled, moved, or put in."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(changed) + 1)
        length = rng.choice((1, 2, 4, 16, 200))
        match rng.randrange(7):
            case 0 if changed:
                changed[at % len(changed)] ^= 1 << rng.randrange(8)
            case 1:
                del changed[at : at + length]
            case 2:
                changed[at:at] = changed[at : at + length]
            case 3:
                changed[at : at + 4] = rng.choice(_NUMBERS)
            case 4:
                changed[at:at] = rng.randbytes(length)
            case 5:
                del changed[at:]
            case _:
                other = rng.randrange(len(changed) + 1)
                changed[at : at + length] = changed[other : other + length]
    return bytes(changed)


def mutated(contents: Sequence[bytes], seed: int, number: int) -> Iterator[bytes]:
    """So many mutations of one of the contents each."""
    rng = random.Random(seed)
    for _ in range(number):
        yield mutate(rng.choice(contents), rng)
