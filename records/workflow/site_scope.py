"""To which sites the present work is limited.

The web server limits what it answers to the visitor's sites. Parts and commands are not limited.
Studies of a patient who was opened in an emergency are shown besides (`records.emergency_grants`):
where one is asked for and where one is searched for, and in no list that somebody only browses.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    SQLColumnExpression,
    Uuid,
    any_,
    exists,
    literal,
    or_,
    select,
    true,
)
from sqlalchemy.orm import Session

from records.database.site_tables import Site
from records.database.tables import Study, WorklistEntry
from records.emergency_grants import granted_studies

_current: ContextVar[tuple[uuid.UUID, ...] | None] = ContextVar("_current", default=None)


def visible_sites() -> tuple[uuid.UUID, ...] | None:
    """Our ids of the sites whose studies are shown; None is every site."""
    return _current.get()


@contextmanager
def limited_to(site_ids: Collection[uuid.UUID] | None) -> Iterator[None]:
    """Let everything within the block show studies of these sites alone; None is every site."""
    token = _current.set(None if site_ids is None else tuple(site_ids))
    try:
        yield
    finally:
        _current.reset(token)


def is_visible(
    site_id: SQLColumnExpression[uuid.UUID] | SQLColumnExpression[uuid.UUID | None],
) -> ColumnElement[bool]:
    """The condition that a row is of a site whose studies are shown.

    Of studies and of entries of the worklist, those that were opened in an emergency are, too.

    Args:
        site_id: the column with the site, of a table and no alias. A row without one is for who
            sees every site.
    """
    condition = is_of_site(site_id)
    study_ids = granted_studies() if visible_sites() is not None else frozenset()
    if not study_ids:
        return condition
    table = getattr(getattr(site_id, "expression", site_id), "table", None)
    for study_id, of in ((Study.id, Study), (WorklistEntry.study_id, WorklistEntry)):
        if table is of.__table__:
            return or_(condition, study_id == any_(literal(sorted(study_ids), ARRAY(Uuid))))
    return condition


def is_of_site(
    site_id: SQLColumnExpression[uuid.UUID] | SQLColumnExpression[uuid.UUID | None],
) -> ColumnElement[bool]:
    """As `is_visible`, without what was opened in an emergency.

    It is for lists that one browses, for numbers, and for what changes something.
    """
    sites = visible_sites()
    if sites is None:
        return true()
    return site_id == any_(literal(list(sites), ARRAY(Uuid)))


def shows(site_id: uuid.UUID) -> bool:
    """Whether the studies of a site are shown."""
    sites = visible_sites()
    return sites is None or site_id in sites


def shows_study(study: Study) -> bool:
    """Whether a study is shown: for its site, or because it was opened in an emergency."""
    return shows(study.site_id) or study.id in granted_studies()


def reduce(session: Session, site_ids: Collection[uuid.UUID]) -> tuple[uuid.UUID, ...] | None:
    """The sites of a person; None where they are all that there are."""
    has_others = session.scalar(select(exists().where(Site.id.not_in(site_ids))))
    return tuple(site_ids) if has_others else None
