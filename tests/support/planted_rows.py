"""Rows of every kind of one site, all with one planted name: what another site must never see."""

from __future__ import annotations

import json
from dataclasses import asdict

from sqlalchemy import select

from records import received_messages
from records.bundles.acceptance import Acceptance
from records.campaigns import campaigns
from records.database.discrepancy_tables import Discrepancy, DraftComparison
from records.database.session import unit_of_work
from records.database.tables import Hold, Instance, Study
from records.reviews import signing, working_texts
from records.reviews.readers import Reader
from records.states import HoldReason, MessageOutcome, Origin
from records.workflow import holds, withdrawals
from records.workflow.patients import Patient
from tests.support.accounts import run_sql
from tests.support.campaigns import create, of_uids
from tests.support.discrepant_studies import (
    NODULE,
    PNEUMOTHORAX,
    draft,
    draft_again,
    report,
    work,
)
from tests.support.fhir_resources import diagnostic_report, identifier, patient, service_request
from tests.support.received_orders import order_text, send_order
from worker.draft_comparisons import compare_drafts


def plant(name, number, site_id, code, sender, client):
    """Plant rows; `client` is a program's of that site. Returns ids by parameter of routes.

    Args:
        name: the planted name, one word in capitals.
        number: of the studies; each site has its own.
        site_id, code: the site.
        sender: of its orders, reports and messages.
        client: sends FHIR resources.
    """
    person = Patient(f"{name}-ID", "", f"{name}^PATIENT", "19700101", "F")
    study = draft(number, (PNEUMOTHORAX, 0.9))
    reported = report(number, sender=sender, author=f"{name}^AUTHOR")
    draft_again(study, NODULE)
    work()
    compare_drafts()
    run_sql(
        "UPDATE studies SET site_id = :site, site_basis = 'PERSON', patient_name = :name,"
        " patient_id = :id, accession_number = :number WHERE id = :study",
        site=site_id,
        name=person.name,
        id=person.patient_id,
        number=f"{name}-A",
        study=study,
    )
    run_sql(
        "UPDATE received_reports SET patient_name = :name, text = :text WHERE id = :report",
        name=person.name,
        text=f"{name} has clear lungs.",
        report=reported,
    )
    with unit_of_work() as session:
        holds.open_hold(session, study, HoldReason.CHEST_UNKNOWN, f"{name} in the header")
        (hold,) = session.scalars(select(Hold.id).where(Hold.study_id == study))
        uid = session.get_one(Study, study).study_instance_uid
        instance = session.scalars(select(Instance.id).where(Instance.study_id == study)).first()
        discrepancy = session.scalars(
            select(Discrepancy.id).where(Discrepancy.study_id == study)
        ).first()
        comparison = session.scalars(
            select(DraftComparison.id).where(DraftComparison.study_id == study)
        ).one()
        current = withdrawals.current_draft(session, study)
        assert current is not None
        reader = Reader(f"{name} the reader")
        working_texts.save(session, current, 0, f"{name} has clear lungs.", "Normal.", reader)
        review = signing.reject(session, current, reader, f"{name} moved")
        message = received_messages.keep(
            session,
            origin=Origin.HL7,
            sender=sender,
            control_id=f"{name}-C",
            message_type="ORM^O01",
            processing_id="P",
            content=f"MSH|^~\\&|RIS|X\rPID|||{person.patient_id}||{person.name}\r".encode(),
            outcome=MessageOutcome.REFUSED,
            answer_code="AE",
            sentence="the order has no number",
        )
    order = send_order(
        sender=sender,
        patient=person,
        placer_order_number=f"{name}-P",
        accession_numbers=(f"{name}-B",),
        texts=(order_text(f"{name} coughs."),),
        message_id=message,
    ).order_id
    campaign = create(name=f"{name} backlog", studies=of_uids(uid, f"2.25.{number}"))
    with unit_of_work() as session:
        campaigns.get(session, campaign).site_id = site_id
    resources = {}
    for resource in (
        patient(id=f"p{number}", name=[{"family": name}], identifier=[identifier("MR", name)]),
        service_request(
            id=f"s{number}",
            identifier=[identifier("PLAC", f"{name}-FHIR")],
            contained=[patient(id="p", name=[{"family": name}])],
        ),
        diagnostic_report(
            id=f"d{number}",
            identifier=[{"system": "http://ris.example", "value": f"{name}-R"}],
            contained=[patient(id="p", name=[{"family": name}])],
        ),
    ):
        kind = resource["resourceType"]
        answer = client.put(
            f"/fhir/{kind}/{resource['id']}",
            content=json.dumps(resource),
            headers={"content-type": "application/fhir+json"},
        )
        assert answer.status_code == 201, answer.text
        resources[kind] = resource["id"]
    ((proposal,),) = run_sql(
        "INSERT INTO mode_proposals (site_id, mode, bundle_digest, reason, acceptance, proposer_id,"
        " proposed_by) VALUES (:site, 'CLINICAL', 'bundle', :reason, :figures, 'x', 'Dr. Roe')"
        " RETURNING id",
        site=site_id,
        reason=f"{name} was tried",
        figures=json.dumps(asdict(Acceptance(1, 0, 0, 0, 0, 0, None, None, is_enough=False))),
    )
    run_sql(
        "INSERT INTO report_styles (site_id, version, name, content, saved_by)"
        " VALUES (:site, 1, :name, '{}', 'Dr. Roe')",
        site=site_id,
        name=name,
    )
    return {
        "study": study,
        "uid": uid,
        "instance": instance,
        "order_id": order,
        "report_id": reported,
        "review_id": review,
        "discrepancy_id": discrepancy,
        "comparison_id": comparison,
        "digest": "bundle",
        "code": code,
        "proposal_id": proposal,
        "message_id": message,
        "campaign_id": campaign,
        "hold": hold,
        "resources": resources,
    }
