"""What REST answers of texts and reviews, with what their report style makes of them."""

from __future__ import annotations

from sqlalchemy.orm import Session

from api.reviews.schemas import HouseWording, Review, WorkingText
from records.database import review_tables
from records.database.draft_tables import Draft
from records.report_styles.layout import to_text
from records.reviews import styled_reports
from records.reviews.working_texts import Text
from records.states import ReviewDecision


def answer_text(session: Session, text: Text) -> WorkingText:
    """A text in work, with the whole of it as the page that signs shows it."""
    draft = session.get_one(Draft, text.draft_id)
    given = (text.style_id, text.findings, text.impression)
    return WorkingText(
        draft=text.draft_id,
        version=text.version,
        findings=text.findings,
        impression=text.impression,
        sha256=text.sha256,
        state=text.state,
        saved_by=text.saved_by,
        saved_at=text.saved_at,
        sent_by=text.sent_by,
        note=text.note,
        style=text.style_id,
        house_wordings=[
            HouseWording.model_validate(each)
            for each in styled_reports.list_standing(session, draft, text.draft_use, *given)
        ],
        rendered=to_text(styled_reports.show_whole(session, draft, *given)),
        draft_use=text.draft_use,
    )


def answer_review(session: Session, row: review_tables.Review) -> Review:
    """A review; of a signed report with the whole of it as the study page shows it."""
    rendered = ""
    if row.decision == ReviewDecision.SIGNED:
        draft = session.get_one(Draft, row.draft_id)
        rendered = to_text(
            styled_reports.show_whole(session, draft, row.style_id, row.findings, row.impression)
        )
    return Review.from_row(row, rendered)
