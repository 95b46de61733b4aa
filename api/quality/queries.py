"""What a page or a call asks of the figures, and whose figures who asks may see.

A lead sees the sum of his or her sites; everybody else who reads sees only his or her own figures.
A program sees the sum of its sites.
"""

from __future__ import annotations

import datetime as dt
import uuid
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import HTTPException
from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from api.access.visitor import current_visitor
from api.forms import NONE_IF_EMPTY
from api.readers import account_id
from records.bundles import known
from records.database.session import database_time
from records.database.site_tables import Site
from records.errors import NotFound
from records.quality.counts import Choice, Dimension
from records.quality.groups import local_day
from records.states import AgeGroup, Device, Permission, ReadingArm, Sex
from records.workflow import sites
from records.workflow.site_scope import shows

SHOWN_MONTHS = 12
"""Months of the figures where nobody chooses others."""


class Whose(StrEnum):
    """Whose figures are shown."""

    SITES = "sites"  # the sum of the sites that who asks sees
    OWN = "own"


_MonthText = Annotated[str, Field(pattern=r"^2[0-9]{3}-(0[1-9]|1[0-2])$", max_length=7)]
Month = Annotated[_MonthText | None, NONE_IF_EMPTY]
_Text = Annotated[Annotated[str, Field(max_length=100)] | None, NONE_IF_EMPTY]


class QualityQuery(BaseModel):
    """Which figures are asked for.

    whose: "sites" is the sum of one's sites, for lead readers; "own" is one's own. since, until:
    the first and the last month, as 2026-11; left out, the last twelve. model: its digest, or six
    characters or more of its beginning. site: its code. view: the positions of the views, as
    PA+lateral. device, age, sex: of film and patient. arm: what the reader saw first.
    """

    whose: Annotated[Whose | None, NONE_IF_EMPTY] = None
    since: Month = None
    until: Month = None
    model: _Text = None
    site: _Text = None
    view: _Text = None
    device: Annotated[Device | None, NONE_IF_EMPTY] = None
    age: Annotated[AgeGroup | None, NONE_IF_EMPTY] = None
    sex: Annotated[Sex | None, NONE_IF_EMPTY] = None
    arm: Annotated[ReadingArm | None, NONE_IF_EMPTY] = None

    def query_string(self, **changes: Any) -> str:
        """The query string of this query with some values changed; empty ones are left out."""
        values = self.model_dump(mode="json") | changes
        return urlencode({name: value for name, value in values.items() if value})


class PageQuery(QualityQuery):
    """Which figures a page shows. by: what they are broken down by."""

    by: Annotated[Dimension, NONE_IF_EMPTY] = Dimension.MONTH


def may_see_sums() -> bool:
    """Whether who asks may see sums of sites.

    Programs may, for they have no figures of their own, and so may the command.
    """
    visitor = current_visitor()
    if visitor is None or visitor.session is None:
        return True
    return Permission.MANAGE_MODELS in visitor.permissions


def choose_account(whose: Whose | None) -> uuid.UUID | None:
    """Whose own figures are read; None is the sum of the sites that are shown.

    Raises:
        HTTPException: 403, who asks may not see what was asked for.
    """
    own = account_id()
    if whose is None:
        whose = Whose.SITES if may_see_sums() else Whose.OWN
    if whose is Whose.SITES:
        if not may_see_sums():
            raise HTTPException(
                403,
                "The sums of sites are for lead readers. Everybody sees his or her own figures.",
            )
        return None
    if own is None:
        raise HTTPException(403, "Only a person who is logged in has figures of his or her own.")
    return own


def make_choice(session: Session, query: QualityQuery) -> Choice:
    """The choice of a query, for who asks.

    Raises:
        HTTPException: as `choose_account`.
        NotFound: there is no such site or model, or who asks does not see the site.
        NotAllowed: the beginning of the digest names several models.
    """
    own = choose_account(query.whose)
    site_id = None
    if query.site:
        site_id = sites.get(session, query.site).id
        if not shows(site_id):
            raise NotFound(f"you see no site {query.site!r}")
    today = local_day(database_time(session))
    until = _first_day(query.until) or today.replace(day=1)
    since = _first_day(query.since) or _months_before(until, SHOWN_MONTHS - 1)
    return Choice(
        since,
        until,
        own,
        known.get(session, query.model).digest if query.model else None,
        site_id,
        query.view,
        query.device,
        query.age,
        query.sex,
        query.arm,
    )


def list_sites(session: Session) -> list[Site]:
    """The sites that who asks sees."""
    return [site for site in sites.list_all(session) if shows(site.id)]


def _first_day(month: str | None) -> dt.date | None:
    return dt.date.fromisoformat(f"{month}-01") if month else None


def _months_before(month: dt.date, number: int) -> dt.date:
    years, rest = divmod(month.year * 12 + month.month - 1 - number, 12)
    return dt.date(years, rest + 1, 1)
