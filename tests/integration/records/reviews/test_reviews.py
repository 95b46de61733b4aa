"""Reviews: signed or rejected once, never changed, and what may be trained on."""

import threading
import uuid

import pytest
from sqlalchemy import text

from records import hold_decisions
from records.database.session import unit_of_work
from records.errors import NightdraftError, NotAllowed, NotFound
from records.reviews import consents, latest, lookup, signing
from records.states import WARNING, Decision, EventKind, HoldReason, ReviewDecision, Stage
from records.workflow import drafts, events, holds
from tests.support.registered_studies import claim, complete, draft_all, new_instance, prepare, save
from tests.support.waiting import eventually

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def study_id():
    return complete(new_instance(sop="1.2.3.1.1"))[0]


@pytest.fixture
def draft_id(study_id):
    return draft_all()[0]


def sign(draft_id, findings="The lungs are clear.", impression="Normal.", **more):
    with unit_of_work() as session:
        return signing.sign(session, draft_id, "Dr. Reader", findings, impression, **more)


def reject(draft_id, note="wrong side"):
    with unit_of_work() as session:
        return signing.reject(session, draft_id, "Dr. Reader", note)


def set_consent(review_id, consent, by="Dr. Reader"):
    with unit_of_work() as session:
        consents.set_consent(session, review_id, consent, by)


def of(study_id):
    with unit_of_work() as session:
        return lookup.list_by_study(session, study_id)


def latest_of(**options):
    with unit_of_work() as session:
        return latest.latest_reviews(session, **options).reviews


def event_lines(study_id):
    with unit_of_work() as session:
        return [(event.kind, event.detail) for event in events.timeline(session, study_id)]


def draft_again(study="1.2.3"):
    """A late image, and the draft that it makes."""
    complete(new_instance(study))
    (draft_id,) = draft_all()
    return draft_id


def request_redraft(study_id):
    with unit_of_work() as session:
        holds.open_hold(session, study_id, HoldReason.CONFLICTING_BYTES, "sent by TEST")


def decide(study_id, decision):
    with unit_of_work() as session:
        hold_decisions.decide(session, study_id, decision, "someone")


def test_what_was_signed_is_kept_and_its_draft_stays_unreviewed(study_id, draft_id):
    review_id = sign(draft_id)
    (review,) = of(study_id)
    assert (review.id, review.draft_id, review.decision) == (
        review_id,
        draft_id,
        ReviewDecision.SIGNED,
    )
    assert (review.reader, review.findings, review.impression) == (
        "Dr. Reader",
        "The lungs are clear.",
        "Normal.",
    )
    with unit_of_work() as session:
        (draft,) = drafts.list_by_study(session, study_id)
    assert draft.status == "UNREVIEWED"
    assert draft.text.startswith(WARNING)


def test_the_timeline_names_the_reader_and_nothing_of_the_text(study_id, draft_id):
    reject(draft_id, note="Phantom One moved")
    review_id = sign(draft_id, findings="Phantom One, clear.")
    set_consent(review_id, True)
    set_consent(review_id, True)
    set_consent(review_id, False)
    assert event_lines(study_id)[-4:] == [
        (EventKind.REJECTED, "by Dr. Reader"),
        (EventKind.SIGNED, "by Dr. Reader"),
        (EventKind.CONSENT, "to train: given by Dr. Reader"),
        (EventKind.CONSENT, "to train: withdrawn by Dr. Reader"),
    ]


@pytest.mark.parametrize(
    ("reader", "findings", "impression", "message"),
    [
        (" ", "Clear.", "", "who the reader is"),
        ("R", " \n", "\t", "without text"),
        ("R", f"{WARNING}\n\nClear.", "", "warning"),
    ],
)
def test_what_cannot_be_signed_is_refused(
    study_id, draft_id, reader, findings, impression, message
):
    with pytest.raises(NotAllowed, match=message), unit_of_work() as session:
        signing.sign(session, draft_id, reader, findings, impression)
    assert of(study_id) == []


def test_an_impression_alone_is_a_report(study_id, draft_id):
    sign(draft_id, findings="", impression="Normal chest.")
    assert of(study_id)[0].impression == "Normal chest."


