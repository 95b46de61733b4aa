"""Sites: whose people see which studies, orders and reports, by who sent them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from records.audit import trail
from records.database.site_tables import DEFAULT_SITE_ID, Site, SiteCaller, SiteSender
from records.errors import NotAllowed, NotFound
from records.received_text import clean_line
from records.states import AuditAction, SiteBasis
from records.workflow.identifiers import plain_key
from records.workflow.site_scope import visible_sites

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


def read_codes(session: Session) -> dict[uuid.UUID, str]:
    """The code of each site, by our id."""
    return dict(session.execute(select(Site.id, Site.code)).all())


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
    listed = ", ".join(titles) or "none"
    trail.record(session, AuditAction.SETTING, detail=f"site {code}: callers {listed}")


def site_of_caller(session: Session, calling_ae: str) -> uuid.UUID | None:
    """Our id of the site that new studies from a calling AE title belong to; None of no caller."""
    return session.scalar(
        select(SiteCaller.site_id).where(SiteCaller.calling_ae == calling_ae.strip())
    )


def columns_for_caller(
    session: Session,
    calling_ae: str,
    otherwise: tuple[uuid.UUID, str] = (DEFAULT_SITE_ID, SiteBasis.DEFAULT),
) -> dict[str, Any]:
    """The columns of a new study that say to which site it belongs, and why.

    Args:
        session: the caller's transaction.
        calling_ae: the calling AE title that sent it.
        otherwise: the site and the reason where that is the caller of no site.
    """
    site_id = site_of_caller(session, calling_ae)
    found = otherwise if site_id is None else (site_id, SiteBasis.CALLER)
    return {"site_id": found[0], "site_basis": found[1]}


def list_senders(session: Session) -> dict[uuid.UUID, list[str]]:
    """The senders of each site that has one, as keys hold them."""
    found: dict[uuid.UUID, list[str]] = {}
    for row in session.scalars(select(SiteSender).order_by(SiteSender.sender)):
        found.setdefault(row.site_id, []).append(row.sender)
    return found


def set_senders(session: Session, code: str, senders: Sequence[str]) -> None:
    """Let new orders, reports and messages of these senders, and no others, belong to a site.

    What has come keeps its site. Of the first site nothing is named: what no other site is named
    for belongs to it.

    Args:
        session: the caller's transaction.
        code: the site.
        senders: as orders and messages show them, in any capitals: MSH-3 and MSH-4 of HL7 as
            "RIS|NORTH", `meta.source` of FHIR, the AE title of a worklist, `sender` of REST and
            files.

    Raises:
        NotFound: there is no such site.
        NotAllowed: a sender is blank or another site's, or the site is the first one.
    """
    site = get(session, code)
    keys = list(dict.fromkeys(_sender_key(sender) for sender in senders))
    if site.id == DEFAULT_SITE_ID and keys:
        raise NotAllowed(
            f"what senders of no other site send belongs to {code}: name senders of other sites"
        )
    if not all(key.strip("|") for key in keys):
        raise NotAllowed("a sender has a name")
    taken = session.scalar(
        select(SiteSender.sender).where(SiteSender.sender.in_(keys), SiteSender.site_id != site.id)
    )
    if taken is not None:
        raise NotAllowed(f"{taken} is a sender of another site: take it away there first")
    session.execute(delete(SiteSender).where(SiteSender.site_id == site.id))
    session.add_all(SiteSender(sender=key, site_id=site.id) for key in keys)
    session.flush()
    listed = ", ".join(keys) or "none"
    trail.record(session, AuditAction.SETTING, detail=f"site {code}: senders {listed}")


def sites_of_senders(session: Session, senders: Collection[str]) -> dict[str, uuid.UUID]:
    """Our ids of the sites of those senders whose site is known, by the senders as given.

    A program whose token is of one site sends for that site, under any name that is not another
    site's.

    Raises:
        NotAllowed: the caller does not see all sites, and a sender is not of one that it sees.
    """
    keys = {sender: _sender_key(sender) for sender in senders}
    rows = session.execute(
        select(SiteSender.sender, SiteSender.site_id).where(
            SiteSender.sender.in_(set(keys.values()))
        )
    )
    known: dict[str, uuid.UUID] = dict(rows.all())
    found = {sender: known[key] for sender, key in keys.items() if key in known}
    own = visible_sites()
    if own is None:
        return found
    for sender in senders:
        if len(own) == 1:
            found.setdefault(sender, own[0])
        if found.get(sender) not in own:
            raise NotAllowed("the sender is of none of your sites: an administrator can name it")
    return found


def site_of_sender(
    session: Session, sender: str, otherwise: uuid.UUID = DEFAULT_SITE_ID
) -> uuid.UUID:
    """Our id of the site of what a sender sends; see `sites_of_senders`.

    Args:
        session: the caller's transaction.
        sender: who sent it.
        otherwise: the site where that of the sender is not known.
    """
    return sites_of_senders(session, [sender]).get(sender, otherwise)


def _sender_key(sender: str) -> str:
    return plain_key(clean_line(sender))
