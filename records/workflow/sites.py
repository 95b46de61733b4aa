"""Sites: whose people see which studies, by the calling AE title that sent them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Sequence

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from records.database.tables import DEFAULT_SITE_ID, Site, SiteCaller
from records.errors import NotAllowed, NotFound

_CODE = re.compile("[a-z0-9][a-z0-9-]{0,31}")


def create(session: Session, code: str, name: str = "") -> Site:
    """Create a site.

    Args:
        session: the caller's transaction.
        code: how commands name it: small letters, digits and hyphens.
        name: as pages show it; "" is the code.

    Raises:
        NotAllowed: the code cannot be one, or a site has it.
    """
    if not _CODE.fullmatch(code):
        raise NotAllowed(
            "the code of a site has small letters from a to z, digits and hyphens, 32 at most"
        )
    if session.scalar(select(Site.id).where(Site.code == code)):
        raise NotAllowed(f"there is a site {code}")
    site = Site(code=code, name=name.strip() or code)
    session.add(site)
    session.flush()
    return site


def get(session: Session, code: str) -> Site:
    """The site of a code.

    Raises:
        NotFound: there is none.
    """
    site = session.scalar(select(Site).where(Site.code == code))
    if site is None:
        raise NotFound(f"there is no site {code!r}: `nightdraft site list` lists them")
    return site


def list_all(session: Session) -> Sequence[Site]:
    """All sites, by their codes."""
    return session.scalars(select(Site).order_by(Site.code)).all()


def list_callers(session: Session) -> dict[uuid.UUID, list[str]]:
    """The calling AE titles of each site that has one."""
    found: dict[uuid.UUID, list[str]] = {}
    for row in session.scalars(select(SiteCaller).order_by(SiteCaller.calling_ae)):
        found.setdefault(row.site_id, []).append(row.calling_ae)
    return found


def set_callers(session: Session, code: str, calling_aes: Sequence[str]) -> None:
    """Let new studies from these calling AE titles, and from no others, belong to a site.

    Studies that have arrived keep their site. Of the first site nothing is named: what no other
    site is named for belongs to it.

    Raises:
        NotFound: there is no such site.
        NotAllowed: a title is no AE title or is another site's, or the site is the first one.
    """
    site = get(session, code)
    titles = list(dict.fromkeys(title.strip() for title in calling_aes))
    if site.id == DEFAULT_SITE_ID and titles:
        raise NotAllowed(
            f"studies from callers of no other site belong to {code}: name callers of other sites"
        )
    for title in titles:
        # An AE title has 16 characters at most (PS3.5, 6.2).
        if not re.fullmatch(r"[ -\[\]-~]{1,16}", title):
            raise NotAllowed(f"{title[:20]!r} is no AE title")
    taken = session.scalar(
        select(SiteCaller.calling_ae).where(
            SiteCaller.calling_ae.in_(titles), SiteCaller.site_id != site.id
        )
    )
    if taken is not None:
        raise NotAllowed(f"{taken} is a caller of another site: take it away there first")
    session.execute(delete(SiteCaller).where(SiteCaller.site_id == site.id))
    session.add_all(SiteCaller(calling_ae=title, site_id=site.id) for title in titles)
    session.flush()


def site_of_caller(session: Session, calling_ae: str) -> uuid.UUID:
    """Our id of the site that new studies from a calling AE title belong to."""
    found = session.scalar(
        select(SiteCaller.site_id).where(SiteCaller.calling_ae == calling_ae.strip())
    )
    return found or DEFAULT_SITE_ID
