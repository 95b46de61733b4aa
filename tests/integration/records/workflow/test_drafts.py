"""Drafts: written once, begun with the warning, one current a study, never final."""

import pytest
from sqlalchemy import text

from records.database.session import unit_of_work
from records.errors import NightdraftError
from records.states import WARNING, Stage
from records.workflow import drafts, leases, requests, worklist_rows
from tests.support.registered_studies import (
    claim,
    complete,
    draft_all,
    new_draft,
    new_instance,
    prepare,
    save,
)

pytestmark = pytest.mark.usefixtures("database")


def of(study_id):
    with unit_of_work() as session:
        return drafts.list_by_study(session, study_id)


def test_every_draft_begins_with_the_warning():
    (study_id,) = complete(new_instance())
    draft_all()
    (draft,) = of(study_id)
    assert draft.text.startswith(WARNING)
    assert draft.status == "UNREVIEWED"


def caveat(study_id):
    with unit_of_work() as session:
        row = worklist_rows.read_row(session, study_id)
        (draft,) = (draft for draft in of(study_id) if draft.id == row.draft_id)
        return worklist_rows.draft_caveat(row, draft.revision)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE drafts SET findings = 'other'",
        "UPDATE drafts SET status = 'FINAL'",
        "UPDATE drafts SET sentences = '[]'",
        "UPDATE drafts SET text = 'no warning'",
        "DELETE FROM drafts",
        "UPDATE events SET detail = 'other'",
        "DELETE FROM events",
        'INSERT INTO drafts SELECT (jsonb_populate_record(d, \'{"text": "no warning",'
        ' "inputs_digest": "x", "superseded_at": "2026-01-01",'
        ' "id": "00000000-0000-0000-0000-000000000001"}\')).* FROM drafts d',
        'INSERT INTO drafts SELECT (jsonb_populate_record(d, \'{"status": "FINAL",'
        ' "inputs_digest": "x", "superseded_at": "2026-01-01",'
        ' "id": "00000000-0000-0000-0000-000000000001"}\')).* FROM drafts d',
    ],
)
def test_the_database_refuses_to_change_or_finish_a_draft(change):
    (study_id,) = complete(new_instance())
    draft_all()
    with pytest.raises(NightdraftError, match="refused"), unit_of_work() as session:
        session.execute(text(change))
    (draft,) = of(study_id)
    assert draft.findings == "the lungs are clear."


def test_a_draft_keeps_how_sure_the_model_was_of_its_sentences():
    sentence = {"section": "findings", "text": "Clear.", "confidence": 0.9, "least": 0.5}
    known, unknown = complete(new_instance("1.2"), new_instance("1.3"))
    for lease in claim(Stage.PREPARE):
        prepare(lease)
    for lease in claim(Stage.DRAFT):
        save(lease, sentences=[sentence] if lease.study_id == known else None)
    assert of(known)[0].sentences == [sentence]
    with unit_of_work() as session:
        count = "SELECT count(*) FROM drafts WHERE sentences IS NULL"
        assert session.scalar(text(count)) == 1, "not known is NULL, not JSON's null"
    assert of(unknown)[0].sentences is None


def test_the_same_effect_happens_once():
    (study_id,) = complete(new_instance())
    (first,) = draft_all()
    complete(new_instance())  # a late image whose inputs come out the same
    prepare(claim()[0], inputs_digest=of(study_id)[0].inputs_digest)
    assert save(claim(Stage.DRAFT)[0]) == first
    assert len(of(study_id)) == 1


def test_one_draft_is_current_and_the_older_are_kept():
    (study_id,) = complete(new_instance())
    (old,) = draft_all()
    complete(new_instance())
    (new,) = draft_all()
    assert [(d.id, d.superseded_at is None) for d in of(study_id)] == [(new, True), (old, False)]


def test_a_draft_made_before_becomes_current_again():
    (study_id,) = complete(new_instance())
    (old,) = draft_all()
    inputs = of(study_id)[0].inputs_digest
    complete(new_instance())
    draft_all()
    complete(new_instance())
    prepare(claim()[0], inputs_digest=inputs)
    assert "does not show everything" in caveat(study_id)
    assert save(claim(Stage.DRAFT)[0]) == old
    assert [d.id for d in of(study_id) if d.superseded_at is None] == [old]
    assert caveat(study_id) == ""  # it is of revision 1, and of all that is known
    complete(new_instance())
    assert "does not show everything" in caveat(study_id)


def test_a_lost_lease_saves_nothing_and_the_others_of_its_batch_are_saved():
    lost, valid = complete(new_instance("1.1")), complete(new_instance("1.2"))
    for lease in claim():
        prepare(lease)
    claimed = {lease.study_id: lease for lease in claim(Stage.DRAFT)}
    with unit_of_work() as session:
        leases.release(session, [claimed[lost[0]]], "on purpose")
    with unit_of_work() as session:
        saved = [drafts.save(session, lease, new_draft(lease)) for lease in claimed.values()]
    assert saved.count(None) == 1
    assert (len(of(lost[0])), len(of(valid[0]))) == (0, 1)


def test_a_failing_transaction_saves_nothing_of_the_group():
    (study_id,) = complete(new_instance())
    prepare(claim()[0])
    (lease,) = claim(Stage.DRAFT)

    def save_and_break():
        with unit_of_work() as session:
            drafts.save(session, lease, new_draft(lease))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        save_and_break()
    assert of(study_id) == []
    assert save(lease) is not None


def test_a_lease_that_runs_out_while_its_draft_is_saved_leaves_no_request_behind(monkeypatch):
    """The request is locked by then, so nobody else can have it: draft and request end together."""
    (study_id,) = complete(new_instance())
    (first,) = claim()
    prepare(first)
    (lease,) = claim(Stage.DRAFT)
    find_draft = drafts.find_draft

    def find_after_the_end(session, *arguments):
        session.execute(
            text("UPDATE leases SET expires_at = clock_timestamp() WHERE request_id = :id"),
            {"id": lease.request_id},
        )
        return find_draft(session, *arguments)

    monkeypatch.setattr(drafts, "find_draft", find_after_the_end)
    assert save(lease) is not None
    (draft,) = of(study_id)
    with unit_of_work() as session:
        state, draft_id = session.execute(
            text("SELECT state, draft_id FROM draft_requests WHERE id = :id"),
            {"id": lease.request_id},
        ).one()
    assert (state, draft_id) == ("DRAFTED", draft.id)


def test_a_request_that_is_done_keeps_no_more_than_a_review_reads():
    complete(new_instance())
    (lease,) = claim()
    kept = {"procedure": "CHEST 2 VIEWS"}
    provenance = {"views": ["a"], "notes": ["b"], "indication": "cough"} | kept
    with unit_of_work() as session:
        requests.mark_prepared(
            session, lease, requests.PreparedInput("prepared/x", "inputs", "pp", provenance)
        )
    (lease,) = claim(Stage.DRAFT)
    assert lease.provenance == provenance
    save(lease)
    with unit_of_work() as session:
        row = session.execute(
            text(
                "SELECT prepared_blob, preprocessing_digest, inputs_digest, provenance"
                " FROM draft_requests"
            )
        ).one()
    assert tuple(row) == (None, None, "inputs", kept)
