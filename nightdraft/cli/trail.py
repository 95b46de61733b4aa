"""`nightdraft trail ...`: who saw and did what; whether it is whole; exports of it."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import complete, console, print_line, read_time
from records.errors import NotAllowed, TrailDamaged
from records.states import AuditAction

if TYPE_CHECKING:
    from rich.console import RenderableType

    from records.audit.lines import TrailFilter, TrailLine

trail = typer.Typer(
    no_args_is_help=True,
    help="List who saw and did what, check that nothing of it was changed, and export it.",
)

Patient = Annotated[
    str, typer.Option(help="Only lines about this patient: a whole patient id, or a pseudonym.")
]
Person = Annotated[str, typer.Option(help="Only lines of this person or program, by whole name.")]
Action = Annotated[
    str,
    typer.Option(
        help="Only lines about this, as VIEW or LOGIN.", autocompletion=complete(AuditAction)
    ),
]
Since = Annotated[str, typer.Option(help="Only lines from this time on, as 2026-11-24T18:00.")]
Until = Annotated[str, typer.Option(help="Only lines before this time.")]
Emergency = Annotated[
    bool,
    typer.Option("--emergency", help="Only what was opened, seen and ended in emergencies."),
]


@trail.callback()
def about() -> None:
    """List who saw and did what, check that nothing of it was changed, and export it."""


@trail.command("list")
def list_lines(
    patient: Patient = "",
    person: Person = "",
    action: Action = "",
    since: Since = "",
    until: Until = "",
    emergency: Emergency = False,
    after: Annotated[
        str,
        typer.Option(help="Mark at which the page begins; the last line of a page has the next."),
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Lines at most.")] = 50,
    json: AsJson = False,
) -> None:
    """List who saw and did what, newest first."""
    from records.audit import lines, readings
    from records.database.session import unit_of_work

    wanted = _filter(patient, person, action, since, until, emergency=emergency)
    with unit_of_work() as session:
        page = lines.read_page(session, wanted, after=after or None, limit=limit)
        readings.record_reading(session, wanted, "nightdraft trail list", page.lines)
    if json:
        from api.trail_schemas import TrailLines

        print_json(TrailLines.from_page(page))
        return
    console().print(_render(page.lines))
    if page.next:
        given = {
            "patient": patient,
            "person": person,
            "action": action,
            "since": since,
            "until": until,
            "after": page.next,
        }
        options = [f"--{name} {shlex.quote(value)}" for name, value in given.items() if value]
        options += ["--emergency"] if emergency else []
        print(f"more: nightdraft trail list {' '.join(options)} --limit {limit}")


@trail.command("show")
def show_line(
    entry: Annotated[int, typer.Argument(min=1, help="Number of the line, as `list` writes it.")],
    event: Annotated[
        bool,
        typer.Option("--event", help="The number is that of an event of a study's timeline."),
    ] = False,
    json: AsJson = False,
) -> None:
    """Show one line with all its patients and studies."""
    from records.audit import lines, readings
    from records.database.session import unit_of_work

    with unit_of_work() as session:
        line = lines.read_line(session, entry, is_event=event)
        readings.record_reading(session, lines.TrailFilter(), "nightdraft trail show", [line])
    from api.trail_schemas import TrailLine

    shown = TrailLine.from_line(line)
    if json:
        print_json(shown)
        return
    for name, value in shown.model_dump(mode="json").items():
        if isinstance(value, list):
            for one in value:
                print(f"{name}: {' '.join(str(part) for part in one.values() if part)}")
        else:
            print(f"{name}: {value}")


@trail.command("verify")
def verify_trail(
    heads: Annotated[
        list[Path] | None,
        typer.Option(
            help="File with heads of seals besides our own, as a syslog server wrote it; can be "
            "given several times.",
            exists=True,
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Check that no row of the trail was changed, removed or added, and that no seal was cut off.

    Raises:
        TrailDamaged: Something was; the findings are printed before.
    """
    from records.audit import verifying

    result = verifying.verify(heads or ())
    if json:
        print_json(result)
    else:
        for finding in result.findings:
            print_line(f"{finding.kind}: {finding.sentence}")
        if result.found > len(result.findings):
            print_line(f"... and {result.found - len(result.findings):,} more")
        print_line(
            f"{result.seals:,} seals over {result.rows:,} rows were verified, "
            f"{result.removed:,} rows were removed by rule, {result.unsealed:,} wait for their "
            f"seal, {result.heads:,} heads outside were compared"
        )
    if result.found:
        raise TrailDamaged(f"the trail is not what was sealed: {result.found:,} findings")


