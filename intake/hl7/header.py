"""MSH: who sent what, and how it wants to be answered (HL7 2.9, chapter 2)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from records.hl7_messages import Segment

_CONTROLS = re.compile("[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Header:
    """What is read of MSH.

    Attributes:
        segment: MSH itself; an answer repeats some of its fields as they were sent.
        sender: MSH-3 and MSH-4, as "RIS|HOSPITAL".
        sent: MSH-7.
        code, event: MSH-9: "ORM", "O01".
        control_id: MSH-10.
        processing_id: MSH-11: P, T or D.
        accept, application: MSH-15 and MSH-16: AL, NE, ER or SU; "" where nothing is said.
    """

    segment: Segment
    sender: str
    sent: str
    code: str
    event: str
    control_id: str
    processing_id: str
    accept: str
    application: str

    @classmethod
    def of(cls, segment: Segment) -> Header:
        """Read MSH."""

        def part(field: int, component: int = 1) -> str:
            return _CONTROLS.sub("", segment.part(field, component))

        return cls(
            segment,
            f"{part(3)}|{part(4)}",
            part(7),
            part(9, 1).upper(),
            part(9, 2).upper(),
            part(10),
            part(11).upper(),
            part(15).upper(),
            part(16).upper(),
        )

    @property
    def message_type(self) -> str:
        """As ORM^O01."""
        return "^".join(filter(None, (self.code, self.event)))

    @property
    def is_enhanced(self) -> bool:
        """Whether the sender asks for enhanced acknowledgment: MSH-15 or MSH-16 says something."""
        return bool(self.accept or self.application)
