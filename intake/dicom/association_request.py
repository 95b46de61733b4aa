"""What must be true of an A-ASSOCIATE-RQ before pynetdicom reads it (PS3.8 9.3.2)."""

from __future__ import annotations

import struct

from pynetdicom.pdu import A_ASSOCIATE_RQ

_MAX_CONTEXTS = 128  # PS3.8 9.3.2.2: odd numbers of one byte

_MAX_ITEMS = 8192
"""Items of one request; 128 contexts of 40 transfer syntaxes are 5,376."""

HEADER = struct.Struct(">BxL")
"""Of every PDU: its type, and the bytes that follow."""

_ITEM = struct.Struct(">BxH")

_PRESENTATION_CONTEXT, _USER_INFORMATION = 0x20, 0x50

FIXED_BYTES = 74
"""Of a request, up to its variable items (PS3.8 table 9-11)."""


class MalformedRequest(Exception):
    """Something else than an A-ASSOCIATE-RQ that can be read."""


def check_request(pdu: bytes) -> str:
    """Check that an A-ASSOCIATE-RQ (PS3.8 9.3.2) can be read, and return its calling AE title.

    The structure is walked first, which takes no memory; only then it is decoded.

    Raises:
        MalformedRequest: it cannot.
    """
    items = contexts = 0
    position = FIXED_BYTES
    while position < len(pdu):
        kind, start, end = _item_at(pdu, position, len(pdu))
        items += 1
        if kind == _PRESENTATION_CONTEXT:
            contexts += 1
            if end - start < 4 or not pdu[start] % 2:
                raise MalformedRequest("a presentation context without an odd number")
            items += _count_items(pdu, start + 4, end)
        elif kind == _USER_INFORMATION:
            items += _count_items(pdu, start, end)
        position = end
    if not contexts or contexts > _MAX_CONTEXTS or items > _MAX_ITEMS:
        raise MalformedRequest("no presentation context, or too many")
    try:
        request = A_ASSOCIATE_RQ()
        request.decode(pdu)
        primitive = request.to_primitive()
        return str(primitive.calling_ae_title).strip()
    except Exception:
        # All kinds of errors, whose messages quote what was sent.
        raise MalformedRequest("it cannot be decoded") from None


def _item_at(pdu: bytes, position: int, limit: int) -> tuple[int, int, int]:
    """Type, first byte and end of the item at a position.

    Raises:
        MalformedRequest: it does not end within the limit.
    """
    if position + _ITEM.size > limit:
        raise MalformedRequest("an item that is cut off")
    kind, length = _ITEM.unpack_from(pdu, position)
    start = position + _ITEM.size
    if start + length > limit:
        raise MalformedRequest("an item that is cut off")
    return kind, start, start + length


def _count_items(pdu: bytes, position: int, end: int) -> int:
    count = 0
    while position < end:
        _, _, position = _item_at(pdu, position, end)
        count += 1
    return count
