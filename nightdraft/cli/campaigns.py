"""`nightdraft campaign ...`: creates campaigns, shows how far they are, pauses and ends them."""

from __future__ import annotations

import datetime as dt
import getpass
import os
import sys
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from nightdraft.cli.campaign_views import render_campaign, render_campaigns
from nightdraft.cli.json_output import STANDARD_OUTPUT, AsJson, print_json
from nightdraft.cli.options import check_file, complete, console
from nightdraft.cli.progress import show_bars
from nightdraft.cli.row_imports import Encoding
from records.errors import NotAllowed
from records.settings import settings
from records.states import CampaignStudyState, Priority, Purpose

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from nightdraft.campaign_lists import ListSummary
    from nightdraft.row_imports import RefusedRow
    from records.campaigns.plan import Plan

campaign = typer.Typer(
    help="Create, list, show and control campaigns: many studies drafted through the nights.",
    no_args_is_help=True,
)

_DAY = ["%Y-%m-%d"]
_RETRIED_AT_ONCE = 500

Name = Annotated[str, typer.Argument(help="Name or id of the campaign.")]


@campaign.callback()
def about() -> None:
    """Create, list, show and control campaigns: many studies drafted through the nights."""


@campaign.command("create")
def create_campaign(
    name: Annotated[str, typer.Argument(help="A short name that no other campaign has.")],
    again: Annotated[
        bool, typer.Option("--again", help="Draft again what --from-bundle drafted.")
    ] = False,
    from_bundle: Annotated[
        str, typer.Option(help="Digest of the bundle whose studies are drafted again.")
    ] = "",
    studies_list: Annotated[
        Path | None,
        typer.Option(
            "--list",
            envvar="NIGHTDRAFT_CAMPAIGN_CREATE_LIST",
            allow_from_autoenv=False,
            help="CSV file whose first line names its columns, accession_number or "
            "study_instance_uid; - is standard input.",
            allow_dash=True,
        ),
    ] = None,
    folder: Annotated[
        str,
        typer.Option(help="Folder of DICOM files, below one of NIGHTDRAFT_CAMPAIGN_FOLDERS."),
    ] = "",
    pacs: Annotated[
        str,
        typer.Option(
            help="PACS of NIGHTDRAFT_PACS_FILE: of a query, or that a list is fetched from."
        ),
    ] = "",
    first_date: Annotated[
        dt.datetime | None,
        typer.Option(
            "--from",
            envvar="NIGHTDRAFT_CAMPAIGN_CREATE_FROM",
            allow_from_autoenv=False,
            formats=_DAY,
            help="First study date that the PACS is asked for, as 2026-01-01.",
        ),
    ] = None,
    last_date: Annotated[
        dt.datetime | None,
        typer.Option(
            "--to",
            envvar="NIGHTDRAFT_CAMPAIGN_CREATE_TO",
            allow_from_autoenv=False,
            formats=_DAY,
            help="Last study date that the PACS is asked for.",
        ),
    ] = None,
    modality: Annotated[
        list[str] | None,
        typer.Option(help="Modality of these studies, else CR and DX; may be given several times."),
    ] = None,
    drafting_bundle: Annotated[
        str,
        typer.Option(
            "--bundle",
            envvar="NIGHTDRAFT_CAMPAIGN_CREATE_BUNDLE",
            allow_from_autoenv=False,
            help="Digest of the bundle that drafts; else whichever is served.",
        ),
    ] = "",
    purpose: Annotated[
        str,
        typer.Option(
            help="primary, or comparison for a draft beside the one that a reader is shown.",
            autocompletion=complete(Purpose),
        ),
    ] = "primary",
    studies_priority: Annotated[
        str,
        typer.Option(
            "--priority",
            envvar="NIGHTDRAFT_CAMPAIGN_CREATE_PRIORITY",
            allow_from_autoenv=False,
            help="Of its studies, as backlog.",
            autocompletion=complete(list(Priority.__members__)),
        ),
    ] = "backlog",
    hours: Annotated[
        str, typer.Option(help="Hours of each night in which it works, as 19:00-07:00.")
    ] = "",
    time_zone: Annotated[
        str, typer.Option(help="Time zone of these hours, as Europe/Berlin; else this machine's.")
    ] = "",
    blackout: Annotated[
        list[str] | None,
        typer.Option(
            help="Hours of each day in which it does nothing, as 02:00-03:00; may be given several "
            "times."
        ),
    ] = None,
    starts_on: Annotated[
        dt.datetime | None, typer.Option(formats=_DAY, help="The first night, as 2026-12-01.")
    ] = None,
    ends_on: Annotated[
        dt.datetime | None, typer.Option(formats=_DAY, help="The last night.")
    ] = None,
    studies_per_minute: Annotated[
        float | None, typer.Option(help="Studies that it fetches in a minute, at most.")
    ] = None,
    draft_reported: Annotated[
        bool,
        typer.Option(
            "--draft-reported/--skip-reported",
            help="Whether studies with a final report are drafted, too.",
        ),
    ] = False,
    encoding: Encoding = "utf-8-sig",
    json: AsJson = False,
) -> None:
    """Make a campaign; it begins as soon as its window is open.

    A list with a wrong line creates nothing: each wrong line is named, and the exit status is 1.
    """
    from records.campaigns.plan import Plan
    from records.database.session import unit_of_work

    plan = Plan(
        name=name,
        again=again,
        from_bundle=from_bundle,
        is_list=studies_list is not None,
        folder=str(Path(folder).absolute()) if folder else "",
        pacs=pacs,
        first_date=_day(first_date),
        last_date=_day(last_date),
        modalities=modality or (),
        bundle=drafting_bundle,
        purpose=Purpose(_member("purpose", purpose, tuple(Purpose))),
        priority=Priority[_member("priority", studies_priority, tuple(Priority.__members__))],
        hours=hours,
        time_zone=time_zone or machine_zone(),
        blackouts=blackout or (),
        starts_on=_day(starts_on),
        ends_on=_day(ends_on),
        studies_per_minute=studies_per_minute,
        draft_reported=draft_reported,
    )
    with unit_of_work() as session:
        campaign_id, summary = _create(session, plan, studies_list, encoding, as_json=json)
        if summary is not None and summary.refused:
            session.rollback()
    if summary is not None and summary.refused:
        if json:
            print_json({"created": False, **_list_facts(summary)})
        raise NotAllowed(
            f"{summary.refused:,} of {summary.rows:,} lines of the list are wrong: no campaign was "
            "created"
        )
    _show(campaign_id, as_json=json)


