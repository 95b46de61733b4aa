"""`nightdraft send`: finds the films of a folder and sends them, with a bar on a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nightdraft.cli.json_output import AsJson, print_json
from nightdraft.cli.options import app, console, error_console
from records.errors import NotAllowed, NotFound
from records.settings import settings

if TYPE_CHECKING:
    from rich.console import Console

    from nightdraft.film_files import FilmFile, SendResult
    from nightdraft.store_scu import SendSummary
    from records.tls.calls import ClientTls


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
    pictures: Annotated[
        bool, typer.Option("--pictures", help="Send PNG and JPEG, too, as Secondary Capture.")
    ] = False,
    tls: Annotated[
        bool, typer.Option("--tls", help="Send over TLS; the options below are for it.")
    ] = False,
    ca_file: Annotated[
        Path | None,
        typer.Option(help="Authorities (PEM) that are trusted; else this machine's."),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(help="Our own certificate (PEM), where one is asked for.")
    ] = None,
    key: Annotated[
        Path | None, typer.Option(help="Its private key (PEM); else in the same file.")
    ] = None,
    server_name: Annotated[
        str, typer.Option(help="Name that the listener's certificate must have; else its host.")
    ] = "",
    pin: Annotated[
        str,
        typer.Option(help="SHA-256 of the listener's certificate, which alone counts then."),
    ] = "",
    json: AsJson = False,
) -> None:
    """Send DICOM files to a listener by C-STORE."""
    from nightdraft.station.station import listener_address
    from records.tls.calls import ClientTls
    from records.tls.certificates import pin_of
    from records.tls.contexts import ClientFiles

    own_host, own_port = listener_address(settings())
    client_tls = None
    if tls:
        own_port = settings().listen_tls_port or own_port
        try:
            digest = pin_of(pin) if pin else ""
        except ValueError as error:
            raise NotAllowed(f"--pin: {error}") from None
        files = ClientFiles(
            str(ca_file or ""),
            str(certificate or ""),
            str(key or ""),
            ("--ca-file", "--certificate", "--key"),
            digest,
        )
        client_tls = ClientTls(files, host or own_host, server_name, "this command")
    elif ca_file or certificate or key or server_name or pin:
        raise NotAllowed("these options are for TLS: say --tls, too")
    shown = error_console() if json else console()
    entries = find_with_progress(shown, folder.expanduser(), pictures=pictures)
    summary = send_with_progress(
        shown,
        entries,
        host=host or own_host,
        port=port or own_port,
        called=called or settings().ae_title,
        calling=calling,
        associations=associations,
        tls=client_tls,
    )
    if json:
        print_json(_summary_json(summary))
    else:
        if wrapped := wrapped_pictures(entries):
            print(f"wrapped as Secondary Capture: {wrapped}")
        for line in summary.lines():
            print(line)
    if not summary.complete:
        raise typer.Exit(1)


def _summary_json(summary: SendSummary) -> dict[str, Any]:
    from nightdraft.film_files import SendOutcome

    return {
        "complete": summary.complete,
        "counts": {outcome.name: len(summary.of_outcome(outcome)) for outcome in SendOutcome},
        "not_accepted": [
            {"file": result.path, "outcome": result.outcome.name, "reason": result.reason}
            for result in summary.results
            if result.outcome is not SendOutcome.SENT
        ],
    }


def wrapped_pictures(entries: Sequence[FilmFile | SendResult]) -> str:
    """Return how many pictures are sent as Secondary Capture, by kind; "" where none is."""
    from nightdraft.film_files import FilmFile, describe_files

    pictures = [file for file in entries if isinstance(file, FilmFile) and file.kind != "DICOM"]
    return describe_files(pictures) if pictures else ""


def find_with_progress(
    console: Console, folder: Path, *, pictures: bool = False
) -> list[FilmFile | SendResult]:
    """Find the films of a folder; a terminal shows a count, for this may take minutes.

    Raises:
        NotFound: The folder does not exist.
    """
    from nightdraft.film_files import find_films

    entries: list[FilmFile | SendResult] = []
    with console.status(f"searching {folder}") as status:
        for entry in find_films(folder, pictures=pictures):
            entries.append(entry)
            if len(entries) % 50 == 0:
                status.update(f"searching {folder}: {len(entries)} files")
    return entries


def send_with_progress(
    console: Console,
    entries: Sequence[FilmFile | SendResult],
    *,
    host: str,
    port: int,
    called: str,
    calling: str,
    associations: int,
    tls: ClientTls | None = None,
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

    from nightdraft.film_files import FilmFile, SendOutcome, SendResult
    from nightdraft.store_scu import SendSummary, send_files

    files = [entry for entry in entries if isinstance(entry, FilmFile)]
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
            tls=tls,
            on_result=lambda _: progress.advance(bar),
        )
    summary.results += not_sendable
    return summary
