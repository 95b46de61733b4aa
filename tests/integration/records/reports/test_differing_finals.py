"""Rule 13: final reports of one study that differ are asked about, and what each answer does."""

import pytest
from sqlalchemy import select

from records import hold_decisions
from records.database.draft_tables import Draft, DraftRequest
from records.database.session import unit_of_work
from records.database.tables import Hold, Study
from records.errors import NotFound
from records.reports import differing_finals, finals
from records.reviews import latest, lookup, signing
from records.states import (
    Decision,
    EndReason,
    HoldReason,
    Origin,
    ReportStatus,
    RequestState,
    Stage,
)
from records.workflow import leases, requests, withdrawals
from tests.support.outside_reports import receive
from tests.support.registered_studies import (
    OTHER_PATIENT,
    claim,
    complete,
    draft_all,
    new_instance,
    prepare,
)

EFFUSION = {"impression": "Effusion.", "text": "Effusion."}


def send(number="R1", **changed):
    return receive(
        **(
            {"report_number": number, "accession_numbers": ("A1",), "performed_on": "20260101"}
            | changed
        )
    )


def holds_of(*columns):
    with unit_of_work() as session:
        query = select(*columns).where(Hold.reason == HoldReason.FINALS_DIFFER)
        return [tuple(row) for row in session.execute(query.order_by(Hold.opened_at))]


def open_holds():
    return sum(decision is None for (decision,) in holds_of(Hold.decision))


def sides(study_id):
    with unit_of_work() as session:
        pairs = differing_finals.list_differing(session, session.get_one(Study, study_id))
        return [(pair.first.impression, pair.second.impression) for pair in pairs]


def decide(study_id, decision):
    with unit_of_work() as session:
        return hold_decisions.decide(session, study_id, decision, "Dr. Roe")


def labels(study_id):
    with unit_of_work() as session:
        study = session.get_one(Study, study_id)
        return hold_decisions.label_decisions(session, study, HoldReason.FINALS_DIFFER)


def request():
    with unit_of_work() as session:
        query = select(DraftRequest.state, DraftRequest.reason)
        return tuple(session.execute(query.order_by(DraftRequest.id.desc()).limit(1)).one())


def has_current_draft(study_id):
    with unit_of_work() as session:
        return withdrawals.current_draft(session, study_id) is not None


def test_two_finals_from_elsewhere_that_differ_ask_a_person_with_both_sides(database):
    (study_id,) = complete(new_instance())
    send()
    assert open_holds() == 0
    send("R2", sender="PACS", **EFFUSION)
    assert holds_of(Hold.detail) == [("a final report by HL7 from PACS",)]
    assert sides(study_id) == [("No disease.", "Effusion.")]
    # The same reports again ask nothing more.
    send("R2", sender="PACS", **EFFUSION)
    assert len(holds_of(Hold.id)) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"origin": Origin.FHIR, "findings": "", "impression": ""},
        {
            "findings": "",
            "impression": "",
            "text": "The lungs are\r\nCLEAR. Conclusion: no disease",
        },
        {"status": ReportStatus.PRELIMINARY, **EFFUSION},
        {"patient": OTHER_PATIENT, **EFFUSION},
        {"accession_numbers": ("A2",), **EFFUSION},
    ],
)
def test_the_same_words_and_what_is_no_final_of_the_study_contradict_nothing(database, changed):
    complete(new_instance())
    send()
    send("R2", **changed)
    assert open_holds() == 0


@pytest.mark.parametrize("copied_by", [Origin.FHIR, Origin.DICOM])
def test_a_correction_replaces_its_report_and_contradicts_no_copy_of_it(database, copied_by):
    (study_id,) = complete(new_instance())
    send()
    send("elsewhere", origin=copied_by, sender="PACS")
    send(status=ReportStatus.CORRECTED, **EFFUSION)
    assert (open_holds(), sides(study_id)) == (0, [])
    # A third report agrees with the correction, a fourth one with nobody.
    send("R3", sender="ARCHIVE", **EFFUSION)
    assert open_holds() == 0
    send("R4", sender="CLINIC", impression="Nodule.", text="Nodule.")
    assert sides(study_id) == [("Effusion.", "Nodule.")]
    assert open_holds() == 1


@pytest.mark.parametrize(
    "changed",
    [
        {
            "status": ReportStatus.CORRECTED,
            "findings": "",
            "impression": "",
            "text": "The lungs are clear. No disease.",
        },
        {"status": ReportStatus.CANCELLED},
    ],
)
def test_the_question_is_closed_where_the_finals_differ_no_more(database, changed):
    complete(new_instance())
    send()
    send("R2", sender="PACS", **EFFUSION)
    send("R2", sender="PACS", status=ReportStatus.CORRECTED, impression="Nodule.", text="Nodule.")
    assert open_holds() == 1
    send("R2", sender="PACS", **changed)
    assert open_holds() == 0
    assert holds_of(Hold.decided_by) == [("Nightdraft",)]


