"""What a study's page shows of reports from elsewhere, of its prior report, and of its texts."""

import datetime as dt
import re

from sqlalchemy import update
from typer.testing import CliRunner

from api.rendering import date_time
from nightdraft.cli.main import app
from records.database.draft_tables import Draft, DraftRequest
from records.database.report_tables import FinalComparison
from records.database.session import unit_of_work
from records.database.tables import Study
from records.reports import finals
from records.reviews import signing
from records.states import Origin, ReportStatus
from records.workflow.patients import Patient
from tests.support.outside_reports import receive

SCRIPT = "<script>alert('x')</script>"


def report(study, **changed):
    """Receive a report of a study from elsewhere; returns our id of it."""
    with unit_of_work() as session:
        row = session.get_one(Study, study)
        values = {"patient": Patient.of_study(row), "accession_numbers": (row.accession_number,)}
    return receive(**(values | changed)).report_id


def draft_text(page):
    return re.search(r'<article class="report">(.*?)</article>', page, re.S)[1]


def test_a_final_from_elsewhere_stands_at_the_top_and_never_as_the_draft(client, seeder):
    study = seeder.draft_study(1)
    report(study, findings="A <b>nodule</b>.", impression="Nodule.", author="ROE^JANE^^DR")
    page = client.get(f"/studies/{study}").text
    elsewhere = page.partition('class="elsewhere"')[2].partition("</section>")[0]
    assert "Reported elsewhere" in elsewhere
    assert "Another system sent a final report of this study." in elsewhere
    assert "A &lt;b&gt;nodule&lt;/b&gt;." in elsewhere
    assert "ROE, JANE (DR)" in elsewhere
    assert page.index("Reported elsewhere") < page.index('id="films-title"')
    assert "nodule" not in draft_text(page).casefold()
    assert "sent the final report of this study, so it has no draft any more." in page
    assert "A person decided against a draft." not in page
    (given,) = client.get(f"/api/studies/{study}").json()["reports"]
    assert (given["status"], given["impression"]) == ("FINAL", "Nodule.")


def test_a_preliminary_one_and_one_of_another_patient_are_not_called_final(client, seeder):
    study = seeder.draft_study(1)
    report(study, status=ReportStatus.PRELIMINARY, findings="SECRET")
    report(study, report_number="R2", patient=Patient("OTHER", "", "X^Y"), impression="STRANGER")
    page = client.get(f"/studies/{study}").text
    assert "Reported elsewhere" not in page
    assert "has a preliminary report of this study" in page
    assert "SECRET" not in page
    assert "STRANGER" not in page
    assert len(client.get(f"/api/studies/{study}").json()["reports"]) == 1


def test_the_distance_of_a_final_from_the_draft_is_shown(client, seeder):
    (study,) = seeder.complete(1)
    draft = seeder.draft(study, 1)
    report(study)
    with unit_of_work() as session:
        comparison_id, _, _ = finals.claim_comparison(session)
        finals.keep_comparison(
            session,
            comparison_id,
            {"findings": [30, 120], "impression": [0, 40]},
            {"Edema": ["absent", "present"], "Fracture": ["", ""]},
        )
        # The time that is named is the draft's, and not that of the comparison.
        compared = dt.datetime(2020, 3, 4, 5, 6, 7, tzinfo=dt.UTC)
        session.execute(update(FinalComparison).values(at=compared))
        drafted = session.get_one(Draft, draft).created_at
    page = client.get(f"/studies/{study}").text
    assert f"Distance from the draft of {date_time(drafted)}:" in page
    assert "findings 25%, impression 0%" in re.sub(r"\s+", " ", page)
    assert "The two texts differ on: edema." in page
    (given,) = client.get(f"/api/studies/{study}").json()["reports"]
    assert given["comparisons"][0]["draft_id"] == str(draft)


def test_the_prior_report_and_every_text_for_the_indication_are_shown(client, seeder):
    order_id = "0b5ad1c4-0000-4000-8000-000000000000"
    texts = [
        {
            "source": "order_reason",
            "text": f"Fever. {SCRIPT}",
            "at": "2026-11-27T06:00:00+00:00",
            "origin": "HL7",
            "sender": "RIS",
            "order_id": order_id,
            "label": "",
            "cut": False,
            "taken": True,
        },
        {
            "source": "request_reason",
            "text": "Cough.",
            "at": "",
            "origin": "",
            "sender": "",
            "order_id": "",
            "label": "",
            "cut": False,
            "taken": False,
        },
    ]
    prior = {
        "text": f"No nodule. {SCRIPT}",
        "performed_on": "20251224",
        "accession_number": "A0",
        "procedure": "XR CHEST",
        "report_id": order_id,
    }
    study = seeder.draft_study(1, indications=texts, prior_report=prior)
    page = client.get(f"/studies/{study}").text
    listed = page.partition("could be the indication (2)")[2].partition("</table>")[0]
    taken, left = listed.partition("<tbody>")[2].split("<tr>")[1:]
    assert ">yes<" in taken
    assert "Fever." in taken
    assert f'href="/orders/{order_id}"' in taken
    assert "2026-11-27" in taken
    assert ">no<" in left
    assert "the films&#39; header" in left or "the films' header" in left
    assert "Prior report that the model was given, of 2025-12-24" in page
    assert "No nodule. &lt;script&gt;" in page
    assert "<script>" not in page
    (draft,) = client.get(f"/api/studies/{study}").json()["drafts"]
    assert draft["prior_report"] == prior
    assert draft["indications"] == texts


