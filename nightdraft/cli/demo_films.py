"""The user's own films in the demonstration: the folder is checked before anything starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.uid import UID
from rich.box import ROUNDED
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from intake.dicom.limits import STORAGE_CLASSES, TRANSFER_SYNTAXES
from nightdraft.cli.send import find_with_progress
from nightdraft.cli.status import STATE_COLOURS
from nightdraft.film_files import (
    FilmFile,
    SendOutcome,
    SendResult,
    describe_files,
    describe_results,
    printable_name,
)
from records.errors import NotFound
from records.workflow.worklist_rows import WorklistRow


@dataclass(frozen=True, slots=True)
class CheckedFolder:
    """What a folder holds.

    Attributes:
        films: What can be sent.
        all_taken: Whether nothing that looks like a film is left out.
    """

    films: tuple[FilmFile, ...]
    all_taken: bool

    @property
    def pictures(self) -> list[FilmFile]:
        """The films that are PNG or JPEG."""
        return [film for film in self.films if film.kind != "DICOM"]


def check_folder(console: Console, folder: Path) -> CheckedFolder:
    """Look at each file of a folder, and print what is sent, what is not, and why.

    Raises:
        NotFound: There is no such folder, or nothing in it can be sent.
    """
    found = find_with_progress(console, folder, pictures=True)
    entries = [_refuse_untaken(entry) for entry in found]
    films = [entry for entry in entries if isinstance(entry, FilmFile)]
    others = [entry for entry in entries if isinstance(entry, SendResult)]
    counted = "1 file" if len(entries) == 1 else f"{len(entries)} files"
    lines = [f"{folder}: {counted}; to be sent: {describe_files(films)}"]
    lines += [f"  {line}" for line in describe_results(others)]
    for line in lines:
        console.print(line, markup=False)
    if not films:
        raise NotFound(
            f"nothing in {folder} can be sent: put DICOM files there, or PNG or JPEG pictures of "
            "chest films in shades of grey; unpack archives first"
        )
    checked = CheckedFolder(
        tuple(films), not any(result.outcome is SendOutcome.UNSENT for result in others)
    )
    if checked.pictures:
        console.print(
            "PNG and JPEG are wrapped as DICOM Secondary Capture, one study each, under a "
            "generated patient. Nothing in them says whose they are, which body part, view or age."
        )
    return checked


def _refuse_untaken(entry: FilmFile | SendResult) -> FilmFile | SendResult:
    """Return the entry, or why the listener would not take it."""
    if isinstance(entry, SendResult):
        return entry
    if entry.sop_class not in STORAGE_CLASSES:
        reason = f"the listener does not take {UID(entry.sop_class).name}"
    elif entry.transfer_syntax not in TRANSFER_SYNTAXES:
        reason = f"the listener does not take {UID(entry.transfer_syntax).name}"
    else:
        return entry
    return SendResult(entry.path, SendOutcome.UNSENT, reason, entry.study)


def render_pictures(
    pictures: Sequence[FilmFile], rows: Sequence[WorklistRow], *, plain: bool = False
) -> RenderableType:
    """Render which study each picture became, for the worklist does not know the file's name.

    Args:
        pictures: The pictures.
        rows: The studies.
        plain: Without a frame and only as wide as the text, for a file.
    """
    states = {row.study_instance_uid: row.state for row in rows}
    table = Table(header_style="bold", box=None if plain else ROUNDED)
    for column in ("picture", "study", "state"):
        table.add_column(column, no_wrap=True)
    for picture in pictures:
        state = states.get(picture.study)
        table.add_row(
            Text(printable_name(picture.path)),
            picture.accession,
            Text(state.value, style=STATE_COLOURS.get(state, "")) if state else "not taken",
        )
    return table
