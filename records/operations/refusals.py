"""Refusals: what the listener did not accept, with the reason, counted by caller and hour."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import delete, exists, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.database.operation_tables import Refusal
from records.database.session import interval
from records.database.site_tables import DEFAULT_SITE_ID
from records.states import TallyKind
from records.workflow import sites, tallies
from records.workflow.site_lists import newest_visible

_REMOVE_AT_ONCE = 1000
"""Lines that one call of `remove_old` deletes."""

MAX_ROWS_PER_CALLER = 50
"""Rows of one address and hour. Who makes up more classes or AE titles is counted without them."""


def record_refusal(
    session: Session,
    *,
    calling_ae: str,
    sop_class_uid: str,
    sop_instance_uid: str,
    reason: str,
    sentence: str,
    address: str = "",
    count: int = 1,
) -> None:
    """Count a refusal, so that nothing vanishes, and so that nobody can fill the table.

    Args:
        session: the caller's transaction.
        calling_ae: the sender's AE title.
        sop_class_uid: (0008,0016), as far as it is known.
        sop_instance_uid: (0008,0018), as far as it is known.
        reason: a stable word.
        sentence: the reason for a person.
        address: the sender's network address.
        count: how many refusals these are.
    """
    hour = session.scalar(select(func.date_trunc("hour", func.clock_timestamp())))
    calling_ae, sop_class_uid = calling_ae[:16], sop_class_uid[:64]
    same_caller = (Refusal.hour == hour, Refusal.address == address[:64])
    is_counted = exists().where(
        *same_caller,
        Refusal.calling_ae == calling_ae,
        Refusal.reason == reason,
        Refusal.sop_class_uid == sop_class_uid,
    )
    rows = select(Refusal.id).where(*same_caller).limit(MAX_ROWS_PER_CALLER).subquery()
    if (
        not session.scalar(select(is_counted))
        and (session.scalar(select(func.count()).select_from(rows)) or 0) >= MAX_ROWS_PER_CALLER
    ):
        calling_ae = sop_class_uid = ""
    row = insert(Refusal).values(
        hour=hour,
        address=address[:64],
        calling_ae=calling_ae,
        sop_class_uid=sop_class_uid,
        sop_instance_uid=sop_instance_uid[:64],
        reason=reason,
        sentence=sentence,
        count=count,
        site_id=sites.site_of_caller(session, calling_ae) or DEFAULT_SITE_ID,
    )
    session.execute(
        row.on_conflict_do_update(
            index_elements=["hour", "address", "calling_ae", "reason", "sop_class_uid"],
            set_={
                "count": Refusal.count + row.excluded.count,
                "at": func.clock_timestamp(),
                "sop_instance_uid": row.excluded.sop_instance_uid,
                "sentence": row.excluded.sentence,
            },
        )
    )


def list_refusals(session: Session, limit: int = 100) -> Sequence[Refusal]:
    """The newest refusals of the sites that are shown; each row counts equal ones of an hour.

    A refusal is of the site of its calling AE title, as a study is.
    """
    return session.scalars(newest_visible(select(Refusal), Refusal, Refusal.at, limit)).all()


def remove_old(session: Session, days: float) -> int:
    """Delete lines that are older than so many days; their numbers in the counters stay.

    A thousand are deleted at most: call again for more.
    """
    old = (
        select(Refusal.id)
        .where(Refusal.at < func.now() - interval(days * 86_400))
        .order_by(Refusal.at)
        .limit(_REMOVE_AT_ONCE)
    )
    return len(
        session.scalars(
            delete(Refusal)
            .where(Refusal.id.in_(old))
            .returning(Refusal.id)
            .execution_options(synchronize_session=False)
        ).all()
    )


def count_by_reason(session: Session) -> dict[str, int]:
    """How much was ever refused, by reason."""
    return tallies.read_numbers(session, TallyKind.REFUSALS)
