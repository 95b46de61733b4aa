"""A patient who came by every door is erased, and nothing of him is left; another one is untouched.

The messages are real ones: C-STORE to a listener, HL7 by MLLP, FHIR over HTTP, CSV files.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError
from starlette.testclient import TestClient
from typer.testing import CliRunner

from api.app import make_app
from model.reporter import load_reporter
from nightdraft.cli.main import app
from records.blobs import Blobs
from records.campaigns import adding as campaign_rows
from records.campaigns.adding import NewStudy
from records.database.retention_tables import Erasure
from records.database.session import engine, unit_of_work
from records.database.tables import Study
from records.errors import NotAllowed
from records.retention import erasure, erasure_scope
from records.reviews import signing
from records.settings import settings
from records.states import AuditAction, EndReason, HoldReason, Stage
from records.workflow import drafts, holds, leases, requests, withdrawals
from records.workflow.identifiers import PatientId
from tests.support import campaigns
from tests.support.dicom_senders import send_images, start_listener
from tests.support.fhir_resources import (
    diagnostic_report,
    identifier,
    observation,
    patient,
    service_request,
)
from tests.support.mllp import MllpSender, make_message, make_segment, running_listener
from tests.support.retention import files_of
from tests.support.stored_studies import phantom_images
from worker.circuit_breaker import CircuitBreaker
from worker.drafting import draft_ready
from worker.preparing import prepare_ready
from worker.sweep import sweep

FAMILY, ID, ISSUER = "QUAXELBURG", "ZQ-881199", "HOSPITAL"
"""The planted patient; none of these words is anywhere else."""

MARK = "xylobrast"
"""A word of the planted patient's texts."""

SYSTEM = "http://hospital.example/mrn"


@pytest.fixture(autouse=True)
def _night(night):
    night(
        disk_stop_mb=0,
        disk_warn_mb=0,
        hl7_port=0,
        hl7_host="127.0.0.1",
        training_consent="true",
        fhir_issuers=f"{SYSTEM}={ISSUER}",
    )


@pytest.fixture
def dicom_port(tmp_path: Path) -> Iterator[int]:
    process = start_listener(tmp_path)
    assert process.port, process.log.read_text()
    yield process.port
    process.stop()


def films_of(seed: int, family: str, patient_id: str, accession: str) -> list[Any]:
    images = phantom_images(seed)
    for image in images:
        image.PatientName = f"{family}^THEO"
        image.PatientID, image.IssuerOfPatientID = patient_id, ISSUER
        image.PatientBirthDate, image.AccessionNumber = "19480317", accession
    return images


def send_all(dicom_port: int, family: str, patient_id: str, mark: str, seed: int, tmp_path) -> Any:
    """One patient by every door; returns the films of one study."""
    number = patient_id.replace("-", "")
    # The trail keeps the ids of resources, which a sender makes: they must not be a patient's.
    key = seed
    films = films_of(seed, family, patient_id, f"ACC{number}")
    assert set(send_images(dicom_port, *films)) == {0}
    with running_listener() as listener, MllpSender(listener.port) as sender:
        pid = f"PID|1||{patient_id}^^^{ISSUER}^MR||{family}^THEO||19480317|M"
        order = make_message(
            pid,
            f"ORC|NW|O{number}",
            make_segment(
                "OBR",
                {
                    1: 1,
                    2: f"O{number}",
                    4: "CXR^Chest PA",
                    18: f"ACC{number}",
                    31: f"^{mark} cough",
                },
            ),
            control_id=f"c1{number}",
        )
        assert "MSA|AA" in sender.send(order)
        # A merge: what came under another number is the patient's, too.
        merge = make_message(
            pid, f"MRG|OLD{number}^^^{ISSUER}^MR", kind="ADT^A40", control_id=f"c2{number}"
        )
        assert "MSA|AA" in sender.send(merge)
        refused = make_message(pid, "ORC|NW", kind="ORM^O01", control_id=f"c3{number}")
        assert "MSA|AA" not in sender.send(refused)
    who = patient(
        id=f"pat-{key}",
        identifier=[identifier("MR", patient_id, SYSTEM)],
        name=[{"family": family, "given": ["Theo"]}],
        birthDate="1948-03-17",
    )
    with TestClient(make_app(settings()), base_url="http://localhost") as client:

        def put(resource: dict[str, Any]) -> None:
            answer = client.put(
                f"/fhir/{resource['resourceType']}/{resource['id']}",
                content=json.dumps(resource),
                headers={"content-type": "application/fhir+json"},
            )
            assert answer.status_code == 201, answer.text

        subject = {"reference": f"Patient/pat-{key}"}
        put(who)
        put(
            service_request(
                id=f"sr-{key}", contained=[], subject=subject,
                identifier=[identifier("PLAC", f"P{number}"), identifier("ACSN", f"F{number}")],
                reasonCode=[{"text": f"{mark} by FHIR"}],
            )
        )  # fmt: skip
        put(observation("59776-5", f"{mark} in an observation", id=f"ob-{key}", subject=subject))
        put(
            diagnostic_report(
                id=f"dr-{key}", contained=[], subject=subject,
                identifier=[identifier("ACSN", f"G{number}")],
                result=[{"reference": f"Observation/ob-{key}"}],
                conclusion=f"{mark} in a conclusion",
            )
        )  # fmt: skip
        put(
            diagnostic_report(
                id=f"dc-{key}",
                contained=[who | {"id": "p"}],
                identifier=[identifier("ACSN", f"H{number}")],
                conclusion=f"{mark} with a contained patient",
            )
        )
    orders = tmp_path / f"orders-{number}.csv"
    orders.write_text(
        "patient_id,patient_id_issuer,patient_name,accession_numbers,reason\n"
        f"{patient_id},{ISSUER},{family}^THEO,C{number},{mark} by CSV\n"
    )
    reports = tmp_path / f"reports-{number}.csv"
    reports.write_text(
        "patient_id,patient_id_issuer,patient_name,accession_numbers,performed_on,procedure,"
        "impression,consent\n"
        f"{patient_id},{ISSUER},{family}^THEO,D{number},2020-01-02,XR CHEST,{mark} by CSV,true\n"
    )
    for command, file in (("orders", orders), ("reports", reports)):
        done = CliRunner().invoke(app, [command, "import", str(file)], catch_exceptions=False)
        assert done.exit_code == 0, done.output
    return films