def test_a_prior_report_that_was_signed_here_leads_to_its_study(client, seeder):
    earlier = seeder.draft_study(1)
    prior = {
        "text": "No nodule.",
        "performed_on": "20251224",
        "accession_number": "A0",
        "procedure": "XR CHEST",
        "report_id": str(earlier),
        "signed_by": "Dr. Roe",
        "study_id": str(earlier),
    }
    page = client.get(f"/studies/{seeder.draft_study(2, prior_report=prior)}").text
    assert f'Signed here by Dr. Roe (<a href="/studies/{earlier}">the study</a>).' in page


def test_a_study_that_waits_for_its_order_says_until_when(client, seeder):
    (study,) = seeder.complete(1)
    assert "waits for its order" not in client.get(f"/studies/{study}").text
    until = dt.datetime.now(dt.UTC) + dt.timedelta(minutes=5)
    with unit_of_work() as session:
        session.execute(
            update(DraftRequest)
            .where(DraftRequest.study_id == study)
            .values(not_before=until, waits_for_order=True)
        )
    page = client.get(f"/studies/{study}").text
    assert f"waits for its order until {until.astimezone():%H:%M}" in page
    waits = client.get(f"/api/studies/{study}").json()["waits_for_order_until"]
    assert dt.datetime.fromisoformat(waits) == until


def test_a_final_that_differs_from_a_signed_report_is_held_with_both_word_by_word(client, seeder):
    (study,) = seeder.complete(1)
    draft = seeder.draft(study, 1)
    with unit_of_work() as session:
        signing.sign(session, draft, "Dr. Roe", "Lungs clear.", "No disease.")
    report(study, findings="Lungs clear.", impression="Small disease.")
    cancelled = (
        "Cancel: withdraw the draft. The signed report stays, but is no longer trained on or used "
        "as a prior"
    )
    for path in (f"/studies/{study}", "/holds"):
        page = client.get(path).text
        assert "Signed here by Dr. Roe" in page
        assert "Leave the reports as they are. The draft stays, too" in page
        assert cancelled in page
        assert "<del>No</del> <ins>Small</ins> disease." in page
    (hold,) = client.get("/api/holds", params={"reason": "FINALS_DIFFER"}).json()
    (side,) = hold["reports"]
    assert hold["decisions"]["CANCEL"] == cancelled
    assert (side["first"]["signed_by"], side["first"]["report"]) == ("Dr. Roe", None)
    assert side["first"]["text"] == "FINDINGS: Lungs clear.\nIMPRESSION: No disease."
    assert side["second"]["signed_by"] is None
    assert {"kind": "first", "words": "No"} in side["words"]
    output = CliRunner().invoke(app, ["holds"], env={"COLUMNS": "200"}).output
    assert "[-No-] {+Small+} disease." in output
    assert "[-only in-] the report signed here by Dr. Roe" in output
    assert f"cancel: {cancelled.removeprefix('Cancel: ')}" in output


def test_two_finals_from_elsewhere_that_differ_are_held_with_both_word_by_word(client, seeder):
    (study,) = seeder.complete(1)
    first = report(study, findings="Lungs clear.", impression="No disease.", author="ROE^JANE")
    report(
        study,
        report_number="R2",
        sender="PACS",
        findings="Lungs clear.",
        impression=f"Small disease. {SCRIPT}",
        text="",
    )
    left = "Cancel: leave the study without a draft"
    for path in (f"/studies/{study}", "/holds", "/holds?reason=FINALS_DIFFER"):
        page = client.get(path).text
        assert "Final from RIS|HOSPITAL, by ROE, JANE" in page
        assert "Final from PACS" in page
        assert "<del>No</del> <ins>Small</ins> disease." in page
        assert "only in the report that came first" in page
        assert left in page
        assert "<script>" not in page
    assert "Cancel: withdraw the draft, or make none" in page
    (hold,) = client.get("/api/holds").json()
    (pair,) = hold["reports"]
    assert pair["first"]["report"] == str(first)
    assert (pair["second"]["sender"], pair["second"]["origin"]) == ("PACS", "HL7")
    output = CliRunner().invoke(app, ["study", str(study)], env={"COLUMNS": "200"}).output
    assert "the report that came final by HL7 from RIS|HOSPITAL" in output
    assert f"cancel: {left.removeprefix('Cancel: ')}" in output


def test_an_addendum_stands_with_its_report_and_alone_it_is_called_one(client, seeder):
    study = seeder.draft_study(1)
    added = {"findings": "", "impression": "", "text": "A rib is broken."}
    addendum = report(study, report_number="R2", parent_number="R1", **added)
    alone = "It is an addendum to a report that Nightdraft does not have."
    assert alone in client.get(f"/studies/{study}").text
    assert client.get(f"/api/studies/{study}").json()["reports"][0]["is_addendum"]
    assert alone in client.get(f"/reports/{addendum}").text
    assert client.get(f"/api/reports/{addendum}").json()["report"]["is_addendum"]
    whole = report(study)
    page = client.get(f"/studies/{study}").text
    assert alone not in page
    assert "It has 1 addendum." in page
    assert "ADDENDUM: A rib is broken." in page
    (given,) = client.get(f"/api/studies/{study}").json()["reports"]
    assert not given["is_addendum"]
    assert [entry["text"] for entry in given["addenda"]] == ["A rib is broken."]
    assert "It has 1 addendum." in client.get(f"/reports/{whole}").text
    assert client.get(f"/api/reports/{whole}").json()["report"]["addenda"] == given["addenda"]


def test_reports_by_other_interfaces_can_be_shown(client, seeder):
    study = seeder.draft_study(1)
    for number, origin in enumerate(Origin):
        report(study, origin=origin, report_number=f"R{number}")
    assert client.get(f"/studies/{study}").text.count("Another system sent a final report") == len(
        Origin
    )
