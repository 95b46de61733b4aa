"""Objects as the listener registers them, for tests of the records; no file is behind them."""

import hashlib
import itertools
import uuid

from records.database.session import unit_of_work
from records.states import Priority, Stage
from records.workflow import drafts, leases, registrations, requests, studies
from records.workflow.arrivals import ReceivedInstance
from records.workflow.patients import Patient

PATIENT = Patient("P-1", "", "PHANTOM^ONE", "19700101", "F")
OTHER_PATIENT = Patient("P-2", "", "PHANTOM^TWO", "19600101", "M")
_numbers = itertools.count(1)


def new_instance(study="1.2.3", sop=None, content="an image", patient=PATIENT, **changed):
    number = next(_numbers)
    values = {
        "study_instance_uid": study,
        "series_instance_uid": f"{study}.1",
        "sop_instance_uid": sop or f"{study}.1.{number}",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.1.1",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "modality": "DX",
        "patient": patient,
        "accession_number": "A1",
        "study_date": "20260101",
        "study_description": "CHEST",
        "blob": f"instances/2026-01-01/00/{uuid.uuid4().hex}.dcm",
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
        "size": len(content),
        "calling_ae": "TEST",
        "priority": Priority.ROUTINE,
    }
    return ReceivedInstance(**(values | changed))


def register(*instances):
    with unit_of_work() as session:
        return [registrations.register_instance(session, instance) for instance in instances]


def complete(*instances):
    """Register and close; returns the studies' own ids in order, each once."""
    study_ids = list(dict.fromkeys(done.study_id for done in register(*instances)))
    with unit_of_work() as session:
        studies.close_quiet(session, 0.0)
    return study_ids


def claim(stage=Stage.PREPARE, owner="w", limit=8, seconds=60.0, **changed):
    with unit_of_work() as session:
        return leases.claim(session, stage, owner, limit, seconds, **changed)


def prepare(lease, inputs_digest=None):
    prepared = requests.PreparedInput(
        "prepared/x", inputs_digest or f"in-{lease.request_id}", "pp", {}
    )
    with unit_of_work() as session:
        return requests.mark_prepared(session, lease, prepared)


def new_draft(lease, **changed):
    values = {
        "text": "Findings: the lungs are clear.",
        "findings": "the lungs are clear.",
        "impression": "normal.",
        "model_name": "m",
        "model_version": "1",
        "bundle_digest": "bundle",
        "settings_digest": "settings",
        "inputs_digest": lease.inputs_digest,
        "notice": "",
        "prompt": "p",
        "indication": "cough",
        "indication_source": "header",
        "views": [],
        "left_out": [],
        "notes": [],
        "timings": {},
        "tokens": ["the"],
        "token_logprobs": [-0.5],
        "cut": False,
        "device": "cpu",
        "dtype": "float32",
    }
    return drafts.NewDraft(**(values | changed))


def save(lease, **changed):
    with unit_of_work() as session:
        return drafts.save(session, lease, new_draft(lease, **changed))


def draft_all():
    """Prepare and draft whatever is ready; returns the drafts' ids."""
    for lease in claim(Stage.PREPARE, limit=100):
        prepare(lease)
    return [save(lease) for lease in claim(Stage.DRAFT, limit=100)]
