"""What a message says: its orders, patients or reports, or why it is refused. Nothing is stored."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from intake.hl7.field_reader import MAX_NUMBER
from intake.hl7.header import Header
from intake.hl7.mapping import FieldMapping, SiteMapping
from intake.hl7.orders import ReadOrder, read_orders
from intake.hl7.patients import CORRECTIONS, MERGES, MOVES, PatientEffect, read_patient_effects
from intake.hl7.refusal import ErrorCode, MessageRefused
from intake.hl7.reports import DOCUMENT_EVENTS, ReadReport, read_reports
from records.errors import MessageError
from records.hl7_messages import Message, Segment, read_messages

Effect = ReadOrder | PatientEffect | ReadReport
_Reader = Callable[[Sequence[Segment], Header, FieldMapping], Sequence[Effect]]

READERS: dict[str, _Reader] = {
    **dict.fromkeys(("ORM^O01", "OMI^O23", "OMG^O19"), read_orders),
    **dict.fromkeys(
        tuple(f"ADT^{event}" for event in (*CORRECTIONS, *MERGES, *MOVES)), read_patient_effects
    ),
    "ORU^R01": read_reports,
    **dict.fromkeys(tuple(f"MDM^{event}" for event in DOCUMENT_EVENTS), read_reports),
}
"""How each type of message is read."""

IGNORED_CODES = (
    *("ADT", "MDM", "SIU", "DFT", "BAR", "MFN", "PPR", "VXU"),
    *("ORR", "ORG", "ORI", "ORL", "OML", "OMP", "OMD", "OMN", "OMS", "RDE", "RDS", "RAS", "RGV"),
)
"""MSH-9.1 of messages that are accepted and change nothing: interfaces often send whole feeds."""

PROCESSING_IDS = ("P", "T", "D")
"""MSH-11 (HL7 table 0103); where it is empty the message is one of production."""

KEPT_BYTES = 1 << 20
"""So much is kept of a message that is longer than the limit."""

_BATCH = re.compile(rb"^(?:\xef\xbb\xbf|\s)*(?:FHS|BHS)")


@dataclass(frozen=True, slots=True)
class ReadMessage:
    """A message as it was read.

    Attributes:
        content: Its bytes.
        header: MSH; None where there is none.
        effects: What it says, in order; empty for one that is about nothing here.
        refusal: Why it cannot be used; None where it can.
    """

    content: bytes
    header: Header | None
    effects: tuple[Effect, ...] = ()
    refusal: MessageRefused | None = None

    @property
    def is_acknowledgment(self) -> bool:
        """Whether it is an answer itself, which is never answered."""
        return self.header is not None and self.header.code in ("ACK", "MCF")

    @property
    def is_test(self) -> bool:
        """Whether it is of training or debugging."""
        return self.header is not None and self.header.processing_id in ("T", "D")


def is_batch(content: bytes) -> bool:
    """Whether a frame holds a batch, which is answered by a batch."""
    return _BATCH.match(content) is not None


def read_frame(
    content: bytes, mapping: SiteMapping, *, is_too_long: bool = False
) -> list[ReadMessage]:
    """Read what stood in a frame: a message, or several of a batch.

    Args:
        content: The bytes.
        mapping: Which field holds what.
        is_too_long: The frame was longer than the limit, and this is its beginning.
    """
    if is_too_long:
        content = content[:KEPT_BYTES]
    messages = list(read_messages(io.BytesIO(content)))
    if not messages:
        refusal = MessageRefused(ErrorCode.SEGMENT_SEQUENCE, "MSH", "it is no HL7 message")
        return [ReadMessage(content, None, refusal=refusal)]
    if is_too_long:
        refusal = MessageRefused(
            ErrorCode.TOO_LONG, "", "the message is longer than NIGHTDRAFT_HL7_MAX_MB"
        )
        return [ReadMessage(content, _header(messages[0]), refusal=refusal)]
    if len(messages) == 1 and not is_batch(content):
        return [_read(messages[0], content, mapping)]
    return [_read(message, message.text.encode(), mapping) for message in messages]


def _read(message: Message, content: bytes, mapping: SiteMapping) -> ReadMessage:
    header = _header(message)
    if header is None:
        damaged = MessageRefused(
            ErrorCode.SEGMENT_SEQUENCE, "MSH", "it cannot be divided into segments"
        )
        return ReadMessage(content, None, refusal=damaged)
    try:
        if message.is_guessed:
            raise MessageRefused(
                ErrorCode.TABLE_VALUE,
                "MSH-18",
                "MSH-18 names a character set that is not known, so its letters cannot be read",
            )
        effects = tuple(_read_effects(message.segments, header, mapping.of_sender(header.sender)))
    except MessageRefused as refusal:
        return ReadMessage(content, header, refusal=refusal)
    except MessageError as error:
        damaged = MessageRefused(ErrorCode.DATA_TYPE, "", str(error))
        return ReadMessage(content, header, refusal=damaged)
    return ReadMessage(content, header, effects)


def _header(message: Message) -> Header | None:
    try:
        return Header.of(message.header)
    except MessageError:
        return None


def _read_effects(
    segments: Sequence[Segment], header: Header, mapping: FieldMapping
) -> Sequence[Effect]:
    if header.code in ("ACK", "MCF"):
        return ()
    if not header.control_id:
        raise MessageRefused(
            ErrorCode.REQUIRED_FIELD, "MSH-10", "the message has no control id (MSH-10)"
        )
    for field in (3, 4, 9, 10):
        if len(header.segment.raw(field)) > MAX_NUMBER:
            raise MessageRefused(
                ErrorCode.TOO_LONG, f"MSH-{field}", f"MSH-{field} is longer than {MAX_NUMBER}"
            )
    if header.processing_id and header.processing_id not in PROCESSING_IDS:
        raise MessageRefused(ErrorCode.PROCESSING_ID, "MSH-11", "MSH-11 is none of P, T and D")
    # Old systems send orders without an event.
    reader = READERS.get(header.message_type if header.event else f"{header.code}^O01")
    if reader is not None:
        return reader(segments, header, mapping)
    if header.code in IGNORED_CODES:
        return ()
    is_known = any(name.startswith(f"{header.code}^") for name in READERS)
    raise MessageRefused(
        ErrorCode.EVENT_CODE if is_known else ErrorCode.MESSAGE_TYPE,
        "MSH-9",
        f"messages of this type are not taken here; {', '.join(READERS)} are",
    )
