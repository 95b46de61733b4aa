"""REST: studies, holds, counts, refusals and parts."""

import uuid

from records.alarm_kinds import ALARM_REMEDIES, AlarmKind, Channel
from records.database.session import unit_of_work
from records.operations import alarms, refusals
from records.operations.troubles import update_troubles
from records.states import (
    WARNING,
    EventKind,
    HoldReason,
    Priority,
    RejectionReason,
    VisibleState,
)
from records.workflow import drafts, events, holds, rejections, studies
from records.workflow.patients import Patient
from records.workflow.rejections import RejectionNote
from tests.support.seeded_studies import EXPECTED_PARTS, seed_heartbeats

PROBLEM_JSON = "application/problem+json"


def test_pages_of_studies_by_state(client, seeder):
    drafted = [seeder.draft_study(number) for number in range(1, 4)]
    seeder.complete(5)
    first = client.get("/api/studies", params={"state": "DRAFTED", "limit": 2}).json()
    second = client.get(
        "/api/studies", params={"state": "DRAFTED", "limit": 2, "after": first["next"]}
    ).json()
    ids = [study["id"] for study in first["studies"] + second["studies"]]
    assert ids == [str(id_) for id_ in reversed(drafted)]
    assert second["next"] is None
    assert {study["draft"]["warning"] for study in first["studies"]} == {WARNING}
    assert {study["draft"]["status"] for study in first["studies"]} == {"UNREVIEWED"}


def test_studies_are_found_by_a_part_of_the_name(client, seeder):
    seeder.draft_study(1)
    study = seeder.draft_study(2)
    name = client.get(f"/api/studies/{study}").json()["study"]["patient"]["name"]
    matches = client.get("/api/studies", params={"words": name.lower()}).json()["studies"]
    assert [summary["id"] for summary in matches] == [str(study)]
    assert client.get("/api/studies", params={"words": "%"}).json()["studies"] == []


def test_one_study_with_all_that_is_known(client, seeder):
    study = seeder.draft_study(1)
    by_id = client.get(f"/api/studies/{study}").json()
    uid = by_id["study"]["study_instance_uid"]
    assert client.get(f"/api/studies/{uid}").json() == by_id
    (draft,) = by_id["drafts"]
    assert draft["text"].startswith(WARNING)
    assert draft["current"] is True
    assert len(draft["views"]) == len(by_id["instances"])
    with unit_of_work() as session:
        kinds = [event.kind for event in events.timeline(session, study)]
    assert [event["kind"] for event in by_id["timeline"]] == kinds


def test_a_draft_has_the_probabilities_of_its_sentences(client, seeder):
    sentence = {"section": "findings", "text": "Clear.", "confidence": 0.9, "least": 0.5}
    known = seeder.draft_study(1, sentences=[sentence])
    unknown = seeder.draft_study(2)
    assert client.get(f"/api/studies/{known}").json()["drafts"][0]["sentences"] == [sentence]
    assert client.get(f"/api/studies/{unknown}").json()["drafts"][0]["sentences"] is None


def test_an_unknown_study_is_a_problem_that_says_what_to_do(client):
    response = client.get("/api/studies/1.2.3")
    assert response.status_code == 404
    assert response.headers["content-type"] == PROBLEM_JSON
    assert response.json() == {
        "type": "about:blank",
        "title": "No study has that UID",
        "status": 404,
        "detail": "There is no such thing in the records. Check the UID or id.",
        "instance": "/api/studies/1.2.3",
        "request_id": response.headers["x-request-id"],
    }


def test_a_wrong_request_names_the_field_and_does_not_repeat_it(client):
    response = client.get("/api/studies", params={"state": "MEIER", "limit": 0})
    assert response.status_code == 422
    assert {wrong["at"] for wrong in response.json()["wrong"]} == {"query.state", "query.limit"}
    assert "MEIER" not in response.text
    assert client.get("/api/studies", params={"after": "???"}).status_code == 409


def test_counts_and_time_left(client, seeder):
    seed_heartbeats(*EXPECTED_PARTS)
    seeder.draft_study(1)
    seeder.complete(2, 3)
    counts = client.get("/api/counts").json()
    assert counts["states"] == dict.fromkeys(VisibleState, 0) | {"DRAFTED": 1, "WAITING": 2}
    assert (counts["total"], counts["to_do"]) == (3, 2)
    assert counts["per_minute"] == 1.0
    assert counts["seconds_left"] == 120
    assert counts["waiting_since"] is not None


def test_without_a_pace_no_time_is_promised(client, seeder):
    seeder.complete(2)
    counts = client.get("/api/counts").json()
    assert counts["seconds_left"] is None


