"""`nightdraft retention ...`, and what doctor and metrics say of the disk."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import update
from starlette.testclient import TestClient
from typer.testing import CliRunner

from api.app import make_app
from nightdraft import doctor
from nightdraft.cli.main import app
from records.blobs import Blobs
from records.database.session import unit_of_work
from records.database.tables import Instance, Study
from records.retention import removal
from records.retention.rules import RULES
from records.settings import settings
from records.workflow import sites
from tests.support.retention import draft_studies, has_files, older, prepared_files, sign
from tests.support.stored_studies import close_studies, store_studies


@pytest.fixture(autouse=True)
def _site(database, data_dir, setting):
    setting(bundle="null", quiet_seconds=0, disk_stop_mb=0, disk_warn_mb=0)


def call(*arguments: str) -> str:
    done = CliRunner().invoke(app, ["retention", *arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def studies():
    signed, drafted, waiting = (*draft_studies(1, 2), *store_studies(3))
    close_studies()
    sign(signed)
    older(91)
    return signed, drafted, waiting


def test_a_dry_run_tells_and_a_run_removes(studies):
    signed, drafted, waiting = studies
    told = call("run", "--dry-run")
    assert "2 film files of 2 studies would be removed" in told
    assert "1 study: 30 days after the signature" in told
    assert "1 study: 90 days after the draft" in told
    assert "2 prepared inputs would be removed" in told
    assert "1 study keep their files: A draft is still to be made of it." in told
    assert all(has_files(study) for study in studies)
    done = json.loads(call("run", "--json"))
    assert (done["dry_run"], done["files"], done["prepared"]["files"]) == (False, 2, 2)
    assert done["kept"] == {"REQUESTED": 1}
    assert not has_files(signed)
    assert not has_files(drafted)
    assert has_files(waiting)
    assert prepared_files() == []
    again = json.loads(call("run", "--json"))
    assert (again["files"], again["prepared"]["files"]) == (0, 0)


def test_a_run_ends_a_round_that_was_going_on_and_makes_a_whole_one(studies, monkeypatch):
    monkeypatch.setattr(removal, "INSTANCES_AT_ONCE", 1)
    blobs = Blobs(settings().data_dir)
    assert removal.take_step(blobs)  # a round stands behind the first film
    late = draft_studies(8)[0]
    older(91)
    with unit_of_work() as session:  # it came before all others: the round has passed it
        session.execute(
            update(Instance)
            .where(Instance.study_id == late)
            .values(received_at=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
        )
    call("run")
    assert not has_files(late)


def test_show_lists_every_rule_with_its_days(studies, setting):
    setting(retention_signed_days=12)
    call("run")
    shown = call("show")
    assert "12 days after the signature" in shown
    assert "removed so far, instances: 2 files" in shown
    assert "The disk: " in shown
    told = json.loads(call("show", "--json"))
    assert len(told["rules"]) == len(RULES)
    assert {walk["rule"] for walk in told["walks"]} >= {"INSTANCES", "PREPARED"}
    assert told["disk"]["measured_days"] == 7
    assert told["disk"]["days_left"] is None


def test_a_site_gets_days_of_its_own(studies):
    signed, drafted, _ = studies
    with unit_of_work() as session:
        north = sites.create(session, "north")
        session.get_one(Study, drafted).site_id = north.id
    assert call("set", "--site", "north", "--rule", "drafted", "--days", "120").startswith(
        "north, drafted: 120 days"
    )
    told = json.loads(call("rules", "--site", "north", "--json"))
    assert {one["rule"]: (one["days"], one["own"]) for one in told} == {
        "SIGNED": (30, False), "DRAFTED": (120, True),
        "UNDRAFTED": (None, False), "PREPARED": (7, False),
    }  # fmt: skip
    shown = call("rules")
    assert "NIGHTDRAFT_RETENTION_DRAFTED_DAYS" in shown
    assert "the site" in shown
    assert json.loads(call("run", "--dry-run", "--site", "north", "--json"))["studies"] == {}
    assert json.loads(call("run", "--dry-run", "--site", "default", "--json"))["files"] == 1
    call("run")
    assert not has_files(signed)
    assert has_files(drafted)
    back = json.loads(call("set", "--site", "north", "--rule", "drafted", "--by-setting", "--json"))
    assert back == {"site": "north", "rule": "DRAFTED", "days": 90, "own": False}
    call("run")
    assert not has_files(drafted)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("set", "--site", "default", "--rule", "signed"), "--by-setting"),
        (("set", "--site", "default", "--rule", "signed", "--days", "1", "--by-setting"), "both"),
        (("set", "--site", "nowhere", "--rule", "signed", "--days", "1"), "no site 'nowhere'"),
        (("set", "--site", "default", "--rule", "signed", "--days", "-1"), "a number from 0"),
        (("set", "--site", "default", "--rule", "events", "--days", "1"), "events"),
        (("run", "--site", "default"), "--dry-run"),
    ],
)
def test_what_cannot_be_set_is_refused(arguments, sentence):
    done = CliRunner().invoke(app, ["retention", *arguments])
    assert done.exit_code != 0
    assert sentence in done.output + str(done.exception)
    assert not any(one["own"] for one in json.loads(call("rules", "--json")))


def fill_disk(gigabytes: float) -> None:
    with unit_of_work() as session:
        session.execute(update(Instance).values(size=int(gigabytes * 1e9)))


def line_of_doctor() -> doctor.CheckResult:
    return next(result for result in doctor.run_checks(settings()) if result.name == "disk lasts")


def test_doctor_warns_where_the_disk_is_full_within_a_week():
    assert "not known yet" in line_of_doctor().sentence
    assert not line_of_doctor().warning
    store_studies(1)
    older(2)
    free = Blobs(settings().data_dir).free_mb() / 1000
    fill_disk(free / 2)  # a quarter of the room in a day
    assert line_of_doctor().warning
    assert "It lasts 4 days at the pace of only 2.0 days" in line_of_doctor().sentence
    assert "nightdraft retention show" in line_of_doctor().sentence
    fill_disk(free / 1000)
    assert not line_of_doctor().warning


def metrics() -> dict[tuple[str, str], float]:
    with TestClient(make_app(settings()), base_url="http://localhost") as client:
        text = client.get("/metrics").text
    return {
        (sample.name, sample.labels.get("direction", "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name.startswith("nightdraft_disk_")
    }


def test_metrics_give_the_days_where_they_are_known():
    assert ("nightdraft_disk_days_left", "") not in metrics()
    store_studies(1)
    older(2)
    fill_disk(1)
    shown = metrics()
    assert shown["nightdraft_disk_flow_bytes", "arrived"] == 1e9
    assert shown["nightdraft_disk_flow_bytes", "removed"] == 0
    assert shown["nightdraft_disk_pace_days", ""] == pytest.approx(2, abs=0.01)
    free = shown["nightdraft_disk_free_bytes", ""]
    assert shown["nightdraft_disk_days_left", ""] == pytest.approx(free / 0.5e9, rel=0.05)
