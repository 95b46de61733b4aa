"""Renders campaigns for `nightdraft campaign`."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from records.states import CAMPAIGN_REASON_SENTENCES, CampaignReason

if TYPE_CHECKING:
    from rich.console import RenderableType

    from records.campaigns.progress import CampaignProgress
    from records.database.campaign_tables import CampaignStudy
    from records.operations.campaign_outlook import DryRun

_BAR = 30

_MOST_DAYS = 31
"""Where there are more days, their months are listed."""


def render_campaigns(progresses: Sequence[CampaignProgress]) -> RenderableType:
    """Render campaigns, a line each."""
    from rich.table import Table
    from rich.text import Text

    if not progresses:
        return Text("no campaigns")
    table = Table(
        "campaign", "state", "studies", "ended", "an hour", "done", "what it does",
        box=None, pad_edge=False,
    )  # fmt: skip
    for progress in progresses:
        table.add_row(
            Text(progress.campaign.name, no_wrap=True),
            progress.campaign.state,
            f"{progress.counts.total:,}",
            f"{progress.ended:,}",
            f"{progress.per_hour:,.0f}" if progress.per_hour else "",
            local_time(progress.done_at) if progress.done_at else "",
            progress.sentence,
        )
    return table


def render_campaign(progress: CampaignProgress) -> RenderableType:
    """Render one campaign: what it is, how far it is, and when it will be done."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from records.campaigns.progress import STATE_WORDS, describe_source

    campaign, counts = progress.campaign, progress.counts
    share = progress.ended / counts.total if counts.total else 0.0
    bar = "#" * round(_BAR * share) + "." * (_BAR - round(_BAR * share))
    facts = Table(box=None, show_header=False, pad_edge=False)
    for name, value in (
        ("Campaign", campaign.name),
        ("State", f"{campaign.state}. {progress.sentence}"),
        ("Source", describe_source(campaign)),
        ("Site", progress.site_code or ""),
        ("Drafts", _describe_drafts(progress)),
        ("Window", describe_window(progress)),
        ("Opens", local_time(progress.opens_at) if progress.opens_at else ""),
        ("Closes", local_time(progress.closes_at) if progress.closes_at else ""),
        ("Progress", f"[{bar}] {progress.ended:,} of {counts.total:,} ({share:.0%})"),
        ("Pace", f"{progress.per_hour:,.0f} studies an hour" if progress.per_hour else ""),
        ("Done", _describe_end(progress)),
        ("Found by the walk", campaign.walk_note),
    ):
        if value:
            facts.add_row(Text(name, style="dim"), Text(value))
    numbers = Table(box=None, show_header=False, pad_edge=False)
    for state, number in counts.by_state.items():
        if number:
            numbers.add_row(Text(f"{number:,}", justify="right"), Text(STATE_WORDS[state]))
            for (of, reason), part in sorted(counts.by_reason.items(), key=lambda item: -item[1]):
                if of is state:
                    numbers.add_row(
                        "", Text(f"{part:,} {reason}: {sentence_of(reason)}", style="dim")
                    )
    return Group(facts, Text(), numbers)


def render_studies(studies: Sequence[CampaignStudy]) -> RenderableType:
    """Render studies of a campaign, a line each."""
    from rich.table import Table
    from rich.text import Text

    if not studies:
        return Text("no studies")
    table = Table(
        "number", "state", "reason", "study", "accession", "missing", box=None, pad_edge=False
    )
    for row in studies:
        table.add_row(
            str(row.id),
            row.state,
            row.reason,
            Text(row.study_instance_uid, no_wrap=True),
            Text(row.accession_number),
            str(len(row.missing)) if row.missing else "",
        )
    return table


def sentence_of(reason: str) -> str:
    """What a reason means, where it is one of campaigns; else where it is explained."""
    if reason in CampaignReason.__members__:
        return CAMPAIGN_REASON_SENTENCES[CampaignReason(reason)]
    return "as on the study's page."


def local_time(at: dt.datetime) -> str:
    """A time by this machine's clock."""
    return f"{at.astimezone():%Y-%m-%d %H:%M}"


def describe_window(progress: CampaignProgress) -> str:
    """The hours of a campaign, its dates and its blackouts."""
    campaign = progress.campaign
    if campaign.window_opens is None or campaign.window_closes is None:
        text = "at all times"
    else:
        text = f"{campaign.window_opens:%H:%M}-{campaign.window_closes:%H:%M} {campaign.time_zone}"
    if campaign.blackouts:
        text += ", not " + ", ".join("-".join(blackout) for blackout in campaign.blackouts)
    if campaign.starts_on:
        text += f", from {campaign.starts_on}"
    if campaign.ends_on:
        text += f", until the night of {campaign.ends_on}"
    return text


def _describe_drafts(progress: CampaignProgress) -> str:
    campaign = progress.campaign
    by = f"by bundle {campaign.bundle[:12]}" if campaign.bundle else "by the bundle that is served"
    beside = ", beside the draft that is there" if campaign.purpose == "COMPARISON" else ""
    reported = ", also where a final report is there" if not campaign.skip_reported else ""
    return by + beside + reported


def _describe_end(progress: CampaignProgress) -> str:
    campaign = progress.campaign
    if campaign.ended_at is not None:
        return local_time(campaign.ended_at)
    return progress.forecast


def render_dry_run(found: DryRun) -> RenderableType:
    """Render what a campaign would do."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    needed = (
        "not known yet" if found.bytes_needed is None else f"{found.bytes_needed / 1e9:,.1f} GB"
    )
    done = "not known"
    if found.done_at is not None and found.nights is not None:
        done = f"about {local_time(found.done_at)}, nights: {found.nights:,}"
    again = f", and {found.named_again:,} lines name one again" if found.named_again else ""
    pace = f"{60 * found.drafts_per_minute:,.0f} drafts an hour, now"
    if found.fetched_per_minute is not None:
        pace += f"; {60 * found.fetched_per_minute:,.0f} studies an hour may be fetched"
    facts = Table(box=None, show_header=False, pad_edge=False)
    for name, value in (
        ("Nothing was created", "a dry run"),
        ("Studies", f"{found.studies:,}{again}"),
        ("By modality", _list_counts(found.by_modality.most_common())),
        ("By day", _list_counts(_by_day_or_month(found.by_day))),
        ("To draft", f"{found.to_draft:,}"),
        ("Images", f"{found.bytes / 1e9:,.1f} GB" if found.bytes else ""),
        ("To store", f"{needed}; free are {found.bytes_free / 1e9:,.1f} GB"),
        ("Pace", pace),
        ("Opens", local_time(found.opens_at) if found.opens_at else "never"),
        ("Done", done),
    ):
        if value:
            facts.add_row(Text(name, style="dim"), Text(value))
    parts: list[RenderableType] = [facts]
    for reason, count in found.not_drafted.most_common():
        parts.append(Text(f"not drafted: {count:,}. {CAMPAIGN_REASON_SENTENCES[reason]}"))
    parts += [Text(note) for note in found.notes]
    return Group(*parts)


def _list_counts(counts: Iterable[tuple[str, int]]) -> str:
    return ", ".join(f"{name or 'no date'} {number:,}" for name, number in counts)


def _by_day_or_month(by_day: Mapping[str, int]) -> list[tuple[str, int]]:
    """The days, or where there are many the months, from the first to the last."""
    numbers = Counter(by_day)
    if len(numbers) > _MOST_DAYS:
        numbers = Counter()
        for day, number in by_day.items():
            numbers[day[:7]] += number
    return sorted(numbers.items())
