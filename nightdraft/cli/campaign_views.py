"""Renders campaigns for `nightdraft campaign`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from records.states import CampaignStudyState, WalkState

if TYPE_CHECKING:
    from rich.console import RenderableType

    from records.campaigns.progress import Progress

_STATE_COLOURS = {
    CampaignStudyState.DRAFTED: "green",
    CampaignStudyState.HELD: "yellow",
    CampaignStudyState.FAILED: "red",
    CampaignStudyState.MISSING: "red",
    CampaignStudyState.SKIPPED: "cyan",
}


def render_campaigns(shown: Sequence[Progress]) -> RenderableType:
    """Render campaigns, a line each."""
    from rich.table import Table
    from rich.text import Text

    from model.dicom.characters import remove_controls

    if not shown:
        return Text("no campaigns")
    table = Table("name", "state", "ended", "of", "", "what it does", box=None, pad_edge=False)
    for column in (2, 3, 4):
        table.columns[column].justify = "right"
    for progress in shown:
        campaign = progress.campaign
        table.add_row(
            Text(remove_controls(campaign.name)),
            campaign.state,
            f"{progress.ended:,}",
            f"{progress.counts.total:,}",
            say_share(progress),
            Text(remove_controls(progress.sentence)),
        )
    return table


def render_campaign(progress: Progress) -> RenderableType:
    """Render one campaign: what it does, how far it is, its numbers by state and by reason."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    from model.dicom.characters import remove_controls
    from records.campaigns.progress import KIND_WORDS, say_forecast, say_hours
    from records.states import CampaignKind

    campaign, counts = progress.campaign, progress.counts
    facts = Table(box=None, show_header=False, pad_edge=False)
    source = ", ".join(
        f"{name.replace('_', ' ')} {' '.join(value) if isinstance(value, list) else value}"
        for name, value in campaign.source.items()
    )
    kind = KIND_WORDS[CampaignKind(campaign.kind)]
    for name, value in (
        ("Campaign", f"{campaign.name} ({campaign.id})"),
        ("State", f"{campaign.state}. {progress.sentence}"),
        ("Source", f"{kind}: {source}" if source else kind),
        ("PACS", campaign.pacs),
        ("Bundle", campaign.bundle or ""),
        ("Window", say_hours(campaign)),
        ("Walk", _say_walk(progress)),
        ("Created", f"by {campaign.created_by}"),
    ):
        if value:
            facts.add_row(Text(name, style="dim"), Text(remove_controls(value)))
    states = Text()
    for state, number in counts.by_state.items():
        if number:
            states.append(f"{state.value} {number:,}   ", style=_STATE_COLOURS.get(state, ""))
    if not counts.total:
        states.append("no studies yet", style="dim")
    bar = Table.grid()
    bar.add_row(
        ProgressBar(total=max(1, counts.total), completed=progress.ended, width=60),
        Text(f" {say_share(progress)}"),
    )
    parts: list[RenderableType] = [facts, Text(), states, bar]
    parts.append(
        Text(f"{progress.ended:,} of {counts.total:,} ended, {progress.per_hour:,.0f} an hour")
    )
    if forecast := say_forecast(progress):
        parts.append(Text(forecast))
    if counts.by_reason:
        reasons = Table("state", "reason", "studies", box=None, pad_edge=False)
        reasons.columns[2].justify = "right"
        for (state, reason), number in sorted(counts.by_reason.items()):
            reasons.add_row(state, Text(remove_controls(reason)), f"{number:,}")
        parts += [Text(), reasons]
    return Group(*parts)


def say_share(progress: Progress) -> str:
    """How much has ended, in whole percent; 100 only where nothing moves any more."""
    if not progress.counts.total:
        return ""
    percent = int(100 * progress.share)
    return f"{percent}%" if percent or not progress.ended else "<1%"


def _say_walk(progress: Progress) -> str:
    campaign = progress.campaign
    words = {
        WalkState.WALKING: "Its source is still being walked.",
        WalkState.WALKED: "",
        WalkState.FAILED: "Its source could not be walked to its end.",
    }[WalkState(campaign.walk_state)]
    return " ".join(filter(None, (words, campaign.walk_note)))
