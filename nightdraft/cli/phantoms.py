"""`nightdraft phantoms`: draws studies with which an installation can be tried."""

from __future__ import annotations

import datetime as dt
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nightdraft.cli.options import app
from nightdraft.cli.progress import show_bars
from records.errors import NotAllowed

if TYPE_CHECKING:
    from pydicom import Dataset


@app.command()
def phantoms(
    folder: Annotated[Path, typer.Argument(help="Folder for the files; it is made.")],
    studies: Annotated[int, typer.Option(min=1, max=99_999, help="How many studies.")] = 3,
    size: Annotated[int, typer.Option(min=64, max=4096, help="Pixels a side of each film.")] = 1024,
) -> None:
    """Draw chest X-ray studies of patients that do not exist, to try an installation.

    `nightdraft send FOLDER` sends them. Each call draws new studies, with new UIDs.
    """
    from nightdraft.phantom_studies import draw_studies, read_datasets, write_with_new_uids

    folder = folder.expanduser()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise NotAllowed(f"{folder} is there and is not an empty folder: name another one")
    began = dt.datetime.now().astimezone().strftime("%m%d%H%M%S")

    with (
        tempfile.TemporaryDirectory(prefix="nightdraft-phantoms-") as drawn,
        show_bars() as progress,
    ):

        def drawn_studies() -> Iterator[list[Dataset]]:
            for number, study in enumerate(read_datasets(draw_studies(Path(drawn), studies, size))):
                yield study
                progress("drawing", number + 1, studies)

        accessions = (f"P{began}{number:05}" for number in range(1, studies + 1))
        write_with_new_uids(drawn_studies(), folder, accessions)
    files = len(list(folder.iterdir()))
    print(
        f"{studies} studies in {files} files are in {folder}; `nightdraft send {folder}` sends them"
    )
