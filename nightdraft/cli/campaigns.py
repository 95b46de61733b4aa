"""`nightdraft campaign ...`: many studies, drafted within a window of each night."""

from __future__ import annotations

import datetime as dt
import getpass
import re
import shlex
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import complete, console
from nightdraft.cli.progress import show_counts
from nightdraft.cli.site_option import OfSite, of_site
from records.errors import NotAllowed
from records.settings import settings
from records.states import CampaignKind, CampaignState, CampaignStudyState, Priority, Purpose

if TYPE_CHECKING:
    import uuid

    from records.campaigns.campaigns import NewCampaign
    from records.campaigns.window import Window

campaign = typer.Typer(
    help="Draft many studies within a window of each night, and see what became of each.",
    no_args_is_help=True,
)

_DAY = ["%Y-%m-%d"]
_LIST_AT_ONCE = 10_000
_RETRY_AT_ONCE = 500

Name = Annotated[str, typer.Argument(help="Name of the campaign, or our id of it.")]


@campaign.callback()
def about() -> None:
    """Draft many studies within a window of each night, and see what became of each."""


@campaign.command("create")
def create_campaign(
    name: Annotated[str, typer.Argument(help="A short name that no campaign has yet.")],
    again: Annotated[
        str,
        typer.Option(
            help="Bundle, by folder or digest, whose studies are drafted again from films that are "
            "here.",
        ),
    ] = "",
    studies: Annotated[
        Path | None,
        typer.Option(
            help="CSV file of studies, with a column study_instance_uid or accession_number; - is "
            "standard input.",
            allow_dash=True,
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(help="Folder of DICOM files, below one of NIGHTDRAFT_CAMPAIGN_FOLDERS."),
    ] = None,
    pacs: Annotated[
        str,
        typer.Option(
            help="PACS that studies are fetched from, by its name in NIGHTDRAFT_PACS_FILE."
        ),
    ] = "",
    from_day: Annotated[
        dt.datetime | None,
        typer.Option(formats=_DAY, help="First day of studies at the PACS, as 2024-01-01."),
    ] = None,
    to_day: Annotated[
        dt.datetime | None,
        typer.Option(formats=_DAY, help="Last day of studies at the PACS, as 2024-12-31."),
    ] = None,
    modalities: Annotated[
        str, typer.Option(help="Modalities of studies at the PACS, as CR,DX.")
    ] = "CR,DX",
    by_bundle: Annotated[
        str,
        typer.Option(
            help="Bundle that drafts: its folder, or its digest. Without: whichever is served."
        ),
    ] = "",
    beside: Annotated[
        bool,
        typer.Option(
            "--beside", help="Keep the draft that a reader sees, and make another one beside it."
        ),
    ] = False,
    as_priority: Annotated[
        str,
        typer.Option(
            help="Priority of its studies.", autocompletion=complete(Priority.__members__)
        ),
    ] = "BACKLOG",
    hours: Annotated[
        str, typer.Option(help="Hours of each night, as 19:00-07:00. Without: all the time.")
    ] = "",
    zone: Annotated[
        str,
        typer.Option(help="Time zone of the hours. Without: that of NIGHTDRAFT_TIME_ZONE."),
    ] = "",
    blackout: Annotated[
        list[str] | None,
        typer.Option(help="Hours in which nothing is done, as 02:00-03:00; may be given again."),
    ] = None,
    starts_on: Annotated[
        dt.datetime | None, typer.Option(formats=_DAY, help="The first night.")
    ] = None,
    ends_on: Annotated[
        dt.datetime | None, typer.Option(formats=_DAY, help="The last night.")
    ] = None,
    studies_per_minute: Annotated[
        float | None, typer.Option(help="Studies that are fetched a minute, at most.")
    ] = None,
    site: Annotated[
        str,
        typer.Option(help="Code of the site whose studies are drafted. Without: every site."),
    ] = "",
    skip_reported: Annotated[
        bool,
        typer.Option(
            "--skip-reported/--draft-reported",
            help="Whether studies with a final report are skipped.",
        ),
    ] = True,
    encoding: Annotated[str, typer.Option(help="Encoding of the list, as cp1252.")] = "utf-8-sig",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what it would do, and create nothing.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Make a campaign. Its source is one of --again, --studies, --folder, or --pacs with dates."""
    from records.campaigns.campaigns import NewCampaign

    if as_priority.upper() not in Priority.__members__:
        raise NotAllowed(
            f"{as_priority!r} is no priority: say one of {', '.join(Priority.__members__)}"
        )
    kind, source = _read_source(again, studies, folder, pacs, from_day, to_day, modalities)
    new = NewCampaign(
        name=name,
        kind=kind,
        window=_read_window(hours, zone, blackout or [], starts_on, ends_on),
        created_by=getpass.getuser(),
        source=source,
        pacs=pacs,
        bundle=_read_digest(by_bundle) if by_bundle else None,
        purpose=Purpose.COMPARISON if beside else Purpose.PRIMARY,
        priority=Priority[as_priority.upper()],
        skip_reported=skip_reported,
        studies_per_minute=studies_per_minute,
        site_code=site,
    )
    with tempfile.TemporaryDirectory() as temporary:
        if studies == Path("-"):
            from nightdraft.campaign_lists import keep_input

            studies = Path(temporary) / "standard input"
            keep_input(sys.stdin.buffer, studies)
        if dry_run:
            _try(new, studies, encoding, json)
            return
        campaign_id = _create(new, studies, encoding)
    _show(str(campaign_id), json)


def _try(new: NewCampaign, file: Path | None, encoding: str, json: bool) -> None:
    from nightdraft.campaign_dry_run import try_campaign

    if new.kind is CampaignKind.QUERY:
        from intake.dicom.pynetdicom_setup import set_up_pynetdicom

        set_up_pynetdicom()
    with show_counts() as progress:
        found = try_campaign(new, settings(), file, encoding, progress)
    if json:
        print_json(found)
        return
    from nightdraft.cli.campaign_views import render_dry_run

    console().print(render_dry_run(found))


def _read_source(
    again: str,
    studies: Path | None,
    folder: Path | None,
    pacs: str,
    from_day: dt.datetime | None,
    to_day: dt.datetime | None,
    modalities: str,
) -> tuple[CampaignKind, dict[str, Any]]:
    """The kind of a campaign, and what its walk needs."""
    is_query = from_day is not None or to_day is not None
    given = [bool(again), studies is not None, folder is not None, is_query]
    if sum(given) != 1:
        raise NotAllowed(
            "a campaign has one source: give one of --again, --studies, --folder, or --pacs with "
            "--from-day and --to-day"
        )
    if pacs:
        from records.pacs import find_pacs

        if again or folder:
            raise NotAllowed("--pacs goes with --studies, or with --from-day and --to-day")
        find_pacs(settings().pacs_file, pacs)
    if again:
        return CampaignKind.AGAIN, {"from_bundle": _read_digest(again)}
    if studies is not None:
        return CampaignKind.LIST, {}
    if folder is not None:
        from intake.archive.folder_files import check_folder

        return CampaignKind.FOLDER, {
            "folder": str(check_folder(str(folder), settings().campaign_folders))
        }
    if not pacs or from_day is None or to_day is None:
        raise NotAllowed("a question to a PACS needs --pacs, --from-day and --to-day")
    from records.campaigns.pacs_query import PacsQuery

    query = PacsQuery.of(f"{from_day:%Y-%m-%d}", f"{to_day:%Y-%m-%d}", modalities.split(","))
    return CampaignKind.QUERY, query.to_source()


def _read_digest(bundle: str) -> str:
    """The digest of a bundle that is named by its folder or its digest."""
    if re.fullmatch(r"[0-9a-f]{64}", bundle):
        return bundle
    from model.manifest import read_manifest

    return read_manifest(bundle).digest


def _read_window(
    hours: str,
    zone: str,
    blackouts: list[str],
    starts_on: dt.datetime | None,
    ends_on: dt.datetime | None,
) -> Window:
    from records.campaigns.window import Window, read_hours, read_zone, site_zone
    from records.settings import settings

    return Window(
        read_hours(hours) if hours else None,
        read_zone(zone) if zone else site_zone(settings()),
        tuple(map(read_hours, blackouts)),
        starts_on.date() if starts_on else None,
        ends_on.date() if ends_on else None,
    )


def _create(new: NewCampaign, file: Path | None, encoding: str) -> uuid.UUID:
    """Create it; the studies of a list are added in the same transaction."""
    from records.campaigns import adding, campaigns
    from records.database.session import unit_of_work
    from records.states import WalkState

    if file is None:
        with unit_of_work() as session:
            return campaigns.create(session, new)
    from nightdraft.campaign_lists import WrongLines, batches, check_list, read_list

    named = check_list(file, encoding)
    with show_counts() as progress, unit_of_work() as session:
        campaign_id = campaigns.create(session, new)
        done = added = 0
        for batch in batches(read_list(file, encoding, WrongLines()), _LIST_AT_ONCE):
            added += adding.add_studies(session, campaign_id, batch)
            done += len(batch)
            progress("studies", done, named)
        note = f"{named:,} lines, {named - added:,} of them name a study again"
        campaigns.save_walk(
            session, campaign_id, None, WalkState.WALKED, note if added < named else ""
        )
    return campaign_id


@campaign.command("list")
def list_campaigns(
    state: Annotated[
        str,
        typer.Option(
            help="Only campaigns in this state, as PAUSED.", autocompletion=complete(CampaignState)
        ),
    ] = "",
    after: Annotated[
        str,
        typer.Option(help="Mark at which the page begins; the last line of a page has the next."),
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Campaigns at most.")] = 50,
    site: OfSite = "",
    json: AsJson = False,
) -> None:
    """List campaigns, newest first, with how far each is."""
    from records.campaigns.progress import read_page
    from records.database.session import snapshot

    chosen = _read_campaign_state(state) if state else None
    with snapshot() as session, of_site(session, site):
        page = read_page(session, limit, after or None, chosen)
    if json:
        from api.campaign_schemas import CampaignList

        print_json(CampaignList.from_page(page))
        return
    from nightdraft.cli.campaign_views import render_campaigns

    console().print(render_campaigns(page.campaigns))
    if page.next:
        only = (f" --state {chosen}" if chosen else "") + (f" --site {site}" if site else "")
        print(f"more: nightdraft campaign list{only} --after {page.next} --limit {limit}")


def _read_campaign_state(state: str) -> CampaignState:
    if state.upper() not in CampaignState.__members__:
        raise NotAllowed(f"{state!r} is no state: say one of {', '.join(CampaignState)}")
    return CampaignState[state.upper()]


@campaign.command("show")
def show_campaign(name: Name, json: AsJson = False) -> None:
    """Show one campaign: how far it is, why studies ended, and when it will be done."""
    _show(name, json)


def _show(name: str, json: bool) -> None:
    from records.campaigns import campaigns
    from records.campaigns.progress import read_progress
    from records.database.session import snapshot

    with snapshot() as session:
        (progress,) = read_progress(session, [campaigns.find(session, name)])
    if json:
        from api.campaign_schemas import CampaignSummary

        print_json(CampaignSummary.from_progress(progress))
        return
    from nightdraft.cli.campaign_views import render_campaign

    console().print(render_campaign(progress))


@campaign.command("studies")
def list_studies(
    name: Name,
    state: Annotated[
        str,
        typer.Option(
            help="Only studies in this state, as MISSING.",
            autocompletion=complete(CampaignStudyState),
        ),
    ] = "",
    reason: Annotated[str, typer.Option(help="Only those with this reason; with --state.")] = "",
    after: Annotated[int, typer.Option(help="Number after which the page begins.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Studies at most.")] = 50,
    json: AsJson = False,
) -> None:
    """List studies of a campaign, with the state and the reason of each."""
    from records.campaigns import campaigns, rows
    from records.database.session import snapshot

    chosen = _read_state(state) if state else None
    if reason and chosen is None:
        raise NotAllowed("--reason needs --state")
    with snapshot() as session:
        campaign_id = campaigns.find(session, name).id
        found = rows.list_studies(
            session, campaign_id, limit + 1, state=chosen, reason=reason or None, after=after
        )
    page, more = found[:limit], len(found) > limit
    if json:
        from api.campaign_schemas import CampaignStudyEntry, CampaignStudyPage

        print_json(
            CampaignStudyPage(
                studies=[CampaignStudyEntry.from_row(row) for row in page],
                next=page[-1].id if more else None,
            )
        )
        return
    from nightdraft.cli.campaign_views import render_studies

    console().print(render_studies(page))
    if more:
        given = {"state": state, "reason": reason, "after": str(page[-1].id)}
        options = [f"--{option} {shlex.quote(value)}" for option, value in given.items() if value]
        start = f"more: nightdraft campaign studies {shlex.quote(name)}"
        print(f"{start} {' '.join(options)} --limit {limit}")


def _read_state(state: str) -> CampaignStudyState:
    if state.upper() not in CampaignStudyState.__members__:
        raise NotAllowed(f"{state!r} is no state: say one of {', '.join(CampaignStudyState)}")
    return CampaignStudyState[state.upper()]


@campaign.command("pause")
def pause_campaign(name: Name, json: AsJson = False) -> None:
    """Let nothing more of a campaign begin; what is in the pipeline is finished."""
    _change("pause", name, json)


@campaign.command("resume")
def resume_campaign(name: Name, json: AsJson = False) -> None:
    """Let a paused campaign go on, within its window."""
    _change("resume", name, json)


@campaign.command("cancel")
def cancel_campaign(name: Name, json: AsJson = False) -> None:
    """End a campaign: what still waits in it is not drafted."""
    _change("cancel", name, json)


def _change(action: str, name: str, json: bool) -> None:
    from records.campaigns import campaigns
    from records.database.session import unit_of_work

    with unit_of_work() as session:
        campaign_id = campaigns.find(session, name).id
        {"pause": campaigns.pause, "resume": campaigns.resume, "cancel": campaigns.cancel}[action](
            session, campaign_id
        )
    _show(str(campaign_id), json)


@campaign.command("retry")
def retry_studies(
    name: Name,
    state: Annotated[str, typer.Option(help="State of the studies: MISSING, FAILED or SKIPPED.")],
    reason: Annotated[str, typer.Option(help="The reason with which they ended.")],
    json: AsJson = False,
) -> None:
    """Let studies of a campaign be tried again that ended for a reason."""
    from records.campaigns import campaigns, retrying
    from records.database.session import unit_of_work

    chosen = _read_state(state)
    count = 0
    while True:
        with unit_of_work() as session:
            campaign_id = campaigns.find(session, name).id
            some = retrying.retry(session, campaign_id, chosen, reason, _RETRY_AT_ONCE)
        count += some
        if some < _RETRY_AT_ONCE:
            break
    if json:
        print_json({"studies": count})
        return
    print(f"{count:,} studies are tried again")


@campaign.command("export")
def export_studies(
    name: Name,
    file: Annotated[
        Path | None,
        typer.Argument(help="File to write; - is standard output.", allow_dash=True),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The same file, as an option.", allow_dash=True),
    ] = None,
    format: Annotated[
        str,
        typer.Option(
            "--format",
            help="csv, or parquet with nightdraft[parquet].",
            autocompletion=complete(["csv", "parquet"]),
        ),
    ] = "csv",
    json: AsJson = False,
) -> None:
    """Write each study of a campaign with its end and its reason, as CSV or Parquet."""
    from nightdraft.campaign_files import FORMATS, STANDARD_OUTPUT, write_file
    from records.campaigns import campaigns
    from records.database.session import snapshot

    target = file or output
    if target is None or (file and output):
        raise NotAllowed("name the file to write once, as -o studies.csv")
    if format.lower() not in FORMATS:
        raise NotAllowed(f"{format!r} is no format: say one of {', '.join(FORMATS)}")
    with snapshot() as session:
        campaign_id = campaigns.find(session, name).id
    with show_counts() as progress:
        count = write_file(campaign_id, target, format.lower(), progress)
    if json:
        print_json({"studies": count, "file": target})
    elif target != STANDARD_OUTPUT:
        print(f"{count:,} studies are in {target}")
