"""`nightdraft orders import`: rows taken, rows refused with line and reason, and the same again."""

import json
import re

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner

from nightdraft import order_files, row_imports
from nightdraft.cli.main import app
from records.database.order_tables import Order, OrderChange
from records.database.session import unit_of_work
from records.errors import NotAllowed

HEADER = "patient_id,patient_name,accession_numbers,reason,note,priority,scheduled_at,status\n"
ROWS = (
    HEADER
    + 'P1,ROE^JANE,A1\\A2,"Fever,\nand cough.",Allergic,stat,2026-11-27T08:00+01:00,\n'
    + "P2,DOE^JOHN,A3,Chest pain.,,,2026-11-27 08:00,\n"
)


def run(file, *arguments):
    return CliRunner().invoke(
        app, ["orders", "import", str(file), *arguments], catch_exceptions=False
    )


def write(tmp_path, text, encoding="utf-8"):
    file = tmp_path / "orders.csv"
    file.write_text(text, encoding=encoding)
    return file


def read(column):
    with unit_of_work() as session:
        return session.scalars(select(column).order_by(Order.patient_id)).all()


def test_rows_become_orders_once(database, tmp_path):
    file = write(tmp_path, ROWS, "utf-8-sig")
    dry = run(file, "--dry-run")
    assert dry.stdout == "2 rows; nothing was written: it would be placed 2, refused 0\n"
    assert read(Order) == []
    assert run(file).stdout == "2 rows; orders: placed 2, refused 0\n"
    assert run(file).stdout == "2 rows; orders: unchanged 2, refused 0\n"
    first, second = read(Order)
    assert first.accession_numbers == ["A1", "A2"]
    assert first.texts == [
        {"source": "order_reason", "text": "Fever,\nand cough."},
        {"source": "order_note", "text": "Allergic"},
    ]
    assert (first.priority, first.origin, first.sender) == (0, "FILE", "FILE")
    assert first.scheduled_at.isoformat() == "2026-11-27T07:00:00+00:00"
    assert second.scheduled_at.tzinfo


def test_a_row_that_is_refused_is_named_by_line_and_reason(database, tmp_path):
    rows = (
        ROWS
        + "P4,ROE^JANE,,Fever,,,,\n"
        + ",ROE^JANE,A5,Fever,,,,\n"
        + "\n"
        + "P6,ROE^JANE,A6,Fever\n"
        + "P7,ROE^JANE,A7,Fever,,SOON,tomorrow,\n"
        + "P8,ROE^JANE,A8,Fever,,SOON,,\n"
        + "P1,,A1\\A2,,,,,CANCELLED\n"
    )
    answer = run(write(tmp_path, rows))
    assert answer.exit_code == 1
    assert answer.stdout == "8 rows; orders: placed 2, cancelled 1, refused 5\n"
    lines = answer.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"line {n}" for n in (5, 6, 8, 9, 10)]
    assert "the order needs a filler_order_number" in lines[0]
    assert "patient_id: Field required" in lines[1]
    assert "it has 4 values, and the header names 8 columns" in lines[2]
    assert "scheduled_at: it is no date or time" in lines[3]
    assert "priority: Input should be 'STAT'" in lines[4]
    assert "ROE" not in answer.output
    summary = json.loads(run(write(tmp_path, rows), "--json").stdout)
    assert summary["outcomes"] == {"UNCHANGED": 1, "REINSTATED": 1, "CANCELLED": 1}
    assert summary["refused"] == 5
    assert summary["refusals"][0]["line"] == 5


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("patient_id,indication\n", "not known: 'indication'"),
        ("patient_id,patient_id\n", "a column twice: patient_id"),
        ("accession_numbers\n", "no column patient_id"),
        ("", "not known: ''|no column patient_id"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused(database, tmp_path, text, sentence):
    with pytest.raises(NotAllowed, match=sentence):
        run(write(tmp_path, text))


def test_columns_may_be_divided_as_spreadsheets_do_and_in_other_encodings(database, tmp_path):
    text = "patient_id;patient_name;placer_order_number\nP1;M\u00dcLLER^ANNA;7\n"
    file = write(tmp_path, text, "cp1252")
    with pytest.raises(NotAllowed, match="name its encoding, as --encoding cp1252"):
        run(file)
    assert run(file, "--encoding", "cp1252", "--sender", "RIS").exit_code == 0
    (order,) = read(Order)
    assert (order.patient_name, order.sender) == ("M\u00dcLLER^ANNA", "RIS")


def test_a_file_of_many_rows_is_read_as_a_stream(database, tmp_path, monkeypatch):
    monkeypatch.setattr(order_files, "_ROWS", 100)
    monkeypatch.setattr(row_imports, "MAX_LISTED", 3)
    rows = "".join(f"P{n},,A{n},,,,,\n" if n % 50 else "P,,,,,,,\n" for n in range(1000))
    file = write(tmp_path, HEADER + rows)
    seen = []
    summary = order_files.import_orders(
        file, "RIS", progress=lambda _step, done, total: seen.append((done, total))
    )
    assert (summary.rows, summary.refused, len(summary.refusals)) == (1000, 20, 3)
    assert len(seen) == 10
    assert seen[-1] == (file.stat().st_size,) * 2
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(OrderChange)) == 980


def test_an_import_that_was_broken_off_goes_on_when_it_is_run_again(
    database, tmp_path, monkeypatch
):
    monkeypatch.setattr(order_files, "_ROWS", 3)
    rows = "".join(f"P{n},,A{n},Fever.,,,,\n" for n in range(8))
    file = write(tmp_path, HEADER + rows)

    def press_control_c(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        order_files.import_orders(file, "RIS", progress=press_control_c)
    assert len(read(Order.id)) == 3
    assert order_files.import_orders(file, "RIS").outcomes == {"UNCHANGED": 3, "PLACED": 5}
    assert len(read(Order.id)) == 8


def test_the_rate_of_a_large_file_is_said(database, tmp_path, monkeypatch):
    file = write(tmp_path, ROWS)
    assert "a minute" not in run(file).stdout
    monkeypatch.setattr("nightdraft.cli.row_imports._RATED_ROWS", 2)
    assert re.search(r"^\d+ s; [\d,]+ rows a minute$", run(file).stdout, re.M)
