"""Working texts: no reader overwrites another, and what is signed is what was shown."""

import threading
import uuid

import pytest
from sqlalchemy import text

from records.database.draft_tables import Draft
from records.database.review_tables import Review, WorkingText
from records.database.session import unit_of_work
from records.errors import NightdraftError, NotAllowed, NotFound
from records.reviews import latest, lookup, signing, working_texts
from records.reviews.readers import MOST_TEXT, Reader, digest_text
from records.reviews.working_texts import StaleText
from records.states import WARNING, EventKind, HoldReason, RejectReason, ReviewDecision, TextState
from records.workflow import events, holds
from tests.support.registered_studies import complete, draft_all, new_instance

pytestmark = pytest.mark.usefixtures("database")

ROE, DOE = Reader("Dr. Roe"), Reader("Dr. Doe")
TRAINEE = Reader("A. Trainee", may_sign=False)


@pytest.fixture
def study_id():
    return complete(new_instance(sop="1.2.3.1.1"))[0]


@pytest.fixture
def draft_id(study_id):
    return draft_all()[0]


def read(draft_id):
    with unit_of_work() as session:
        return working_texts.read(session, session.get_one(Draft, draft_id))


def save(draft_id, version, findings, reader=ROE, impression="Normal."):
    with unit_of_work() as session:
        return working_texts.save(session, draft_id, version, findings, impression, reader)


def send(draft_id, version, to=TextState.SUBMITTED, reader=TRAINEE, note=""):
    with unit_of_work() as session:
        return working_texts.send_on(session, draft_id, version, to, reader, note)


def sign(draft_id, version, sha256, reader=ROE):
    with unit_of_work() as session:
        return signing.sign_text(session, draft_id, version, sha256, reader)


def reviews_of(study_id):
    with unit_of_work() as session:
        return lookup.list_by_study(session, study_id)


def kinds(study_id):
    with unit_of_work() as session:
        return [EventKind(event.kind) for event in events.timeline(session, study_id)]


def test_the_text_begins_as_the_draft_and_each_save_raises_its_version(study_id, draft_id):
    begun = read(draft_id)
    with unit_of_work() as session:
        draft = session.get_one(Draft, draft_id)
        assert (begun.version, begun.findings, begun.impression) == (
            0,
            draft.findings,
            draft.impression,
        )
    first = save(draft_id, 0, "Heart large.\r\nLungs clear.")
    assert (first.version, first.findings) == (1, "Heart large.\nLungs clear.")
    second = save(draft_id, 1, "Heart normal.", DOE)
    assert (second.version, second.saved_by) == (2, "Dr. Doe")
    assert read(draft_id) == second
    assert first.etag != second.etag
    assert kinds(study_id).count(EventKind.EDITED) == 1, "not one line for each save"


def test_a_save_of_an_older_version_changes_nothing_and_says_what_stands_there(draft_id):
    save(draft_id, 0, "what Roe wrote")
    with pytest.raises(StaleText) as refused:
        save(draft_id, 0, "what Doe wrote", DOE)
    assert refused.value.current == read(draft_id)
    assert (refused.value.current.findings, refused.value.current.saved_by) == (
        "what Roe wrote",
        "Dr. Roe",
    )
    with pytest.raises(StaleText):
        save(draft_id, 7, "of a version that is not there yet")


def test_a_save_whose_answer_was_lost_can_be_sent_again(draft_id):
    saved = save(draft_id, 0, "written once")
    assert save(draft_id, 0, "written once") == saved
    with pytest.raises(StaleText):  # the same words by another reader are that one's first save
        save(draft_id, 0, "written once", DOE)


