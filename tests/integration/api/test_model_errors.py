"""The model's errors by observation and by campaign, as a list and as a table, all the same."""

import json
import shlex
import uuid

import pytest
from sqlalchemy import func, select
from typer.testing import CliRunner

import migrations
from nightdraft.cli.main import app
from records.database.discrepancy_tables import ModelErrorTally
from records.database.report_tables import FinalComparison
from records.database.session import engine, unit_of_work
from records.database.site_tables import DEFAULT_SITE_ID
from records.reports import model_errors, second_looks
from records.states import ReportStatus, Stage
from records.workflow import site_scope
from tests.support.accounts import run_sql
from tests.support.campaigns import create, of_uids, tend_all
from tests.support.discrepant_studies import (
    CLEAR,
    NODULE,
    PNEUMOTHORAX,
    draft,
    patient,
    report,
    sentences,
    work,
)
from tests.support.registered_studies import claim, complete, new_instance, prepare, save
from tests.support.two_sites import make_site

EFFUSION = "There is a left pleural effusion."


@pytest.fixture(autouse=True)
def drafted_although_reported(client, setting):
    setting(draft_reported_studies=True, second_look_controls=0)


def draft_in_campaign(number, name, text):
    """Draft study `number` because a campaign asks for it; returns the campaign."""
    complete(
        new_instance(
            f"1.2.{number}",
            f"1.2.{number}.1",
            patient=patient(number),
            accession_number=f"A{number}",
        )
    )
    campaign = create(name=name, studies=of_uids(f"1.2.{number}"), skip_reported=False)
    tend_all()
    for lease in claim(Stage.PREPARE, limit=10):
        prepare(lease)
    for lease in claim(Stage.DRAFT, limit=10):
        save(
            lease,
            text=f"Findings: {text}",
            findings=text,
            impression="",
            sentences=sentences((text, 0.9)),
        )
    return campaign


