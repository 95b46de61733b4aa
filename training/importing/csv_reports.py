"""Joins two tables, one of reports and one of images, as many systems export them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from records.errors import CorpusError, SettingsError
from training.corpus.folder_table import (
    COLUMNS,
    TEXT_COLUMNS,
    WrongValue,
    find_column,
    parse_date,
    parse_split,
    parse_views,
    split_list,
)
from training.corpus.table_rows import Fault, read_csv
from training.deid.deidentify import KnownIdentifiers
from training.importing.reports import FoundReport, Rejection

KEYS = ("study", "accession_number", "study_uid")
"""Columns that may join the two tables; the first one that both have does."""
NO_REPORT = "no row of the reports has this study"
TWICE = "an earlier row of the reports has this study"


@dataclass
class _Images:
    """The images of a study, by the table of images."""

    paths: list[tuple[str, str]] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)


def parse_columns(assignments: list[str]) -> dict[str, str]:
    """Return a mapping of our columns to a table's own, from FIELD=COLUMN.

    Raises:
        SettingsError: There is no such field.
    """
    mapping = {}
    for assignment in assignments:
        name, equals, column = assignment.partition("=")
        if not equals or name.strip() not in COLUMNS:
            raise SettingsError(
                f"{assignment!r} maps no column; write FIELD=COLUMN, where FIELD is one of "
                + ", ".join(COLUMNS)
            )
        mapping[name.strip()] = column.strip()
    return mapping


def read_csv_reports(
    reports: Path,
    images: Path,
    report_columns: Mapping[str, str],
    image_columns: Mapping[str, str],
    root: Path | None = None,
) -> Iterator[FoundReport | Rejection]:
    """Yield the reports with their images, and the rows of both tables that are left out.

    Args:
        reports: A CSV with a row for each report.
        images: A CSV with a row for each image or each study.
        report_columns: Our column -> the table's. A column that is not named here is known by its
            name, as in the corpus `folder`.
        image_columns: The same of the images.
        root: What the paths of images begin from; None takes the folder of their table.

    Raises:
        CorpusError: A table cannot be read, or the two have no column in common.
    """
    keys = {key for key in KEYS if key in _columns(reports, report_columns)}
    key = next((k for k in KEYS if k in keys and k in _columns(images, image_columns)), None)
    if key is None:
        raise CorpusError(
            f"{reports} and {images} have none of the columns {', '.join(KEYS)} in common; name "
            "one by --column and --image-column"
        )
    of_study: defaultdict[str, _Images] = defaultdict(_Images)
    base = root or images.parent
    for line, row in _rows(images, image_columns):
        source = f"{images.name}, line {line}"
        if isinstance(row, Fault):
            yield Rejection(source, "", row.reason)
            continue
        try:
            paths = split_list("images", row.get("images"))
            views = parse_views(split_list("views", row.get("views"), keep_empty=True), len(paths))
        except WrongValue as wrong:
            yield Rejection(source, row.get(key, ""), str(wrong))
            continue
        if not row.get(key) or not paths:
            yield Rejection(
                source, row.get(key, ""), f"it has no {'image' if row.get(key) else key}"
            )
            continue
        of_study[row[key]].lines.append(line)
        of_study[row[key]].paths += zip((str(base / path) for path in paths), views, strict=True)
    seen = set()
    for line, row in _rows(reports, report_columns):
        source = f"{reports.name}, line {line}"
        if isinstance(row, Fault):
            yield Rejection(source, "", row.reason)
            continue
        study = row.get(key, "")
        if study in seen:
            yield Rejection(source, study, TWICE)
            continue
        seen.add(study)
        yield _read_report(row, key, source, of_study)
    for study in of_study.keys() - seen:
        for line in of_study[study].lines:
            yield Rejection(f"{images.name}, line {line}", study, NO_REPORT)


def _read_report(
    row: dict[str, str], key: str, source: str, of_study: Mapping[str, _Images]
) -> FoundReport | Rejection:
    study, patient = row.get(key, ""), row.get("patient", "")
    if not study or not patient:
        return Rejection(source, study, f"it has no {'patient' if study else key}")
    if not any(row.get(name) for name in ("report", "findings", "impression")):
        return Rejection(source, study, "it has no report")
    images = of_study[study].paths if study in of_study else []
    gone = next((path for path, _ in images if not Path(path).is_file()), None)
    if gone is not None or not images:
        reason = f"there is no image {gone}" if gone else "no row of the images has this study"
        return Rejection(source, study, reason)
    try:
        taken, split = parse_date(row.get("date", "")), parse_split(row.get("split", ""))
    except WrongValue as wrong:
        return Rejection(source, study, str(wrong))
    known = KnownIdentifiers(
        row.get("patient_name", ""),
        patient,
        row.get("accession_number", ""),
        row.get("birth_date", ""),
        taken[:8],
    )
    return FoundReport(
        source=source,
        patient=patient,
        known=known,
        accession=row.get("accession_number", "") or study,
        study_uid=row.get("study_uid", ""),
        taken=taken,
        texts={name: row[name] for name in TEXT_COLUMNS if row.get(name)},
        images=tuple(images),
        split=split,
    )


def _columns(path: Path, mapping: Mapping[str, str]) -> set[str]:
    """Return our columns that a table has.

    Raises:
        CorpusError: A column that the mapping names is not there, or the table cannot be read.
    """
    names: list[str] = []
    try:
        next(read_csv(path, lambda name: _is_known(name, mapping), names.extend), None)
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror})") from error
    if missing := [column for column in mapping.values() if column not in names]:
        raise CorpusError(f"{path} has no column {missing[0]!r}; it has {', '.join(names)}")
    return {ours for name in names if (ours := _our_column(name, mapping))}


def _rows(path: Path, mapping: Mapping[str, str]) -> Iterator[tuple[int, dict[str, str] | Fault]]:
    for line, row in read_csv(path, lambda name: _is_known(name, mapping), lambda _: None):
        if isinstance(row, Fault):
            yield line, row
            continue
        values = {}
        for name, value in row.items():
            if ours := _our_column(name, mapping):
                text = value.replace("\0", " ").strip()
                values[ours] = text if ours in TEXT_COLUMNS else " ".join(text.split())
        yield line, values


def _our_column(name: str, mapping: Mapping[str, str]) -> str | None:
    """Return our column of a table's column; a mapping wins over the name."""
    mapped = next((ours for ours, theirs in mapping.items() if theirs == name), None)
    by_name = find_column(name)
    return mapped or (None if by_name in mapping else by_name)


def _is_known(name: str, mapping: Mapping[str, str]) -> bool:
    return _our_column(name, mapping) is not None
