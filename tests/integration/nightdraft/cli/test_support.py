"""The archive for somebody who helps: what is in it, and what never is."""

import json
import logging
import zipfile

import pytest
from typer.testing import CliRunner

from nightdraft.cli.main import app
from records.alarm_kinds import AlarmKind
from records.database.session import unit_of_work
from records.errors import NotAllowed
from records.operations import alarms
from records.telemetry import logger, set_up_logs
from tests.support.logging_state import logging_restored
from tests.support.registered_studies import Patient, complete, new_instance

NAME, PATIENT_ID, ACCESSION = "PLANTED^ANNA", "PID-77123", "ACC20261124"
UID = "1.2.826.0.1.3680043.9.7.11"
PASSWORDS = {
    "smtp_password": "planted-password",
    "alarm_webhook_secret": "planted-secret-to-sign-with",
    "redis_sentinel_password": "planted-sentinel",
    "redis_url": "redis://:planted-redis@127.0.0.1:1/0",
    "alarm_webhook_url": "https://chat.hospital.example/hook/planted-token",
}


def write(path):
    return CliRunner().invoke(app, ["support-bundle", "--out", str(path)], catch_exceptions=False)


@pytest.fixture
def trouble(database, data_dir, setting, capsys):
    """A study of a planted patient, planted passwords, and logs into which both got."""
    complete(
        new_instance(
            UID, patient=Patient(PATIENT_ID, "", NAME, "19700101", "F"), accession_number=ACCESSION
        )
    )
    setting(
        **PASSWORDS,
        smtp_host="mail.hospital.example",
        alarm_mail_to="planted.person@hospital.example",
        database_statement_seconds=21,
    )
    with unit_of_work() as session:
        alarms.raise_alarm(session, AlarmKind.DISK_FULL, "listener", "480 MB are free.")
    capsys.readouterr()
    with logging_restored():
        set_up_logs("text")
        logger().warning("the planted-password was refused", study="our-own-id", error=f"of {UID}")
        set_up_logs("json")
        logger().info("a line of ours as JSON", count=3)
        for form in ("text", "json"):
            set_up_logs(form)
            logging.getLogger("a.library").error("it cannot read %s", NAME)
    ours = capsys.readouterr().err
    assert len(ours.splitlines()) == 4
    (data_dir / "logs").mkdir()
    (data_dir / "logs/draft.log").write_text(
        f"{ours}Traceback: ValueError: {NAME}\n"
        f"2026-11-27 00:00:00,123 [ERROR] a library: {NAME} {PATIENT_ID}\n"
        f'{{"event": "x", "patient": "{NAME}"}}\n'
    )


def test_nothing_of_a_patient_and_no_password_is_in_it(trouble, tmp_path):
    assert write(tmp_path / "out.zip").exit_code == 0
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        content = {name: archive.read(name).decode() for name in archive.namelist()}
    for name, text in content.items():
        for planted in ("PLANTED", "planted", PATIENT_ID, ACCESSION, UID):
            assert planted not in text, name
    log = content["logs/draft.log"]
    assert "# 5 lines of others were left out" in log
    assert "the [secret] was refused" in log
    assert "our-own-id" in log
    assert "a line of ours as JSON" in log


def test_it_has_what_somebody_needs_who_helps(trouble, tmp_path):
    write(tmp_path / "out.zip")
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        content = {
            name: json.loads(archive.read(name))
            for name in archive.namelist()
            if name.endswith(".json")
        }
        metrics = archive.read("metrics.txt").decode()
    assert content["versions.json"]["pydicom"]
    shown = {entry["name"]: entry["value"] for entry in content["settings.json"]}
    assert shown["database_statement_seconds"] == 21.0
    assert shown["smtp_host"] == "mail.hospital.example"
    assert shown["smtp_password"] == "***"
    assert shown["redis_url"] == "redis://:***@127.0.0.1:1/0"
    lines = {line["line"]: line["verdict"] for line in content["doctor.json"]}
    assert (lines["database"], lines["broker"]) == ("ok", "WRONG")
    assert content["state.json"]["counts"]["states"]["WAITING"] == 1
    assert content["alarms.json"][0]["kind"] == "DISK_FULL"
    assert 'nightdraft_studies{state="WAITING"} 1.0' in metrics


def test_it_is_written_while_the_database_is_away_and_for_its_owner_alone(
    data_dir, setting, tmp_path
):
    setting(
        database_url="postgresql://x:planted-word@127.0.0.1:1/x", redis_url="redis://127.0.0.1:1"
    )
    path = tmp_path / "out.zip"
    assert write(path).exit_code == 0
    assert path.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(path) as archive:
        state = json.loads(archive.read("state.json"))
        assert "PostgreSQL does not answer" in state["not available"]
        assert all(b"planted-word" not in archive.read(name) for name in archive.namelist())
    with pytest.raises(NotAllowed, match="is there already"):
        write(path)
