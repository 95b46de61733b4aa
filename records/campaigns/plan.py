"""What a person says of a new campaign, by the command or by REST: checked, and made one."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from records.campaigns.campaigns import NewCampaign
from records.campaigns.window import Window, read_hours, read_zone
from records.database.tables import Draft, Heartbeat
from records.errors import NotAllowed, NotFound
from records.pacs import find_pacs
from records.settings import Settings
from records.states import CampaignKind, Priority, Purpose

MODALITIES = ("CR", "DX")
"""Modalities of the studies that a query of a PACS looks for, where none is named."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHORT_DIGEST = re.compile(r"[0-9a-f]{8,64}")
_MODALITY = re.compile(r"[A-Z0-9_]{2,16}")


@dataclass(frozen=True, slots=True)
class Plan:
    """A campaign as it is asked for.

    Attributes:
        name: short, unique.
        again: whether what a bundle drafted is drafted again.
        from_bundle: the digest of that bundle, or its first characters.
        is_list: whether the studies are given as a list.
        folder: whose files are the studies; "" for none.
        pacs: the name of the PACS that is asked, or from which a list is fetched; "" for none.
        first_date, last_date: of the studies that a PACS is asked for, both included.
        modalities: of these studies.
        bundle: the digest of the bundle that drafts, or its first characters; "" is the served one.
        purpose: PRIMARY, or COMPARISON for a draft beside the one that a reader is shown.
        priority: of the campaign's studies.
        hours: the window of each night, as "19:00-07:00"; "" is always.
        time_zone: an IANA name.
        blackouts: hours of each day in which nothing is done.
        starts_on, ends_on: the first and the last night.
        studies_per_minute: how many are fetched, at most.
        draft_reported: whether studies with a final report are drafted, too.
    """

    name: str
    again: bool = False
    from_bundle: str = ""
    is_list: bool = False
    folder: str = ""
    pacs: str = ""
    first_date: dt.date | None = None
    last_date: dt.date | None = None
    modalities: Sequence[str] = ()
    bundle: str = ""
    purpose: Purpose = Purpose.PRIMARY
    priority: Priority = Priority.BACKLOG
    hours: str = ""
    time_zone: str = "UTC"
    blackouts: Sequence[str] = ()
    starts_on: dt.date | None = None
    ends_on: dt.date | None = None
    studies_per_minute: float | None = None
    draft_reported: bool = False


def make_campaign(session: Session, plan: Plan, config: Settings, created_by: str) -> NewCampaign:
    """What `campaigns.create` takes, from what a person asked for.

    Args:
        session: in which bundles are looked for.
        plan: what was asked for.
        config: names PACSs and folders.
        created_by: who asks.

    Raises:
        NotAllowed: it has no source or several, or something of it cannot be; the text says what.
        NotFound: no PACS or bundle is called that.
        SettingsError: the file of PACSs is wrong.
    """
    kind, source = _source_of(session, plan, config)
    if plan.pacs:
        find_pacs(config.pacs_file, plan.pacs)
    if plan.studies_per_minute is not None and not (plan.pacs or plan.folder):
        raise NotAllowed("a rate is of campaigns that fetch: name a PACS or a folder as well")
    window = Window(
        read_hours(plan.hours) if plan.hours else None,
        read_zone(plan.time_zone),
        tuple(map(read_hours, plan.blackouts)),
        plan.starts_on,
        plan.ends_on,
    )
    return NewCampaign(
        plan.name,
        kind,
        window,
        created_by,
        source,
        plan.pacs,
        find_bundle(session, plan.bundle) if plan.bundle else None,
        plan.purpose,
        plan.priority,
        skip_reported=not plan.draft_reported,
        studies_per_minute=plan.studies_per_minute,
    )


