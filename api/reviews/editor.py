"""What the study page shows of a draft: to be read first, to be edited, or signed."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from api.access.decider import account_name
from api.access.visitor import current_visitor
from api.readers import account_id, hides, reader_of
from api.reviews.text_checks import TextCheck, check_text
from api.word_differences import WordsOf, compare_words
from records.database.draft_tables import Draft
from records.database.review_tables import Review, WorkingText
from records.database.session import unit_of_work
from records.database.style_tables import ReportStyle
from records.database.tables import Study
from records.emergency_grants import grant_of
from records.quality import report_scores
from records.quality.report_scores import NO_SCORING, ScoringState
from records.report_styles import styles
from records.report_styles.applying import Replacement
from records.report_styles.content import WRITTEN_SECTIONS, Phrase
from records.report_styles.layout import ShownSection
from records.report_styles.styles import content_of
from records.reviews import lookup, readings, styled_reports, working_texts
from records.reviews.readers import Reader
from records.reviews.working_texts import HiddenText, Text
from records.states import (
    PEER_LABELS,
    REJECT_LABELS,
    DraftUse,
    PeerScore,
    RejectReason,
    ReviewDecision,
)
from records.workflow import studies, worklist_rows
from records.workflow.site_scope import shows_study


@dataclass(frozen=True, slots=True)
class Editor:
    """What the study page shows of a draft, beside the draft itself.

    Attributes:
        reader: who asks; the name is empty.
        is_hidden: the draft must not be shown yet, for its reader reads the films first, or writes
            without it.
        is_drawn: the study was drawn for its reader to be read without a draft.
        text: the working text; None where there is no draft, or the text may have words of one that
            is hidden.
        report: the signed report of this draft; None while nobody has signed.
        addenda: what was added to the report, oldest first.
        countersigned: who signed it, too, oldest first.
        rejections: of this draft, newest first.
        left: texts that were written from other drafts of the study.
        differences: by section, the words of the draft and of the text or report.
        checks: where its reader should look, before it is signed.
        scoring: what who asks may do about the score of the report.
        style: the version from which the text or the report began; None where there is none.
        house_wordings: the sentences of the text or report that the style wrote.
        sections: the text or report as it is shown whole.
        has_changes: whether a reader changed something; the words of a style do not count.
        late_addenda: what was added since to the report that was the draft's prior report.
        phrase_style: the style in force for the reader, whose phrases he or she may insert.
    """

    reader: Reader
    is_hidden: bool = False
    is_drawn: bool = False
    text: Text | None = None
    report: Review | None = None
    addenda: Sequence[Review] = ()
    countersigned: Sequence[Review] = ()
    rejections: Sequence[Review] = ()
    left: Sequence[WorkingText] = ()
    differences: dict[str, list[WordsOf]] | None = None
    checks: Sequence[TextCheck] = ()
    scoring: ScoringState = NO_SCORING
    style: ReportStyle | None = None
    house_wordings: Sequence[Replacement] = ()
    sections: Sequence[ShownSection] = ()
    has_changes: bool = False
    phrase_style: ReportStyle | None = None
    late_addenda: Sequence[Review] = ()

    @property
    def style_has_wordings(self) -> bool:
        """Whether the style of the text can have written something."""
        return self.style is not None and bool(content_of(self.style).wordings)

    @property
    def phrases(self) -> Sequence[Phrase]:
        """What the reader may insert."""
        return content_of(self.phrase_style).phrases if self.phrase_style else ()

    @property
    def scores(self) -> dict[PeerScore, str]:
        """The scores that a second reader can give."""
        return PEER_LABELS

    @property
    def reasons(self) -> dict[RejectReason, str]:
        """The reasons for which a draft can be rejected."""
        return REJECT_LABELS


def begin_reading(uid: str) -> None:
    """Begin the reading of the draft that a page will show, where its reader has one to read.

    A reading begins in a transaction of its own, for the page itself is read as a snapshot.
    Nothing begins where the report is signed, or the study was opened in an emergency.

    Raises:
        NotFound: no such study.
    """
    account = account_id()
    if account is None:
        return
    with unit_of_work() as session:
        row = worklist_rows.read_row(session, studies.get_by_uid(session, uid).id)
        is_read = row.draft_id is not None and row.withheld is None and not row.signed_by
        if is_read and grant_of(row.id) is None:
            readings.begin(session, session.get_one(Draft, row.draft_id), account)


def load_editor(
    session: Session, study_id: uuid.UUID, draft: Draft | None, drafts: Sequence[Draft]
) -> Editor:
    """What the page of a study shows of its draft; `begin_reading` comes before it.

    Args:
        session: the caller's snapshot.
        study_id: our id of the study.
        draft: its current draft.
        drafts: all of its drafts; a report may be of one that was current before.
    """
    reader = reader_of("")
    reviews = lookup.list_by_study(session, study_id)
    report = next((one for one in reviews if one.decision == ReviewDecision.SIGNED), None)
    if draft is not None and report is not None and report.draft_id != draft.id:
        report = None  # a newer draft is read anew; the timeline names the earlier signature
    if report is not None:
        visitor = current_visitor()
        name = account_name(visitor) if visitor is not None else ""
        made_of = next((one for one in drafts if one.id == report.draft_id), None)
        following = [one for one in reversed(reviews) if one.follows_id == report.id]
        return Editor(
            reader=reader,
            report=report,
            addenda=[one for one in following if one.decision == ReviewDecision.ADDENDUM],
            countersigned=[
                one for one in following if one.decision == ReviewDecision.COUNTERSIGNED
            ],
            differences=differences(made_of, report.findings, report.impression),
            scoring=report_scores.read_state(session, report, reader_of(name)),
            **_styled(
                session,
                session.get_one(Draft, report.draft_id),
                report,
                is_shown=made_of is not None,
            ),
            late_addenda=_list_late_addenda(session, made_of) if made_of else (),
        )
    left = working_texts.list_left(session, study_id, draft.id if draft else None)
    if draft is None:
        return Editor(reader=reader, left=left)
    account = account_id()
    is_granted = grant_of(draft.study_id) is not None
    is_drawn = not is_granted and readings.begins_empty(session, draft, account)
    if hides(session, draft):
        return _load_hidden(session, draft, reader, left, is_drawn=is_drawn)
    text = working_texts.read(session, draft, account)
    return Editor(
        reader=reader,
        is_drawn=is_drawn,
        text=text,
        rejections=[
            one
            for one in reviews
            if one.decision == ReviewDecision.REJECTED and one.draft_id == draft.id
        ],
        left=left,
        differences=differences(draft, text.findings, text.impression),
        checks=check_text(session, draft, text.findings, text.impression),
        phrase_style=_find_style(session, draft, account),
        late_addenda=_list_late_addenda(session, draft),
        **_styled(session, draft, text),
    )


def _load_hidden(
    session: Session,
    draft: Draft,
    reader: Reader,
    left: Sequence[WorkingText],
    *,
    is_drawn: bool,
) -> Editor:
    """What the page shows while the draft is hidden: at most a text that has nothing of it."""
    account = account_id()
    try:
        text = working_texts.read(session, draft, account)
    except HiddenText:
        return Editor(reader=reader, is_hidden=True, is_drawn=is_drawn)
    return Editor(
        reader=reader,
        is_hidden=True,
        is_drawn=is_drawn,
        text=text,
        left=[one for one in left if one.draft_use == DraftUse.WITHOUT_DRAFT],
        checks=check_text(session, draft, text.findings, text.impression, is_hidden=True),
        phrase_style=_find_style(session, draft, account),
        late_addenda=_list_late_addenda(session, draft),
        **_styled(session, draft, text, is_shown=False),
    )


def _find_style(session: Session, draft: Draft, account: uuid.UUID | None) -> ReportStyle | None:
    return styles.find_in_force(session, session.get_one(Study, draft.study_id).site_id, account)


def _list_late_addenda(session: Session, draft: Draft) -> list[Review]:
    """What was added to the draft's prior report after it was prepared, where it is shown to us."""
    prior = draft.prior_report or {}
    if "signed_by" not in prior:
        return []  # of a report from elsewhere, an addendum makes a new version
    report_id = uuid.UUID(prior["report_id"])
    read = {each["id"] for each in prior.get("addenda", ())}
    added = lookup.list_addenda(session, [report_id]).get(report_id, [])
    return [
        each
        for each in added
        if str(each.id) not in read and shows_study(session.get_one(Study, each.study_id))
    ]


def _styled(
    session: Session, draft: Draft, text: Text | Review, *, is_shown: bool = True
) -> dict[str, Any]:
    """What the page shows of the style of a text or report.

    Args:
        session: the caller's transaction.
        draft: the draft that it was made of.
        text: the text or report.
        is_shown: whether the draft may be shown; without it nothing of the model's words is.
    """
    given = (text.style_id, text.findings, text.impression)
    begun = styled_reports.begun_text(session, draft, text.draft_use, *given)
    return {
        "style": session.get_one(ReportStyle, text.style_id) if text.style_id else None,
        "house_wordings": styled_reports.list_standing(session, draft, text.draft_use, *given)
        if is_shown
        else (),
        "sections": styled_reports.show_whole(session, draft, *given),
        "has_changes": any(
            part.kind != "both"
            for section in WRITTEN_SECTIONS
            for part in compare_words(begun[section], getattr(text, section))
        ),
    }


def differences(draft: Draft | None, findings: str, impression: str) -> dict[str, list[WordsOf]]:
    """By section, the words of a draft and of a text that was made of it, in one sequence."""
    if draft is None:
        return {}
    return {
        "findings": compare_words(draft.findings, findings),
        "impression": compare_words(draft.impression, impression),
    }
