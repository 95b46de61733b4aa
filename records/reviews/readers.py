"""Who reviews a draft, and the draft that is reviewed, locked."""

from __future__ import annotations

import hashlib
import uuid
from dataclasses import dataclass

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from records.database.draft_tables import Draft
from records.database.review_tables import Review
from records.database.tables import Hold, Study
from records.errors import NotAllowed, NotFound
from records.states import WARNING, ReviewDecision
from records.workflow.showing import refuse_withheld

MOST_TEXT = 10_000
"""Characters of a section. Reports have some hundred."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Who writes or signs.

    Attributes:
        name: as it is kept with what was done.
        account_id: of the account; None where nobody is logged in.
        may_sign: whether he or she may sign, and so goes on with what a trainee submitted.
    """

    name: str
    account_id: uuid.UUID | None = None
    may_sign: bool = True


def digest_text(findings: str, impression: str, style_id: uuid.UUID | None = None) -> str:
    """SHA-256 (hexadecimal) of the text of a report, as a page shows it before it is signed.

    Args:
        findings: the section.
        impression: the section.
        style_id: the version of the house style whose headings and order are shown with it.
    """
    # No text can hold the separator of two sections.
    style = f"\0{style_id}" if style_id is not None else ""
    return hashlib.sha256(f"{findings}\0{impression}{style}".encode()).hexdigest()


def check_text(findings: str, impression: str) -> None:
    """Refuse what cannot be a report's text.

    Raises:
        NotAllowed: no text at all, or the draft's warning in it.
    """
    if not (findings + impression).strip():
        raise NotAllowed("a report without text cannot be signed: write findings or an impression")
    if WARNING in findings or WARNING in impression:
        raise NotAllowed("a signed report is no draft any more: take the warning line out of it")


def lock_draft(session: Session, draft_id: uuid.UUID, reader: str) -> Draft:
    """The draft, not signed yet; its study is locked, so that no newer draft replaces it now.

    Raises:
        NotFound: no such draft.
        NotAllowed: no reader, it is shown to nobody, or it is signed already.
    """
    if not reader.strip():
        raise NotAllowed("a draft is reviewed by somebody: say who the reader is")
    study_id = session.scalar(select(Draft.study_id).where(Draft.id == draft_id))
    if study_id is None:
        raise NotFound("no draft has that id")
    refuse_withheld(session, draft_id)
    # Lock the study first, as filing an image of it and deciding a hold do.
    session.get(Study, study_id, with_for_update={"key_share": True}, populate_existing=True)
    draft = session.get_one(Draft, draft_id, with_for_update={"read": True}, populate_existing=True)
    if session.scalar(
        select(
            exists().where(Review.draft_id == draft_id, Review.decision == ReviewDecision.SIGNED)
        )
    ):
        raise NotAllowed("this draft is signed already: a report is signed once")
    return draft


def check_signable(session: Session, draft: Draft) -> None:
    """Refuse what no report may be made of now.

    Raises:
        NotAllowed: a draft that is superseded, or a study that waits for a person to decide.
    """
    if draft.superseded_at is not None:
        raise NotAllowed("a newer draft stands in this one's place: review that one")
    if session.scalar(
        select(exists().where(Hold.study_id == draft.study_id, Hold.decision.is_(None)))
    ):
        raise NotAllowed("a person must decide about this study before its report can be signed")
