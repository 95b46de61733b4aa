"""Reads the table of a corpus `folder`: reports.csv or reports.jsonl, row by row.

A row that cannot be used is a `Fault` with its line and the reason; it is never taken in part. What
makes no difference is forgiven: a byte order mark, the delimiter, capitals and spaces in the names
of columns, their order, empty lines.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from records.errors import CorpusError
from training.corpus.example import SPLITS, TEST, TRAIN, VALIDATE
from training.corpus.table_rows import MAX_TEXT, Fault, read_csv, read_json_lines

CSV_NAME, JSON_LINES_NAME = "reports.csv", "reports.jsonl"

COLUMNS = {
    "study": "The study's id in this folder. Rows of one study are one example.",
    "patient": "The patient's id or pseudonym.",
    "date": "When the films were taken.",
    "images": "Paths of the images, from the folder; several are divided by `;`.",
    "views": "`frontal` or `lateral` for each image, or empty.",
    "study_uid": "The Study Instance UID, instead of images: all its DICOM files in the folder.",
    "report": "The whole report; its headings divide it.",
    "findings": "The section, instead of the report.",
    "impression": "The section, instead of the report.",
    "indication": "Why the films were ordered.",
    "procedure": "What was ordered.",
    "prior_report": "The report of an earlier study, instead of the one in this table.",
    "split": "`train`, `validate` or `test`.",
    "patient_name": "Only to be taken out of the texts.",
    "birth_date": "Only to be taken out of the texts.",
    "accession_number": "Only to be taken out of the texts.",
}
"""Column -> what it holds. `docs/train/corpora.md` says the rest."""
TEXT_COLUMNS = ("report", "findings", "impression", "indication", "procedure", "prior_report")
"""The columns in which line ends are kept."""

_ALIASES = {
    "study_id": "study",
    "patient_id": "patient",
    "study_date": "date",
    "studydate": "date",
    "study_instance_uid": "study_uid",
    "studyinstanceuid": "study_uid",
    "image": "images",
    "path": "images",
    "paths": "images",
    "file": "images",
    "files": "images",
    "filename": "images",
    "view": "views",
    "position": "views",
    "projection": "views",
    "text": "report",
    "report_text": "report",
    "history": "indication",
    "clinical_history": "indication",
    "patientname": "patient_name",
    "patient_birth_date": "birth_date",
    "accession": "accession_number",
    "accessionnumber": "accession_number",
}
_SPLITS = {name: name for name in SPLITS} | {
    "training": TRAIN,
    "val": VALIDATE,
    "valid": VALIDATE,
    "validation": VALIDATE,
    "dev": VALIDATE,
    "testing": TEST,
}
_VIEWS = {
    **dict.fromkeys(("frontal", "pa", "ap", "f"), "frontal"),
    **dict.fromkeys(("lateral", "lat", "ll", "rl", "l"), "lateral"),
    **dict.fromkeys(("", "unknown", "other"), "unknown"),
}
_DATE = re.compile(
    r"(\d{4})(?P<dash>-?)(\d{2})(?P=dash)(\d{2})"
    r"(?:[T ]?(\d{2}):?(\d{2})(?::?(\d{2})(?:\.\d+)?)?(?:Z|[+-]\d{2}:?\d{2})?)?"
)
_IMAGE_SEPARATOR = re.compile(r"[;|\r\n]")


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table that is right in itself.

    Attributes:
        line: Where it begins in the table.
        values: Column -> text without spaces around it, without `images` and `views`; "" where
            the row has none. `date` is digits, `split` one of SPLITS.
        images: The paths, as they are written.
        views: The position of each image: "frontal", "lateral" or "unknown".
    """

    line: int
    values: dict[str, str]
    images: tuple[str, ...] = ()
    views: tuple[str, ...] = ()


@dataclass
class Table:
    """A table of reports.

    Attributes:
        path: The file.
        unused: The names of columns that are not read, as they are written, once they are known.
    """

    path: Path
    unused: dict[str, None] = field(default_factory=dict)

    def rows(self) -> Iterator[Row | Fault]:
        """Yield the rows in order.

        Raises:
            CorpusError: The file cannot be read, or has not the columns that are needed.
        """
        try:
            for line, values in self._read():
                yield values if isinstance(values, Fault) else self._parse(line, values)
        except OSError as error:
            raise CorpusError(f"{self.path} cannot be read ({error.strerror})") from error

    def _read(self) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
        if self.path.name == JSON_LINES_NAME:
            return read_json_lines(self.path)
        return read_csv(
            self.path,
            lambda name: find_column(name) is not None,
            lambda names: _check_columns(self.path, names),
        )

    def _parse(self, line: int, written: dict[str, Any]) -> Row | Fault:
        values: dict[str, Any] = {}
        for name, value in written.items():
            column = find_column(name)
            if column is None:
                self.unused[name] = None
            elif column in values:
                return Fault(line, "", f"there are two columns for {column!r}")
            else:
                values[column] = value
        study = _text(values.get("study")) or _text(values.get("study_uid")) or ""
        try:
            return _row(line, study, values)
        except WrongValue as wrong:
            return Fault(line, study, str(wrong))


