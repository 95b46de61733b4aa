"""Renders reports of other systems for `nightdraft reports`."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from records.states import Origin

if TYPE_CHECKING:
    from rich.console import RenderableType

    from records.reports.listing import ReportPage, ReportRecord, ReportStudy


def render_reports(page: ReportPage) -> RenderableType:
    """Render the reports of a page, a line each."""
    from rich.table import Table
    from rich.text import Text

    from model.dicom.characters import remove_controls

    if not page.reports:
        return Text("no reports")
    table = Table(
        "received", "status", "patient", "accession", "procedure", "from", "id",
        box=None, pad_edge=False,
    )  # fmt: skip
    for report in page.reports:
        count = page.versions[report.id]
        cells = (
            f"{report.patient_name}  {report.patient_id}",
            ", ".join(report.accession_numbers),
            report.procedure,
            f"{report.origin} {report.sender}",
        )
        table.add_row(
            _local(report.received_at),
            report.status if count == 1 else f"{report.status} ({count} versions)",
            *(Text(remove_controls(cell)) for cell in cells),
            Text(str(report.id), no_wrap=True),
        )
    return table


def render_report(record: ReportRecord) -> RenderableType:
    """Render one report: its fields, its text, its studies and its versions."""
    from rich.console import Group
    from rich.table import Table
    from rich.text import Text

    from api.order_wording import ORIGIN_LABELS
    from model.dicom.characters import remove_controls

    report = record.report
    facts = Table(box=None, show_header=False, pad_edge=False)
    for name, value in (
        ("Report", str(report.id)),
        ("Status", report.status),
        ("Patient", f"{report.patient_name}  {report.patient_id}"),
        ("Accession numbers", ", ".join(report.accession_numbers)),
        ("Examination", report.procedure),
        ("Performed", report.performed_on),
        ("Author", report.author),
        ("From", f"{ORIGIN_LABELS[Origin(report.origin)]}, {report.sender}"),
    ):
        if value:
            facts.add_row(Text(name, style="dim"), Text(remove_controls(value)))
    lines = [f"study {use.study.study_instance_uid}: {describe_use(use)}" for use in record.studies]
    versions = Table(box=None, show_header=False, pad_edge=False)
    for version in record.versions:
        versions.add_row(
            Text(_local(version.received_at), style="dim"),
            version.status,
            "this version" if version.id == report.id else str(version.id),
        )
    text = "\n".join(remove_controls(line) for line in report.text.splitlines())
    return Group(
        facts,
        Text(),
        Text(text or "(it has no text)"),
        Text(),
        Text(remove_controls("; ".join(lines)) or "no study here has to do with it"),
        Text(),
        versions,
    )


def describe_use(use: ReportStudy) -> str:
    """What a report does for a study, in a few words."""
    parts = [
        "it is about this study" if use.is_about else "",
        "it ended the study's draft" if use.has_ended_draft else "",
        f"prior report of {len(use.prior_of)} of its drafts" if use.prior_of else "",
    ]
    return ", ".join(filter(None, parts))


def _local(at: dt.datetime) -> str:
    return at.astimezone().strftime("%Y-%m-%d %H:%M:%S")