def draft_all() -> None:
    sweep()
    prepare_ready("p", 60, CircuitBreaker(Stage.PREPARE))
    draft_ready(load_reporter("null"), "d", 60, CircuitBreaker(Stage.DRAFT))
    sweep()


def study_of(films: list[Any]) -> uuid.UUID:
    with unit_of_work() as session:
        uid = str(films[0].StudyInstanceUID)
        return session.scalars(select(Study.id).where(Study.study_instance_uid == uid)).one()


def finish(films: list[Any], mark: str) -> uuid.UUID:
    """Sign the draft, withdraw nothing, name it in a campaign, and hold it once."""
    study = study_of(films)
    with unit_of_work() as session:
        (draft,) = drafts.list_by_study(session, study)
        signing.sign(session, draft.id, "dr.reader", f"Signed {mark}.", "Normal.")
        holds.open_hold(session, study, HoldReason.FINALS_DIFFER, f"{mark} differs")
    campaign = campaigns.create(name=f"of {study}")
    with unit_of_work() as session:
        uid = str(films[0].StudyInstanceUID)
        campaign_rows.add_studies(
            session, campaign, [NewStudy(uid, "", study), NewStudy("", films[0].AccessionNumber)]
        )
    return study


# ---- What a person would find ----


def everything(database: str) -> dict[str, list[str]]:
    """Every row of every table as text."""
    found: dict[str, list[str]] = {}
    with engine().connect() as connection:
        tables = connection.scalars(
            text(
                "SELECT table_name FROM information_schema.tables"
                " WHERE table_schema = 'public' AND table_type = 'BASE TABLE'"
            )
        ).all()
        for table in tables:
            rows = connection.scalars(text(f'SELECT t::text FROM "{table}" AS t'))
            found[table] = sorted(rows)
    return found


def search(words: set[str], database: str, broker: str) -> list[str]:
    """Where one of the words still is: tables, files, Redis."""
    places = [
        f"{table}: {row[:200]}"
        for table, lines in everything(database).items()
        for row in lines
        if any(word.lower() in row.lower() for word in words)
    ]
    coded = [word.encode() for word in words]
    for path in settings().data_dir.rglob("*"):
        if path.is_file() and any(word in path.read_bytes() for word in coded):
            places.append(str(path))
    with redis.Redis.from_url(broker) as connection:
        for key in connection.keys("*"):
            dumped = connection.dump(key) or b""
            if any(word in key + dumped for word in coded):
                places.append(f"redis {key!r}")
    return places


SHARED = {"audit_entries", "tallies", "heartbeats", "observations", "callers", "retention_walks"}
"""Tables with rows of the whole system, or of the erasure itself."""


def erase(*arguments: str) -> Any:
    return CliRunner().invoke(
        app,
        ["patients", "erase", "--patient-id", ID, "--issuer", ISSUER, *arguments],
        catch_exceptions=False,
    )


