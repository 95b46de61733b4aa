"""Campaigns as a whole: create, pause, resume, cancel, find, list; whether their window is open."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from records.campaigns.window import Hours, Window, read_zone
from records.database.campaign_tables import Campaign, CampaignStudy
from records.errors import NotAllowed, NotFound
from records.pacs import Pacs, find_pacs, read_pacs_file
from records.settings import settings
from records.states import (
    CAMPAIGN_ENDED,
    CAMPAIGN_MOVING,
    CampaignKind,
    CampaignState,
    Priority,
    Purpose,
    WalkState,
)
from records.workflow import sites
from records.workflow.site_lists import newest_visible
from records.workflow.site_scope import is_visible, shows, visible_sites


@dataclass(frozen=True, slots=True)
class NewCampaign:
    """What a person says of a campaign.

    Attributes:
        name: short, unique.
        kind: where its studies are from.
        window: when it works.
        created_by: who creates it.
        source: what the walk of this kind needs.
        pacs: the PACS, by its name in the settings, that images are fetched from; "" for none.
        bundle: the digest of the bundle that drafts; None is whichever is served.
        purpose: PRIMARY, or COMPARISON for a draft beside the one that a reader is shown.
        priority: of its studies.
        skip_reported: whether studies with a final report are skipped.
        studies_per_minute: how many are fetched, at most; None is what the PACS allows.
        site_code: whose studies are drafted; "" is those of every site, or of the only one that the
            caller sees.
    """

    name: str
    kind: CampaignKind
    window: Window
    created_by: str
    source: Mapping[str, Any] = field(default_factory=dict)
    pacs: str = ""
    bundle: str | None = None
    purpose: Purpose = Purpose.PRIMARY
    priority: Priority = Priority.BACKLOG
    skip_reported: bool = True
    studies_per_minute: float | None = None
    site_code: str = ""


def create(session: Session, new: NewCampaign) -> uuid.UUID:
    """Create a campaign; its source is walked at once, whether or not its window is open.

    Raises:
        NotAllowed: it has no name, there is one of that name, its dates end before they begin, the
            bundle is not named that drafts again or beside, or the caller does not see all sites
            and names none, or one whose people may not fetch from there.
        NotFound: the caller sees no site of that code.
    """
    window = new.window
    if not new.name.strip():
        raise NotAllowed("a campaign has a name: give it one")
    if window.starts_on and window.ends_on and window.ends_on < window.starts_on:
        raise NotAllowed(
            f"the campaign ends on {window.ends_on}, before it starts on {window.starts_on}"
        )
    if new.studies_per_minute is not None and new.studies_per_minute <= 0:
        raise NotAllowed("a campaign fetches more than 0 studies a minute")
    if new.bundle is None and (new.kind is CampaignKind.AGAIN or new.purpose is Purpose.COMPARISON):
        raise NotAllowed("name the bundle that drafts: these studies have a draft already")
    if new.kind is CampaignKind.AGAIN and new.bundle == new.source.get("from_bundle"):
        raise NotAllowed("the bundle that drafts again is the one that drafted before")
    site_id = _find_site(session, new.site_code)
    _check_place(session, new, site_id)
    campaign = Campaign(
        site_id=site_id,
        name=new.name.strip(),
        kind=new.kind,
        source=dict(new.source),
        pacs=new.pacs,
        bundle=new.bundle,
        purpose=new.purpose,
        priority=new.priority,
        skip_reported=new.skip_reported,
        window_opens=window.hours and window.hours.opens,
        window_closes=window.hours and window.hours.closes,
        time_zone=window.zone.key,
        blackouts=[[f"{b.opens:%H:%M}", f"{b.closes:%H:%M}"] for b in window.blackouts],
        starts_on=window.starts_on,
        ends_on=window.ends_on,
        studies_per_minute=new.studies_per_minute,
        is_site_bound=visible_sites() is not None,
        created_by=new.created_by,
    )
    try:
        with session.begin_nested():
            session.add(campaign)
            session.flush()
    except IntegrityError:
        raise NotAllowed(
            f"there is a campaign {campaign.name!r} already: choose another name"
        ) from None
    return campaign.id


def _find_site(session: Session, code: str) -> uuid.UUID | None:
    """The site of a new campaign; None is every site."""
    shown = visible_sites()
    if code:
        site = sites.get(session, code)
        if not shows(site.id):
            raise NotFound(f"you see no site {code!r}")
        return site.id
    if shown is None:
        return None
    if len(shown) != 1:
        raise NotAllowed("a campaign is of one of your sites: name it")
    return shown[0]


def may_fetch_everywhere(session: Session) -> bool:
    """Whether the caller may create campaigns of every folder and of every PACS."""
    return visible_sites() is None or len(sites.read_codes(session)) == 1


def may_fetch(session: Session, pacs: Pacs) -> bool:
    """Whether the caller may create a campaign of one of the own sites that fetches from a PACS."""
    codes = sites.read_codes(session)
    shown = visible_sites() or ()
    return may_fetch_everywhere(session) or any(codes[site] in pacs.sites for site in shown)


def _check_place(session: Session, new: NewCampaign, site_id: uuid.UUID | None) -> None:
    """Refuse a place from which films of another site could come, to who does not see all sites.

    What a campaign fetches belongs to its site, so its people would see what they may not.
    """
    if site_id is None or may_fetch_everywhere(session):
        return
    code = sites.read_codes(session)[site_id]
    if new.kind is CampaignKind.FOLDER:
        raise NotAllowed(
            f"a folder may hold films of other sites than {code}: let somebody who sees every "
            "site create this campaign"
        )
    if new.pacs and code not in find_pacs(settings().pacs_file, new.pacs).sites:
        raise NotAllowed(
            f"the site {code} may not fetch from the PACS {new.pacs}: let an administrator add it "
            "to the `sites` of that PACS in the file of NIGHTDRAFT_PACS_FILE, or let somebody who "
            "sees every site create this campaign"
        )


def settle_rights(session: Session, pacs: str) -> int:
    """Let the campaigns wait whose site may not fetch from their PACS any more; others go on.

    Those are meant that somebody created who sees some sites alone. They go on by themselves once
    the PACS names their site again.

    Args:
        session: the caller's transaction.
        pacs: the PACS, by its name in the settings, which are read anew.

    Returns:
        How many wait now or go on again.

    Raises:
        SettingsError: the file of the PACSs cannot be read, or is wrong.
    """
    bound = session.scalars(
        select(Campaign)
        .where(
            Campaign.state.not_in([state.value for state in CAMPAIGN_ENDED]),
            Campaign.is_site_bound,
            Campaign.pacs == pacs,
        )
        .order_by(Campaign.id)
    ).all()
    if not bound:
        return 0
    named = read_pacs_file(settings().pacs_file).get(pacs)
    codes = sites.read_codes(session)
    changed = 0
    for campaign in bound:
        code = codes[campaign.site_id] if campaign.site_id else ""
        is_denied = len(codes) > 1 and (named is None or code not in named.sites)
        if is_denied == campaign.is_denied:
            continue
        reason = (
            f"The site {code} may not fetch from the PACS {pacs} any more: let an administrator "
            "add it to the `sites` of that PACS in the file of NIGHTDRAFT_PACS_FILE, or cancel "
            "the campaign."
        )
        session.execute(
            update(Campaign)
            .where(Campaign.id == campaign.id)
            .values(
                is_denied=is_denied,
                stalled_reason=reason if is_denied else "",
                stalled_since=func.clock_timestamp() if is_denied else None,
            )
            .execution_options(synchronize_session=False)
        )
        changed += 1
    return changed


def is_shown(campaign: Campaign) -> bool:
    """Whether a campaign is of a site that is shown; one of every site is for who sees them all."""
    if campaign.site_id is None:
        return visible_sites() is None
    return shows(campaign.site_id)


def window_of(campaign: Campaign) -> Window:
    """When a campaign works."""
    opens, closes = campaign.window_opens, campaign.window_closes
    return Window(
        Hours(opens, closes) if opens is not None and closes is not None else None,
        read_zone(campaign.time_zone),
        tuple(Hours(*map(dt.time.fromisoformat, hours)) for hours in campaign.blackouts),
        campaign.starts_on,
        campaign.ends_on,
    )


def find(session: Session, name: str) -> Campaign:
    """The campaign of a name, or of our own id.

    Raises:
        NotFound: there is none.
    """
    campaign = session.scalar(select(Campaign).where(Campaign.name == name))
    if campaign is None:
        with suppress(ValueError):
            campaign = session.get(Campaign, uuid.UUID(name))
    if campaign is None or not is_shown(campaign):
        raise NotFound("no campaign has that name")
    return campaign


def get(session: Session, campaign_id: uuid.UUID) -> Campaign:
    """The campaign of our own id.

    Raises:
        NotFound: there is none.
    """
    campaign = session.get(Campaign, campaign_id)
    if campaign is None or not is_shown(campaign):
        raise NotFound("no campaign has that id")
    return campaign


def list_campaigns(
    session: Session,
    limit: int,
    after: tuple[dt.datetime, uuid.UUID] | None = None,
    state: CampaignState | None = None,
) -> Sequence[Campaign]:
    """Campaigns of the sites that are shown, newest first.

    Args:
        session: the caller's transaction.
        limit: how many, at most.
        after: `created_at` and id of the last one of the page before.
        state: only those in this state; they are found by walking the list, which is made by hand.
    """
    query = select(Campaign)
    if after is not None:
        query = query.where(tuple_(Campaign.created_at, Campaign.id) < after)
    if state is not None:
        query = query.where(Campaign.state == state)
    return session.scalars(newest_visible(query, Campaign, Campaign.created_at, limit)).all()


def list_running(session: Session) -> Sequence[Campaign]:
    """The campaigns that are neither paused nor ended, in the order in which they are fed.

    They are of the sites that are shown.
    """
    return session.scalars(
        select(Campaign)
        .where(Campaign.state == CampaignState.RUNNING, is_visible(Campaign.site_id))
        .order_by(Campaign.priority, Campaign.created_at, Campaign.id)
    ).all()


def get_running(session: Session, campaign_id: uuid.UUID, *, lock: bool = False) -> Campaign | None:
    """A campaign, read anew, if it runs; None where it does not, or somebody else has locked it.

    Args:
        session: the caller's transaction.
        campaign_id: the campaign.
        lock: whether it is locked until the caller's commit.
    """
    query = select(Campaign).where(
        Campaign.id == campaign_id, Campaign.state == CampaignState.RUNNING
    )
    if lock:
        query = query.with_for_update(skip_locked=True)
    return session.scalar(query.execution_options(populate_existing=True))


def pause(session: Session, campaign_id: uuid.UUID) -> None:
    """Give nothing more of a campaign to the pipeline; what is in the pipeline is finished.

    Raises:
        NotFound: no such campaign.
        NotAllowed: it has ended.
    """
    _change(session, campaign_id, CampaignState.PAUSED, "paused")


def resume(session: Session, campaign_id: uuid.UUID) -> None:
    """Go on with a paused campaign, within its window.

    Raises:
        NotFound: no such campaign.
        NotAllowed: it has ended.
    """
    _change(session, campaign_id, CampaignState.RUNNING, "resumed")


def cancel(session: Session, campaign_id: uuid.UUID) -> None:
    """End a campaign: what waits in it is not drafted; what is in the pipeline is finished.

    Raises:
        NotFound: no such campaign.
        NotAllowed: it has ended.
    """
    _change(session, campaign_id, CampaignState.CANCELLED, "cancelled")


def _change(session: Session, campaign_id: uuid.UUID, state: CampaignState, word: str) -> None:
    campaign = session.get(Campaign, campaign_id, with_for_update=True, populate_existing=True)
    if campaign is None or not is_shown(campaign):
        raise NotFound("no campaign has that id")
    if campaign.state in CAMPAIGN_ENDED:
        raise NotAllowed(f"the campaign {campaign.name!r} is {campaign.state} and cannot be {word}")
    if campaign.state == state:
        return
    now = func.clock_timestamp()
    session.execute(
        update(Campaign)
        .where(Campaign.id == campaign_id)
        .values(
            state=state,
            is_open=False,  # the next sweep opens it, if it is its time
            changed_at=now,
            ended_at=now if state in CAMPAIGN_ENDED else None,
        )
    )
    session.expire(campaign)


def settle_windows(session: Session, now: dt.datetime) -> int:
    """Open and close the windows of running campaigns.

    Args:
        session: the caller's transaction.
        now: the database's time.

    Returns:
        How many windows opened or closed.
    """
    changed = 0
    for campaign in list_running(session):
        is_open = window_of(campaign).is_open(now)
        if is_open != campaign.is_open:
            session.execute(
                update(Campaign)
                .where(Campaign.id == campaign.id, Campaign.state == CampaignState.RUNNING)
                .values(is_open=is_open)
                .execution_options(synchronize_session=False)
            )
            session.refresh(campaign)
            changed += 1
    return changed


def end_done(session: Session) -> int:
    """End the running campaigns whose source is walked and of which nothing moves any more.

    Returns:
        How many ended.
    """
    moving = [
        exists().where(CampaignStudy.campaign_id == Campaign.id, CampaignStudy.state == state)
        for state in CAMPAIGN_MOVING
    ]
    now = func.clock_timestamp()
    return len(
        session.scalars(
            update(Campaign)
            .where(
                Campaign.state == CampaignState.RUNNING,
                Campaign.walk_state != WalkState.WALKING,
                *(~part for part in moving),
            )
            .values(
                state=CampaignState.DONE,
                is_open=False,
                ended_at=now,
                changed_at=now,
                stalled_reason="",
                stalled_since=None,
            )
            .returning(Campaign.id)
            .execution_options(synchronize_session=False)
        ).all()
    )


def need_source(session: Session, pacs: str, *, now: bool) -> bool:
    """Whether a running campaign needs the source that it fetches from.

    Args:
        session: the caller's transaction.
        pacs: which; "" is folders.
        now: whether campaigns are left out whose window is closed and whose source is walked.
    """
    needing = select(Campaign.id).where(
        Campaign.state == CampaignState.RUNNING, ~Campaign.is_denied, _fetches(pacs)
    )
    if now:
        needing = needing.where(
            or_(
                Campaign.is_open,
                # A source is walked whether or not the window is open.
                and_(
                    Campaign.walk_state == WalkState.WALKING,
                    Campaign.kind.in_([CampaignKind.QUERY, CampaignKind.FOLDER]),
                ),
            )
        )
    return bool(session.scalar(select(needing.exists())))


def _fetches(pacs: str) -> ColumnElement[bool]:
    """Campaigns that fetch from a source; of those without a PACS, the ones of folders do."""
    return and_(
        Campaign.pacs == pacs, or_(Campaign.pacs != "", Campaign.kind == CampaignKind.FOLDER)
    )


def stall(session: Session, pacs: str, reason: str) -> None:
    """Note on the running campaigns of a PACS why nothing goes on; the same reason stays as it is.

    Args:
        session: the caller's transaction.
        pacs: whose campaigns; "" is those of folders.
        reason: a sentence without a patient; "" where it goes on again.
    """
    session.execute(
        update(Campaign)
        .where(
            Campaign.state == CampaignState.RUNNING,
            ~Campaign.is_denied,  # it waits for its right, whether or not the PACS answers
            _fetches(pacs),
            Campaign.stalled_reason != reason,
        )
        .values(stalled_reason=reason, stalled_since=func.clock_timestamp() if reason else None)
        .execution_options(synchronize_session=False)
    )


def save_walk(
    session: Session,
    campaign_id: uuid.UUID,
    position: Mapping[str, Any] | None,
    state: WalkState = WalkState.WALKING,
    note: str | None = None,
) -> None:
    """Keep how far a source was walked, in the transaction that added the rows.

    Args:
        session: the caller's transaction.
        campaign_id: the campaign.
        position: where the walk goes on.
        state: WALKED or FAILED where it has ended.
        note: why it failed, or what it may have left out; None leaves what is there.
    """
    values: dict[str, Any] = {"walk_position": position, "walk_state": state}
    if note is not None:
        values["walk_note"] = note
    session.execute(
        update(Campaign)
        .where(Campaign.id == campaign_id)
        .values(**values)
        .execution_options(synchronize_session=False)
    )
