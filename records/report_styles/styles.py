"""The styles of sites and readers: which one is in force, and its versions.

A reader's own style comes before that of the site. A version is written once, so that a text and a
report keep that from which they began.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.orm import Session

from records.audit import trail
from records.database.site_tables import Site
from records.database.style_tables import ReportStyle
from records.errors import NotAllowed, NotFound
from records.report_styles.content import StyleContent, StyleRefused, Wording, find_faults, plain
from records.states import AuditAction
from records.workflow import sites
from records.workflow.site_scope import is_of_site, shows

FindDifferences = Callable[[str, str], Sequence[str]]
"""Says what a wording means otherwise than the sentence of the model: a sentence each."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose style it is: of a site, or of a reader.

    Attributes:
        site_id: our id of the site; None of a reader.
        account_id: the reader's; None of a site.
        name: for the trail.
    """

    site_id: uuid.UUID | None
    account_id: uuid.UUID | None
    name: str

    @property
    def condition(self) -> ColumnElement[bool]:
        """That a version is of this owner."""
        if self.site_id is not None:
            return ReportStyle.site_id == self.site_id
        return ReportStyle.account_id == self.account_id


def of_site(session: Session, code: str) -> Owner:
    """The owner of a site's style.

    Raises:
        NotFound: there is no such site, or it is not shown to who asks.
    """
    site = sites.get(session, code)
    if not shows(site.id):
        raise NotFound(f"there is no site {code!r}: `nightdraft site list` lists them")
    return Owner(site.id, None, f"site {site.code}")


def of_reader(account_id: uuid.UUID, login: str) -> Owner:
    """The owner of a reader's own style."""
    return Owner(None, account_id, f"reader {login}")


def content_of(style: ReportStyle) -> StyleContent:
    """What a version says."""
    return StyleContent.from_json(style.name, style.content)


def newest(session: Session, owner: Owner) -> ReportStyle | None:
    """The newest version of an owner, also where it ends the style; None where there is none."""
    return session.scalar(
        select(ReportStyle).where(owner.condition).order_by(ReportStyle.version.desc()).limit(1)
    )


def find_in_force(
    session: Session, site_id: uuid.UUID, account_id: uuid.UUID | None
) -> ReportStyle | None:
    """The style in which a reader's text of a site's draft begins; None: as the model wrote it.

    Args:
        session: the caller's transaction.
        site_id: of the study.
        account_id: of the reader; None where nobody is logged in.
    """
    own = newest(session, Owner(None, account_id, "")) if account_id is not None else None
    if own is not None and not own.is_ended:
        return own
    of_the_site = newest(session, Owner(site_id, None, ""))
    return None if of_the_site is None or of_the_site.is_ended else of_the_site


def may_begin_with(
    session: Session, style_id: uuid.UUID, site_id: uuid.UUID, account_id: uuid.UUID | None
) -> ReportStyle | None:
    """The version of an id, which may be an older one, if a reader's text can have begun with it.

    Returns:
        None where it is neither of the site nor the reader's own, or is not there.
    """
    style = session.get(ReportStyle, style_id)
    if style is None or style.is_ended:
        return None
    is_own = style.account_id is not None and style.account_id == account_id
    return style if is_own or style.site_id == site_id else None


def list_versions(session: Session, owner: Owner) -> Sequence[ReportStyle]:
    """The versions of an owner's style, newest first."""
    return session.scalars(
        select(ReportStyle).where(owner.condition).order_by(ReportStyle.version.desc())
    ).all()


def list_of_sites(session: Session) -> list[tuple[Site, ReportStyle | None]]:
    """The sites that are shown, by their codes, each with its style in force."""
    shown = session.scalars(select(Site).where(is_of_site(Site.id)).order_by(Site.code)).all()
    found = _newest_of(session, [site.id for site in shown])
    return [(site, found.get(site.id)) for site in shown]


def _newest_of(
    session: Session, site_ids: Collection[uuid.UUID]
) -> dict[uuid.UUID | None, ReportStyle]:
    rows = session.scalars(
        select(ReportStyle)
        .where(ReportStyle.site_id.in_(site_ids))
        .ext(distinct_on(ReportStyle.site_id))
        .order_by(ReportStyle.site_id, ReportStyle.version.desc())
    )
    return {row.site_id: row for row in rows if not row.is_ended}


def save(
    session: Session,
    owner: Owner,
    content: StyleContent,
    made_from: int,
    by: str,
    find_differences: FindDifferences,
) -> ReportStyle:
    """Save a style as a new version; the same content again makes none.

    Args:
        session: the caller's transaction.
        owner: whose it is.
        content: what it says.
        made_from: the version that was changed; 0 where there was none.
        by: who changes it.
        find_differences: what a wording means otherwise than the model's sentence. Whoever saves
            brings it: the words of reports are known to `model`, which the records do not import.

    Raises:
        StyleRefused: it is not a style, or a wording means something else.
        NotAllowed: nobody changes it, or somebody else saved meanwhile.
    """
    if not by.strip():
        raise NotAllowed("a style is changed by somebody: say by whom")
    faults = find_faults(content) or _find_changed_meanings(content.wordings, find_differences)
    if faults:
        raise StyleRefused(faults)
    last = _lock(session, owner, made_from)
    if last is not None and not last.is_ended and content_of(last) == content:
        return last
    return _append(session, owner, last, content, by)


def end(session: Session, owner: Owner, made_from: int, by: str) -> None:
    """Let an owner have no style from now on; its versions stay.

    Raises:
        NotFound: there is none.
        NotAllowed: nobody ends it, or somebody else saved meanwhile.
    """
    if not by.strip():
        raise NotAllowed("a style is ended by somebody: say by whom")
    last = _lock(session, owner, made_from)
    if last is None or last.is_ended:
        raise NotFound("there is no style that could be ended")
    _append(session, owner, last, content_of(last), by, is_ended=True)


def _find_changed_meanings(
    wordings: Sequence[Wording], find_differences: FindDifferences
) -> list[str]:
    faults = []
    for each in wordings:
        if plain(each.model) != plain(each.house):
            for difference in find_differences(each.model, each.house):
                faults.append(
                    f"“{each.house}” means something else than “{each.model}”, which it would "
                    f"replace. {difference}"
                )
    return faults


def _lock(session: Session, owner: Owner, made_from: int) -> ReportStyle | None:
    """The newest version, which nobody else changes until the end of the transaction."""
    session.execute(
        select(func.pg_advisory_xact_lock(func.hashtextextended(f"report style {owner.name}", 0)))
    )
    last = newest(session, owner)
    if (last.version if last else 0) != made_from:
        by = last.saved_by if last else "nobody"
        raise NotAllowed(f"the style was changed meanwhile, by {by}: look at it, and change that")
    return last


def _append(
    session: Session,
    owner: Owner,
    last: ReportStyle | None,
    content: StyleContent,
    by: str,
    *,
    is_ended: bool = False,
) -> ReportStyle:
    style = ReportStyle(
        site_id=owner.site_id,
        account_id=owner.account_id,
        version=(last.version if last else 0) + 1,
        name=content.name,
        content=content.to_json(),
        is_ended=is_ended,
        saved_by=by,
    )
    session.add(style)
    session.flush()
    session.refresh(style)
    what = "ended" if is_ended else f"version {style.version}"
    trail.record(
        session,
        AuditAction.SETTING,
        detail=f"report style of {owner.name}: {what}, by {by}",
    )
    return style
