"""A campaign's studies as Parquet are those of its CSV, with types. `make prove-extras` runs it."""

import csv
import datetime as dt
import io
import json
from unittest import mock

import pyarrow
import pytest
from pyarrow import parquet
from sqlalchemy import text
from typer.testing import CliRunner

from api import campaign_export
from nightdraft import campaign_files
from nightdraft.cli.main import app
from records.campaigns.adding import NewStudy
from records.database.session import unit_of_work
from records.errors import NotAllowed
from tests.support.campaigns import create, of_uids, tend_all
from tests.support.registered_studies import complete, draft_all, new_instance

pytestmark = pytest.mark.usefixtures("database")

WHOLE_NUMBERS = ("number", "attempts", "listed", "bytes")


def export(name, *options):
    answer = CliRunner().invoke(app, ["campaign", "export", name, *map(str, options)])
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    return answer.stdout


def as_typed(line):
    """A line of the CSV with the types that its columns have."""
    typed = {name: value.removeprefix("'") or None for name, value in line.items()}
    for name in WHOLE_NUMBERS:
        typed[name] = None if typed[name] is None else int(typed[name])
    typed["missing"] = (typed["missing"] or "").split()
    typed["changed_at"] = dt.datetime.fromisoformat(typed["changed_at"])
    for name in ("reason", "detail", "study_instance_uid", "accession_number"):
        typed[name] = typed[name] or ""
    return typed


def fill(campaign):
    """Rows in several states, with what a CSV cannot tell from text."""
    complete(new_instance("1.1", accession_number="A1"))
    tend_all()
    draft_all()
    tend_all()
    with unit_of_work() as session:
        session.execute(
            text(
                "UPDATE campaign_studies SET size = 3000000000, listed = 2, missing = '{1.9,1.8}',"
                " detail = 'Zwei, \"fehlen\"' WHERE study_instance_uid = '1.3'"
            )
        )


def test_it_has_the_rows_of_the_csv_in_their_sequence_with_types(tmp_path, monkeypatch):
    monkeypatch.setattr(campaign_export, "EXPORT_AT_ONCE", 2)
    monkeypatch.setattr(campaign_files, "ROW_GROUP", 4)
    named = [*of_uids("1.1", "1.2", "1.3", "1.4", "1.5"), NewStudy(accession_number="=A9")]
    fill(create(name="backlog", studies=named))
    target = tmp_path / "ends.parquet"
    said = json.loads(export("backlog", "--format", "parquet", "-o", target, "--json"))
    assert said == {"studies": 6, "file": str(target)}
    file = parquet.ParquetFile(target)
    assert [file.metadata.row_group(n).num_rows for n in range(file.num_row_groups)] == [4, 2]
    table = file.read()
    lines = list(csv.DictReader(io.StringIO(export("backlog", "-"))))
    assert table.column_names == list(lines[0])
    assert table.to_pylist() == [as_typed(line) for line in lines]
    assert table.column("accession_number").to_pylist()[-1] == "=A9"
    assert table.schema.field("changed_at").type == pyarrow.timestamp("us", tz="UTC")
    assert table.schema.field("missing").type == pyarrow.list_(pyarrow.string())
    assert {str(table.schema.field(name).type) for name in WHOLE_NUMBERS} == {"int64"}
    assert {row["state"] for row in table.to_pylist()} == {"DRAFTED", "MISSING"}
    assert [file.name for file in tmp_path.iterdir()] == ["ends.parquet"]


def test_a_campaign_without_studies_has_its_columns(tmp_path):
    create(name="empty")
    export("empty", "--format", "parquet", "-o", tmp_path / "none.parquet")
    table = parquet.read_table(tmp_path / "none.parquet")
    assert (table.num_rows, table.column_names) == (0, list(campaign_export.COLUMNS))


def test_what_was_there_stays_where_an_export_breaks_off(tmp_path):
    create(name="backlog", studies=of_uids("1.1"))
    target = tmp_path / "ends.parquet"
    target.write_bytes(b"of yesterday")
    full = mock.patch.object(parquet.ParquetWriter, "write_table", side_effect=OSError(28, "full"))
    with full, pytest.raises(NotAllowed, match="cannot be written"):
        export("backlog", "--format", "parquet", "-o", target)
    assert [(f.name, f.read_bytes()) for f in tmp_path.iterdir()] == [
        ("ends.parquet", b"of yesterday")
    ]
    with pytest.raises(NotAllowed, match="cannot be written"):
        export("backlog", "--format", "parquet", "-o", tmp_path / "no folder" / "x")
    with pytest.raises(NotAllowed, match="written to a file"):
        export("backlog", "--format", "parquet", "-o", "-")
