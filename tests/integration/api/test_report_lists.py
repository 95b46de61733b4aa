"""The list of reports of other systems and one of them: pages, REST and the command agree."""

import datetime as dt
import json
import re
import uuid

import pytest
from sqlalchemy import update
from typer.testing import CliRunner

from nightdraft.cli.main import app
from records.database.report_tables import ReceivedReport
from records.database.session import unit_of_work
from records.database.tables import Study
from records.states import Origin, ReportStatus
from records.workflow.patients import Patient
from tests.support.outside_reports import receive

STRANGER = Patient("P-2", "HOSP", "PHANTOM^TWO", "19600101", "M")


def shown(page):
    return re.findall(r'id="report-([^"]+)"', page)


def run(*arguments):
    result = CliRunner().invoke(app, ["reports", *map(str, arguments)])
    return result.exit_code, result.output


@pytest.fixture
def three(database):
    """Ids by name: an old one by file, a corrected one by HL7, and one of another patient."""
    old = receive(origin=Origin.FILE, report_number="R0", accession_numbers=("A0",)).report_id
    with unit_of_work() as session:
        session.execute(
            update(ReceivedReport).values(received_at=dt.datetime(2026, 3, 4, 12).astimezone())
        )
    receive(report_number="R1", accession_numbers=("A1", "B1"))
    corrected = receive(
        report_number="R1",
        accession_numbers=("A1", "B1"),
        status=ReportStatus.CORRECTED,
        text="Changed.",
    ).report_id
    other = receive(
        report_number="R2",
        accession_numbers=("A2",),
        patient=STRANGER,
        status=ReportStatus.PRELIMINARY,
    ).report_id
    return {"old": str(old), "corrected": str(corrected), "other": str(other)}


FILTERS = (
    ({}, "other corrected old"),
    ({"patient_id": " p-2 "}, "other"),
    ({"patient_id": "P"}, ""),
    ({"accession_number": "b1"}, "corrected"),
    ({"status": "CORRECTED"}, "corrected"),
    ({"origin": "FILE"}, "old"),
    ({"origin": "FILE", "status": "PRELIMINARY"}, ""),
    ({"from_day": "2026-03-05"}, "other corrected"),
    ({"to_day": "2026-03-04"}, "old"),
    ({"from_day": "2026-03-04", "to_day": "2026-03-04"}, "old"),
    ({"to_day": "2026-03-03"}, ""),
    ({"from_day": "0001-01-01", "to_day": "9999-12-31"}, "other corrected old"),
)


def test_every_filter_means_the_same_on_the_page_in_rest_and_in_the_command(client, three):
    for given, names in FILTERS:
        expected = [three[name] for name in names.split()]
        page = client.get("/reports", params=given)
        assert shown(page.text) == expected, given
        listed = client.get("/api/reports", params=given).json()
        assert [row["id"] for row in listed["reports"]] == expected, given
        options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
        if given.get("from_day") == "0001-01-01":
            continue
        code, output = run("list", "--json", *options)
        assert code == 0
        assert json.loads(output) == listed
    assert "No report matches." in client.get("/reports?patient_id=P").text
    assert "2 versions" in client.get("/reports").text
    assert client.get("/reports?status=LOST").status_code == 422
    assert client.get("/api/reports?from_day=yesterday").status_code == 422
    assert run("list", "--status", "LOST")[0] != 0


def test_the_list_has_pages_that_keep_the_filter(client, database, monkeypatch):
    monkeypatch.setattr("api.report_pages.PAGE_SIZE", 2)
    receive(origin=Origin.FILE, report_number="R9")
    ids = [str(receive(report_number=f"R{number}").report_id) for number in range(5)]
    page, seen = client.get("/reports?origin=HL7").text, []
    while True:
        seen += shown(page)
        links = re.findall(r'id="older" href="([^"]+)"', page)
        if not links:
            break
        page = client.get(links[0].replace("&amp;", "&")).text
    assert seen == ids[::-1]
    assert client.get("/reports?after=none").status_code == 409
    output = run("list", "--origin", "hl7", "--limit", 3)[1]
    more = re.search(r"more: nightdraft reports (.*)", output)[1]
    assert "--origin HL7" in more
    assert ids[0] in run(*more.split(), "--json")[1]


def test_a_report_shows_its_versions_and_the_draft_that_it_ended(client, seeder):
    study = seeder.draft_study(1)
    with unit_of_work() as session:
        row = session.get_one(Study, study)
        own = {"patient": Patient.of_study(row), "accession_numbers": (row.accession_number,)}
    preliminary = receive(**own, status=ReportStatus.PRELIMINARY, text="Not <yet>.").report_id
    final = receive(**own).report_id
    for report, ended, text in ((preliminary, False, "A newer version"), (final, True, "clear")):
        page = client.get(f"/reports/{report}").text
        assert text in page
        assert f'href="/studies/{study}"' in page
        assert (
            "It ended the study&#39;s draft." in page or "It ended the study's draft." in page
        ) is ended
        detail = client.get(f"/api/reports/{report}").json()
        assert [version["id"] for version in detail["versions"]] == [str(final), str(preliminary)]
        (use,) = detail["studies"]
        assert (use["study"], use["is_about"]) == (str(study), True)
        assert use["has_ended_draft"] is ended
        assert json.loads(run("show", report, "--json")[1]) == detail
    assert f'href="/reports/{final}"' in client.get(f"/studies/{study}").text
    output = run("show", final)[1]
    assert "it is about this study, it ended the study's draft" in output
    assert "The lungs are clear." in output
    assert str(preliminary) in output


def test_a_report_shows_of_which_drafts_it_is_the_prior_report(client, seeder):
    (study,) = seeder.complete(1)
    with unit_of_work() as session:
        patient = Patient.of_study(session.get_one(Study, study))
    report = receive(patient=patient, accession_numbers=("EARLIER",)).report_id
    assert client.get(f"/api/reports/{report}").json()["studies"] == []
    prior = {
        "report_id": str(report),
        "text": "Clear.",
        "performed_on": "20251224",
        "accession_number": "EARLIER",
        "procedure": "",
    }
    draft = seeder.draft(study, 1, prior_report=prior)
    (use,) = client.get(f"/api/reports/{report}").json()["studies"]
    assert use["prior_of"] == [str(draft)]
    assert not use["is_about"]
    page = client.get(f"/reports/{report}").text
    assert "It is the prior report of 1 draft of this study." in page
    assert f'href="/reports/{report}"' in client.get(f"/studies/{study}").text


def test_what_is_sent_is_shown_as_text_and_a_stranger_is_not_joined(client, seeder):
    study = seeder.draft_study(1)
    with unit_of_work() as session:
        number = session.get_one(Study, study).accession_number
    script = "<script>alert('x')</script>"
    report = receive(patient=STRANGER, accession_numbers=(number,), text=script, findings="",
                     impression="", procedure=script).report_id  # fmt: skip
    page = client.get(f"/reports/{report}").text
    assert script not in page + client.get("/reports").text
    assert client.get(f"/api/reports/{report}").json()["studies"] == []
    assert client.get(f"/reports/{uuid.uuid4()}").status_code == 404
    assert client.get(f"/api/reports/{uuid.uuid4()}").status_code == 404
    assert run("show", uuid.uuid4())[0] != 0
