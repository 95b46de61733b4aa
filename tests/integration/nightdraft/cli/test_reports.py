"""`nightdraft reports import` takes in reports of CSV files and of JSON lines."""

import json

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner

from nightdraft import report_files
from nightdraft.cli.main import app
from records.database.report_tables import ReceivedReport
from records.database.session import unit_of_work
from records.errors import DatabaseDown, NotAllowed
from records.states import WARNING

HEADER = "patient_id,accession_numbers,performed_on,procedure,status,findings,impression,consent\n"
ROWS = (
    'P1,A1\\A2,2026-01-02,XR CHEST,,"Clear.\nNo effusion.",Normal.,true\n'
    "P2,A3,20260103T08:30,XR CHEST,preliminary,Clear.,,\n"
)


def run(file, *options):
    answer = CliRunner().invoke(app, ["reports", "import", str(file), *options])
    if answer.exception is not None and not isinstance(answer.exception, SystemExit):
        raise answer.exception
    return answer


def write(folder, text, name="reports.csv", encoding="utf-8"):
    file = folder / name
    file.write_text(text, encoding=encoding)
    return file


def kept():
    with unit_of_work() as session:
        return session.scalars(select(ReceivedReport).order_by(ReceivedReport.patient_id)).all()


def test_a_file_is_taken_in_and_the_same_file_again_changes_nothing(database, tmp_path):
    file = write(tmp_path, HEADER + ROWS)
    assert run(file, "--dry-run").stdout == (
        "2 rows; nothing was written: it would be new 2, refused 0\n"
    )
    assert kept() == []
    assert run(file).stdout == "2 rows; reports: new 2, refused 0\n"
    assert run(file).stdout == "2 rows; reports: unchanged 2, refused 0\n"
    first, second = kept()
    assert (first.accession_numbers, first.performed_on) == (["A1", "A2"], "20260102")
    assert (first.origin, first.sender, first.status, first.consent) == (
        "FILE", "FILE", "FINAL", True,
    )  # fmt: skip
    assert first.findings == "Clear.\nNo effusion."
    assert (second.status, second.performed_on) == ("PRELIMINARY", "20260103083000")
    newer = write(tmp_path, HEADER + ROWS.replace("Normal", "Left effusion"))
    assert run(newer).stdout == "2 rows; reports: corrected 1, unchanged 1, refused 0\n"


def test_rows_that_cannot_be_used_are_named_and_the_others_taken(database, tmp_path):
    rows = (
        ROWS
        + "P4,,,XR CHEST,,Clear.,,\n"
        + ",A5,,,,Clear.,,\n"
        + "P6,A6\n"
        + "P7,A7,yesterday,,,Clear.,,\n"
        + "P8,A8,,,DONE,Clear.,,\n"
        + "P9,A9,,,,Clear.,,perhaps\n"
        + f"P10,A10,,,,{WARNING},,\n"
        + "\u202e,A11,,,,Clear.,,\n"
    )
    answer = run(write(tmp_path, HEADER + rows))
    assert answer.exit_code == 1
    assert answer.stdout == "10 rows; reports: new 2, own 1, refused 7\n"
    lines = answer.stderr.splitlines()
    assert [line.partition(":")[0] for line in lines] == [f"line {n}" for n in (*range(5, 11), 12)]
    for line, words in zip(
        lines,
        ("no number", "patient_id: it is empty", "it has 2 values", "performed_on: it is no date",
         "status: say one of PRELIMINARY", "consent: say true", "patient_id: it is empty"),
        strict=True,
    ):  # fmt: skip
        assert words in line
    assert "Clear" not in answer.output
    summary = json.loads(run(tmp_path / "reports.csv", "--json").stdout)
    assert (summary["outcomes"], summary["refused"]) == ({"UNCHANGED": 2, "OWN": 1}, 7)


def test_json_lines(database, tmp_path):
    rows = [
        {"patient_id": 7, "accession_numbers": ["A7"], "text": "FINDINGS: Clear.", "consent": True},
        {"patient_id": "8", "other_patient_ids": ["9^WARD"], "report_number": "R8", "text": "x"},
        {"patient_id": "9", "report_number": "R9", "pages": 3},
        {"patient_id": "9", "report_number": ["R9"]},
        {"patient_id": "9", "accession_numbers": [7]},
        [],
    ]
    text = "\n".join([json.dumps(row) for row in rows] + ["{", "", "[" * 100_000])
    answer = run(write(tmp_path, text, "reports.ndjson"), "--sender", "RIS")
    assert answer.stdout == "8 rows; reports: new 2, refused 6\n"
    lines = [line.partition(":")[0] for line in answer.stderr.splitlines()]
    assert lines == [f"line {n}" for n in (3, 4, 5, 6, 7, 9)]
    first, second = kept()
    assert (first.patient_id, first.sender, first.consent) == ("7", "RIS", True)
    assert second.other_patient_ids == [{"id": "9", "issuer": "WARD"}]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("patient_id,words\n", "not known: 'words'"),
        ("patient_id,patient_id\n", "a column twice: patient_id"),
        ("accession_numbers\n", "no column patient_id"),
    ],
)
def test_a_header_that_cannot_be_used_is_refused(database, tmp_path, text, sentence):
    with pytest.raises(NotAllowed, match=sentence):
        run(write(tmp_path, text))


def test_another_encoding_is_named(database, tmp_path):
    text = "patient_id;patient_name;report_number;text\nP1;M\u00dcLLER^ANNA;7;Clear.\n"
    file = write(tmp_path, text, encoding="cp1252")
    with pytest.raises(NotAllowed, match="name its encoding, as --encoding cp1252"):
        run(file)
    assert run(file, "--encoding", "cp1252").exit_code == 0
    assert kept()[0].patient_name == "M\u00dcLLER^ANNA"


def test_many_rows_are_a_stream_and_a_deadlock_is_tried_again(database, tmp_path, monkeypatch):
    monkeypatch.setattr(report_files, "_ROWS", 100)
    monkeypatch.setattr(report_files.time, "sleep", lambda _: None)
    receive, calls = report_files.receive_report, []

    def receive_or_fail(session, report):
        calls.append(report)
        if len(calls) == 50:
            raise DatabaseDown("a deadlock")
        return receive(session, report)

    monkeypatch.setattr(report_files, "receive_report", receive_or_fail)
    rows = "".join(f"P{n},A{n},,,,Clear.,,\n" for n in range(250))
    seen = []
    summary = report_files.import_reports(
        write(tmp_path, HEADER + rows), "RIS", progress=lambda *step: seen.append(step)
    )
    assert (summary.rows, summary.outcomes) == (250, {"NEW": 250})
    assert len(seen) == 3
    with unit_of_work() as session:
        assert session.scalar(select(func.count()).select_from(ReceivedReport)) == 250


def test_an_import_that_was_broken_off_goes_on_when_it_is_run_again(
    database, tmp_path, monkeypatch
):
    monkeypatch.setattr(report_files, "_ROWS", 3)
    file = write(tmp_path, HEADER + "".join(f"P{n},A{n},,,,Clear.,,\n" for n in range(8)))

    def press_control_c(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        report_files.import_reports(file, "RIS", progress=press_control_c)
    assert len(kept()) == 3
    assert report_files.import_reports(file, "RIS").outcomes == {"UNCHANGED": 3, "NEW": 5}
    assert len(kept()) == 8
