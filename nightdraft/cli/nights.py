"""`nightdraft night ...`: the promise for tonight, and what became of the nights before."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import console
from records.settings import settings

if TYPE_CHECKING:
    from rich.console import RenderableType

    from records.operations.night_summaries import NightRecord
    from records.operations.tonight import Tonight

night = typer.Typer(
    no_args_is_help=True, help="Show the promise for tonight, and what became of earlier nights."
)

_DAY = ["%Y-%m-%d"]


@night.callback()
def about() -> None:
    """Show the promise for tonight, and what became of earlier nights."""


@night.command("tonight")
def show_tonight(json: AsJson = False) -> None:
    """Show when all will be drafted at the measured pace, by stage and by worker."""
    from records.database.session import snapshot
    from records.operations.tonight import read_tonight_now

    with snapshot() as session:
        tonight = read_tonight_now(session, settings())
    if json:
        from api.night_schemas import Tonight as TonightModel

        print_json(TonightModel.from_tonight(tonight))
        return
    console().print(render_tonight(tonight))


@night.command("list")
def list_nights(
    before: Annotated[
        dt.datetime | None,
        typer.Option(formats=_DAY, help="Only nights before this one, as 2026-11-24."),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=400, help="Nights at most.")] = 30,
    json: AsJson = False,
) -> None:
    """List the summaries of nights, the newest first."""
    from records.database.session import snapshot
    from records.operations import night_summaries

    with snapshot() as session:
        records = night_summaries.list_newest(session, limit + 1, before.date() if before else None)
    if json:
        from api.night_schemas import NightPage

        print_json(NightPage.from_records(records, limit))
        return
    console().print(_render_nights(records[:limit]))
    if len(records) > limit:
        last = records[limit - 1].row.night
        print(f"more: nightdraft night list --before {last} --limit {limit}")


@night.command("show")
def show_night(
    date: Annotated[
        dt.datetime | None,
        typer.Argument(
            formats=_DAY,
            help="The date on which the night began, as 2026-11-24; else the newest night.",
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Show what became of one night: counts, reasons, and the pace beside the night before."""
    from records.database.session import snapshot
    from records.operations import night_summaries, night_wording

    with snapshot() as session:
        record = night_summaries.read_night(session, date.date() if date else None)
    if json:
        from api.night_schemas import NightSummary

        print_json(NightSummary.from_record(record))
        return
    for line in night_wording.describe_lines(record):
        print(line)


def render_tonight(tonight: Tonight) -> RenderableType:
    """Render the promise, with the pace of each stage and each draft worker."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from model.dicom.characters import remove_controls
    from records.operations.nights import local_words

    stages = Table("stage", "to do", "a minute", "done at", box=None, pad_edge=False)
    for stage in tonight.stages:
        done = local_words(stage.done_at, tonight.zone, tonight.now) if stage.done_at else "?"
        stages.add_row(
            stage.stage,
            str(stage.to_do),
            f"{stage.per_minute:.3g}",
            done if stage.to_do else "nothing to do",
        )
    devices = Table(
        "worker", "device", "a minute", "busy", "slots filled", "slots", box=None, pad_edge=False
    )
    for device in tonight.devices:
        devices.add_row(
            Text(device.worker),
            Text(remove_controls(device.device)),
            f"{device.per_minute:.3g}",
            f"{device.busy:.0%}",
            f"{device.occupancy:.0%}",
            str(device.slots),
        )
    lines: list[RenderableType] = [promise_line(tonight), Text(), stages]
    if tonight.devices:
        lines += [Text(), devices]
    for one in tonight.campaigns:
        lines.append(Text(f"campaign {remove_controls(one.campaign.name)}: {one.forecast}"))
    return Group(*lines)


def promise_line(tonight: Tonight) -> RenderableType:
    """Render the promise for the night in a line, and that of running campaigns in another."""
    from rich.text import Text

    from records.operations.nights import local_words

    begins = local_words(tonight.night.begins_at, tonight.zone, tonight.now)
    ends = local_words(tonight.night.ends_at, tonight.zone, tonight.now)
    text = Text(f"tonight ({begins} to {ends}): {tonight.sentence}")
    if tonight.is_promise_broken:
        text.stylize("bold yellow")
    if tonight.campaigns_sentence:
        text.append(f"\ncampaigns: {tonight.campaigns_sentence}", "default not bold")
    return text


def _render_nights(records: Sequence[NightRecord]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    from records.operations.night_wording import describe_nights_left

    if not records:
        return Text("no night has a summary yet: the first is made after a night with some work")
    names = ("night of", "drafted", "skipped", "failed", "held", "missing", "waiting", "an hour")
    table = Table(*names, "nights left", box=None, pad_edge=False)
    for record in records:
        numbers = (
            record.row.drafted,
            record.skipped,
            record.failed,
            record.held,
            record.missing,
            record.row.waiting,
        )
        change = record.pace_change
        table.add_row(
            str(record.row.night),
            *map(str, numbers),
            f"{record.drafts_per_hour:.3g}" + (f" ({change:+.0%})" if change is not None else ""),
            describe_nights_left(record),
        )
    return table