def find_table(folder: Path) -> Table:
    """Find the table of a folder.

    Raises:
        CorpusError: There is no folder, no table, or two tables.
    """
    if not folder.is_dir():
        raise CorpusError(f"there is no folder {folder}; name the one that {CSV_NAME} lies in")
    tables = [folder / name for name in (CSV_NAME, JSON_LINES_NAME) if (folder / name).is_file()]
    if not tables:
        raise CorpusError(
            f"{folder} has neither {CSV_NAME} nor {JSON_LINES_NAME}; write one, or make it with "
            "`nightdraft corpus import`"
        )
    if len(tables) > 1:
        raise CorpusError(f"{folder} has {CSV_NAME} and {JSON_LINES_NAME}; remove one of them")
    return Table(tables[0])


def suggest_column(name: str) -> str:
    """Return the column that an unknown name may stand for, or ""."""
    return next(iter(get_close_matches(_normal(name), (*COLUMNS, *_ALIASES), 1, 0.75)), "")


# ---- One row ----


class WrongValue(ValueError):
    """A row cannot be used; the message is the reason."""


def _row(line: int, study: str, values: dict[str, Any]) -> Row:
    texts = {}
    for column in COLUMNS:
        if column in ("images", "views"):
            continue
        text = _text(values.get(column))
        if text is None:
            raise WrongValue(f"{column} is a {type(values[column]).__name__}; give a text")
        if len(text) > MAX_TEXT:
            raise WrongValue(f"{column} has more than {MAX_TEXT:,} characters")
        texts[column] = text if column in TEXT_COLUMNS else " ".join(text.split())
    if not study:
        raise WrongValue("there is no study")
    if not texts["patient"]:
        raise WrongValue("there is no patient; the split by patient needs one")
    images = split_list("images", values.get("images"))
    views = split_list("views", values.get("views"), keep_empty=True)
    return Row(
        line,
        texts
        | {"study": study, "date": parse_date(texts["date"]), "split": parse_split(texts["split"])},
        tuple(images),
        parse_views(views, len(images)),
    )


def parse_views(written: list[str], count: int) -> tuple[str, ...]:
    """Return the position of each of `count` images: "frontal", "lateral" or "unknown".

    Raises:
        WrongValue: A view is not known, or there is not one for each image.
    """
    views = [view.lower() for view in written]
    if unknown := next((view for view in views if view not in _VIEWS), None):
        raise WrongValue(f"the view {unknown!r} is not known; write frontal, lateral or nothing")
    if not any(views):
        return ("unknown",) * count
    if len(views) != count:
        raise WrongValue(f"there are {len(views)} views for {count} images")
    return tuple(_VIEWS[view] for view in views)


def _text(value: Any) -> str | None:
    """Return a field as text; None where it is none. A number in JSON is taken as written."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return str(value).replace("\0", " ").strip()


def split_list(column: str, value: Any, *, keep_empty: bool = False) -> list[str]:
    """Return the items of a field that names several, as a list or divided by `;` or `|`.

    Raises:
        WrongValue: It is neither a text nor a list of texts.
    """
    items = value if isinstance(value, list) else _IMAGE_SEPARATOR.split(_text(value) or "")
    texts = [_text(item) for item in items]
    if None in texts or (not isinstance(value, list) and _text(value) is None):
        raise WrongValue(f"{column} is neither a text nor a list of texts")
    return [text for text in texts if text is not None and (text or keep_empty)]


def parse_date(text: str) -> str:
    """Return a date, with its time if it has one, as digits that sort.

    Raises:
        WrongValue: It is no date. One with the day or the month first could be read in two ways.
    """
    if not text:
        return ""
    if match := _DATE.fullmatch(text):
        parts = [part for part in match.group(1, 3, 4, 5, 6, 7) if part]
        try:
            dt.datetime(*map(int, parts))  # type: ignore[arg-type]  # noqa: DTZ001  as written
        except ValueError:
            pass
        else:
            return "".join(parts)
    raise WrongValue(f"the date {text[:40]!r} is not known; write 2026-11-27 or 2026-11-27T18:05")


def parse_split(text: str) -> str:
    """Return one of SPLITS, or "" of an empty text.

    Raises:
        WrongValue: There is no such split.
    """
    split = _SPLITS.get(text.lower()) if text else ""
    if split is None:
        raise WrongValue(f"there is no split {text[:40]!r}; there are {', '.join(SPLITS)}")
    return split


# ---- Columns ----


def _normal(name: str) -> str:
    return re.sub(r"\W+", "_", name.strip().lower()).strip("_")


def find_column(name: str) -> str | None:
    """Return the column that a name stands for, or None."""
    normal = _normal(name)
    return normal if normal in COLUMNS else _ALIASES.get(normal)


def _check_columns(path: Path, names: Iterable[str]) -> None:
    columns = {find_column(name) for name in names}
    needed = {
        "study": {"study", "study_uid"},
        "patient": {"patient"},
        "images": {"images", "study_uid"},
        "report": {"report", "findings", "impression"},
    }
    missing = [name for name, either in needed.items() if not columns & either]
    if missing:
        raise CorpusError(
            f"{path} has no column {', '.join(map(repr, missing))}; its first line names the "
            f"columns, and the columns are {', '.join(COLUMNS)}"
        )
