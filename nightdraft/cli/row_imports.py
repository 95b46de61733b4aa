"""`nightdraft orders import` and `nightdraft reports import`: options, progress, result."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nightdraft.cli.json_output import print_json
from nightdraft.cli.progress import show_bars

if TYPE_CHECKING:
    from nightdraft.row_imports import ImportSummary, RefusedRow

Encoding = Annotated[str, typer.Option(help="Encoding of the file, as cp1252.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would happen, and write nothing.")
]

_RATED_ROWS = 1000
"""An import of fewer rows is over too soon for a rate to mean anything."""


def run_import(
    noun: str,
    import_file: Callable[..., ImportSummary],
    file: Path,
    sender: str,
    *,
    encoding: str,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Import a file with a progress bar, and say what became of its rows.

    Args:
        noun: What the rows are, as "orders".
        import_file: As `nightdraft.order_files.import_orders`.
        file: The file.
        sender: Who sends the rows that name no sender.
        encoding: Of the file.
        dry_run: Whether nothing is written.
        as_json: Write the summary as JSON, and no line for each refused row.

    Raises:
        typer.Exit: With status 1, where a row was refused.
    """

    def print_refused(row: RefusedRow) -> None:
        print(f"line {row.line}: {row.reason}", file=sys.stderr)

    began = time.monotonic()
    with show_bars(unit="bytes") as progress:
        summary = import_file(
            file,
            sender,
            encoding=encoding,
            dry_run=dry_run,
            progress=progress,
            refuse=(lambda _: None) if as_json else print_refused,
        )
    if as_json:
        print_json(summary)
    else:
        parts = [f"{outcome.lower()} {count:,}" for outcome, count in summary.outcomes.items()]
        parts.append(f"refused {summary.refused:,}")
        kept = "nothing was written: it would be" if summary.dry_run else f"{noun}:"
        print(f"{summary.rows:,} rows; {kept} {', '.join(parts)}")
        if summary.rows >= _RATED_ROWS:
            seconds = time.monotonic() - began
            print(f"{seconds:,.0f} s; {60 * summary.rows / seconds:,.0f} rows a minute")
    if summary.refused:
        raise typer.Exit(1)
