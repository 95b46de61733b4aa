"""Why a message is refused: the code, the field and the sentence of an ERR segment."""

from __future__ import annotations

from enum import Enum

from records.errors import MessageError


class ErrorCode(Enum):
    """HL7 table 0357: code and meaning, and whether a sender is answered "rejected"."""

    SEGMENT_SEQUENCE = ("100", "Segment sequence error", False)
    REQUIRED_FIELD = ("101", "Required field missing", False)
    DATA_TYPE = ("102", "Data type error", False)
    TABLE_VALUE = ("103", "Table value not found", False)
    TOO_LONG = ("104", "Value too long", False)
    MESSAGE_TYPE = ("200", "Unsupported message type", True)
    EVENT_CODE = ("201", "Unsupported event code", True)
    PROCESSING_ID = ("202", "Unsupported processing id", True)
    INTERNAL = ("207", "Application internal error", False)

    @property
    def code(self) -> str:
        """As "101"."""
        return self.value[0]

    @property
    def meaning(self) -> str:
        """As "Required field missing"."""
        return self.value[1]

    @property
    def is_rejection(self) -> bool:
        """Whether the answer is AR or CR: the header alone says that it cannot be used."""
        return self.value[2]


class MessageRefused(MessageError):
    """A message cannot be used; its sender is told why. The text names no patient.

    Args:
        code: What is wrong.
        location: The field at fault, as "PID-3"; "" where it is none.
        sentence: What is wrong, to a person.
    """

    def __init__(self, code: ErrorCode, location: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code
        self.location = location
        self.sentence = sentence
