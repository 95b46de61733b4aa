"""Who reads in the present request, and what he or she is not shown yet."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping

from sqlalchemy.orm import Session

from api.access.freshness import PasswordNeeded
from api.access.visitor import current_visitor
from records.database.draft_tables import Draft
from records.database.session import database_time
from records.emergency_grants import grant_of
from records.errors import NotAllowed
from records.reviews import readings
from records.reviews.readers import Reader
from records.settings import settings
from records.states import READ_FIRST_SENTENCE, Permission
from records.workflow.draft_comparisons import ComparisonPage, ComparisonRecord
from records.workflow.worklist import WorklistPage


def account_id() -> uuid.UUID | None:
    """The account that is logged in; None of a program, and before the first account."""
    visitor = current_visitor()
    return visitor.session.account_id if visitor is not None and visitor.session else None


def reader_of(name: str) -> Reader:
    """The reader of the present request.

    Args:
        name: as `api.access.decider` understood it.
    """
    visitor = current_visitor()
    may_sign = visitor is not None and Permission.SIGN_REPORTS in visitor.permissions
    return Reader(name, account_id(), may_sign)


def hides(session: Session, draft: Draft) -> bool:
    """Whether the draft must not be shown to who asks yet, because he or she reads first.

    What was opened in an emergency is always shown.
    """
    return grant_of(draft.study_id) is None and readings.hides_draft(session, draft, account_id())


def require_shown(session: Session, draft: Draft) -> None:
    """Refuse what would show a draft too early.

    Raises:
        NotAllowed: the draft is hidden.
    """
    if hides(session, draft):
        raise NotAllowed(READ_FIRST_SENTENCE.rstrip(".").replace("Read", "read", 1))


def hide_page(session: Session, page: WorklistPage) -> WorklistPage:
    """A page of the worklist without the text of drafts that who asks must not see yet."""
    drafted = {row.draft_id: row.id for row in page.rows if row.draft_id is not None}
    hidden = _list_hidden(session, drafted)
    if not hidden:
        return page
    rows = [
        dataclasses.replace(row, findings="", impression="", is_hidden=True)
        if row.draft_id in hidden
        else row
        for row in page.rows
    ]
    return dataclasses.replace(page, rows=rows)


def hide_comparison(session: Session, record: ComparisonRecord) -> ComparisonRecord:
    """A comparison, without what it says of drafts that who asks must not see yet."""
    study = record.study.id
    hidden = _list_hidden(session, {record.first.id: study, record.second.id: study})
    return dataclasses.replace(record, unread=frozenset(hidden))


def hide_comparisons(session: Session, page: ComparisonPage) -> ComparisonPage:
    """A page of comparisons, without what they say of drafts that who asks must not see yet."""
    pairs = [(one.comparison, one.study.id) for one in page.entries]
    hidden = _list_hidden(
        session,
        {
            draft: study
            for pair, study in pairs
            for draft in (pair.first_draft_id, pair.second_draft_id)
        },
    )
    entries = [
        dataclasses.replace(
            one,
            is_withheld=one.is_withheld
            or not hidden.isdisjoint(
                (one.comparison.first_draft_id, one.comparison.second_draft_id)
            ),
        )
        for one in page.entries
    ]
    return dataclasses.replace(page, entries=entries)


def _list_hidden(session: Session, drafted: Mapping[uuid.UUID, uuid.UUID]) -> set[uuid.UUID]:
    """Those of these drafts, each with its study, that who asks must not see yet."""
    account = account_id()
    if account is None:
        return set()
    shown = {draft: study for draft, study in drafted.items() if grant_of(study) is None}
    return readings.list_hidden(session, shown, account)


def require_recent_login(session: Session, back: str) -> None:
    """Refuse a signature of who logged in too long ago (NIGHTDRAFT_SIGN_FRESH_SECONDS).

    Args:
        session: the caller's transaction.
        back: the page of ours to which the person comes back.

    Raises:
        PasswordNeeded: password and code must be given again.
    """
    visitor = current_visitor()
    limit = settings().sign_fresh_seconds
    if not limit or visitor is None or visitor.session is None:
        return  # before the first account nobody has a password
    age = (database_time(session) - visitor.session.proven_at).total_seconds()
    if age > limit:
        raise PasswordNeeded(back)
