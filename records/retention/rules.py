"""What is kept, where it is, and for how long: every kind of bytes and rows, as data.

A rule counts from something that is known of a study, and its days are a setting, from which a site
may differ (`records.retention.site_days`). What has no setting is kept for ever, or has another
end, which `ends` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from records.settings import Settings, settings
from records.states import SiteRule


class Kept(StrEnum):
    """What is kept."""

    INSTANCES = "INSTANCES"
    PICTURES = "PICTURES"
    VIEWER_FILMS = "VIEWER_FILMS"
    PREPARED = "PREPARED"
    INCOMING = "INCOMING"
    SET_ASIDE = "SET_ASIDE"
    STUDIES = "STUDIES"
    DRAFTS = "DRAFTS"
    EVENTS = "EVENTS"
    ORDERS = "ORDERS"
    REPORTS = "REPORTS"
    REFUSALS = "REFUSALS"
    MESSAGES = "MESSAGES"
    FHIR_RESOURCES = "FHIR_RESOURCES"
    NIGHTS = "NIGHTS"
    TRAIL = "TRAIL"


class CountedFrom(StrEnum):
    """From when the days of a rule count."""

    SIGNATURE = "SIGNATURE"  # of the last report that was signed, here or elsewhere
    DRAFT = "DRAFT"  # of the last draft of the study
    ARRIVAL = "ARRIVAL"  # of the last object of the study, of the message, or of the refusal
    WRITTEN = "WRITTEN"  # when the file was written
    LOOK = "LOOK"  # when it was last looked at


@dataclass(frozen=True, slots=True)
class Rule:
    """How long one kind of thing is kept.

    Attributes:
        kept: what.
        place: the folder below the data folder, or the tables, in which it is.
        counted_from: from when the days count; None where nothing is counted.
        setting: the setting that gives the days, as a field of `Settings`; "" where there is none.
        days_of_setting: how many days one unit of the setting is.
        ends: how it ends, in a sentence for a person.
    """

    kept: Kept
    place: str
    counted_from: CountedFrom | None
    setting: str
    ends: str
    days_of_setting: float = 1.0


_FOR_EVER = "It is kept until its patient is erased."

RULES: tuple[Rule, ...] = (
    Rule(
        Kept.INSTANCES,
        "blobs/instances",
        CountedFrom.SIGNATURE,
        "retention_signed_days",
        "The files of a study whose report is signed are removed, and their rows stay.",
    ),
    Rule(
        Kept.INSTANCES,
        "blobs/instances",
        CountedFrom.DRAFT,
        "retention_drafted_days",
        "The files of a study that is drafted are removed, signed or not, and their rows stay.",
    ),
    Rule(
        Kept.INSTANCES,
        "blobs/instances",
        CountedFrom.ARRIVAL,
        "retention_undrafted_days",
        "The files of a study that was skipped or cancelled are removed, and their rows stay.",
    ),
    Rule(
        Kept.PICTURES,
        "blobs/pictures",
        None,
        "",
        "The picture of a film is removed together with the film's file.",
    ),
    Rule(
        Kept.VIEWER_FILMS,
        "blobs/films",
        CountedFrom.LOOK,
        "retention_viewer_days",
        "The pixels of a film for the viewer are removed, at the latest with the film's file. The "
        "next look makes them again.",
    ),
    Rule(
        Kept.PREPARED,
        "blobs/prepared",
        CountedFrom.DRAFT,
        "retention_prepared_days",
        "The prepared input of a draft is removed. One of which no draft was made is removed 30 "
        "days later than that, counted from when it was written.",
    ),
    Rule(
        Kept.INCOMING,
        "blobs/incoming",
        CountedFrom.WRITTEN,
        "orphan_hours",
        "What was half received is removed by the listener.",
        1 / 24,
    ),
    Rule(Kept.SET_ASIDE, "blobs/lost+found", None, "", "A person looks at it and removes it."),
    Rule(Kept.STUDIES, "studies, series, instances, study_changes", None, "", _FOR_EVER),
    Rule(
        Kept.DRAFTS, "draft_requests, drafts, reviews, working_texts, readings", None, "", _FOR_EVER
    ),
    Rule(Kept.EVENTS, "events", None, "", _FOR_EVER),
    Rule(Kept.ORDERS, "orders, order_changes", None, "", _FOR_EVER),
    Rule(Kept.REPORTS, "received_reports", None, "", _FOR_EVER),
    Rule(
        Kept.REFUSALS,
        "refusals",
        CountedFrom.ARRIVAL,
        "retention_refusals_days",
        "The line of what the listener refused is deleted. The counters keep their numbers.",
    ),
    Rule(
        Kept.MESSAGES,
        "received_messages",
        CountedFrom.ARRIVAL,
        "message_days",
        "The content of a refused message is removed, and the row of one without an effect. The "
        "rows of the others name no patient and are kept for ever.",
    ),
    Rule(Kept.FHIR_RESOURCES, "fhir_resources", None, "", _FOR_EVER),
    Rule(Kept.NIGHTS, "night_summaries", None, "", "It is kept for ever: it names no patient."),
    Rule(
        Kept.TRAIL,
        "the trail",
        None,
        "",
        "It is kept for ever. An erasure leaves a pseudonym of the patient in it.",
    ),
)
"""Every kind of bytes on disk and of rows, each with the rule that holds for it."""


@dataclass(frozen=True, slots=True)
class Period:
    """A rule and its days; `days` is None where it is kept for ever."""

    rule: Rule
    days: float | None


RULES_OF_SITES: dict[SiteRule, Rule] = {
    name: next(rule for rule in RULES if rule.setting == setting)
    for name, setting in (
        (SiteRule.SIGNED, "retention_signed_days"),
        (SiteRule.DRAFTED, "retention_drafted_days"),
        (SiteRule.UNDRAFTED, "retention_undrafted_days"),
        (SiteRule.PREPARED, "retention_prepared_days"),
    )
}
"""The rules that a site may have otherwise: those of what belongs to a study.

What is kept for ever, what a listener refused and what is half received is the same for all sites.
"""


def find_days(rule: Rule, config: Settings | None = None) -> float | None:
    """How many days the settings let a rule keep things; None for ever.

    Args:
        rule: one of `RULES`.
        config: the settings; None takes those of this process.
    """
    if not rule.setting:
        return None
    value = float(getattr(config or settings(), rule.setting))
    return value * rule.days_of_setting or None


def list_periods(config: Settings | None = None) -> Sequence[Period]:
    """All rules, each with the days of the settings."""
    return [Period(rule, find_days(rule, config)) for rule in RULES]


def days_of(kept: Kept, config: Settings | None = None) -> float | None:
    """The days of the settings for this kind of thing, which has one rule; None is for ever."""
    (rule,) = (rule for rule in RULES if rule.kept is kept)
    return find_days(rule, config)
