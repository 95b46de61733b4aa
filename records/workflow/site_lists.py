"""Lists by time of the rows of the sites that are shown: each site's rows are read by its index."""

from __future__ import annotations

import datetime as dt
from typing import Any, TypeVar

from sqlalchemy import Select, SQLColumnExpression, false, select, union_all

from records.workflow.site_scope import visible_sites

RowT = TypeVar("RowT")


def newest_visible(
    query: Select[RowT],
    table: type[Any],
    at: SQLColumnExpression[dt.datetime],
    limit: int,
) -> Select[RowT]:
    """The newest rows of a list that are of a site that is shown.

    Of each site a walk of its own reads so many rows: one over all sites would step over the rows
    of the others, and one over a list of sites would sort them.

    Args:
        query: the list, of this table alone and without an order.
        table: has `id` and `site_id`.
        at: the time by which they are listed, the newest first.
        limit: how many rows, at most.
    """
    order = (at.desc(), table.id.desc())
    sites = visible_sites()
    if sites is None:
        return query.order_by(*order).limit(limit)
    if not sites:
        return query.where(false()).order_by(*order)
    legs = [
        query.with_only_columns(table.id.label("id"))
        .where(table.site_id == site)
        .order_by(*order)
        .limit(limit)
        .subquery()
        for site in sites
    ]
    shown = union_all(*(select(leg.c.id) for leg in legs)).subquery()
    rows: Select[RowT] = select(table).join(shown, shown.c.id == table.id)
    return rows.order_by(*order).limit(limit)
