"""The views of the worklist that readers saved: a name for filters, search and order."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from records.database.worklist_tables import WorklistView
from records.errors import NotAllowed, NotFound

MOST_VIEWS = 50
"""Views that one reader may save."""

MOST_NAME, MOST_QUERY = 60, 1000
"""Characters of a view's name and of its query string."""


def list_views(session: Session, account_id: uuid.UUID) -> Sequence[WorklistView]:
    """The views of a reader, by name."""
    return session.scalars(
        select(WorklistView)
        .where(WorklistView.account_id == account_id)
        .order_by(func.lower(WorklistView.name), WorklistView.id)
    ).all()


def default_query(session: Session, account_id: uuid.UUID) -> str | None:
    """The query string of the reader's default view; None where there is none."""
    return session.scalar(
        select(WorklistView.query).where(
            WorklistView.account_id == account_id, WorklistView.is_default
        )
    )


def save(
    session: Session, account_id: uuid.UUID, name: str, query: str, *, is_default: bool = False
) -> WorklistView:
    """Save a view under a name; one of that name is replaced.

    Args:
        session: the caller's transaction.
        account_id: whose view it is.
        name: as the reader calls it.
        query: the query string of the worklist's address.
        is_default: the worklist opens with it, in place of the default view before.

    Raises:
        NotAllowed: no name, a name or query that is too long, or too many views.
    """
    name = " ".join(name.split())
    if not name or len(name) > MOST_NAME or len(query) > MOST_QUERY:
        raise NotAllowed(f"a view has a name of 1 to {MOST_NAME} characters")
    mine = list_views(session, account_id)
    view = next((one for one in mine if one.name == name), None)
    if view is None:
        if len(mine) >= MOST_VIEWS:
            raise NotAllowed(f"a reader has {MOST_VIEWS} views at most: remove one first")
        view = WorklistView(account_id=account_id, name=name, query=query)
        session.add(view)
    view.query, view.saved_at = query, func.clock_timestamp()
    if is_default:
        _leave_default(session, account_id)
    view.is_default = is_default
    session.flush()
    session.refresh(view)
    return view


def remove(session: Session, account_id: uuid.UUID, view_id: uuid.UUID) -> None:
    """Remove a reader's own view.

    Raises:
        NotFound: he or she has none of that id.
    """
    view = session.get(WorklistView, view_id)
    if view is None or view.account_id != account_id:
        raise NotFound("you have no view of that id")
    session.delete(view)
    session.flush()


def _leave_default(session: Session, account_id: uuid.UUID) -> None:
    session.execute(
        update(WorklistView)
        .where(WorklistView.account_id == account_id, WorklistView.is_default)
        .values(is_default=False)
    )
