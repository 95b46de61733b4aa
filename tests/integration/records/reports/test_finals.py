"""Rule 13: a final report from elsewhere ends our draft, and the distance of the two is kept."""

import threading

import pytest
from sqlalchemy import select

from records.database.draft_tables import Draft, DraftRequest, LiveLease
from records.database.report_tables import FinalComparison, ReceivedReport
from records.database.review_tables import Review
from records.database.session import unit_of_work
from records.database.tables import Event, Hold
from records.reports import finals, reading
from records.reviews import signing
from records.states import (
    EndReason,
    EventKind,
    HoldReason,
    ReportStatus,
    RequestState,
    ReviewDecision,
    Stage,
)
from records.workflow import drafts, leases, requests
from tests.support.outside_reports import receive
from tests.support.registered_studies import (
    OTHER_PATIENT,
    claim,
    complete,
    draft_all,
    new_draft,
    new_instance,
    prepare,
    save,
)


def read(*columns):
    with unit_of_work() as session:
        rows = session.execute(select(*columns)).all()
    return [row[0] if len(columns) == 1 else tuple(row) for row in rows]


def send(**changed):
    return receive(**({"accession_numbers": ("A1",), "performed_on": "20260101"} | changed))


def compared():
    """Make every comparison, as a worker does, with distances that name the report."""
    with unit_of_work() as session:
        while claimed := finals.claim_comparison(session):
            comparison_id, _, report = claimed
            finals.keep_comparison(session, comparison_id, {"of": report.impression}, {})
    return [row["of"] for row in read(FinalComparison.distances)]


@pytest.mark.parametrize("stage", [None, Stage.PREPARE, Stage.DRAFT])
def test_a_final_closes_the_open_request_whoever_works_on_it(database, stage):
    complete(new_instance())
    lease = None
    if stage is not None:
        (lease,) = claim()
        if stage is Stage.DRAFT:
            prepare(lease)
            (lease,) = claim(Stage.DRAFT)
    send()
    assert read(DraftRequest.state, DraftRequest.reason) == [
        (RequestState.CANCELLED, EndReason.REPORTED_ELSEWHERE)
    ]
    assert read(LiveLease.request_id) == []
    if stage is Stage.PREPARE:
        assert not prepare(lease)
    elif stage is Stage.DRAFT:
        assert save(lease) is None
    assert read(Draft.id) == []
    assert claim() == []


@pytest.mark.parametrize(
    "changed",
    [
        {"status": ReportStatus.PRELIMINARY},
        {"text": "", "findings": "", "impression": ""},
        {"patient": OTHER_PATIENT},
        {"accession_numbers": ("A2",)},
    ],
)
def test_what_is_no_final_of_this_study_ends_nothing(database, changed):
    complete(new_instance())
    draft_all()
    send(**changed)
    assert read(DraftRequest.state) == [RequestState.DRAFTED]
    assert read(FinalComparison.id) == []


def test_a_final_after_the_draft_makes_it_an_older_one_and_keeps_the_distance(database):
    (study_id,) = complete(new_instance())
    draft_all()
    send()
    assert read(DraftRequest.state) == [RequestState.CANCELLED]
    assert read(Draft.superseded_at) != [None]
    withdrawn = [row for row in read(Event.kind, Event.detail) if row[0] == EventKind.WITHDRAWN]
    assert withdrawn == [(EventKind.WITHDRAWN, "a final report came by HL7")]
    assert compared() == ["No disease."]
    # A review of the draft says which report ended it.
    ((decision, report_id),) = read(Review.decision, Review.report_id)
    assert decision == ReviewDecision.SIGNED_ELSEWHERE
    assert [report_id] == read(ReceivedReport.id)
    # A correction takes its place, and is compared with the same draft, once.
    for _ in range(2):
        send(status=ReportStatus.CORRECTED, impression="Effusion.")
    assert compared() == ["No disease.", "Effusion."]
    with unit_of_work() as session:
        assert finals.find_waiting_comparison(session) is None
        assert len(reading.list_comparisons(session, study_id)) == 2


def test_where_the_final_is_cancelled_the_study_is_drafted_after_all(database):
    complete(new_instance())
    draft_all()
    send()
    send(status=ReportStatus.CANCELLED)
    assert read(DraftRequest.state) == [RequestState.WAITING]
    assert draft_all() == read(Draft.id)  # the same inputs: the draft that was there before
    assert read(Draft.superseded_at) == [None]


