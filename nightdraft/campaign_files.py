"""Writes the studies of a campaign to a file: as CSV, or as Parquet with the extra `parquet`.

Both have the same columns in the same sequence. Parquet has types: whole numbers, times with their
zone, and the missing images as a list.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from api.campaign_export import COLUMNS, read_all, stream_csv
from api.campaign_schemas import CampaignStudyEntry
from model.progress import ProgressCallback
from nightdraft.extras import require_parquet
from records.database.campaign_tables import CampaignStudy
from records.errors import NotAllowed

FORMATS = ("csv", "parquet")

ROW_GROUP = 100_000
"""Rows of one row group of Parquet; so many are in memory at a time."""

STANDARD_OUTPUT = Path("-")


def write_file(
    campaign_id: uuid.UUID,
    file: Path,
    format_name: str,
    progress: ProgressCallback = lambda *_: None,
    before_writing: Callable[[], object] = lambda: None,
) -> int:
    """Write each study of a campaign with its end and its reason.

    Args:
        campaign_id: the campaign.
        file: is written anew; `-` is standard output, for CSV.
        format_name: one of FORMATS.
        progress: is called with how many studies are written.
        before_writing: is called when studies were read, before any of them leaves.

    Returns:
        How many studies are in it.

    Raises:
        NotAllowed: the file cannot be written, the extra is not installed, or Parquet is to go to
            standard output.
    """
    try:
        if format_name == "parquet":
            return _write_parquet(campaign_id, file, progress, before_writing)
        if file == STANDARD_OUTPUT:
            return _write_csv(campaign_id, sys.stdout, progress, before_writing)
        with file.open("w", encoding="utf-8", newline="") as output:
            return _write_csv(campaign_id, output, progress, before_writing)
    except OSError as error:
        raise NotAllowed(f"{file} cannot be written ({error.strerror or error})") from None


def _write_csv(
    campaign_id: uuid.UUID,
    output: TextIO,
    progress: ProgressCallback,
    before_writing: Callable[[], object],
) -> int:
    count = 0
    for text, studies in stream_csv(campaign_id):
        before_writing()
        output.write(text)
        count += studies
        progress("studies", count, None)
    return count


def _write_parquet(
    campaign_id: uuid.UUID,
    file: Path,
    progress: ProgressCallback,
    before_writing: Callable[[], object],
) -> int:
    require_parquet("an export as Parquet")
    if file == STANDARD_OUTPUT:
        raise NotAllowed("Parquet is written to a file: name one, as -o studies.parquet")
    import pyarrow
    from pyarrow import parquet

    schema = _make_schema(pyarrow)
    # Parquet without its last bytes cannot be read, so nothing unfinished gets the file's name.
    partial = file.with_name(f"{file.name}.partial")
    count, waiting = 0, 0
    batches: list[Any] = []
    try:
        with parquet.ParquetWriter(partial, schema) as writer:
            for part in read_all(campaign_id):
                before_writing()
                batches.append(pyarrow.RecordBatch.from_pylist(_to_lines(part), schema))
                count, waiting = count + len(part), waiting + len(part)
                if waiting >= ROW_GROUP:
                    writer.write_table(pyarrow.Table.from_batches(batches), ROW_GROUP)
                    batches, waiting = [], 0
                progress("studies", count, None)
            if batches:
                writer.write_table(pyarrow.Table.from_batches(batches), ROW_GROUP)
        partial.replace(file)
    finally:
        partial.unlink(missing_ok=True)
    return count


def _make_schema(pyarrow: Any) -> Any:
    """The columns of the CSV with their types."""
    text, number = pyarrow.string(), pyarrow.int64()
    types = dict.fromkeys(COLUMNS, text) | {
        "number": number,
        "attempts": number,
        "listed": number,
        "bytes": number,
        "missing": pyarrow.list_(text),
        "changed_at": pyarrow.timestamp("us", tz="UTC"),
    }
    return pyarrow.schema([(name, types[name]) for name in COLUMNS])


def _to_lines(part: Sequence[CampaignStudy]) -> list[dict[str, Any]]:
    lines = []
    for row in part:
        line = CampaignStudyEntry.from_row(row).model_dump()
        line["study_id"] = str(row.study_id) if row.study_id else None
        line["state"] = str(row.state)
        lines.append(line)
    return lines
