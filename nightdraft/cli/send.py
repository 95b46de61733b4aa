"""`nightdraft send`: finds the DICOM files of a folder and sends them, with a bar on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import app, console, error_console
from records.errors import NotFound
from records.settings import settings

if TYPE_CHECKING:
    from rich.console import Console

    from nightdraft.store_scu import DicomFile, SendResult, SendSummary


@app.command()
def send(
    folder: Annotated[Path, typer.Argument(help="Folder of DICOM files, with its subfolders.")],
    host: Annotated[
        str | None, typer.Option(help="The listener's host; else this machine's own listener.")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="The listener's port; else this machine's own listener.")
    ] = None,
    called: Annotated[
        str | None, typer.Option(help="AE title to call; else NIGHTDRAFT_AE_TITLE.")
    ] = None,
    calling: Annotated[str, typer.Option(help="AE title to send as.")] = "NIGHTDRAFT_SCU",
    associations: Annotated[
        int, typer.Option(min=1, max=32, help="Associations at the same time.")
    ] = 1,
    json: AsJson = False,
) -> None:
    """Send DICOM files to a listener by C-STORE."""
    from nightdraft.station.station import listener_address

    own_host, own_port = listener_address(settings())
    shown = error_console() if json else console()
    summary = send_with_progress(
        shown,
        find_with_progress(shown, folder.expanduser()),
        host=host or own_host,
        port=port or own_port,
        called=called or settings().ae_title,
        calling=calling,
        associations=associations,
    )
    if json:
        print_json(_summary_json(summary))
    else:
        for line in summary.lines():
            print(line)
    if not summary.complete:
        raise typer.Exit(1)


def _summary_json(summary: SendSummary) -> dict[str, Any]:
    from nightdraft.store_scu import SendOutcome

    return {
        "complete": summary.complete,
        "counts": {outcome.name: len(summary.of_outcome(outcome)) for outcome in SendOutcome},
        "not_accepted": [
            {"file": result.path, "outcome": result.outcome.name, "reason": result.reason}
            for result in summary.results
            if result.outcome is not SendOutcome.SENT
        ],
    }


def find_with_progress(console: Console, folder: Path) -> list[DicomFile | SendResult]:
    """Find the DICOM files of a folder; a terminal shows a count, for this may take minutes.

    Raises:
        NotFound: The folder does not exist.
    """
    from nightdraft.store_scu import find_dicom_files

    entries: list[DicomFile | SendResult] = []
    with console.status(f"searching {folder}") as status:
        for entry in find_dicom_files(folder):
            entries.append(entry)
            if len(entries) % 50 == 0:
                status.update(f"searching {folder}: {len(entries)} files")
    return entries


def send_with_progress(
    console: Console,
    entries: Sequence[DicomFile | SendResult],
    *,
    host: str,
    port: int,
    called: str,
    calling: str,
    associations: int,
) -> SendSummary:
    """Send the files that `find_with_progress` returned; a terminal shows a bar.

    Returns:
        The results of all entries, those that cannot be sent among them.

    Raises:
        NotFound: None of the entries is DICOM.
        PartError: Nobody answers, or the association is refused.
    """
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from nightdraft.store_scu import DicomFile, SendOutcome, SendResult, SendSummary, send_files

    files = [entry for entry in entries if isinstance(entry, DicomFile)]
    not_sendable = [entry for entry in entries if isinstance(entry, SendResult)]
    if not files:
        if any(result.outcome is SendOutcome.UNSENT for result in not_sendable):
            return SendSummary(not_sendable)
        raise NotFound(f"none of the {len(not_sendable)} files in that folder can be sent")
    with Progress(
        TextColumn(f"to {host} port {port}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        bar = progress.add_task("", total=len(files))
        summary = send_files(
            files,
            host=host,
            port=port,
            called=called,
            calling=calling,
            associations=associations,
            on_result=lambda _: progress.advance(bar),
        )
    summary.results += not_sendable
    return summary