def run(*arguments):
    result = CliRunner().invoke(app, ["discrepancies", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


def read(client, **query):
    return client.get("/api/discrepancies/errors", params=query).json()


def row(table, observation):
    (found,) = [one for one in table["observations"] if one["observation"] == observation]
    return found


def test_the_table_has_two_denominators(client):
    draft(1, (CLEAR, 0.9))
    report(1, EFFUSION)
    draft(2, (EFFUSION, 0.9))
    report(2, EFFUSION)
    draft(3, (CLEAR, 0.9))
    report(3, CLEAR)
    draft(4, (CLEAR, 0.9))
    report(4, NODULE)
    work()
    table = read(client)
    assert table["compared"] == 4
    assert len(table["observations"]) == 14
    assert row(table, "Pleural Effusion") == {
        "observation": "Pleural Effusion",
        "said": 2,
        "missed": 1,
        "of_said": 0.5,
        "of_compared": 0.25,
    }
    assert row(table, "Lung Lesion")["of_said"] == 1.0
    assert row(table, "Fracture") == {
        "observation": "Fracture",
        "said": 0,
        "missed": 0,
        "of_said": None,
        "of_compared": 0.0,
    }
    assert json.loads(run("errors", "--json")) == table
    (line,) = [line for line in run("errors").splitlines() if "Pleural Effusion" in line]
    assert line.split() == ["Pleural", "Effusion", "1", "2", "50.0%", "25.0%"]
    page = client.get("/discrepancies?side=MISS_OF_MODEL").text
    assert "4 drafts were compared with a final report" in page
    assert "50.0 %" in page
    assert "observation=Pleural+Effusion" in page
    assert 'id="errors"' not in client.get("/discrepancies").text


def test_nothing_compared_is_a_table_of_nothing(client):
    table = read(client)
    assert (table["compared"], row(table, "Edema")["of_compared"]) == (0, None)
    assert "0 drafts were compared" in client.get("/discrepancies?side=MISS_OF_MODEL").text


def test_errors_are_of_the_site_that_the_study_had_when_it_was_compared(client, monkeypatch):
    south = make_site("south")

    def compared(site, observation):
        with site_scope.limited_to([site]), unit_of_work() as session:
            table = model_errors.read_table(session)
            said = table.by_observation.get(observation)
            return table.compared, said.missed if said else 0

    studies = [draft(number, (CLEAR, 0.9)) for number in (1, 2)]
    run_sql("UPDATE studies SET site_id = :site WHERE id = :id", site=south, id=studies[0])
    report(1, NODULE)
    report(2, EFFUSION)
    work()
    assert compared(south, "Lung Lesion") == (1, 1)
    assert compared(DEFAULT_SITE_ID, "Lung Lesion") == (1, 0)
    # What is counted anew is no longer counted at the site where it was counted before.
    run_sql("UPDATE studies SET site_id = :site WHERE id = :id", site=south, id=studies[1])
    report(2, NODULE, status=ReportStatus.CORRECTED)
    work()
    monkeypatch.setattr(model_errors, "FOLD_ABOVE", 0)
    for _ in range(2):
        assert compared(south, "Lung Lesion") == (2, 2)
        assert compared(DEFAULT_SITE_ID, "Pleural Effusion") == (0, 0)
        assert read(client)["compared"] == 2
        with unit_of_work() as session:
            model_errors.fold(session)


def test_what_was_counted_before_work_had_sites_is_of_the_first_site(client):
    draft(1, (CLEAR, 0.9))
    report(1, EFFUSION)
    work()
    migrations.downgrade(engine(), "0045")
    assert run_sql("SELECT counted ? 'site' FROM final_comparisons") == [(False,)]
    migrations.upgrade(engine())
    make_site("south")
    report(1, NODULE, status=ReportStatus.CORRECTED)
    work()
    with site_scope.limited_to([DEFAULT_SITE_ID]), unit_of_work() as session:
        table = model_errors.read_table(session)
        counts = second_looks.read_counts(session)
    assert (table.compared, sorted(table.by_observation)) == (1, ["Lung Lesion"])
    assert sum(sum(of_side.values()) for of_side in counts.numbers.values()) >= 1


def test_of_several_finals_the_last_counts(client):
    draft(1, (CLEAR, 0.9))
    report(1, f"{EFFUSION} {NODULE}")
    work()
    assert row(read(client), "Lung Lesion")["missed"] == 1
    report(1, EFFUSION, status=ReportStatus.CORRECTED)
    work()
    table = read(client)
    assert table["compared"] == 1
    assert (row(table, "Lung Lesion")["said"], row(table, "Pleural Effusion")["missed"]) == (0, 1)
    with unit_of_work() as session:
        oldest, newest = session.scalars(
            select(FinalComparison.id).order_by(FinalComparison.id)
        ).all()
        # A worker that was late with the older report changes nothing.
        model_errors.count(session, oldest, ["Fracture"], ["Fracture"])
        model_errors.count(session, newest, ["Edema"], [])
    table = read(client)
    assert (table["compared"], row(table, "Fracture")["said"]) == (1, 0)
    assert (row(table, "Edema")["said"], row(table, "Pleural Effusion")["said"]) == (1, 0)


def test_parts_of_the_numbers_are_folded(client, monkeypatch):
    for number in range(3):
        draft(number, (CLEAR, 0.9))
        report(number, EFFUSION)
    work()
    before = read(client)
    monkeypatch.setattr(model_errors, "FOLD_ABOVE", 1)
    with unit_of_work() as session:
        model_errors.fold(session)
        assert session.scalar(select(func.count()).select_from(ModelErrorTally)) == 3
    assert read(client) == before


def test_lists_counts_and_table_are_filtered_by_campaign(client):
    draft(1, (PNEUMOTHORAX, 0.9), (CLEAR, 0.5))
    report(1, EFFUSION)
    campaign = draft_in_campaign(2, "north wing", PNEUMOTHORAX)
    report(2, EFFUSION)
    work()
    # The draft of study 1 denies it in another sentence, so it may be in no list.
    everything = client.get("/api/discrepancies").json()["discrepancies"]
    answer = client.get("/api/discrepancies", params={"campaign": campaign}).json()
    (entry,) = answer["discrepancies"]
    assert (entry["patient_id"], entry["campaign"]) == ("P2", str(campaign))
    assert entry in everything
    assert json.loads(run("list", "--campaign", "north wing", "--json")) == answer
    assert json.loads(run("list", "--campaign", campaign, "--json")) == answer
    errors = {"campaign": campaign, "side": "MISS_OF_MODEL"}
    (error,) = client.get("/api/discrepancies", params=errors).json()["discrepancies"]
    assert (error["observation"], error["patient_id"]) == ("Pleural Effusion", "P2")
    page = client.get("/discrepancies", params=errors).text
    assert "north wing" in page
    assert f"discrepancy-{error['id']}" in page
    assert "Open <b>1</b>" in page
    assert "P1" not in page
    table = read(client, campaign=campaign)
    assert (table["compared"], row(table, "Pleural Effusion")["missed"]) == (1, 1)
    assert json.loads(run("errors", "--campaign", "north wing", "--json")) == table
    assert read(client)["compared"] == 2
    tend_all()
    assert f'href="/discrepancies?campaign={campaign}"' in client.get(f"/campaigns/{campaign}").text


def test_the_next_page_keeps_campaign_and_observation(client):
    campaign = draft_in_campaign(1, "north wing", PNEUMOTHORAX)
    report(1, f"{EFFUSION} {NODULE}")
    work()
    options = ("--side", "model", "--campaign", "north wing", "--limit", 1)
    more = run("list", *options).splitlines()[-1].removeprefix("more: nightdraft discrepancies ")
    assert "--campaign 'north wing'" in more
    assert "no entries" not in run(*shlex.split(more))
    page = client.get(
        "/discrepancies",
        params={"side": "MISS_OF_MODEL", "campaign": campaign, "observation": "Lung Lesion"},
    ).text
    assert page.count('id="discrepancy-') == 1
    assert f'name="campaign" value="{campaign}"' in page
    assert '<option value="Lung Lesion" selected>' in page


def test_a_campaign_that_is_not_there_is_said(client):
    nobody = uuid.UUID(int=9)
    for address in ("/api/discrepancies", "/api/discrepancies/errors", "/discrepancies"):
        assert client.get(address, params={"campaign": nobody}).status_code == 404
    assert client.get("/api/discrepancies?observation=Plague").status_code == 422