@trail.command("export")
def export_lines(
    file: Annotated[
        Path, typer.Argument(help="File to write; - is standard output.", allow_dash=True)
    ],
    form: Annotated[
        Literal["jsonl", "dicom"],
        typer.Option(
            help="jsonl: a JSON object a line. dicom: an audit message of PS3.15 (XML) a line."
        ),
    ] = "jsonl",
    patient: Patient = "",
    person: Person = "",
    action: Action = "",
    since: Since = "",
    until: Until = "",
    emergency: Emergency = False,
    json: AsJson = False,
) -> None:
    """Write the trail to a file, the oldest lines first."""
    import sys

    from records.audit import readings
    from records.database.session import database_time, unit_of_work

    wanted = _filter(patient, person, action, since, until, emergency=emergency)
    detail = f"nightdraft trail export ({form})"
    with unit_of_work() as session:
        readings.record_reading(session, wanted, detail)
        # What the export itself adds to the trail is none of it.
        now = database_time(session)
    wanted = replace(wanted, until=min(wanted.until or now, now))
    count = 0
    if file == Path("-"):
        for text in _texts(wanted, form, detail):
            sys.stdout.write(f"{text}\n")
        return
    try:
        with file.open("w", encoding="utf-8", newline="") as output:
            for text in _texts(wanted, form, detail):
                output.write(f"{text}\n")
                count += 1
    except OSError as error:
        raise NotAllowed(f"{file} cannot be written ({error.strerror})") from None
    if json:
        print_json({"lines": count, "file": file})
    else:
        print(f"{count:,} lines are in {file}")


@trail.command("status")
def show_status(json: AsJson = False) -> None:
    """Show up to when the trail is sealed, and up to where it was sent."""
    from records.audit.status import read_status
    from records.database.session import snapshot

    with snapshot() as session:
        status = read_status(session)
    if json:
        print_json(status)
        return
    sealed = f"{status.sealed_at.astimezone():%Y-%m-%d %H:%M:%S}" if status.sealed_at else "never"
    print(f"seals: {status.seals:,}, the newest: {sealed}; {status.unsealed:,} rows wait")
    print(f"key: {status.key_id or 'not used yet'} in {status.key_file}")
    print(f"heads: {status.head_file}")
    for one in status.deliveries:
        print(
            f"{one.destination}: sent up to seal {one.sent_seal:,}, {one.waiting:,} rows wait"
            + (f"; {one.attempts} attempts failed: {one.error}" if one.attempts else "")
        )


def _filter(
    patient: str, person: str, action: str, since: str, until: str, *, emergency: bool
) -> TrailFilter:
    from records.audit.lines import TrailFilter

    return TrailFilter(
        patient.strip(),
        person,
        action.strip().upper(),
        read_time(since) if since else None,
        read_time(until) if until else None,
        emergency,
    )


def _texts(wanted: TrailFilter, form: str, detail: str) -> Iterator[str]:
    """The lines as texts; whom some of them name is recorded before they are given."""
    from api.trail_schemas import TrailLine
    from records.audit import lines, readings
    from records.audit.messages import audit_message
    from records.database.session import unit_of_work
    from records.settings import settings

    with_numbers = settings().trail_server_patients == "number"
    for part in lines.read_all(wanted):
        with unit_of_work() as session:
            readings.record_reading(session, wanted, detail, part)
        for line in part:
            if form == "dicom":
                yield audit_message(line, with_numbers=with_numbers)
            else:
                yield TrailLine.from_line(line).model_dump_json()


def _render(lines: Sequence[TrailLine]) -> RenderableType:
    from rich.table import Table
    from rich.text import Text

    from model.dicom.characters import remove_controls

    if not lines:
        return Text("no lines")
    table = Table(box=None, pad_edge=False)
    for heading in ("when", "number", "who", "from", "what", "outcome", "whose", "detail"):
        table.add_column(heading, no_wrap=True)
    for line in lines:
        whose = ", ".join(
            patient.patient_id or str(patient.pseudonym) for patient in line.patients[:3]
        )
        if len(line.patients) > 3:
            whose += f" and {len(line.patients) - 3} more"
        cells = (
            f"{line.at.astimezone():%Y-%m-%d %H:%M:%S}",
            f"{'event ' if line.is_event else ''}{line.id}",
            line.actor_name or line.actor_kind.lower(),
            line.actor_address,
            line.action,
            line.outcome,
            whose,
            "; ".join([line.detail, *(f"reason: {one}" for one in line.reasons)]),
        )
        table.add_row(*(Text(remove_controls(cell)) for cell in cells))
    return table