def test_nothing_is_left_of_a_patient_who_came_by_every_door(
    database, broker, dicom_port, tmp_path
):
    other = send_all(dicom_port, "NACHBAR", "NB-771122", "bystander", 11, tmp_path)
    draft_all()
    other_study = finish(other, "bystander")
    before = everything(database)
    films = send_all(dicom_port, FAMILY, ID, MARK, 12, tmp_path)
    # A film of the patient under the other one's study: it is kept aside, and a person decides.
    stray = films_of(13, FAMILY, ID, "X")[0]
    stray.StudyInstanceUID = other[0].StudyInstanceUID
    assert send_images(dicom_port, stray) == [0]
    draft_all()
    study = finish(films, MARK)
    uids = {str(image.SOPInstanceUID) for image in [*films, stray]}
    uids.add(str(films[0].StudyInstanceUID))
    words = {FAMILY, FAMILY.title(), ID, ID.replace("-", ""), MARK, *uids}
    assert len(files_of(study)) == len(films)
    places = search(words, database, broker)
    tables = {place.partition(":")[0] for place in places}
    assert {
        "studies", "instances", "drafts", "reviews", "holds", "orders", "order_keys",
        "patient_aliases", "received_reports", "report_keys", "fhir_resources",
        "campaign_studies",
    } <= tables  # fmt: skip

    dry = erase("--dry-run", "--json")
    found = json.loads(dry.stdout)
    assert found["erased"] is False
    assert found["found"]["studies"] == 1
    assert found["found"]["orders"] == 3
    assert found["found"]["reports from elsewhere"] == 3
    assert found["found"]["FHIR resources"] == 5
    # Nothing was changed, and the trail has the look.
    now = search(words, database, broker)
    assert set(places) <= set(now)
    assert {place.partition(":")[0] for place in now if place not in places} == {"audit_patients"}

    with pytest.raises(NotAllowed, match="names the patient"):
        erase("--yes", "--reason", f"{FAMILY} asked")
    done = erase("--yes", "--json", "--reason", "request 17 of the data protection officer")
    answer = json.loads(done.stdout)
    assert answer["erased"] is True
    assert answer["reports_for_training"] >= 1
    assert "Nothing of a patient was sent out" in answer["sent_out"]
    assert search(words, database, broker) == []

    after = everything(database)
    for table, lines in before.items():
        if table not in SHARED:
            # Each row of the other patient is as it was, to the letter.
            gone = set(lines) - set(after[table])
            assert not {row for row in gone if table not in MOVING}, table
    assert len(files_of(other_study)) == len(other) == len(films_of(11, "x", "y", "z"))
    with unit_of_work() as session:
        (row,) = session.scalars(select(Erasure))
        assert row.study_ids == [study]
        assert row.reason == "request 17 of the data protection officer"
        entries = session.execute(
            text("SELECT action, patients, detail FROM audit_entries WHERE action = 'ERASURE'")
        ).all()
        known = session.scalars(text("SELECT pseudonym FROM audit_patients")).all()
    ((action, pseudonyms, _),) = entries
    assert action == AuditAction.ERASURE
    assert pseudonyms
    assert not set(pseudonyms) & set(known)
    assert_counts_agree()


MOVING = {
    # The other patient's study got a hold and a line, for a film of the erased one came to it.
    "studies", "worklist_entries", "campaign_studies", "draft_requests", "blob_scrub",
    "campaigns", "campaign_tallies", "work_counts", "work_count_parts", "refusals",
    "audit_key",
}  # fmt: skip


def assert_counts_agree() -> None:
    """The kept numbers are those of the rows."""
    with engine().connect() as connection:
        kept = dict(
            connection.execute(
                text("SELECT name, sum(number) FROM tallies WHERE kind = 'STUDIES' GROUP BY name")
            ).all()
        )
        counted = dict(
            connection.execute(
                text("SELECT state, count(*) FROM worklist_entries GROUP BY state")
            ).all()
        )
        assert {name: int(n) for name, n in kept.items() if n} == counted
        tallied = connection.scalar(text("SELECT sum(number) FROM campaign_tallies"))
        assert int(tallied) == connection.scalar(text("SELECT count(*) FROM campaign_studies"))


# ---- Misuse ----


@pytest.fixture
def drafted(dicom_port) -> uuid.UUID:
    films = films_of(12, FAMILY, ID, "A9")
    assert set(send_images(dicom_port, *films)) == {0}
    draft_all()
    return study_of(films)


def sql(statements: list[str], **values: Any) -> None:
    with engine().begin() as connection:
        for statement in statements:
            connection.execute(text(statement), values)


DELETES = [
    "DELETE FROM events WHERE study_id = :study",
    "DELETE FROM reviews",
    "DELETE FROM drafts",
]


