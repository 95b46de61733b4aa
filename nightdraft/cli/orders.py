"""`nightdraft orders ...`: takes in orders from a file."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.progress import show_bars

if TYPE_CHECKING:
    from nightdraft.order_files import ImportSummary, RefusedRow

orders = typer.Typer(help="Take in orders: why examinations were requested.", no_args_is_help=True)


@orders.callback()
def about() -> None:
    """Take in orders: why examinations were requested."""


@orders.command("import")
def import_file(
    file: Annotated[
        Path,
        typer.Argument(help="CSV file whose first line names the columns.", exists=True),
    ],
    sender: Annotated[
        str,
        typer.Option(
            help="Who sends these orders. Use one name for all files of one system: orders of two "
            "senders are two orders, even with one number."
        ),
    ] = "FILE",
    encoding: Annotated[str, typer.Option(help="Encoding of the file, as cp1252.")] = "utf-8-sig",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen, and write nothing.")
    ] = False,
    json: AsJson = False,
) -> None:
    """Take in the orders of a CSV file; the same file again changes nothing."""
    from nightdraft.order_files import import_orders

    def print_refused(row: RefusedRow) -> None:
        print(f"line {row.line}: {row.reason}", file=sys.stderr)

    with show_bars(unit="bytes") as progress:
        summary = import_orders(
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
        print(_describe(summary))
    if summary.refused:
        raise typer.Exit(1)


def _describe(summary: ImportSummary) -> str:
    parts = [f"{outcome.lower()} {count:,}" for outcome, count in summary.outcomes.items()]
    parts.append(f"refused {summary.refused:,}")
    kept = "nothing was written: it would be" if summary.dry_run else "orders:"
    return f"{summary.rows:,} rows; {kept} {', '.join(parts)}"