def test_a_draft_that_is_not_there_is_not_reviewed():
    for review in (sign, reject):
        with pytest.raises(NotFound, match="no draft"):
            review(uuid.uuid4())
    with pytest.raises(NotFound, match="no review"):
        set_consent(uuid.uuid4(), True)


def test_a_superseded_draft_is_not_signed_but_may_be_rejected(study_id, draft_id):
    newer = draft_again()
    with pytest.raises(NotAllowed, match="newer draft"):
        sign(draft_id)
    reject(draft_id)
    sign(newer)
    assert [review.draft_id for review in of(study_id)] == [newer, draft_id]


def test_nothing_is_signed_while_a_person_must_decide(study_id, draft_id):
    request_redraft(study_id)
    with pytest.raises(NotAllowed, match="person must decide"):
        sign(draft_id)
    decide(study_id, Decision.PROCEED)
    sign(draft_id)


def test_a_draft_is_signed_once_and_not_rejected_after(study_id, draft_id):
    sign(draft_id)
    for review in (sign, reject):
        with pytest.raises(NotAllowed, match="signed already"):
            review(draft_id)
    assert len(of(study_id)) == 1


def test_of_two_readers_who_sign_at_once_one_is_refused(study_id, draft_id):
    refused = []

    def second():
        try:
            sign(draft_id, findings="the second")
        except NotAllowed as error:
            refused.append(str(error))

    with unit_of_work() as session:
        signing.sign(session, draft_id, "R", "the first", "")
        second_reader = threading.Thread(target=second)
        second_reader.start()
        eventually(a_transaction_waits)
    second_reader.join()
    assert len(refused) == 1
    assert [review.findings for review in of(study_id)] == ["the first"]


def a_transaction_waits():
    waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with unit_of_work() as session:
        return session.scalar(text(f"{waits} AND datname = current_database()"))


def test_a_rejection_says_why(study_id, draft_id):
    with pytest.raises(NotAllowed, match="reason"):
        reject(draft_id, " ")
    reject(draft_id)
    (review,) = of(study_id)
    assert (review.decision, review.note) == (ReviewDecision.REJECTED, "wrong side")
    assert (review.findings, review.impression, review.training_consent) == ("", "", False)


def insert_statement(decision, fields):
    """SQL of a second row like the one of that decision, but for `fields` (JSON)."""
    return (
        "INSERT INTO reviews SELECT (jsonb_populate_record(r, "
        f"jsonb_build_object('id', gen_random_uuid()) || '{fields}')).*"
        f" FROM reviews r WHERE decision = '{decision}'"
    )


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("UPDATE reviews SET findings = 'other'", ""),
        ("UPDATE reviews SET decided_at = now()", ""),
        ("UPDATE reviews SET reader = 'other', training_consent = true", ""),
        ("DELETE FROM reviews", ""),
        (insert_statement("SIGNED", "{}"), "uq_reviews_signed"),
        (insert_statement("REJECTED", '{"decision": "SIGNED"}'), "ck_reviews_signed_has_text"),
        (insert_statement("REJECTED", '{"note": " "}'), "ck_reviews_rejected_has_reason_alone"),
        (insert_statement("REJECTED", '{"findings": "x"}'), "ck_reviews_rejected_has_reason_alone"),
        (
            insert_statement("REJECTED", '{"training_consent": true}'),
            "ck_reviews_rejected_has_reason_alone",
        ),
        (insert_statement("REJECTED", '{"reader": ""}'), "ck_reviews_has_reader"),
        (insert_statement("REJECTED", '{"decision": "PERHAPS"}'), "ck_reviews_decision_known"),
    ],
)
def test_the_database_refuses(study_id, draft_id, change, constraint):
    reject(draft_id)
    sign(draft_id)
    before = [(review.id, review.findings, review.reader) for review in of(study_id)]
    refused = pytest.raises(NightdraftError, match=f"refused.*{constraint}")
    with refused, unit_of_work() as session:
        session.execute(text(change))
    assert [(review.id, review.findings, review.reader) for review in of(study_id)] == before


def test_a_second_rejection_can_be_kept(study_id, draft_id):
    """Without its change, the row of `insert_statement` is accepted."""
    reject(draft_id)
    with unit_of_work() as session:
        session.execute(text(insert_statement("REJECTED", "{}")))
    assert len(of(study_id)) == 2


