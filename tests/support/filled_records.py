"""Something of every kind that a page can show, written through the functions of `records`."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fastapi.routing import APIRoute
from sqlalchemy import select, text

from api.app import ROUTERS
from records import received_messages
from records.alarm_kinds import AlarmKind
from records.campaigns import campaigns
from records.database.discrepancy_tables import DraftComparison
from records.database.order_tables import Order
from records.database.report_tables import ReceivedReport
from records.database.session import unit_of_work
from records.database.tables import Instance, Study
from records.operations import alarms, refusals
from records.states import MessageOutcome, Origin, Priority, RejectionReason, Stage
from records.workflow import withdrawals
from records.workflow.arrivals import ReceivedInstance
from records.workflow.patients import Patient
from records.workflow.rejections import RejectionNote
from tests.support import registered_studies
from tests.support.campaigns import create, of_uids
from tests.support.discrepant_studies import CLEAR, NODULE, draft, draft_again, report, work
from tests.support.discrepant_studies import patient as patient_number
from tests.support.nights import add_nights
from tests.support.ordered_studies import receive as receive_order
from tests.support.outside_reports import receive as receive_report
from tests.support.registered_studies import complete, new_instance, register
from tests.support.report_styles import make_site_style
from tests.support.seeded_studies import EXPECTED_PARTS, StudySeeder, seed_heartbeats
from worker.draft_comparisons import compare_drafts

MESSAGE = b"\x0bMSH|^~\\&|RIS|H|||2026||ORM^O01|1|P|2.3\rPID|||4711||D\xc3\xb6e^<b>Jane\r\x1c\r"
"""A message that is refused: its order has no number."""


def keep_message(
    control_id: str, outcome: MessageOutcome = MessageOutcome.REFUSED, content: bytes = MESSAGE
) -> uuid.UUID:
    """Keep a message of another system."""
    is_refused = outcome is MessageOutcome.REFUSED
    with unit_of_work() as session:
        return received_messages.keep(
            session,
            origin=Origin.HL7,
            sender="RIS|H",
            control_id=control_id,
            message_type="ORM^O01",
            processing_id="P",
            content=content,
            outcome=outcome,
            answer_code="AE" if is_refused else "AA",
            error_code="101" if is_refused else "",
            sentence="the order has no number" if is_refused else "",
            location="ORC-2" if is_refused else "",
        )


SETTINGS = {"draft_reported_studies": True, "second_look_controls": 0}
"""Settings that `fill` needs."""


def fill() -> dict[str, Any]:
    """Write a record of every kind that has a page of its own, of patients P1 to P4.

    Returns:
        Their ids, by the names that the routes give them.
    """
    drafted = draft(1, (NODULE, 0.9))
    report(1, CLEAR)
    draft_again(draft(2, (NODULE, 0.9)), CLEAR)
    compare_drafts()
    work()
    make_site_style()
    receive_order(patient=patient_number(3))
    (kept,) = register(new_instance("1.2.4", sop="1.2.4.1", patient=patient_number(4)))
    register(new_instance("1.2.4", sop="1.2.4.2", patient=patient_number(3)))  # a hold
    message = keep_message("1")
    campaign = create(studies=of_uids("1.2.1"))
    with unit_of_work() as session:
        campaign_row = session.execute(text("SELECT id FROM campaign_studies")).scalar_one()
        session.execute(
            text("UPDATE campaign_studies SET study_id = :study WHERE id = :id"),
            {"study": drafted, "id": campaign_row},
        )
        film = session.scalars(select(Instance).where(Instance.study_id == kept.study_id)).first()
        assert film is not None
        return {
            "study": kept.study_id,
            "uid": "1.2.1",
            "instance": film.id,
            "blob": film.blob,
            "order_id": session.scalars(select(Order.id)).one(),
            "report_id": session.scalars(select(ReceivedReport.id)).one(),
            "discrepancy_id": session.execute(
                text("SELECT id FROM discrepancies WHERE side = 'MISS_OF_REPORT' LIMIT 1")
            ).scalar_one(),
            "comparison_id": session.scalars(select(DraftComparison.id)).first(),
            "message_id": message,
            "campaign_id": campaign,
            "digest": "bundle",
            "code": "default",
        }


def add_states(data_dir: Path) -> dict[str, uuid.UUID]:
    """Write a study in each state, holds, an alarm, nights, campaigns: all that pages can show.

    Returns:
        Our ids of the studies, by what is special about each.
    """
    seeder = StudySeeder(data_dir)
    seed_heartbeats(*EXPECTED_PARTS)
    add_nights(3)
    keep_message("2", MessageOutcome.ACCEPTED)
    names = ("held", "skipped", "failed", "withdrawn", "prepared", "drafting", "preparing")
    found = dict(zip(names, seeder.complete(*range(101, 101 + len(names))), strict=True))
    seeder.hold(found["held"])
    seeder.skip(found["skipped"])
    seeder.fail(found["failed"])
    seeder.draft(found["withdrawn"], 104)
    seeder.prepare(found["prepared"])
    seeder.prepare(found["drafting"])
    (found["drafted"],) = seeder.complete(34, priority=Priority.STAT)
    seeder.draft(found["drafted"], 34)
    seeder.claim(Stage.DRAFT, found["drafting"])
    seeder.claim(Stage.PREPARE, found["preparing"])
    (found["waiting"], found["differing"]) = seeder.complete(60, 61)
    (found["rejected"],) = complete(
        new_instance("1.3", "1.3.1"), new_instance("1.3", "1.3.2"), _rejection("1.3", "1.3.1")
    )
    register(new_instance("1.3", "1.3.2", content="other pixels"))  # two films under one UID
    with unit_of_work() as session:
        withdrawals.withdraw(session, found["withdrawn"], "Dr. Roe", "It is of the wrong side.")
        study = session.get_one(Study, found["differing"])
        about = {
            "patient": Patient.of_study(study),
            "accession_numbers": (study.accession_number,),
            "text": "",
        }
        alarms.raise_alarm(session, AlarmKind.PART_MISSING, "listener", "It does not run.")
        refusals.record_refusal(
            session,
            calling_ae="CT1",
            sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
            sop_instance_uid="2.25.4711",
            reason="other_object",
            sentence="Only projection radiographs are taken here.",
        )
    receive_report(**about, report_number="D1", findings="Clear.", impression="No disease.")
    receive_report(**about, report_number="D2", findings="Clear.", impression="Small disease.")
    paused = create(name="paused", studies=of_uids("1.8", "1.9"))
    with unit_of_work() as session:
        campaigns.pause(session, paused)
    found["receiving"] = seeder.receive(62, Priority.URGENT)  # the last: nothing closes it
    return found


def _rejection(study: str, film: str) -> ReceivedInstance:
    note = f"{film}.9"
    patient = registered_studies.PATIENT
    return new_instance(
        study,
        sop=note,
        content=note,
        sop_class_uid="1.2.840.10008.5.1.4.1.1.88.59",
        modality="KO",
        is_radiograph=False,
        skip_reason="A note.",
        rejects=RejectionNote(
            note, RejectionReason.PATIENT_SAFETY, patient, ((study, film),), True, "PACS"
        ),
    )


def addresses(ids: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Every address that answers GET and for which there are ids: the route, and the path."""
    for route in (route for router in ROUTERS for route in router.routes):
        if isinstance(route, APIRoute) and "GET" in route.methods:
            names = re.findall(r"\{(\w+)\}", route.path)
            if all(name in ids for name in names):
                path = route.path
                for name in names:
                    path = path.replace(f"{{{name}}}", str(ids[name]))
                yield route.path, path
