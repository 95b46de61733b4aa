"""Drafts that say a finding, and final reports that do not: what a second look is about."""

from __future__ import annotations

from sqlalchemy import select

from records.database.discrepancy_tables import Discrepancy
from records.database.draft_tables import Draft, DraftRequest
from records.database.session import unit_of_work
from records.states import DiscrepancySide, Purpose, Stage
from records.workflow import draft_comparisons, drafts
from records.workflow.patients import Patient
from tests.support.outside_reports import receive
from tests.support.registered_studies import claim, complete, new_draft, new_instance, prepare, save
from worker import discrepancies, final_comparisons

PNEUMOTHORAX = "There is a small left pneumothorax."
NODULE = "A right pulmonary nodule is seen."
CLEAR = "The lungs are clear. No pneumothorax."


def patient(number):
    return Patient(f"P{number}", "", f"PHANTOM^{number}", "19700101", "F")


def sentences(*pairs):
    """Sentences as `drafts.sentences` has them, from pairs of text and confidence."""
    return [
        {"section": "findings", "text": text, "confidence": sure, "least": sure}
        for text, sure in pairs
    ]


def draft(number, *pairs, **changed):
    """Draft study `number` of its own patient with these sentences and their confidences."""
    study, sop = f"1.2.{number}", f"1.2.{number}.1"
    (study_id,) = complete(
        new_instance(study, sop, patient=patient(number), accession_number=f"A{number}")
    )
    for lease in claim(Stage.PREPARE, limit=100):
        prepare(lease)
    findings = " ".join(text for text, _ in pairs)
    values = {
        "text": f"Findings: {findings}",
        "findings": findings,
        "impression": "",
        "sentences": sentences(*pairs),
    }
    for lease in claim(Stage.DRAFT, limit=100):
        save(lease, **(values | changed))
    return study_id


def draft_again(study, findings, bundle="B"):
    """Draft a study with another bundle, beside the draft that it has."""
    with unit_of_work() as session:
        revision = session.scalars(select(Draft.revision).where(Draft.study_id == study)).first()
        session.add(
            DraftRequest(
                study_id=study, revision=revision, bundle=bundle, purpose=Purpose.COMPARISON,
                priority=3,
            )
        )  # fmt: skip
    for lease in claim(Stage.PREPARE, bundle=bundle):
        prepare(lease)
    (lease,) = claim(Stage.DRAFT, bundle=bundle)
    new = new_draft(lease, findings=findings, impression="", bundle_digest=bundle)
    with unit_of_work() as session:
        draft_id = drafts.save(session, lease, new)
        draft_comparisons.note(session, draft_id)
        draft_comparisons.note(session, draft_id)
    return draft_id


def report(number, findings=CLEAR, **changed):
    """Receive the final report of study `number`."""
    values = {
        "patient": patient(number),
        "accession_numbers": (f"A{number}",),
        "report_number": f"R{number}",
        "performed_on": "20260101",
        "findings": findings,
        "impression": "",
        "text": findings,
    }
    return receive(**(values | changed)).report_id


def work():
    """Compare and check whatever waits, as a worker does."""
    final_comparisons.compare_finals()
    discrepancies.check_waiting()


def found(side=DiscrepancySide.MISS_OF_REPORT):
    """[(observation, state)] of one side, the oldest first."""
    with unit_of_work() as session:
        rows = session.execute(
            select(Discrepancy.observation, Discrepancy.state)
            .where(Discrepancy.side == side)
            .order_by(Discrepancy.id)
        )
        return [tuple(row) for row in rows]
