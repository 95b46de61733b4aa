"""`nightdraft reports ...`: takes in reports of other systems from a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.progress import show_bars

if TYPE_CHECKING:
    from nightdraft.order_files import RefusedRow

reports = typer.Typer(help="Take in reports that other systems made.", no_args_is_help=True)


@reports.callback()
def about() -> None:
    """Take in reports that other systems made."""


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
    encoding: Annotated[str, typer.Option(help="Encoding of the file, as cp1252.")] = "utf-8-sig",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen, and write nothing.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Take in the reports of a file; the same file again changes nothing."""
    from nightdraft.report_files import import_reports

    def print_refused(row: RefusedRow) -> None:
        print(f"line {row.line}: {row.reason}", file=sys.stderr)

    with show_bars(unit="bytes") as progress:
        summary = import_reports(
            file,
            sender,
            encoding=encoding,
            dry_run=dry_run,
            progress=progress,
            refuse=(lambda _: None) if json else print_refused,
        )
    if json:
        print_json(summary)
    else:
        parts = [f"{outcome.lower()} {count:,}" for outcome, count in summary.outcomes.items()]
        parts.append(f"refused {summary.refused:,}")
        kept = "nothing was written: it would be" if summary.dry_run else "reports:"
        print(f"{summary.rows:,} rows; {kept} {', '.join(parts)}")
    if summary.refused:
        raise typer.Exit(1)
