"""Reports from a CSV file or a file of JSON lines: read row by row, checked, and taken in."""

from __future__ import annotations

import datetime as dt
import io
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from model.progress import ProgressCallback
from nightdraft.row_imports import (
    LONGEST_VALUE,
    ImportSummary,
    RefusedRow,
    describe_unknown,
    import_rows,
    read_csv_rows,
    split_values,
)
from records.database.session import unit_of_work
from records.errors import DatabaseDown, MessageError
from records.received_text import clean_line
from records.reports.receiving import receive_report
from records.reports.report import OutsideReport
from records.states import Origin, ReportStatus
from records.workflow.identifiers import PatientId
from records.workflow.patients import Patient

TEXT_COLUMNS = ("findings", "impression", "text")
LIST_COLUMNS = ("accession_numbers", "other_patient_ids")
"""Columns of several values: a list in JSON; with a backslash between them in CSV."""
COLUMNS = (
    "patient_id", "patient_id_issuer", "other_patient_ids", "patient_name", "patient_birth_date",
    "patient_sex", "accession_numbers", "accession_number_issuer", "study_instance_uid",
    "report_number", "placer_order_number", "filler_order_number", "status", "performed_on",
    "procedure", "modality", "body_region", *TEXT_COLUMNS, "author", "consent", "sender", "sent_at",
)  # fmt: skip
"""All columns that a file may have."""

_ROWS = 2000
"""Rows of a transaction."""
_TRIES = 3
"""Attempts at a transaction: others may have locked the same studies in another order."""
_CONSENT = {"": False, "false": False, "no": False, "0": False} | dict.fromkeys(
    ("true", "yes", "1"), True
)
_MOMENT = re.compile(r"\d{4}-?\d{2}-?\d{2}([T ]?\d{2}:?\d{2}.*)?", re.ASCII)


class _Refused(Exception):
    """Why a row has no report."""


def import_reports(
    file: Path,
    sender: str,
    *,
    encoding: str = "utf-8-sig",
    dry_run: bool = False,
    progress: ProgressCallback = lambda *_: None,
    refuse: Callable[[RefusedRow], None] = lambda _: None,
) -> ImportSummary:
    """Take in the reports of a file. The same file again changes nothing.

    Args:
        file: CSV whose first line names the columns, or JSON lines where its name ends in .ndjson
            or .jsonl.
        sender: who sends reports of rows that name no sender. It is a part of a report's identity.
        encoding: of the file; the default takes a byte order mark, too.
        dry_run: find out what would happen, and write nothing.
        progress: is called with the bytes that were read, after each transaction.
        refuse: is called for each row that is not taken.

    Raises:
        NotAllowed: the file has no header that can be used, or another encoding.
        DatabaseDown: the database does not answer; what was read before is taken in.
    """
    summary = ImportSummary(dry_run)
    read = read_json_lines if file.suffix.lower() in (".ndjson", ".jsonl") else read_csv
    import_rows(
        file,
        summary,
        noun="reports",
        read=lambda text: read(text, sender),
        take_in=_take_in,
        rows_at_once=_ROWS,
        encoding=encoding,
        progress=progress,
        refuse=refuse,
    )
    return summary


def read_csv(text: io.TextIOBase, sender: str) -> Iterator[tuple[int, OutsideReport | str]]:
    """Read the rows of a CSV file.

    Yields:
        The number of a row's last line, and its report or the reason why it has none.

    Raises:
        NotAllowed: a column is missing, unknown or there twice.
    """
    for line, row in read_csv_rows(text, COLUMNS):
        if isinstance(row, str):
            yield line, row
            continue
        lists = {name: split_values(row.get(name, "")) for name in LIST_COLUMNS}
        yield line, _read({**row, **lists}, sender)


