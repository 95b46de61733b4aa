"""An addendum is kept with its report, however the two come, and contradicts nothing."""

import datetime as dt

import pytest
from sqlalchemy import select

from records.database.report_tables import FinalComparison, ReceivedReport
from records.database.session import unit_of_work
from records.database.tables import Hold
from records.reports.receiving import ReportOutcome
from records.states import ReportStatus
from tests.support.outside_reports import receive
from tests.support.registered_studies import OTHER_PATIENT, complete, draft_all, new_instance

pytestmark = pytest.mark.usefixtures("database")

NOON = dt.datetime(2026, 11, 27, 12, tzinfo=dt.UTC)
OWN_TEXT = "FINDINGS: The lungs are clear.\n\nIMPRESSION: No disease."
ADDED = "\n\nADDENDUM: A rib is broken."


def standing():
    with unit_of_work() as session:
        return session.scalars(
            select(ReceivedReport)
            .where(ReceivedReport.superseded_at.is_(None))
            .order_by(ReceivedReport.received_at)
        ).all()


def add(text="A rib is broken.", number="R2", **changed):
    return receive(
        **(
            {
                "report_number": number,
                "parent_number": "R1",
                "findings": "",
                "impression": "",
                "text": text,
                "author": "ROE^JANE",
            }
            | changed
        )
    )


def test_an_addendum_makes_a_new_version_of_its_report():
    first = receive(accession_numbers=("A1",))
    result = add()
    assert result.outcome is ReportOutcome.CORRECTED
    (report,) = standing()
    assert report.id == result.report_id != first.report_id
    assert (report.status, report.accession_numbers) == ("FINAL", ["A1"])
    assert (report.findings, report.impression) == (
        "The lungs are clear.",
        f"No disease.{ADDED}",
    )
    assert report.text == OWN_TEXT + ADDED
    (entry,) = report.addenda
    assert (entry["text"], entry["author"]) == ("A rib is broken.", "ROE^JANE")
    # Both once more: nothing changes.
    assert add().outcome is ReportOutcome.UNCHANGED
    assert receive(accession_numbers=("A1",)).outcome is ReportOutcome.UNCHANGED
    assert standing()[0].id == report.id


def test_a_correction_of_the_report_keeps_its_addenda_and_repeats_none():
    receive()
    add()
    receive(status=ReportStatus.CORRECTED, impression="Effusion.", text="Effusion.")
    (report,) = standing()
    assert (report.status, report.text) == ("CORRECTED", f"Effusion.{ADDED}")
    whole = "Effusion. Addendum: a rib\nis broken."
    receive(status=ReportStatus.CORRECTED, findings="", impression="", text=whole)
    (report,) = standing()
    assert (report.text, report.addenda) == (whole, [])


def test_an_addendum_is_corrected_and_cancelled_by_its_own_number_alone():
    receive()
    add(sent_at=NOON)
    add("FINAL ADDENDUM: Seen again.", "R3")
    add("Two ribs are broken.", parent_number="", status=ReportStatus.CORRECTED, sent_at=NOON)
    (report,) = standing()
    assert report.text.endswith("\n\nADDENDUM: Two ribs are broken.\n\nFINAL ADDENDUM: Seen again.")
    older = add("Older.", sent_at=NOON - dt.timedelta(minutes=1))
    assert older.outcome is ReportOutcome.UNCHANGED
    for number in ("R2", "R3"):
        add("", number, parent_number="", status=ReportStatus.CANCELLED)
    (report,) = standing()
    assert (report.text, report.impression) == (OWN_TEXT, "No disease.")


def test_an_addendum_that_comes_first_stands_alone_until_its_report_comes():
    add()
    add("Seen again.", "R3")
    assert [(row.text, bool(row.addendum_to)) for row in standing()] == [
        ("A rib is broken.", True),
        ("Seen again.", True),
    ]
    receive()
    (report,) = standing()
    assert report.text == f"{OWN_TEXT}{ADDED}\n\nADDENDUM: Seen again."
    assert report.addendum_to == ""


@pytest.mark.parametrize(
    "changed",
    [
        {"patient": OTHER_PATIENT},
        {"sender": "PACS"},
        {"parent_number": "R9"},
        {"status": ReportStatus.PRELIMINARY},
    ],
)
def test_what_is_not_surely_an_addendum_of_a_report_here_stands_alone(changed):
    receive()
    add(**changed)
    report, alone = standing()
    assert (report.text, report.addenda) == (OWN_TEXT, [])
    assert alone.text == "A rib is broken."
    assert alone.addendum_to


def test_a_preliminary_addendum_joins_its_report_when_it_is_final():
    receive()
    add("Perhaps a rib.", status=ReportStatus.PRELIMINARY)
    add()
    (report,) = standing()
    assert report.text == OWN_TEXT + ADDED
    late = add("Perhaps a rib.", status=ReportStatus.PRELIMINARY)
    assert late.outcome is ReportOutcome.UNCHANGED


@pytest.mark.parametrize("is_first", [True, False])
def test_an_addendum_contradicts_neither_its_report_nor_a_copy_of_it(is_first):
    complete(new_instance())
    draft_all()
    about = {"accession_numbers": ("A1",)}
    if is_first:
        add(**about)
    receive(report_number="copy", sender="PACS", **about)
    receive(**about)
    if not is_first:
        add(**about)
    # With the addendum in its own text, as others write it.
    receive(
        report_number="whole",
        sender="ARCHIVE",
        findings="",
        impression="",
        text=OWN_TEXT + ADDED,
        **about,
    )
    with unit_of_work() as session:
        assert session.scalars(select(Hold.detail)).all() == []
        compared = set(session.scalars(select(FinalComparison.report_id)))
        alone = session.scalars(
            select(ReceivedReport.id).where(ReceivedReport.addendum_to != "")
        ).all()
    # Alone it ends the draft, as every final, and is not compared with it.
    assert bool(compared) == (not is_first)
    assert not compared & set(alone)
