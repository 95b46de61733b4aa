"""`nightdraft reports ...`: takes in reports of other systems from a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from nightdraft.cli.json_output import AsJson
from nightdraft.cli.row_imports import DryRun, Encoding, run_import

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
