"""Work of other times than now, as the trigger counts it."""

import datetime as dt
import uuid

from sqlalchemy import text

from records.database.session import unit_of_work
from records.database.site_tables import DEFAULT_SITE_ID
from records.states import WorkKind


def add_work(
    quarter: dt.datetime,
    kind: WorkKind,
    number: int,
    *,
    reason: str = "",
    worker: str = "",
    times: int = 1,
    site_id: uuid.UUID = DEFAULT_SITE_ID,
) -> None:
    """Count work of a quarter of an hour, as so many parts."""
    with unit_of_work() as session:
        session.execute(
            text(
                "INSERT INTO work_count_parts (quarter, kind, reason, worker, site_id, number)"
                " SELECT :quarter, :kind, :reason, :worker, :site_id, :number"
                " FROM generate_series(1, :times)"
            ),
            {
                "quarter": quarter,
                "kind": kind.value,
                "reason": reason,
                "worker": worker,
                "site_id": site_id,
                "number": number,
                "times": times,
            },
        )