def _create(
    session: Session, plan: Plan, file: Path | None, encoding: str, *, as_json: bool
) -> tuple[uuid.UUID, ListSummary | None]:
    """Create a campaign, with the studies of its list, within one transaction."""
    from nightdraft.campaign_lists import add_list
    from records.campaigns import campaigns
    from records.campaigns.plan import make_campaign
    from records.states import WalkState

    def print_refused(row: RefusedRow) -> None:
        print(f"line {row.line}: {row.reason}", file=sys.stderr)

    new = make_campaign(session, plan, settings(), _user())
    campaign_id = campaigns.create(session, new)
    if file is None:
        return campaign_id, None
    with show_bars(unit="bytes") as progress:
        summary = add_list(
            session,
            campaign_id,
            file,
            encoding=encoding,
            progress=progress,
            refuse=(lambda _: None) if as_json else print_refused,
        )
    if not summary.rows:
        raise NotAllowed("the list names no study: it has a header and no line after it")
    note = ""
    if summary.studies < summary.rows:
        note = f"{summary.rows - summary.studies:,} lines name a study that another line names."
    campaigns.save_walk(session, campaign_id, None, WalkState.WALKED, note)
    return campaign_id, summary


def _list_facts(summary: ListSummary) -> dict[str, object]:
    return {"rows": summary.rows, "refused": summary.refused, "refusals": summary.refusals}