@pytest.mark.parametrize(
    ("site", "reader_consent", "expected"),
    [(None, None, False), (True, None, True), (True, False, False), (None, True, True)],
)
def test_consent_is_the_readers_word_else_the_sites(
    study_id, draft_id, setting, site, reader_consent, expected
):
    if site is not None:
        setting(training_consent=site)
    sign(draft_id, consent=reader_consent)
    assert of(study_id)[0].training_consent is expected


def test_consent_can_be_withdrawn_and_given(study_id, draft_id):
    review_id = sign(draft_id, consent=True)
    assert [review.study_id for review in latest_of(consented=True)] == [study_id]
    set_consent(review_id, False)
    assert latest_of(consented=True) == []
    set_consent(review_id, True)
    assert [review.study_id for review in latest_of(consented=True)] == [study_id]
    with pytest.raises(NotAllowed, match="by whom"):
        set_consent(review_id, False, by="")


def test_a_rejection_is_not_trained_on(study_id, draft_id):
    review_id = reject(draft_id)
    with pytest.raises(NotAllowed, match="no report"):
        set_consent(review_id, True)
    assert latest_of(consented=True) == []
    (review,) = latest_of()
    assert (review.study_id, review.decision) == (study_id, ReviewDecision.REJECTED)


def test_only_the_latest_signed_report_of_a_study_counts(study_id, draft_id):
    sign(draft_id, findings="as it was", consent=True)
    newer = draft_again()
    reject(newer)
    assert [review.findings for review in latest_of(consented=True)] == ["as it was"]
    review_id = sign(newer, findings="as it is", consent=False)
    assert latest_of(consented=True) == [], "a report that was corrected is not trained on"
    set_consent(review_id, True)
    assert [review.findings for review in latest_of(consented=True)] == ["as it is"]
    assert [review.findings for review in latest_of()] == ["as it is"]


def test_a_question_about_the_study_keeps_it_out_until_it_is_decided(study_id, draft_id):
    sign(draft_id, consent=True)
    request_redraft(study_id)
    assert latest_of(consented=True) == []
    assert [review.held for review in latest_of()] == [True]
    decide(study_id, Decision.PROCEED)
    assert [review.held for review in latest_of(consented=True)] == [False]
    request_redraft(study_id)
    decide(study_id, Decision.CANCEL)
    assert latest_of(consented=True) == []


def test_a_signed_report_has_the_images_that_its_draft_was_made_from(study_id):
    for lease in claim(Stage.PREPARE):
        prepare(lease)
    (lease,) = claim(Stage.DRAFT)
    views = [
        {"sop_instance_uid": "1.2.3.1.1", "position": "frontal", "why": ""},
        {"sop_instance_uid": "9.9", "position": "lateral", "why": ""},
    ]
    sign(save(lease, views=views))
    (review,) = latest_of()
    present_image, deleted_image = review.images
    assert (present_image.position, present_image.blob.startswith("instances/")) == (
        "frontal",
        True,
    )
    assert (deleted_image.position, deleted_image.blob, deleted_image.instance_id) == (
        "lateral",
        "",
        None,
    )
    assert (review.patient_name, review.indication) == ("PHANTOM^ONE", "cough")


def test_pages_follow_each_other_in_one_order():
    """A page ends after so many studies, whether they may be trained on or not."""
    complete(*(new_instance(f"1.2.{number}") for number in range(7)))
    for draft_id in draft_all():
        sign(draft_id, consent=True)
    all_studies = [review.study_id for review in latest_of(consented=True)]
    assert all_studies == sorted(all_studies)
    assert len(all_studies) == 7
    with unit_of_work() as session:
        for study_id in all_studies[:4]:
            signed = lookup.find_signed(session, study_id)
            consents.set_consent(session, signed.id, consent=False, by="Dr. Reader")
    pages, after = [], None
    with unit_of_work() as session:
        while True:
            page = latest.latest_reviews(session, after, 3, consented=True)
            pages.append([review.study_id for review in page.reviews])
            after = page.next_after
            if after is None:
                break
    assert pages == [[], all_studies[4:6], all_studies[6:]]
