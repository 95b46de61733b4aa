"""`nightdraft reports ...`: lists and shows reports of other systems, and takes them in."""

from __future__ import annotations

import datetime as dt
import shlex
import uuid
from pathlib import Path
from typing import Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import complete, console
from nightdraft.cli.report_views import render_report, render_reports
from nightdraft.cli.row_imports import DryRun, Encoding, run_import
from nightdraft.cli.site_option import OfSite, of_site
from records.errors import NotAllowed
from records.states import Origin, ReportStatus

reports = typer.Typer(
    help="List, show and take in reports that other systems made.", no_args_is_help=True
)

_DAY = ["%Y-%m-%d"]


@reports.callback()
def about() -> None:
    """List, show and take in reports that other systems made."""


@reports.command("list")
def list_reports(
    patient_id: Annotated[str, typer.Option(help="Only reports of this patient id.")] = "",
    accession_number: Annotated[
        str, typer.Option(help="Only reports with this accession number.")
    ] = "",
    status: Annotated[
        str,
        typer.Option(
            help="Only reports with this status, as FINAL.", autocompletion=complete(ReportStatus)
        ),
    ] = "",
    origin: Annotated[
        str,
        typer.Option(
            help="Only reports that came by this interface, as HL7.",
            autocompletion=complete(Origin),
        ),
    ] = "",
    from_day: Annotated[
        dt.datetime | None,
        typer.Option(formats=_DAY, help="The first day on which they came, as 2026-11-24."),
    ] = None,
    to_day: Annotated[
        dt.datetime | None,
        typer.Option(formats=_DAY, help="The last day on which they came, as 2026-11-24."),
    ] = None,
    after: Annotated[
        str,
        typer.Option(help="Mark at which the page begins; the last line of a page has the next."),
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Reports at most.")] = 50,
    site: OfSite = "",
    json: AsJson = False,
) -> None:
    """List reports of other systems, the newest first, without their texts."""
    from records.database.session import snapshot
    from records.reports import listing

    for value, values in ((status, ReportStatus), (origin, Origin)):
        if value and value.upper() not in values.__members__:
            raise NotAllowed(f"{value!r} is not known: say one of {', '.join(values)}")
    wanted = listing.ReportFilter(
        patient_id,
        accession_number,
        ReportStatus(status.upper()) if status else None,
        Origin(origin.upper()) if origin else None,
        from_day.date() if from_day else None,
        to_day.date() if to_day else None,
    )
    with snapshot() as session, of_site(session, site):
        page = listing.read_page(session, wanted, after=after or None, limit=limit)
    if json:
        from api.report_schemas import OutsideReportPage

        print_json(OutsideReportPage.from_page(page))
        return
    console().print(render_reports(page))
    if page.next:
        given = {
            "patient-id": wanted.patient_id,
            "accession-number": wanted.accession_number,
            "status": wanted.status or "",
            "origin": wanted.origin or "",
            "from-day": str(wanted.from_day or ""),
            "to-day": str(wanted.to_day or ""),
            "site": site,
            "after": page.next,
        }
        options = [f"--{option} {shlex.quote(value)}" for option, value in given.items() if value]
        print(f"more: nightdraft reports list {' '.join(options)} --limit {limit}")


@reports.command("show")
def show_report(
    report: Annotated[uuid.UUID, typer.Argument(help="Id of the report, as `list` writes it.")],
    json: AsJson = False,
) -> None:
    """Show one report: its text, its versions, and what it does for studies here."""
    from records.database.session import snapshot
    from records.reports import listing

    with snapshot() as session:
        record = listing.read_report(session, report)
        if json:
            from api.report_schemas import OutsideReportDetail

            print_json(OutsideReportDetail.from_record(record))
            return
        console().print(render_report(record))


@reports.command("import")
def import_file(
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV file whose first line names the columns, or a file of JSON lines (.ndjson, "
            ".jsonl).",
            exists=True,
        ),
    ],
    sender: Annotated[
        str,
        typer.Option(
            help="Who sends these reports. Use one name for all files of one system: reports of "
            "two senders are two reports, even with one number."
        ),
    ] = "FILE",
    encoding: Encoding = "utf-8-sig",
    dry_run: DryRun = False,
    json: AsJson = False,
) -> None:
    """Take in the reports of a file; the same file again changes nothing."""
    from nightdraft.report_files import import_reports

    run_import(
        "reports",
        import_reports,
        file,
        sender,
        encoding=encoding,
        dry_run=dry_run,
        as_json=json,
    )