@campaign.command("list")
def list_campaigns(
    after: Annotated[
        str,
        typer.Option(help="Mark at which the page begins; the last line of a page has the next."),
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Campaigns at most.")] = 50,
    json: AsJson = False,
) -> None:
    """List campaigns, newest first, with how far each is."""
    from records.campaigns import progress
    from records.database.session import unit_of_work

    with unit_of_work() as session:
        page = progress.read_page(session, limit, after or None)
    if json:
        from api.campaign_schemas import CampaignList

        print_json(CampaignList.from_page(page))
        return
    console().print(render_campaigns(page.campaigns))
    if page.next:
        print(f"more: nightdraft campaign list --after {page.next} --limit {limit}")


@campaign.command("show")
def show_campaign(name: Name, json: AsJson = False) -> None:
    """Show how far a campaign is: counts, reasons, pace, and when it will be done."""
    _show(_find(name), as_json=json)


@campaign.command("pause")
def pause_campaign(name: Name, json: AsJson = False) -> None:
    """Let a campaign rest: it gives nothing more to the pipeline until it is resumed."""
    from records.campaigns import campaigns

    _change(name, campaigns.pause, as_json=json)


@campaign.command("resume")
def resume_campaign(name: Name, json: AsJson = False) -> None:
    """Let a paused campaign go on, within its window."""
    from records.campaigns import campaigns

    _change(name, campaigns.resume, as_json=json)


@campaign.command("cancel")
def cancel_campaign(name: Name, json: AsJson = False) -> None:
    """End a campaign: what waits in it is not drafted; what is in the pipeline is finished."""
    from records.campaigns import campaigns

    _change(name, campaigns.cancel, as_json=json)


@campaign.command("retry")
def retry_campaign(
    name: Name,
    state: Annotated[
        str,
        typer.Option(
            help="Only studies in this state: failed, missing or skipped.",
            autocompletion=complete(("FAILED", "MISSING", "SKIPPED")),
        ),
    ] = "",
    reason: Annotated[
        str,
        typer.Option(help="Only those with this reason, as NOT_HERE. Else FAILED and MISSING."),
    ] = "",
    json: AsJson = False,
) -> None:
    """Let studies of a campaign be tried again that failed, or whose images were missing."""
    from records.campaigns import rows
    from records.database.session import unit_of_work

    wanted = _member("state", state, rows.RETRIED) if state else ""
    campaign_id = _find(name)
    with unit_of_work() as session:
        counts = rows.read_counts(session, [campaign_id])[campaign_id]
    groups = rows.retried_groups(
        counts, CampaignStudyState(wanted) if wanted else None, reason.upper()
    )
    retried = dict.fromkeys(groups, 0)
    for group in groups:
        while True:
            with unit_of_work() as session:
                number = rows.retry(session, campaign_id, *group, limit=_RETRIED_AT_ONCE)
            retried[group] += number
            if number < _RETRIED_AT_ONCE:
                break
    if json:
        print_json(
            {
                "retried": [
                    {"state": group[0], "reason": group[1], "studies": number}
                    for group, number in retried.items()
                ]
            }
        )
        return
    for (of_state, of_reason), number in retried.items():
        print(f"{number:,} studies that were {of_state}, {of_reason}, are tried again")
    if not retried:
        print("no study of this campaign is to be tried again")


@campaign.command("export")
def export_campaign(
    name: Name,
    out: Annotated[
        Path, typer.Option(help="The file; - is standard output.", allow_dash=True)
    ] = STANDARD_OUTPUT,
    state: Annotated[
        str,
        typer.Option(
            help="Only studies in this state, as missing.",
            autocompletion=complete(CampaignStudyState),
        ),
    ] = "",
    reason: Annotated[str, typer.Option(help="Only those with this reason; needs --state.")] = "",
    json: AsJson = False,
) -> None:
    """Write each study of a campaign, with its end and its reason, as CSV.

    With `--json` each line is one study as JSON.
    """
    from records.campaigns import export

    wanted = (
        CampaignStudyState(_member("state", state, tuple(CampaignStudyState))) if state else None
    )
    if reason and wanted is None:
        raise NotAllowed("a reason needs its state: name it with --state")
    campaign_id = _find(name)
    stream = export.stream_json if json else export.stream_csv
    with _open_output(out) as write:
        for part in stream(campaign_id, state=wanted, reason=reason.upper() or None):
            write(part)


@contextmanager
def _open_output(out: Path) -> Iterator[Callable[[str], object]]:
    """What writes to a file, or to standard output."""
    if out == STANDARD_OUTPUT:
        # The rows end with their own line breaks.
        sys.stdout.flush()
        yield sys.stdout.write
        sys.stdout.flush()
        return
    check_file("studies", out)
    with out.open("w", encoding="utf-8", newline="") as file:
        yield file.write


def _find(name: str) -> uuid.UUID:
    from records.campaigns import campaigns
    from records.database.session import unit_of_work

    with unit_of_work() as session:
        return campaigns.find(session, name).id


def _change(name: str, change: Callable[[Session, uuid.UUID], None], *, as_json: bool) -> None:
    from records.campaigns import campaigns
    from records.database.session import unit_of_work

    with unit_of_work() as session:
        campaign_id = campaigns.find(session, name).id
        change(session, campaign_id)
    _show(campaign_id, as_json=as_json)


def _show(campaign_id: uuid.UUID, *, as_json: bool) -> None:
    from records.campaigns import progress
    from records.database.session import unit_of_work

    with unit_of_work() as session:
        shown = progress.read_one(session, campaign_id)
    if as_json:
        from api.campaign_schemas import CampaignDetail

        print_json(CampaignDetail.from_progress(shown))
        return
    console().print(render_campaign(shown))


def _member(option: str, typed: str, values: tuple[str, ...]) -> str:
    """The value that a person typed, in capitals or in small letters.

    Raises:
        NotAllowed: it is none of them.
    """
    name = typed.strip().upper()
    if name not in values:
        raise NotAllowed(f"{typed!r} is no {option}: say one of {', '.join(values)}")
    return name


def _day(at: dt.datetime | None) -> dt.date | None:
    return at.date() if at is not None else None


def _user() -> str:
    """Who runs the command, as the system names them."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"user {os.getuid()}"


def machine_zone() -> str:
    """The IANA name of this machine's time zone.

    Raises:
        NotAllowed: the machine does not name it.
    """
    named = os.environ.get("TZ", "").removeprefix(":")
    found = str(Path("/etc/localtime").resolve()).partition("zoneinfo/")[2]
    for name in (named, found) if named else (found,):
        try:
            return ZoneInfo(name).key
        except (KeyError, ValueError, OSError):  # ZoneInfoNotFoundError is a KeyError
            continue
    raise NotAllowed(
        "the time zone of this machine has no name that is known: give --time-zone, as "
        "Europe/Berlin"
    )
