"""What the study page shows of a draft: to be read first, to be edited, or signed."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.orm import Session

from api.access.decider import account_name
from api.access.visitor import current_visitor
from api.readers import account_id, hides, reader_of
from api.reviews.text_checks import TextCheck, check_text
from api.word_differences import WordsOf, compare_words
from records.database.draft_tables import Draft
from records.database.review_tables import Review, WorkingText
from records.emergency_grants import grant_of
from records.quality import report_scores
from records.quality.report_scores import NO_SCORING, ScoringState
from records.reviews import lookup, readings, working_texts
from records.reviews.readers import Reader
from records.reviews.working_texts import Text
from records.states import (
    PEER_LABELS,
    REJECT_LABELS,
    PeerScore,
    RejectReason,
    ReviewDecision,
)


@dataclass(frozen=True, slots=True)
class Editor:
    """What the study page shows of a draft, beside the draft itself.

    Attributes:
        reader: who asks; the name is empty.
        is_hidden: the draft must not be shown yet, for its reader reads the films first.
        is_read_first: the reading began with the films.
        text: the working text; None where there is no draft, or it is hidden.
        report: the signed report of this draft; None while nobody has signed.
        addenda: what was added to the report, oldest first.
        countersigned: who signed it, too, oldest first.
        rejections: of this draft, newest first.
        left: texts that were written from other drafts of the study.
        differences: by section, the words of the draft and of the text or report.
        checks: where its reader should look, before it is signed.
        scoring: what who asks may do about the score of the report.
    """

    reader: Reader
    is_hidden: bool = False
    is_read_first: bool = False
    text: Text | None = None
    report: Review | None = None
    addenda: Sequence[Review] = ()
    countersigned: Sequence[Review] = ()
    rejections: Sequence[Review] = ()
    left: Sequence[WorkingText] = ()
    differences: dict[str, list[WordsOf]] | None = None
    checks: Sequence[TextCheck] = ()
    scoring: ScoringState = NO_SCORING

    @property
    def has_changes(self) -> bool:
        """Whether the text or the report has other words than the draft."""
        return any(
            part.kind != "both" for parts in (self.differences or {}).values() for part in parts
        )

    @property
    def scores(self) -> dict[PeerScore, str]:
        """The scores that a second reader can give."""
        return PEER_LABELS

    @property
    def reasons(self) -> dict[RejectReason, str]:
        """The reasons for which a draft can be rejected."""
        return REJECT_LABELS


def load_editor(
    session: Session, study_id: uuid.UUID, draft: Draft | None, drafts: Sequence[Draft]
) -> Editor:
    """What the page of a study shows of its draft; opening it begins a reading.

    Args:
        session: the caller's transaction.
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
        )
    left = working_texts.list_left(session, study_id, draft.id if draft else None)
    if draft is None:
        return Editor(reader=reader, left=left)
    account = account_id()
    is_read_first = False
    if account is not None and grant_of(draft.study_id) is None:
        is_read_first = readings.begin(session, draft, account).arm == "READ_FIRST"
    if hides(session, draft):
        return Editor(reader=reader, is_hidden=True, is_read_first=True)
    text = working_texts.read(session, draft)
    return Editor(
        reader=reader,
        is_read_first=is_read_first,
        text=text,
        rejections=[
            one
            for one in reviews
            if one.decision == ReviewDecision.REJECTED and one.draft_id == draft.id
        ],
        left=left,
        differences=differences(draft, text.findings, text.impression),
        checks=check_text(session, draft, text.findings, text.impression),
    )


def differences(draft: Draft | None, findings: str, impression: str) -> dict[str, list[WordsOf]]:
    """By section, the words of a draft and of a text that was made of it, in one sequence."""
    if draft is None:
        return {}
    return {
        "findings": compare_words(draft.findings, findings),
        "impression": compare_words(draft.impression, impression),
    }