def test_late_images_bring_no_draft_back_and_a_person_does(database):
    (study_id,) = complete(new_instance())
    send()
    complete(new_instance())
    assert set(read(DraftRequest.reason)) == {EndReason.REPORTED_ELSEWHERE}
    with unit_of_work() as session:
        requests.retry(session, study_id=study_id)
    (lease,) = claim()
    with unit_of_work() as session:
        assert not finals.end_if_reported(session, finals.withdrawals.lock_study(session, study_id))
    assert prepare(lease)


def test_a_final_that_was_here_before_the_study_ends_it_when_it_is_prepared(database):
    send()
    (study_id,) = complete(new_instance())
    (lease,) = claim()
    with unit_of_work() as session:
        study = finals.withdrawals.lock_study(session, study_id)
        assert leases.lock_if_held(session, lease)
        assert finals.end_if_reported(session, study)
    assert read(DraftRequest.reason) == [EndReason.REPORTED_ELSEWHERE]
    assert not prepare(lease)


def test_an_archive_is_drafted_all_the_same_and_compared(database, setting):
    setting(draft_reported_studies=True)
    send()
    (study_id,) = complete(new_instance())
    draft_all()
    with unit_of_work() as session:
        finals.note_comparisons_of_draft(session, study_id)
    assert read(DraftRequest.state) == [RequestState.DRAFTED]
    assert compared() == ["No disease."]
    send(status=ReportStatus.CORRECTED, impression="Effusion.")
    assert read(Draft.superseded_at) == [None]
    assert compared() == ["No disease.", "Effusion."]


@pytest.mark.parametrize(
    ("changed", "differs"),
    [
        ({}, True),
        ({"findings": "The lungs are CLEAR", "impression": "Normal.", "text": "x"}, False),
        (
            {
                "findings": "",
                "impression": "",
                "text": "FINDINGS:\r\nThe lungs are\r\nclear.\r\nIMPRESSION: normal",
            },
            False,
        ),
    ],
)
def test_a_final_that_differs_from_what_was_signed_here_asks_a_person(database, changed, differs):
    complete(new_instance())
    (draft_id,) = draft_all()
    with unit_of_work() as session:
        signing.sign(session, draft_id, "a reader", "The lungs are clear.", "Normal.")
    send(**changed)
    assert read(Hold.reason, Hold.detail) == (
        [(HoldReason.FINALS_DIFFER, "a final report by HL7 from RIS|HOSPITAL")] if differs else []
    )
    assert read(DraftRequest.state) == [RequestState.DRAFTED]
    assert read(Draft.superseded_at) == [None]
    assert len(compared()) == 1


def test_final_and_draft_at_once_leave_no_current_draft_and_one_comparison(database):
    """Whichever is first: the draft is dropped, or it is an older one and compared."""
    for number in range(6):
        uid, accession = f"1.2.{number}", f"B{number}"
        complete(new_instance(study=uid, accession_number=accession))
        (lease,) = claim()
        prepare(lease)
        (lease,) = claim(Stage.DRAFT)
        start = threading.Barrier(2)

        def save_draft(lease=lease, start=start):
            start.wait()
            save(lease)

        thread = threading.Thread(target=save_draft)
        thread.start()
        start.wait()
        send(accession_numbers=(accession,), report_number=accession)
        thread.join()
    assert set(read(DraftRequest.state)) == {RequestState.CANCELLED}
    assert None not in read(Draft.superseded_at)
    assert sorted(read(FinalComparison.draft_id)) == sorted(read(Draft.id))


def test_the_lock_of_the_request_lets_no_draft_slip_in_between(database):
    """The draft is committed after the report has begun and before it looks for drafts."""
    complete(new_instance())
    (lease,) = claim()
    prepare(lease)
    (lease,) = claim(Stage.DRAFT)
    with unit_of_work() as session:
        assert drafts.save(session, lease, new_draft(lease))
        thread = threading.Thread(target=send)
        thread.start()
        thread.join(0.3)
        assert thread.is_alive()  # it waits for the draft
    thread.join()
    assert read(DraftRequest.state) == [RequestState.CANCELLED]
    assert len(read(FinalComparison.id)) == 1