def _source_of(
    session: Session, plan: Plan, config: Settings
) -> tuple[CampaignKind, dict[str, Any]]:
    """The kind of a plan, and what its walk needs."""
    is_query = plan.first_date is not None or plan.last_date is not None
    named = [
        name
        for name, is_named in (
            ("what a bundle drafted again (--again --from-bundle)", plan.again or plan.from_bundle),
            ("a list (--list)", plan.is_list),
            ("a folder (--folder)", plan.folder),
            ("a query (--pacs, --from and --to)", is_query),
        )
        if is_named
    ]
    if len(named) > 1:
        raise NotAllowed(f"a campaign has one source, and this names {' and '.join(named)}")
    if not named:
        raise NotAllowed(
            "a campaign needs a source: what a bundle drafted again (--again --from-bundle), a "
            "list (--list), a folder (--folder), or a query (--pacs, --from and --to)"
        )
    if plan.modalities and not is_query:
        raise NotAllowed("modalities are of a query: name its PACS and its dates as well")
    if plan.pacs and (plan.again or plan.folder):
        raise NotAllowed("a PACS is asked for a list or for dates: leave the PACS out")
    if is_query:
        return CampaignKind.QUERY, _query_of(plan)
    if plan.folder:
        folder = find_allowed_folder(plan.folder, config.campaign_folders)
        return CampaignKind.FOLDER, {"folder": str(folder)}
    if plan.is_list:
        return CampaignKind.LIST, {}
    if not plan.from_bundle:
        raise NotAllowed("name the bundle whose studies are drafted again (--from-bundle)")
    return CampaignKind.AGAIN, {"from_bundle": find_bundle(session, plan.from_bundle)}


def _query_of(plan: Plan) -> dict[str, Any]:
    if not plan.pacs:
        raise NotAllowed("name the PACS that is asked for these dates (--pacs)")
    if plan.first_date is None or plan.last_date is None:
        raise NotAllowed("a query has both dates: --from is the first day, and --to the last")
    if plan.last_date < plan.first_date:
        raise NotAllowed(
            f"the query ends on {plan.last_date}, before it starts on {plan.first_date}"
        )
    modalities = list(dict.fromkeys(name.strip().upper() for name in plan.modalities))
    for name in modalities:
        if not _MODALITY.fullmatch(name):
            raise NotAllowed(f"{name!r} is no modality: write it as DX")
    return {
        "from": f"{plan.first_date:%Y%m%d}",
        "to": f"{plan.last_date:%Y%m%d}",
        "modalities": modalities or list(MODALITIES),
    }


def find_allowed_folder(folder: str, allowed: Sequence[str]) -> Path:
    """The folder of a campaign, if campaigns may read it.

    Args:
        folder: its path.
        allowed: NIGHTDRAFT_CAMPAIGN_FOLDERS.

    Raises:
        NotAllowed: it is not below one of them.
    """
    resolved = Path(folder).expanduser().resolve()
    for name in allowed:
        if resolved.is_relative_to(Path(name).resolve()):
            return resolved
    raise NotAllowed(
        f"the folder {folder} is not below one that campaigns may read: add it to "
        "NIGHTDRAFT_CAMPAIGN_FOLDERS"
    )


def find_bundle(session: Session, text: str) -> str:
    """The digest of a bundle, from all of it or from its first eight characters or more.

    Bundles are known that have drafted here, or that a running worker serves. One that is named by
    its whole digest need not be known: it may be served later.

    Raises:
        NotAllowed: several begin with these characters, or it is no part of a digest.
        NotFound: none is known that begins with them.
    """
    digest = text.strip().lower()
    if not _SHORT_DIGEST.fullmatch(digest):
        raise NotAllowed(
            f"{text!r} is no digest of a bundle: `nightdraft bundle show` gives it, and its first "
            "eight characters are enough"
        )
    known = {
        str(facts["bundle"])
        for facts in session.scalars(select(Heartbeat.facts).where(Heartbeat.part == "draft"))
        if str(facts.get("bundle", "")).startswith(digest)
    }
    known |= _drafted_by(session, digest)
    if len(known) > 1:
        raise NotAllowed(f"several bundles begin with {text!r}: give more of the digest")
    if known:
        return known.pop()
    if _DIGEST.fullmatch(digest):
        return digest
    raise NotFound(
        f"no bundle that drafted here, or is served now, begins with {text!r}: give all 64 "
        "characters of its digest"
    )


def _drafted_by(session: Session, start: str) -> set[str]:
    """Up to two bundles that drafted here and whose digests begin so; each is one look-up."""
    found: set[str] = set()
    above = Draft.bundle_digest >= start
    while len(found) < 2:
        digest = session.scalar(
            select(Draft.bundle_digest)
            .where(
                above,
                Draft.purpose == Purpose.PRIMARY,
                Draft.superseded_at.is_(None),
            )
            .order_by(Draft.bundle_digest)
            .limit(1)
        )
        if digest is None or not digest.startswith(start):
            break
        found.add(digest)
        above = Draft.bundle_digest > digest
    return found
