"""How many days each site keeps things: its own rules as rows, and for the rest the settings."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from records.audit import trail
from records.database.retention_tables import SiteRetention
from records.database.site_tables import Site
from records.errors import NotAllowed
from records.retention.rules import RULES_OF_SITES, CountedFrom, find_days
from records.settings import Settings, settings
from records.states import AuditAction, SiteRule
from records.workflow import sites

MAX_DAYS = 36_525.0
"""A hundred years. Who wants more says 0, which is for ever."""

_BY_COUNTED_FROM = {
    CountedFrom.SIGNATURE: SiteRule.SIGNED,
    CountedFrom.DRAFT: SiteRule.DRAFTED,
    CountedFrom.ARRIVAL: SiteRule.UNDRAFTED,
}


@dataclass(frozen=True, slots=True)
class SiteDays:
    """The days of every site.

    Attributes:
        defaults: the days of the settings; None is for ever.
        own: what sites have otherwise, by our id of the site.
    """

    defaults: Mapping[SiteRule, float | None]
    own: Mapping[uuid.UUID, Mapping[SiteRule, float | None]]

    def find(self, rule: SiteRule, site_id: uuid.UUID | None) -> float | None:
        """The days of a rule at a site; None is for ever. Without a site those of the settings."""
        own = self.own.get(site_id, {}) if site_id else {}
        return own[rule] if rule in own else self.defaults[rule]

    def of_films(self, counted_from: CountedFrom, site_id: uuid.UUID) -> float | None:
        """The days of the rule of films that counts from this."""
        return self.find(_BY_COUNTED_FROM[counted_from], site_id)

    def least_of_films(self) -> float | None:
        """The shortest days of films at any site; None where all are kept for ever.

        A film that came later is of no study that is due: draft and signature came after it.
        """
        found = [
            days
            for rule in _BY_COUNTED_FROM.values()
            for days in self._all(rule)
            if days is not None
        ]
        return min(found, default=None)

    def greatest(self, rule: SiteRule) -> float | None:
        """The longest days of a rule at any site; None where one keeps things for ever."""
        found = [days for days in self._all(rule) if days is not None]
        return max(found) if len(found) == len(self._all(rule)) else None

    def sites_with(self, rule: SiteRule) -> list[uuid.UUID]:
        """The sites that have a rule otherwise than the settings."""
        return sorted(site_id for site_id, own in self.own.items() if rule in own)

    def _all(self, rule: SiteRule) -> list[float | None]:
        return [self.defaults[rule], *(self.own[one][rule] for one in self.sites_with(rule))]


@dataclass(frozen=True, slots=True)
class SitePeriod:
    """A rule at a site.

    Attributes:
        site: the code of the site.
        rule: which rule.
        days: the days that count; None is for ever.
        is_own: whether the site has said so itself, and not the setting.
    """

    site: str
    rule: SiteRule
    days: float | None
    is_own: bool


def read_site_days(session: Session, config: Settings | None = None) -> SiteDays:
    """The days of every site, as rows and settings say them now.

    Args:
        session: the caller's transaction.
        config: the settings; None takes those of this process.
    """
    config = config or settings()
    own: dict[uuid.UUID, dict[SiteRule, float | None]] = {}
    for row in session.scalars(select(SiteRetention)):
        own.setdefault(row.site_id, {})[SiteRule(row.rule)] = row.days or None
    defaults = {name: find_days(rule, config) for name, rule in RULES_OF_SITES.items()}
    return SiteDays(defaults, own)


def list_site_periods(session: Session, code: str = "") -> Sequence[SitePeriod]:
    """Every rule that a site may have otherwise, at every site or at one.

    Raises:
        NotFound: there is no such site.
    """
    days = read_site_days(session)
    chosen: Sequence[Site] = [sites.get(session, code)] if code else sites.list_all(session)
    return [
        SitePeriod(site.code, rule, days.find(rule, site.id), rule in days.own.get(site.id, {}))
        for site in chosen
        for rule in SiteRule
    ]


def set_site_days(session: Session, code: str, rule: SiteRule, days: float | None) -> None:
    """Set how long a site keeps something; the trail says who did it.

    Args:
        session: the caller's transaction.
        code: the code of the site.
        rule: which rule.
        days: 0 is for ever; None takes the days of the settings again.

    Raises:
        NotFound: there is no such site.
        NotAllowed: the days are below 0, or more than `MAX_DAYS`.
        SettingsError: the key of the trail cannot be used.
    """
    site = sites.get(session, code)
    if days is not None and not 0 <= days <= MAX_DAYS:
        raise NotAllowed(f"days are a number from 0, which is for ever, to {MAX_DAYS:g}")
    before = read_site_days(session).own.get(site.id, {})
    if days is None:
        session.execute(
            delete(SiteRetention).where(
                SiteRetention.site_id == site.id, SiteRetention.rule == rule
            )
        )
    else:
        values = {"days": days, "changed_at": func.clock_timestamp()}
        session.execute(
            insert(SiteRetention)
            .values(site_id=site.id, rule=rule, **values)
            .on_conflict_do_update(index_elements=["site_id", "rule"], set_=values)
        )
    old = describe_days(before[rule]) if rule in before else "the setting"
    new = "the setting" if days is None else describe_days(days or None)
    trail.record(
        session,
        AuditAction.SETTING,
        detail=f"retention of site {site.code}, rule {rule}: {old} -> {new}",
    )


def describe_days(days: float | None) -> str:
    """Days in words."""
    if days is None:
        return "for ever"
    return f"{days:g} day{'' if days == 1 else 's'}"