def read_json_lines(text: io.TextIOBase, sender: str) -> Iterator[tuple[int, OutsideReport | str]]:
    """Read the objects of a file of JSON lines; as `read_csv`."""
    for line, content in enumerate(text, 1):
        if not content.strip():
            continue
        try:
            row = json.loads(content)
        except (ValueError, RecursionError):
            yield line, "it is no JSON"
            continue
        if not isinstance(row, dict):
            yield line, "it is no JSON object"
        elif unknown := describe_unknown(row, COLUMNS):
            yield line, f"it has {unknown}"
        else:
            yield line, _read(row, sender)


def _read(row: Mapping[str, Any], sender: str) -> OutsideReport | str:
    try:
        return _to_report(row, sender)
    except _Refused as error:
        return str(error)


def _to_report(row: Mapping[str, Any], sender: str) -> OutsideReport:
    given = {name: _text(row, name) for name in COLUMNS if name not in (*LIST_COLUMNS, "consent")}
    if not clean_line(given["patient_id"]):
        raise _Refused("patient_id: it is empty")
    if given["performed_on"] and not _MOMENT.fullmatch(given["performed_on"]):
        raise _Refused("performed_on: it is no date or time, as 2026-11-24 or 2026-11-24T18:00")
    status = given["status"].upper() or ReportStatus.FINAL
    if status not in set(ReportStatus):
        raise _Refused(f"status: say one of {', '.join(ReportStatus)}")
    consent = _CONSENT.get(str(row.get("consent") or "").strip().lower())
    if consent is None:
        raise _Refused("consent: say true or false")
    return OutsideReport(
        origin=Origin.FILE,
        sender=given["sender"] or sender,
        status=ReportStatus(status),
        patient=Patient(
            given["patient_id"],
            given["patient_id_issuer"],
            given["patient_name"],
            given["patient_birth_date"],
            given["patient_sex"].upper(),
        ),
        other_patient_ids=tuple(
            PatientId(*map(str.strip, value.partition("^")[::2]))
            for value in _texts(row, "other_patient_ids")
        ),
        accession_numbers=tuple(_texts(row, "accession_numbers")),
        consent=consent,
        sent_at=_time(given["sent_at"]),
        **{
            name: given[name]
            for name in (
                "accession_number_issuer", "study_instance_uid", "report_number",
                "placer_order_number", "filler_order_number", "performed_on", "procedure",
                "modality", "body_region", *TEXT_COLUMNS, "author",
            )
        },
    )  # fmt: skip


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise _Refused(f"{name}: it is no text")
    text = str(value).strip()
    if len(text) > LONGEST_VALUE:
        raise _Refused(f"{name}: it has more than {LONGEST_VALUE:,} characters")
    return text


def _texts(row: Mapping[str, Any], name: str) -> list[str]:
    values = row.get(name) or []
    if isinstance(values, str):
        values = [values]
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise _Refused(f"{name}: it is no list of texts")
    return [value.strip() for value in values if value.strip()]


def _time(text: str) -> dt.datetime | None:
    try:
        # A time without a zone is by this machine's clock.
        return dt.datetime.fromisoformat(text).astimezone() if text else None
    except ValueError:
        raise _Refused("sent_at: it is no date or time, as 2026-11-24T18:00") from None


def _take_in(
    batch: Sequence[tuple[int, OutsideReport | str]], summary: ImportSummary
) -> list[RefusedRow]:
    """Take in the rows of one transaction, and return those that are refused."""
    for tries_left in reversed(range(_TRIES)):
        refused = []
        outcomes = Counter[str]()
        studies = 0
        try:
            with unit_of_work() as session:
                for line, report in batch:
                    if isinstance(report, str):
                        refused.append(RefusedRow(line, report))
                        continue
                    try:
                        result = receive_report(session, report)
                    except MessageError as error:  # it is raised before anything is written
                        refused.append(RefusedRow(line, str(error)))
                        continue
                    outcomes[result.outcome] += 1
                    studies += len(result.study_ids)
                    session.expunge_all()
                if summary.dry_run:
                    session.rollback()
            break
        except DatabaseDown:
            if not tries_left:
                raise
            time.sleep(1.0)
    summary.rows += len(batch)
    summary.outcomes += outcomes
    summary.studies += studies
    return refused