def test_release_ends_the_quiet_period(client, seeder):
    study = seeder.receive(1)
    assert client.post(f"/api/studies/{study}/release").json()["state"] == "RECEIVING"
    with unit_of_work() as session:
        assert EventKind.RELEASED in {event.kind for event in events.timeline(session, study)}


def test_retry_takes_studies_that_ended(client, seeder):
    failed, waiting = seeder.complete(1, 2)
    seeder.fail(failed)
    assert client.get(f"/api/studies/{failed}").json()["study"]["reason"] == "UNREADABLE"
    assert client.post(f"/api/studies/{failed}/retry").json()["state"] == "WAITING"
    refused = client.post(f"/api/studies/{waiting}/retry")
    assert refused.status_code == 409
    assert "cannot be retried" in refused.json()["title"] or "retried" in refused.json()["title"]


def test_proceed_and_cancel(client, seeder):
    first, second = seeder.complete(1, 2)
    for study, decision, state in ((first, "PROCEED", "WAITING"), (second, "CANCEL", "CANCELLED")):
        seeder.hold(study)
        (hold,) = client.get(f"/api/studies/{study}").json()["holds"]
        response = client.post(
            f"/api/studies/{study}/decision",
            json={"decision": decision, "by": " Dr. Roe ", "note": "seen", "holds": [hold["id"]]},
        )
        assert response.status_code == 200
        assert response.json()["state"] == state
        (decided,) = client.get(f"/api/studies/{study}").json()["holds"]
        assert (decided["decision"], decided["decided_by"]) == (decision, "Dr. Roe")
        assert decided["note"] == "seen"


def test_a_person_withdraws_a_draft_and_requests_it_again(client, seeder):
    study = seeder.draft_study(1)
    path = f"/api/studies/{study}/withdraw"
    (draft,) = client.get(f"/api/studies/{study}").json()["drafts"]
    assert client.post(path, json={"by": " ", "reason": "why"}).status_code == 409
    assert client.post(path, json={"by": "Dr. Roe", "reason": ""}).status_code == 422
    withdrawal = {"by": "Dr. Roe", "reason": "wrong side"}
    assert client.post(path, json=withdrawal | {"draft": str(uuid.uuid4())}).status_code == 409
    answer = client.post(path, json=withdrawal | {"draft": draft["id"]}).json()
    assert (answer["state"], answer["reason"], answer["draft"]) == ("CANCELLED", "WITHDRAWN", None)
    assert answer["detail"] == "withdrawn by Dr. Roe: wrong side"
    detail = client.get(f"/api/studies/{study}").json()
    assert [draft["current"] for draft in detail["drafts"]] == [False]
    assert ("WITHDRAWN", answer["detail"]) in [
        (event["kind"], event["detail"]) for event in detail["timeline"]
    ]
    assert client.post(path, json=withdrawal).status_code == 409  # there is none any more
    assert client.post(f"/api/studies/{study}/retry").json()["state"] == "WAITING"


def test_rejected_films_are_named_and_taken_back(client, seeder):
    study = seeder.draft_study(1)
    detail = client.get(f"/api/studies/{study}").json()
    film, patient = detail["instances"][0], detail["study"]["patient"]
    uid = detail["study"]["study_instance_uid"]
    note = RejectionNote(
        "9.9",
        RejectionReason.PATIENT_SAFETY,
        Patient(patient["patient_id"], "", patient["name"], patient["birth_date"], patient["sex"]),
        ((uid, film["sop_instance_uid"]),),
        True,
        "PACS",
    )
    with unit_of_work() as session:
        rejections.apply_note(session, studies.get_by_uid(session, uid), note)
    detail = client.get(f"/api/studies/{study}").json()
    (rejection,) = detail["rejections"]
    assert (rejection["reason"], rejection["ended_at"]) == ("113037", None)
    assert (detail["instances"][0]["state"], detail["instances"][0]["image"]) == ("REJECTED", None)
    assert detail["study"]["draft"] is None
    page = client.get(f"/studies/{study}").text
    assert "rejected for patient safety reasons" in page
    client.post(f"/studies/{study}/reinstate", data={"by": "Dr. Roe"})
    detail = client.get(f"/api/studies/{study}").json()
    assert detail["instances"][0]["state"] == "KEPT"
    assert detail["rejections"][0]["ended_by"] == "Dr. Roe"
    path = f"/api/studies/{study}/reinstate"
    assert client.post(path, json={"by": "Dr. Roe"}).status_code == 409