def look_again(study_id):
    """Look for earlier finals of a study, as the worker that prepares it does."""
    with unit_of_work() as session:
        study = withdrawals.lock_study(session, study_id)
        finals.end_if_reported(session, study)


def test_finals_that_were_here_before_the_study_are_asked_about_once(database, setting):
    setting(draft_reported_studies=True)
    send()
    send("R2", sender="PACS", **EFFUSION)
    (study_id,) = complete(new_instance())
    assert open_holds() == 0
    for _ in range(2):
        look_again(study_id)
    assert open_holds() == 1
    decide(study_id, Decision.PROCEED)
    look_again(study_id)
    assert open_holds() == 0
    assert len(claim()) == 1
    # What comes later is a question of its own.
    send("R2", sender="PACS", status=ReportStatus.CORRECTED, impression="Nodule.", text="Nodule.")
    assert open_holds() == 1


def sign(study_id):
    with unit_of_work() as session:
        draft_id = withdrawals.current_draft(session, study_id)
        signing.sign(session, draft_id, "a reader", "Clear.", "Normal.", consent=True)


STATES = {
    # The state, and what the study's draft is after PROCEED and after CANCEL.
    "signed": (
        "The draft stays, too",
        "Cancel: withdraw the draft. The signed report stays, but is no longer trained on or used "
        "as a prior",
    ),
    "drafted": ("The draft stays, too", "Cancel: withdraw the draft"),
    "waiting": ("The study is drafted", "Cancel: make no draft"),
    "prepared": ("The study is drafted", "Cancel: make no draft"),
    "ended": ("There is no draft", "Cancel: leave the study without a draft"),
}


def bring_to(state, setting):
    setting(draft_reported_studies=state != "ended")
    (study_id,) = complete(new_instance())
    if state in ("signed", "drafted"):
        draft_all()
    if state == "signed":
        sign(study_id)
    if state == "prepared":
        (lease,) = claim()
        prepare(lease)
    send()
    send("R2", sender="PACS", **EFFUSION)
    assert open_holds() == 1
    return study_id


@pytest.mark.parametrize("state", STATES)
def test_proceeding_does_what_its_words_say(database, setting, state):
    study_id = bring_to(state, setting)
    words = labels(study_id)[Decision.PROCEED]
    assert words == f"Leave the reports as they are. {STATES[state][0]}"
    before = request()
    decide(study_id, Decision.PROCEED)
    assert (open_holds(), request()) == (0, before)
    assert has_current_draft(study_id) == ("draft stays" in words)
    stage = Stage.DRAFT if state == "prepared" else Stage.PREPARE
    assert bool(claim(stage)) == ("is drafted" in words)


@pytest.mark.parametrize("state", STATES)
def test_cancelling_does_what_its_words_say(database, setting, state):
    study_id = bring_to(state, setting)
    assert labels(study_id)[Decision.CANCEL] == STATES[state][1]
    decide(study_id, Decision.CANCEL)
    assert request() == (RequestState.CANCELLED, EndReason.DECIDED)
    assert not has_current_draft(study_id)
    with unit_of_work() as session:
        signed = lookup.find_signed(session, study_id)
        assert (signed is not None) == (state == "signed")
        assert not latest.latest_reviews(session, consented=True).reviews
        drafts = session.scalars(select(Draft.superseded_at)).all()
    assert None not in drafts
    # It stays so where the finals are cancelled, until a person thinks again.
    for number, sender in (("R1", "RIS|HOSPITAL"), ("R2", "PACS")):
        send(number, sender=sender, status=ReportStatus.CANCELLED)
    assert request() == (RequestState.CANCELLED, EndReason.DECIDED)
    with unit_of_work() as session:
        requests.retry(session, study_id=study_id)
    assert len(claim()) == 1
    with pytest.raises(NotFound):
        decide(study_id, Decision.CANCEL)


def test_a_worker_that_has_the_study_gives_it_back_for_the_decision(database, setting):
    setting(draft_reported_studies=True)
    (study_id,) = complete(new_instance())
    send()
    (lease,) = claim()
    send("R2", sender="PACS", **EFFUSION)
    with unit_of_work() as session:
        leases.release(session, [lease], "a person must decide")
    assert claim() == []
    decide(study_id, Decision.PROCEED)
    assert len(claim()) == 1
