"""How drafts are read, written on, signed and rejected."""

from __future__ import annotations

from enum import StrEnum


class ReviewDecision(StrEnum):
    """How a reader's review of a draft ended."""

    SIGNED = "SIGNED"  # the review holds the report, as corrected
    REJECTED = "REJECTED"  # nothing of the draft could be used, with the reason
    ADDENDUM = "ADDENDUM"  # something was added to a signed report, which stays as it is
    COUNTERSIGNED = "COUNTERSIGNED"  # a second reader signed the same report, too
    SIGNED_ELSEWHERE = "SIGNED_ELSEWHERE"  # another system's final report ended the draft


class RejectReason(StrEnum):
    """Why a reader rejected a draft; OTHER needs a note."""

    FINDING_MISSED = "FINDING_MISSED"
    FINDING_INVENTED = "FINDING_INVENTED"
    WRONG_SIDE = "WRONG_SIDE"
    WRONG_PRIOR = "WRONG_PRIOR"
    WRONG_PATIENT = "WRONG_PATIENT"
    POOR_TEXT = "POOR_TEXT"
    POOR_IMAGES = "POOR_IMAGES"
    OTHER = "OTHER"


REJECT_LABELS: dict[RejectReason, str] = {
    RejectReason.FINDING_MISSED: "It misses a finding",
    RejectReason.FINDING_INVENTED: "It names a finding that is not there",
    RejectReason.WRONG_SIDE: "It names the wrong side",
    RejectReason.WRONG_PRIOR: "It compares with the wrong prior examination",
    RejectReason.WRONG_PATIENT: "It does not fit this patient",
    RejectReason.POOR_TEXT: "Its text cannot be used",
    RejectReason.POOR_IMAGES: "The films cannot be read",
    RejectReason.OTHER: "Another reason, which the note says",
}
"""Each reason in words for a person."""


class TextState(StrEnum):
    """Who goes on with the working text of a draft."""

    OPEN = "OPEN"  # whoever may edit reports
    SUBMITTED = "SUBMITTED"  # a trainee wrote it, and somebody who may sign goes on
    SECOND_READER = "SECOND_READER"  # a reader asks for another reader's eyes


class ReadingArm(StrEnum):
    """What a reader sees first of a study that has a draft."""

    WITH_DRAFT = "WITH_DRAFT"
    READ_FIRST = "READ_FIRST"  # the draft is shown after the films, when the reader asks for it
    WITHOUT_DRAFT = "WITHOUT_DRAFT"  # the reader writes from nothing, and may ask for the draft


class DraftUse(StrEnum):
    """What a working text or a signed report has of the draft."""

    FROM_DRAFT = "FROM_DRAFT"  # it began as the draft
    DRAFT_SHOWN = "DRAFT_SHOWN"  # it began without the draft, which was shown before the signature
    WITHOUT_DRAFT = "WITHOUT_DRAFT"  # the draft was shown to nobody who wrote or signed it


DRAFT_USE_SENTENCES: dict[DraftUse, str] = {
    DraftUse.FROM_DRAFT: "A model drafted it.",
    DraftUse.DRAFT_SHOWN: (
        "It was begun without the draft that a model had made. The draft was shown before the "
        "signature."
    ),
    DraftUse.WITHOUT_DRAFT: "It was written without the draft that a model had made.",
}
"""What a signed report has of the draft, in words for a person."""

WITHOUT_DRAFT_SENTENCE = (
    "This study was drawn for reading without a draft. Write the report from the films."
)
"""What a reader is told whose study was drawn for reading without a draft."""

OWN_TEXT_WARNING = "NOT A REPORT UNTIL SIGNED. This text was begun without the draft of a model."
"""What stands over a text that no model drafted, in place of the warning of drafts."""


class ReadingEnd(StrEnum):
    """How a reading ended."""

    SIGNED = "SIGNED"
    REJECTED = "REJECTED"
    SENT = "SENT"  # the text went to somebody else
    LEFT = "LEFT"  # nothing came of it, and the reader opened the study anew later