def test_of_two_who_save_at_once_one_is_refused(draft_id):
    barrier, outcomes = threading.Barrier(2), []

    def write(reader):
        barrier.wait()
        try:
            outcomes.append(save(draft_id, 0, f"by {reader.name}", reader).saved_by)
        except StaleText as error:
            outcomes.append(error.current.saved_by)

    threads = [threading.Thread(target=write, args=(reader,)) for reader in (ROE, DOE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winner = read(draft_id)
    assert winner.version == 1
    assert outcomes == [winner.saved_by] * 2
    assert winner.findings == f"by {winner.saved_by}"


def test_the_database_refuses_another_text_under_the_same_version(draft_id):
    save(draft_id, 0, "one")
    with pytest.raises(NightdraftError, match="refused"), unit_of_work() as session:
        session.execute(text("UPDATE working_texts SET findings = 'two'"))
    with unit_of_work() as session:
        session.execute(text("UPDATE working_texts SET findings = 'two', version = 2"))
    assert read(draft_id).findings == "two"


def test_too_long_a_text_is_refused(draft_id):
    save(draft_id, 0, "x" * MOST_TEXT)
    with pytest.raises(NotAllowed, match="at most"):
        save(draft_id, 1, "x" * (MOST_TEXT + 1))
    assert len(read(draft_id).findings) == MOST_TEXT
    with pytest.raises(NotFound):
        save(uuid.uuid4(), 0, "of no draft")


def test_what_is_signed_is_exactly_what_was_shown(study_id, draft_id):
    shown = save(draft_id, 0, "Lungs clear.")
    save(draft_id, 1, "Left effusion.", DOE)
    with pytest.raises(StaleText):
        sign(draft_id, shown.version, shown.sha256)
    now = read(draft_id)
    with pytest.raises(StaleText):
        sign(draft_id, now.version, shown.sha256)
    assert reviews_of(study_id) == []
    review_id = sign(draft_id, now.version, now.sha256)
    (review,) = reviews_of(study_id)
    assert (review.id, review.findings, review.impression) == (
        review_id,
        "Left effusion.",
        "Normal.",
    )
    assert (review.text_version, review.text_sha256) == (
        2,
        digest_text("Left effusion.", "Normal."),
    )
    with unit_of_work() as session:
        draft = session.get_one(Draft, draft_id)
        longer = max(len(draft.findings), len("Left effusion."))
        assert review.distances["findings"][1] == longer
        assert 0 < review.distances["findings"][0] <= longer
        assert session.get(WorkingText, draft_id) is None, "the text is kept once"


def test_signing_twice_is_the_same_as_once_and_another_reader_is_refused(study_id, draft_id):
    shown = read(draft_id)
    assert sign(draft_id, 0, shown.sha256) == sign(draft_id, 0, shown.sha256)
    assert len(reviews_of(study_id)) == 1
    with pytest.raises(NotAllowed, match="signed already"):
        sign(draft_id, 0, shown.sha256, DOE)
    with pytest.raises(NotAllowed, match="signed already"):
        save(draft_id, 0, "after the signature")


def test_a_trainee_writes_and_submits_and_a_reader_signs(study_id, draft_id):
    written = save(draft_id, 0, "By the trainee.", TRAINEE)
    with pytest.raises(NotAllowed, match="submit the text"):
        sign(draft_id, 1, written.sha256, TRAINEE)
    sent = send(draft_id, 1, note="please look at the left base")
    assert (sent.state, sent.sent_by, sent.note) == (
        TextState.SUBMITTED,
        "A. Trainee",
        "please look at the left base",
    )
    assert send(draft_id, 1).sent_at == sent.sent_at, "submitting twice is the same as once"
    with pytest.raises(NotAllowed, match="submitted"):
        save(draft_id, 1, "thought again", TRAINEE)
    corrected = save(draft_id, 1, "By the trainee, and corrected.")
    sign(draft_id, 2, corrected.sha256)
    (review,) = reviews_of(study_id)
    assert (review.reader, review.prepared_by) == ("Dr. Roe", "A. Trainee")
    assert kinds(study_id)[-3:] == [EventKind.EDITED, EventKind.SENT_ON, EventKind.SIGNED]


def test_a_text_can_go_to_a_second_reader_who_signs_it(study_id, draft_id):
    shown = read(draft_id)
    sent = send(draft_id, 0, TextState.SECOND_READER, ROE)
    assert (sent.state, sent.version) == (TextState.SECOND_READER, 1)
    assert sent.sha256 == shown.sha256
    sign(draft_id, 1, sent.sha256, DOE)
    assert [(review.reader, review.prepared_by) for review in reviews_of(study_id)] == [
        ("Dr. Doe", "")
    ]


def test_a_text_that_is_given_up_is_the_draft_again_under_a_new_version(study_id, draft_id):
    begun = read(draft_id)
    save(draft_id, 0, "all wrong")
    with unit_of_work() as session:
        given_up = working_texts.discard(session, draft_id, 1, ROE)
    assert (given_up.findings, given_up.version) == (begun.findings, 2)
    with pytest.raises(StaleText):
        save(draft_id, 0, "of the version before")
    assert kinds(study_id)[-1] == EventKind.DISCARDED


def test_a_newer_draft_leaves_what_was_written_readable(study_id, draft_id):
    save(draft_id, 0, "written before the late film")
    complete(new_instance("1.2.3"))
    (newer,) = draft_all()
    with pytest.raises(NotAllowed, match="newer draft"):
        save(draft_id, 1, "too late")
    with unit_of_work() as session:
        left = working_texts.list_left(session, study_id, newer)
    assert [row.findings for row in left] == ["written before the late film"]


def test_a_held_study_can_be_written_and_not_signed(study_id, draft_id):
    with unit_of_work() as session:
        holds.open_hold(session, study_id, HoldReason.FINALS_DIFFER, "two reports")
    written = save(draft_id, 0, "kept meanwhile")
    with pytest.raises(NotAllowed, match="must decide"):
        sign(draft_id, 1, written.sha256)
    assert read(draft_id) == written


@pytest.mark.parametrize(
    ("findings", "impression", "message"),
    [(" ", "\n", "without text"), (f"{WARNING} Clear.", "", "warning")],
)
def test_what_cannot_be_signed_can_be_saved(draft_id, findings, impression, message):
    saved = save(draft_id, 0, findings, impression=impression)
    with pytest.raises(NotAllowed, match=message):
        sign(draft_id, 1, saved.sha256)


def test_a_rejection_has_a_reason_and_other_needs_a_note(study_id, draft_id):
    with unit_of_work() as session:
        for wrong in (None, RejectReason.OTHER):
            with pytest.raises(NotAllowed, match="reason"):
                signing.reject(session, draft_id, ROE, " ", wrong)
        with pytest.raises(NotAllowed, match="may sign"):
            signing.reject(session, draft_id, TRAINEE, "", RejectReason.WRONG_SIDE)
        signing.reject(session, draft_id, ROE, "", RejectReason.WRONG_SIDE)
    (review,) = reviews_of(study_id)
    assert (review.reject_reason, review.note) == ("WRONG_SIDE", "")


def test_addenda_and_countersignatures_follow_the_report_and_change_nothing_of_it(
    study_id, draft_id
):
    with unit_of_work() as session:
        report_id = signing.sign(session, draft_id, "Dr. Roe", "Clear.", "Normal.", consent=True)
        added = signing.add_addendum(session, report_id, "  A rib is broken. ", DOE)
        assert signing.add_addendum(session, report_id, "A rib is broken.", DOE) == added
        signed_too = signing.countersign(session, report_id, DOE)
        assert signing.countersign(session, report_id, DOE) == signed_too
        with pytest.raises(NotAllowed, match="somebody else"):
            signing.countersign(session, report_id, ROE)
        with pytest.raises(NotAllowed, match="without text"):
            signing.add_addendum(session, report_id, " ", DOE)
        with pytest.raises(NotAllowed, match="warning"):
            signing.add_addendum(session, report_id, WARNING, DOE)
        with pytest.raises(NotAllowed, match="signed report"):
            signing.add_addendum(session, added, "to an addendum", DOE)
        with pytest.raises(NotAllowed, match="may not sign"):
            signing.countersign(session, report_id, TRAINEE)
        assert lookup.find_signed(session, study_id).id == report_id
        (counted,) = latest.latest_reviews(session, consented=True).reviews
        assert (counted.findings, counted.decision) == ("Clear.", ReviewDecision.SIGNED)
    rows = {review.decision: review for review in reviews_of(study_id)}
    assert rows["ADDENDUM"].addendum == "A rib is broken."
    assert {row.follows_id for row in rows.values()} == {None, report_id}
    assert kinds(study_id)[-2:] == [EventKind.ADDENDUM, EventKind.COUNTERSIGNED]


@pytest.mark.parametrize(
    ("fields", "constraint"),
    [
        ("'ADDENDUM', follows_id = id, addendum = ' '", "addendum_has_text"),
        ("'ADDENDUM', addendum = 'x'", "follows_a_report"),
        ("'COUNTERSIGNED'", "follows_a_report"),
        ("'SIGNED_ELSEWHERE'", "elsewhere_has_report"),
        ("'SIGNED', reject_reason = 'OTHER'", "reject_reason_known"),
    ],
)
def test_the_database_refuses_what_is_half_said(draft_id, fields, constraint):
    with unit_of_work() as session:
        signing.sign(session, draft_id, "Dr. Roe", "Clear.", "")
    with unit_of_work() as session:
        assert session.query(Review).count() == 1
    names = [part.split(" = ")[0] for part in fields.split(", ")[1:]]
    values = [part.split(" = ")[1] for part in fields.split(", ")[1:]]
    decision = fields.split(", ")[0]
    columns = ", ".join(["study_id", "draft_id", "reader", "decision", *names])
    picked = ", ".join(["study_id", "draft_id", "reader", decision, *values])
    statement = f"INSERT INTO reviews ({columns}) SELECT {picked} FROM reviews"
    refused = pytest.raises(NightdraftError, match=f"refused.*ck_reviews_({constraint}|signed_has)")
    with refused, unit_of_work() as session:
        session.execute(text(statement))
