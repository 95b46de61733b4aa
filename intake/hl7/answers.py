"""Acknowledgments: which a sender asked for, and their bytes (HL7 2.9, chapter 2, 2.9).

Original mode: one answer, AA, AE or AR. Enhanced mode, where MSH-15 or MSH-16 says something: an
accept acknowledgment (CA, CE, CR) as MSH-15 wants it, and an application acknowledgment (AA, AE,
AR) as MSH-16 wants it. Both go out after the commit, over the connection of the message.
"""

from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import dataclass

from intake.hl7.header import Header
from intake.hl7.refusal import ErrorCode
from records.hl7_messages import codec_of

ACCEPTED, ERROR, REJECTED = "AA", "AE", "AR"
"""MSA-1 of an application acknowledgment (HL7 table 0008)."""

ACCEPT_CODES = {ACCEPTED: "CA", ERROR: "CE", REJECTED: "CR"}
"""The same of an accept acknowledgment."""

OUR_NAME = "NIGHTDRAFT"
"""MSH-3 of an answer to a message that names no receiving application."""

_STANDARD = "|^~\\&"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a message is answered.

    Attributes:
        code: AA, AE or AR.
        error: What is wrong; None where nothing is.
        location: The field at fault, as "PID-3".
        sentence: What is wrong, to a person.
    """

    code: str
    error: ErrorCode | None = None
    location: str = ""
    sentence: str = ""


def codes_for(header: Header | None, answer: Answer) -> list[str]:
    """The values of MSA-1 that are sent for an answer, in order; none where none is wanted."""
    if header is None or not header.is_enhanced:
        return [answer.code]
    is_accepted = answer.code == ACCEPTED
    wanted = {"AL": True, "ER": not is_accepted, "SU": is_accepted}
    wants_application = wanted.get(header.application, False)
    # A refusal of which no application acknowledgment can tell is told at once.
    accept = "CA" if wants_application else ACCEPT_CODES[answer.code]
    wants_accept = {**wanted, "ER": accept != "CA", "SU": accept == "CA"}.get(header.accept, False)
    return [accept] * wants_accept + [answer.code] * wants_application


def make_acknowledgments(header: Header | None, answer: Answer) -> list[bytes]:
    """The bytes of the acknowledgments of a message, each the content of a frame."""
    codec = codec_of(header.segment.raw(18)) if header else ""
    return [
        _acknowledgment(header, answer, code).encode(codec or "utf-8", "replace")
        for code in codes_for(header, answer)
    ]


def make_batch(acknowledgments: list[bytes], header: Header | None) -> bytes:
    """One batch of the acknowledgments of a batch."""
    separators = header.segment.separators if header else _STANDARD
    start = f"BHS{separators}\r".encode()
    end = f"BTS{separators[0]}{len(acknowledgments)}\r".encode()
    return start + b"".join(acknowledgments) + end


def _acknowledgment(header: Header | None, answer: Answer, code: str) -> str:
    separators = header.segment.separators if header else _STANDARD
    field, component = separators[0], separators[1]

    def raw(number: int) -> str:
        return header.segment.raw(number) if header else ""

    # An accept acknowledgment is of no event.
    kind = ["ACK"] if header is None or code.startswith("C") else ["ACK", header.event, "ACK"]
    lines = [
        [
            f"MSH{field}{separators[1:]}",
            raw(5) or OUR_NAME,
            raw(6),
            raw(3),
            raw(4),
            dt.datetime.now().astimezone().strftime("%Y%m%d%H%M%S%z"),
            "",
            component.join(kind if all(kind) else ["ACK"]),
            uuid.uuid4().hex[:20],
            raw(11) or "P",
            raw(12) or "2.5.1",
            "",
            "",
            "",
            "",
            "",
            raw(18),
        ],
        ["MSA", code, raw(10), _escape(answer.sentence, separators)],
    ]
    if answer.error is not None and code != "CA":
        lines.append(["ERR", *_error(answer, answer.error, separators, raw(12))])
    return "".join(field.join(line).rstrip(field) + "\r" for line in lines)


def _error(answer: Answer, error: ErrorCode, separators: str, version: str) -> list[str]:
    """The fields of ERR; before version 2.5 all stands in ERR-1."""
    component, subcomponent = separators[1], separators[4]
    segment, _, field = answer.location.partition("-")
    place = [segment, "1", *([field] if field else [])] if segment else []
    sentence = _escape(answer.sentence, separators)
    if _is_old(version):
        code = subcomponent.join((error.code, error.meaning, "HL70357"))
        return [component.join([*place, *[""] * (3 - len(place)), code])]
    code = component.join((error.code, error.meaning, "HL70357"))
    return ["", component.join(place), code, "E", "", "", "", sentence]


def _is_old(version: str) -> bool:
    return version.startswith(("2.1", "2.2", "2.3", "2.4"))


def _escape(text: str, separators: str) -> str:
    escape = separators[3]
    letters = dict(zip(separators, "FSRET", strict=True))
    return "".join(f"{escape}{letters[c]}{escape}" if c in letters else c for c in text)
