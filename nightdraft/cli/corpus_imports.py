"""`nightdraft corpus import`: its options and what it prints; training.importing does the work."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nightdraft.cli.json_output import JsonFile, write_figures
from nightdraft.cli.options import console
from nightdraft.cli.progress import show_counts

if TYPE_CHECKING:
    from training.importing.reports import FoundReport, Rejection

imports = typer.Typer(
    help="Make a folder of own reports from HL7, SR or two tables.", no_args_is_help=True
)

Out = Annotated[Path, typer.Option(help="The folder to write reports.csv into.")]
Images = Annotated[
    Path | None, typer.Option(help="Folder of the DICOM images; else studies are named by UID.")
]
Replace = Annotated[bool, typer.Option("--replace", help="Replace tables that are there.")]


@imports.callback()
def about() -> None:
    """Make a folder of own reports from HL7, SR or two tables."""


@imports.command("hl7")
def import_hl7(
    source: Annotated[Path, typer.Argument(help="File of ORU^R01 messages, or a folder of them.")],
    out: Out,
    images: Images = None,
    accession_fields: Annotated[
        str,
        typer.Option(help="Fields of the accession number; the first that is filled counts."),
    ] = "OBR-18,OBR-3,ORC-3",
    replace: Replace = False,
    json: JsonFile = None,
) -> None:
    """Read final reports out of HL7 result messages; the last version of each counts."""
    from training.importing.hl7_reports import read_hl7_reports

    fields = [name for name in accession_fields.split(",") if name.strip()]
    _write(out, lambda: read_hl7_reports(source, fields), images, json, replace=replace)


@imports.command("sr")
def import_sr(
    source: Annotated[Path, typer.Argument(help="DICOM SR file, or a folder of them.")],
    out: Out,
    images: Images = None,
    replace: Replace = False,
    json: JsonFile = None,
) -> None:
    """Read complete reports out of DICOM structured reports; the last version of each counts."""
    from training.importing.sr_reports import read_sr_reports

    _write(out, lambda: read_sr_reports(source), images, json, replace=replace)


@imports.command("csv")
def import_csv(
    reports: Annotated[Path, typer.Argument(help="CSV with a row for each report.")],
    images: Annotated[Path, typer.Argument(help="CSV with a row for each image.")],
    out: Out,
    column: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=COLUMN", help="A column of the reports; several."),
    ] = None,
    image_column: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD=COLUMN", help="A column of the images; several."),
    ] = None,
    root: Annotated[
        Path | None,
        typer.Option(help="Folder that the images' paths begin from; else that of their table."),
    ] = None,
    date_format: Annotated[
        str, typer.Option(help="How dates are written, as %d.%m.%Y; else 2026-11-27.")
    ] = "",
    replace: Replace = False,
    json: JsonFile = None,
) -> None:
    """Make a folder of own reports from a table of reports and a table of images."""
    from training.importing.csv_reports import parse_columns, read_csv_reports

    report_columns, image_columns = parse_columns(column or []), parse_columns(image_column or [])
    _write(
        out,
        lambda: read_csv_reports(reports, images, report_columns, image_columns, root, date_format),
        None,
        json,
        replace=replace,
    )


def _write(
    out: Path,
    read: Callable[[], Iterable[FoundReport | Rejection]],
    images: Path | None,
    json: Path | None,
    *,
    replace: bool,
) -> None:
    """Write the folder and print what was taken and what was left out."""
    from nightdraft.station.data_folder import make_data_dir
    from records.settings import settings
    from training.deid.pseudonyms import site_pseudonyms
    from training.importing.film_index import FilmIndex
    from training.importing.folder_writer import REJECTED_NAME, check_folder, write_folder

    check_folder(out, replace=replace)
    make_data_dir(settings().data_dir)
    pseudonyms = site_pseudonyms(settings().data_dir)
    with show_counts() as progress:
        films = None if images is None else FilmIndex(images, progress)
        summary = write_folder(
            out, read(), pseudonyms, films=films, replace=replace, progress=progress
        )
        if films:
            films.close()
    if not write_figures(summary, json):
        return
    output = console()
    output.print(
        f"in {out}: reports {summary.reports:,}, patients {summary.patients:,}, "
        f"images {summary.images:,}",
        markup=False,
    )
    for reason, count in summary.rejected.items():
        output.print(f"left out {count:,}: {reason}", markup=False)
    if summary.rejected:
        output.print(f"{out / REJECTED_NAME} names each of them", markup=False)
    output.print(f"Check it: nightdraft corpus check folder {out}", markup=False)