def test_a_hold_that_was_not_seen_is_not_decided(client, seeder):
    (study,) = seeder.complete(1)
    seeder.hold(study)
    (seen_hold,) = client.get(f"/api/studies/{study}").json()["holds"]
    seeder.hold(study, HoldReason.PATIENT_MISMATCH)
    for hold_ids in ([seen_hold["id"]], [str(uuid.uuid4())]):
        response = client.post(
            f"/api/studies/{study}/decision",
            json={"decision": "PROCEED", "by": "Dr. Roe", "holds": hold_ids},
        )
        assert response.status_code == 409
    with unit_of_work() as session:
        assert [hold.decision for hold in holds.list_by_study(session, study)] == [None, None]


def test_a_decision_needs_a_name(client, seeder):
    (study,) = seeder.complete(1)
    seeder.hold(study)
    (hold,) = client.get(f"/api/studies/{study}").json()["holds"]
    for by, status in (("", 409), ("   ", 409), ("a\x00b", 422)):
        decision = {"decision": "PROCEED", "by": by, "holds": [hold["id"]]}
        assert client.post(f"/api/studies/{study}/decision", json=decision).status_code == status


def test_what_is_kept_aside_has_no_picture(client, seeder):
    study = seeder.receive(1)
    with unit_of_work() as session:
        assert drafts.list_by_study(session, study) == []
    uid = client.get(f"/api/studies/{study}").json()["study"]["study_instance_uid"]
    stranger = Patient("P-9", "", "STRANGER^SAM", "19500101", "M")
    seeder.receive(2, study_instance_uid=uid, patient=stranger)
    detail = client.get(f"/api/studies/{study}").json()
    kept_aside = [image for image in detail["instances"] if image["state"] == "MISMATCH"]
    assert kept_aside
    assert {image["image"] for image in kept_aside} == {None}
    for image in kept_aside:
        path = f"/studies/{study}/views/{image['id']}.jpg"
        assert client.get(path).status_code == 404
    assert detail["study"]["state"] == "HELD"
    # Who decides must see whose the other films are; nowhere else does the stranger's name stand.
    (hold,) = client.get("/api/holds").json()
    assert {side["aside"]["patient"]["name"] for side in hold["sides"]} == {"STRANGER^SAM"}
    assert {side["aside"]["image"] for side in hold["sides"]} == {None}
    assert "STRANGER" in client.get(f"/studies/{study}").text
    assert "STRANGER" not in client.get("/").text


def test_many_holds_are_decided_at_once(client, seeder):
    held = seeder.complete(1, 2, 3)
    for study in held:
        seeder.hold(study)
    seeder.hold(held[0], HoldReason.AGE_UNKNOWN)
    listed = client.get("/api/holds", params={"reason": "CHEST_UNKNOWN"}).json()
    assert [hold["study"] for hold in listed] == [str(study) for study in held]
    assert list(listed[0]["decisions"]) == ["PROCEED", "CANCEL"]
    decision = {"by": "Dr. Roe", "holds": [hold["id"] for hold in listed]}
    answer = client.post("/api/holds/decision", json=decision | {"decision": "SPLIT"}).json()
    assert (answer["decided"], len(answer["not_decided"])) == (0, 3)
    answer = client.post("/api/holds/decision", json=decision | {"decision": "PROCEED"}).json()
    # The first study has another hold, which the person did not look at.
    assert answer["decided"] == 2
    assert [refused["study"] for refused in answer["not_decided"]] == [str(held[0])]


def test_a_film_in_two_studies_is_taken_on_the_page(client, seeder):
    wrong = seeder.draft_study(1)
    detail = client.get(f"/api/studies/{wrong}").json()
    right = seeder.receive(
        1,
        study_instance_uid="1.2.3",
        series_instance_uid="1.2.3.1",
        patient=Patient("P-9", "", "RIGHT^PATIENT", "19500101", "M"),
    )
    page = client.get(f"/studies/{right}").text
    assert "Take it here, and withdraw it there" in page
    assert detail["study"]["patient"]["patient_id"] in page  # both sides are there
    assert detail["instances"][0]["image"] in page
    listed = client.get("/api/holds", params={"reason": "MOVED_HERE"}).json()
    assert "RIGHT, PATIENT" in client.get("/holds").text
    fields = {"by": "Dr. Roe", "decision": "TAKE_NEW", "holds": [listed[0]["id"]]}
    assert "1 hold closed" in client.post("/holds", data=fields).text
    assert client.get("/api/holds").json() == []
    assert client.get(f"/api/studies/{wrong}").json()["study"]["draft"] is None
    states = [i["state"] for i in client.get(f"/api/studies/{right}").json()["instances"]]
    assert set(states) == {"KEPT"}