@pytest.mark.parametrize("prepared", ["nothing", "a setting alone", "an erasure that is over"])
def test_what_was_written_once_goes_in_an_erasure_alone(drafted, prepared):
    statements = []
    if prepared == "a setting alone":
        statements = [f"SELECT set_config('nightdraft.erasure', '{uuid.uuid4()}', true)"]
    if prepared == "an erasure that is over":
        sql(
            [
                "INSERT INTO erasures (id, requested_by, reason, study_ids, order_ids)"
                " VALUES ('00000000-0000-0000-0000-000000000001', 'x', 'y', ARRAY[:study], '{}')"
            ],
            study=drafted,
        )
        statements = [
            "SELECT set_config('nightdraft.erasure', '00000000-0000-0000-0000-000000000001', true)"
        ]
    with pytest.raises(DBAPIError, match="written once"):
        sql([*statements, "DELETE FROM events WHERE study_id = :study"], study=drafted)


def test_an_erasure_reaches_no_other_study(drafted, dicom_port):
    films = films_of(14, "NACHBAR", "NB-1", "A8")
    assert set(send_images(dicom_port, *films)) == {0}
    other = study_of(films)
    insert = [
        "INSERT INTO erasures (id, requested_by, reason, study_ids, order_ids)"
        " VALUES ('00000000-0000-0000-0000-000000000002', 'x', 'y', ARRAY[:study], '{}')",
        "SELECT set_config('nightdraft.erasure', '00000000-0000-0000-0000-000000000002', true)",
    ]
    with pytest.raises(DBAPIError, match="written once"):
        sql([*insert, f"DELETE FROM events WHERE study_id = '{other}'"], study=drafted)
    with pytest.raises(DBAPIError, match="written once"):
        sql([*insert, "UPDATE events SET detail = 'x' WHERE study_id = :study"], study=drafted)


@pytest.mark.parametrize("change", ["UPDATE erasures SET reason = 'z'", "DELETE FROM erasures",
                                    "TRUNCATE erasures"])  # fmt: skip
def test_that_something_was_erased_cannot_be_hidden(drafted, change):
    with unit_of_work() as session:
        erasure.erase_patient(session, PatientId(ID, ISSUER), "request 1")
    with pytest.raises(DBAPIError, match="written once"):
        sql([change])


# ---- What keeps a patient from being erased ----


def erase_now(reason: str = "request 1", issuer: str = ISSUER) -> None:
    with unit_of_work() as session:
        erasure.erase_patient(session, PatientId(ID, issuer), reason)


def test_an_unknown_patient_and_a_blank_reason_are_refused(drafted):
    with pytest.raises(NotAllowed, match="nothing is here"), unit_of_work() as session:
        erasure.erase_patient(session, PatientId("UNKNOWN-1"), "request 1")
    with pytest.raises(NotAllowed, match="for a reason"):
        erase_now(" ")
    with pytest.raises(NotAllowed, match="names a patient id"), unit_of_work() as session:
        erasure_scope.find_patient(session, PatientId(" "))


def test_an_id_that_two_issuers_gave_needs_one_of_them(drafted, dicom_port):
    films = films_of(15, "SOMEBODY", ID, "A7")
    for image in films:
        image.IssuerOfPatientID = "ELSEWHERE"
    assert set(send_images(dicom_port, *films)) == {0}
    other = study_of(films)
    with pytest.raises(NotAllowed, match="2 issuers have given that id"):
        erase_now(issuer="")
    erase_now()
    with unit_of_work() as session:
        assert session.scalars(select(Study.id)).all() == [other]


def test_a_study_that_is_worked_on_or_undecided_is_not_erased(drafted):
    with unit_of_work() as session:
        study = session.get_one(Study, drafted)
        withdrawals.cancel(session, study, "x", EndReason.DECIDED)
        requests.retry(session, study_id=drafted)
    with unit_of_work() as session:
        (lease,) = leases.claim(session, Stage.PREPARE, "w:1", 1, 60.0)
    with pytest.raises(NotAllowed, match="a worker is just at work"):
        erase_now()
    with unit_of_work() as session:
        leases.release(session, [lease], "done")
        holds.open_hold(session, drafted, HoldReason.PATIENT_MISMATCH, "")
    with pytest.raises(NotAllowed, match="decide the holds first"):
        erase_now()


def test_a_film_that_came_and_was_not_registered_does_not_bring_the_patient_back(drafted):
    blobs = Blobs(settings().data_dir)
    (path, *_) = files_of(drafted)
    orphan = blobs.incoming / "x.dcm"
    orphan.write_bytes(path.read_bytes())
    key = blobs.keep_instance(orphan)
    orphan.unlink()
    (blobs.lost_and_found / "unreadable.dcm").write_bytes(b"no film")
    os.utime(blobs.path(key), (1, 1))
    done = json.loads(erase("--yes", "--json", "--reason", "request 1").stdout)
    assert done["found"]["files without a row"] == 1
    assert [Path(path).name for path in done["unreadable_files"]] == ["unreadable.dcm"]
    assert list((blobs.root / "instances").rglob("*.dcm")) == []
