"""What REST takes and gives of working texts and reviews, as pydantic models."""

from __future__ import annotations

import datetime as dt
import uuid
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints

from api.schemas import MANY_LINES, Decider
from api.word_differences import compare_words
from model.consistency import FlagKind
from model.dicom.characters import remove_controls
from records.database import review_tables
from records.reviews.readers import MOST_TEXT
from records.states import DraftUse, RejectReason, ReviewDecision, TextState

SectionText = Annotated[
    str, AfterValidator(remove_controls), StringConstraints(max_length=MOST_TEXT)
]
"""What is signed is what was shown, and no page shows characters that command what shows them."""
Note = Annotated[str, StringConstraints(max_length=1000, pattern=MANY_LINES)]
Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Version = Annotated[int, Field(ge=0, le=2_000_000_000)]

_DRAFT = "0199c2f0-5a1e-7c1b-9a51-2f6f0f3f7a10"
_SHA256 = "3f0a377ba0a4a460ecb616f6507ce0d8cfa3e704025d4fda3ed0c5ca05468728"


_WORDS_OF: dict[str, Literal["both", "draft", "text"]] = {
    "both": "both",
    "first": "draft",
    "second": "text",
}


class HouseWording(BaseModel):
    """A sentence that a report style wrote in the place of the model's."""

    model_config = ConfigDict(from_attributes=True)

    section: str
    model: str
    house: str


class WorkingText(BaseModel):
    """The text that readers write from a draft before one of them signs it. It is no report.

    version: 0 is the draft, which nobody has changed; a report style may have put its words in the
    place of the model's. Where the study was drawn for reading without a draft, it is empty.
    draft_use: FROM_DRAFT began as the draft; WITHOUT_DRAFT was written without it; DRAFT_SHOWN
    began without it, and the draft was shown to somebody who wrote on. sha256: of the text, for who
    signs it. state: SUBMITTED is for who may sign, SECOND_READER for another reader. note: to
    whoever goes on. style: the version of the style from which it began. house_wordings: what of it
    the style wrote. rendered: the whole of it with headings, as it would be signed.
    """

    draft: uuid.UUID
    version: int
    findings: str
    impression: str
    sha256: str
    state: TextState
    saved_by: str
    saved_at: dt.datetime | None
    sent_by: str
    note: str
    style: uuid.UUID | None
    house_wordings: list[HouseWording]
    rendered: str
    draft_use: DraftUse


class Check(BaseModel):
    """A place of the text at which a reader should look; it is a question, not a verdict.

    section: "findings" or "impression"; "" where it is about the whole text. start, end: of the
    sentence, in characters of the section.
    """

    model_config = ConfigDict(from_attributes=True)

    section: str
    start: int
    end: int
    sentence: str
    kind: FlagKind
    message: str


class CheckList(BaseModel):
    """What the checks of the text in work ask, by section and sentence. version: of the text."""

    version: int
    checks: list[Check]


class SomeWords(BaseModel):
    """Words in a row. of: which text has them."""

    of: Literal["both", "draft", "text"]
    words: str


class Differences(BaseModel):
    """How the text in work differs from the draft, by section. version: of the text.

    Capitals, spaces and line ends do not count as differences.
    """

    version: int
    findings: list[SomeWords]
    impression: list[SomeWords]


def list_words(draft: str, text: str) -> list[SomeWords]:
    """The words of a draft's section and of the text that was made of it, in one sequence."""
    return [
        SomeWords(of=_WORDS_OF[part.kind], words=part.words) for part in compare_words(draft, text)
    ]


class TextRequest(BaseModel):
    """What a reader wrote; If-Match names the text that it was made from."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"findings": "The lungs are clear.", "impression": "No acute disease.", "by": ""}
            ]
        }
    )

    findings: SectionText
    impression: SectionText
    by: Decider = ""


class SendRequest(BaseModel):
    """A text goes to who may sign it (SUBMITTED), or to a second reader."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"to": "SUBMITTED", "note": "Please look at the left base."}]
        }
    )

    to: Literal[TextState.SUBMITTED, TextState.SECOND_READER]
    note: Note = ""
    by: Decider = ""


class DiscardRequest(BaseModel):
    """What was written is given up for the draft."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"by": ""}]})

    by: Decider = ""


class SignRequest(BaseModel):
    """The signature on exactly the text that was shown.

    version and sha256 are those of the working text. consent: whether the report may be trained on;
    null takes the setting of the site.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"draft": _DRAFT, "version": 3, "sha256": _SHA256}]}
    )

    draft: uuid.UUID
    version: Version
    sha256: Sha256
    consent: bool | None = None
    by: Decider = ""


class RejectRequest(BaseModel):
    """A draft of which nothing can be used; the reason OTHER needs a note."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"draft": _DRAFT, "reason": "WRONG_SIDE", "note": ""}]}
    )

    draft: uuid.UUID
    reason: RejectReason
    note: Note = ""
    by: Decider = ""


class AddendumRequest(BaseModel):
    """What is added to a signed report."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "The fracture was reported by telephone."}]}
    )

    text: Annotated[str, StringConstraints(min_length=1, max_length=MOST_TEXT, pattern=MANY_LINES)]
    by: Decider = ""


class CountersignRequest(BaseModel):
    """A second reader signs the same report."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"by": ""}]})

    by: Decider = ""


class Review(BaseModel):
    """A signature, a rejection, or what followed a signature. It is written once.

    follows: the signed report of an addendum or a countersignature. report: the final report of
    another system, where that ended the draft. distances: by section, the characters that the
    reader changed and those of the longer text; null where the report was not made of the draft.
    draft_use: of a signed report, what it has of the draft, as of a working text; null of others.
    """

    id: uuid.UUID
    draft: uuid.UUID
    decision: ReviewDecision
    reader: str
    prepared_by: str
    decided_at: dt.datetime
    findings: str
    impression: str
    addendum: str
    note: str
    reject_reason: RejectReason | None
    follows: uuid.UUID | None
    report: uuid.UUID | None
    text_sha256: str | None
    distances: dict[str, list[int]] | None
    training_consent: bool
    style: uuid.UUID | None
    rendered: str
    draft_use: DraftUse | None

    @classmethod
    def from_row(cls, row: review_tables.Review, rendered: str) -> Review:
        """The review of its row."""
        return cls(
            id=row.id,
            draft=row.draft_id,
            decision=ReviewDecision(row.decision),
            reader=row.reader,
            prepared_by=row.prepared_by,
            decided_at=row.decided_at,
            findings=row.findings,
            impression=row.impression,
            addendum=row.addendum,
            note=row.note,
            reject_reason=RejectReason(row.reject_reason) if row.reject_reason else None,
            follows=row.follows_id,
            report=row.report_id,
            text_sha256=row.text_sha256,
            distances=row.distances,
            training_consent=row.training_consent,
            style=row.style_id,
            rendered=rendered,
            draft_use=DraftUse(row.draft_use) if row.decision == ReviewDecision.SIGNED else None,
        )


class ReviewList(BaseModel):
    """The reviews of a study, newest first."""

    reviews: list[Review]