def test_past_alarms_are_listed_with_their_messages(client, setting):
    with unit_of_work() as session:
        alarms.raise_alarm(session, AlarmKind.DISK_FULL, "listener", "No room.")
        update_troubles(session, 0, [Channel.EMAIL])
        alarms.close_alarms(session)
        alarms.raise_alarm(session, AlarmKind.WORKER_STOPPED, "draft", "It is sick.")
    newest, oldest = client.get("/api/alarms").json()
    assert (newest["kind"], newest["closed_at"], newest["messages"]) == ("WORKER_STOPPED", None, [])
    assert oldest["closed_at"]
    (message,) = oldest["messages"]
    assert (message["event"], message["channel"], message["sent_at"]) == ("START", "EMAIL", None)
    assert len(client.get("/api/alarms", params={"limit": 1}).json()) == 1


def test_refusals_and_parts(client, seeder):
    seed_heartbeats("listener", "sweep")
    with unit_of_work() as session:
        refusals.record_refusal(
            session,
            calling_ae="CT1",
            sop_class_uid="1.2",
            sop_instance_uid="1.3",
            reason="sop_class",
            sentence="No film.",
        )
        alarms.raise_alarm(session, AlarmKind.WORKER_STOPPED, "draft", "The worker stopped itself.")
    (refused,) = client.get("/api/refusals").json()
    assert (refused["calling_ae"], refused["sentence"]) == ("CT1", "No film.")
    parts = client.get("/api/parts").json()
    assert parts["missing"] == ["prepare", "draft"]
    (alarm,) = parts["alarms"]
    assert alarm.pop("opened_at")
    assert alarm == {
        "kind": "WORKER_STOPPED",
        "part": "draft",
        "cause": "The worker stopped itself.",
        "remedy": ALARM_REMEDIES[AlarmKind.WORKER_STOPPED],
        "runbook": "/runbook#worker_stopped",
    }


def test_a_change_from_another_site_changes_nothing(client, seeder):
    (study,) = seeder.complete(1, priority=Priority.STAT)
    seeder.fail(study)
    response = client.post(f"/api/studies/{study}/retry", headers={"origin": "http://evil.example"})
    assert response.status_code == 403
    assert client.get(f"/api/studies/{study}").json()["study"]["state"] == "FAILED"


SUPPORT = {
    "statements": [
        {
            "section": "findings",
            "sentence": "Small left <b>pneumothorax</b>.",
            "observation": "Pneumothorax",
            "verdict": "not supported",
            "score": 0.01,
        },
        {
            "section": "findings",
            "sentence": "Possible rib fracture.",
            "observation": "Fracture",
            "verdict": "not assessed",
            "score": None,
        },
    ],
    "omissions": [{"observation": "Cardiomegaly", "is_denied": True, "score": 0.98}],
    "undecided_share": 0.25,
    "studies": 2000,
    "error_rate": 0.1,
}


def test_a_draft_says_what_the_image_model_supports(client, seeder):
    study = seeder.draft_study(1, support=SUPPORT, finding_scores={"Pneumothorax": 0.01})
    (draft,) = client.get(f"/api/studies/{study}").json()["drafts"]
    assert draft["support"] == SUPPORT
    assert draft["finding_scores"] == {"Pneumothorax": 0.01}
    without = seeder.draft_study(2)
    (draft,) = client.get(f"/api/studies/{without}").json()["drafts"]
    assert draft["support"] is draft["finding_scores"] is None


def test_the_page_shows_what_the_image_model_sees(client, seeder):
    study = seeder.draft_study(1, support=SUPPORT)
    page = client.get(f"/studies/{study}").text
    assert "Not supported by the image model:" in page
    assert "Small left &lt;b&gt;pneumothorax&lt;/b&gt;." in page
    assert "denied by the draft:</b> cardiomegaly" in page
    assert "It cannot say of: fracture." in page
    assert "thresholds from 2000 studies" in page
    supported = {**SUPPORT, "statements": [], "omissions": []}
    other = seeder.draft_study(2, support=supported)
    assert (
        "Nothing in the draft contradicts the image model." in client.get(f"/studies/{other}").text
    )
    unset = seeder.draft_study(3, support={**supported, "studies": 0})
    page = client.get(f"/studies/{unset}").text
    assert "Nothing in the draft contradicts" not in page
    assert "thresholds were never set" in page
    plain = seeder.draft_study(4)
    assert "image model" not in client.get(f"/studies/{plain}").text
