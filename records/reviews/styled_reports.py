"""Texts and reports in a house style: what the style wrote, what readers did, and the whole."""

from __future__ import annotations

import uuid

from sqlalchemy.orm import Session

from records.database.draft_tables import Draft
from records.database.style_tables import ReportStyle
from records.report_styles import applying, layout, styles
from records.report_styles.applying import Replacement
from records.report_styles.layout import ShownSection
from records.states import DraftUse


def begun_text(
    session: Session,
    draft: Draft,
    draft_use: str,
    style_id: uuid.UUID | None,
    findings: str,
    impression: str,
) -> dict[str, str]:
    """The text from which a reader's changes are counted, by section.

    Without a style it is the draft. With one it is the draft in the words of the style, and each
    sentence that the reader took back is the model's: neither is a change of the reader. A text
    that was not made of the draft began with nothing.

    Args:
        session: the caller's transaction.
        draft: the draft.
        draft_use: what the text has of it (`DraftUse`).
        style_id: the version from which the text began.
        findings: as the reader has them.
        impression: as the reader has it.
    """
    if draft_use != DraftUse.FROM_DRAFT:
        return _sections("", "")
    written = _sections(draft.findings, draft.impression)
    if style_id is None:
        return written
    content = styles.content_of(session.get_one(ReportStyle, style_id))
    return applying.begin_from(content, written, _sections(findings, impression))


def list_standing(
    session: Session,
    draft: Draft,
    draft_use: str,
    style_id: uuid.UUID | None,
    findings: str,
    impression: str,
) -> list[Replacement]:
    """The sentences of a reader's text that a style wrote; arguments as of `begun_text`."""
    if style_id is None or draft_use != DraftUse.FROM_DRAFT:
        return []
    content = styles.content_of(session.get_one(ReportStyle, style_id))
    return applying.list_standing(
        content,
        _sections(draft.findings, draft.impression),
        _sections(findings, impression),
    )


def show_whole(
    session: Session, draft: Draft, style_id: uuid.UUID | None, findings: str, impression: str
) -> list[ShownSection]:
    """A text or report as it is shown whole, in the headings and the order of its style.

    Indication and comparison are those of the draft, which never change; a section without a text
    is left out.

    Args:
        session: the caller's transaction.
        draft: the draft that it was made of.
        style_id: the version from which it began; None where there was no style.
        findings: as written or signed.
        impression: as written or signed.
    """
    style = session.get_one(ReportStyle, style_id) if style_id is not None else None
    texts = _sections(findings, impression) | {
        "indication": draft.indication if draft.indication_source != "none" else "",
        "comparison": _name_prior(draft),
    }
    return layout.lay_out(styles.content_of(style) if style else None, texts)


def _name_prior(draft: Draft) -> str:
    """The earlier study whose report the model was given: its day and what was examined."""
    prior = draft.prior_report or {}
    day = str(prior.get("performed_on") or "")[:8]
    if len(day) == 8 and day.isdigit():
        day = f"{day[:4]}-{day[4:6]}-{day[6:]}"
    return ", ".join(filter(None, (day, str(prior.get("procedure") or "").strip())))


def _sections(findings: str, impression: str) -> dict[str, str]:
    return {"findings": findings, "impression": impression}
