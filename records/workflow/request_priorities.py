"""The priority of a study's open request, where that of the study changes after its arrival."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from records.database.draft_tables import DraftRequest
from records.database.tables import Study
from records.states import OPEN, Priority


def set_open_request(
    session: Session, study: Study, priority: Priority, *, only_raise: bool = False
) -> DraftRequest | None:
    """Give the open request of a study a priority; one that is STAT waits for no order any more.

    Args:
        session: the caller's transaction.
        study: the study, locked.
        priority: the new one.
        only_raise: a request that is more urgent stays as urgent as it is.

    Returns:
        The request, locked; None where none is open.
    """
    request = session.scalar(
        select(DraftRequest)
        .where(DraftRequest.id == study.request_id, DraftRequest.state.in_(list(OPEN)))
        .with_for_update(key_share=True)
        .execution_options(populate_existing=True)
    )
    if request is None:
        return None
    request.priority = min(request.priority, priority) if only_raise else priority
    if request.waits_for_order and request.priority == Priority.STAT:
        request.waits_for_order, request.not_before = False, None
    session.flush()
    return request
