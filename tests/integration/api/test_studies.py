import uuid

from records.database.session import unit_of_work
from records.operations import alarms, refusals
from records.states import WARNING, EventKind, HoldReason, Priority, VisibleState
from records.workflow import drafts, events, holds
from tests.support.seeded_studies import parts_run

AT_ONCE = "application/problem+json"


def test_pages_of_studies_by_state(client, night):
    made = [night.drafted(number) for number in range(1, 4)]
    night.complete(5)
    first = client.get("/api/studies", params={"state": "DRAFTED", "limit": 2}).json()
    rest = client.get(
        "/api/studies", params={"state": "DRAFTED", "limit": 2, "after": first["next"]}
    ).json()
    found = [study["id"] for study in first["studies"] + rest["studies"]]
    assert found == [str(id_) for id_ in reversed(made)]
    assert rest["next"] is None
    assert {study["draft"]["warning"] for study in first["studies"]} == {WARNING}
    assert {study["draft"]["status"] for study in first["studies"]} == {"UNREVIEWED"}


def test_studies_are_found_by_words(client, night):
    night.drafted(1)
    study = night.drafted(2)
    name = client.get(f"/api/studies/{study}").json()["study"]["patient"]["name"]
    found = client.get("/api/studies", params={"words": name.lower()}).json()["studies"]
    assert [one["id"] for one in found] == [str(study)]
    assert client.get("/api/studies", params={"words": "%"}).json()["studies"] == []


def test_one_study_with_all_that_is_known(client, night):
    study = night.drafted(1)
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


def test_a_draft_tells_how_sure_the_model_was_of_each_sentence(client, night):
    sentence = {"section": "findings", "text": "Clear.", "confidence": 0.9, "least": 0.5}
    told = night.drafted(1, sentences=[sentence])
    silent = night.drafted(2)
    assert client.get(f"/api/studies/{told}").json()["drafts"][0]["sentences"] == [sentence]
    assert client.get(f"/api/studies/{silent}").json()["drafts"][0]["sentences"] is None


def test_an_unknown_study_is_a_problem_that_says_what_to_do(client):
    answer = client.get("/api/studies/1.2.3")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == AT_ONCE
    assert answer.json() == {
        "type": "about:blank",
        "title": "No study has that UID",
        "status": 404,
        "detail": "There is no such thing in the records. Check the UID or id.",
        "instance": "/api/studies/1.2.3",
    }


def test_a_wrong_request_names_the_field_and_does_not_repeat_it(client):
    answer = client.get("/api/studies", params={"state": "MEIER", "limit": 0})
    assert answer.status_code == 422
    assert {wrong["at"] for wrong in answer.json()["wrong"]} == {"query.state", "query.limit"}
    assert "MEIER" not in answer.text
    assert client.get("/api/studies", params={"after": "???"}).status_code == 409


def test_counts_and_time_left(client, night):
    night.drafted(1)
    night.complete(2, 3)
    counts = client.get("/api/counts").json()
    assert counts["states"] == dict.fromkeys(VisibleState, 0) | {"DRAFTED": 1, "WAITING": 2}
    assert (counts["total"], counts["to_do"]) == (3, 2)
    assert counts["per_minute"] == 1.0
    assert counts["seconds_left"] == 120
    assert counts["waiting_since"] is not None


def test_without_a_pace_no_time_is_promised(client, night):
    night.complete(2)
    counts = client.get("/api/counts").json()
    assert counts["seconds_left"] is None


def test_release_ends_the_quiet_period(client, night):
    study = night.arrive(1)
    assert client.post(f"/api/studies/{study}/release").json()["state"] == "RECEIVING"
    with unit_of_work() as session:
        assert EventKind.RELEASED in {event.kind for event in events.timeline(session, study)}


def test_retry_takes_studies_that_ended(client, night):
    failed, waiting = night.complete(1, 2)
    night.fail(failed)
    assert client.get(f"/api/studies/{failed}").json()["study"]["reason"] == "UNREADABLE"
    assert client.post(f"/api/studies/{failed}/retry").json()["state"] == "WAITING"
    refused = client.post(f"/api/studies/{waiting}/retry")
    assert refused.status_code == 409
    assert "cannot be retried" in refused.json()["title"] or "retried" in refused.json()["title"]


def test_proceed_and_cancel(client, night):
    one, other = night.complete(1, 2)
    for study, decision, state in ((one, "PROCEED", "WAITING"), (other, "CANCEL", "CANCELLED")):
        night.hold(study)
        (hold,) = client.get(f"/api/studies/{study}").json()["holds"]
        answer = client.post(
            f"/api/studies/{study}/decision",
            json={"decision": decision, "by": " Dr. Roe ", "note": "seen", "holds": [hold["id"]]},
        )
        assert answer.status_code == 200
        assert answer.json()["state"] == state
        (decided,) = client.get(f"/api/studies/{study}").json()["holds"]
        assert (decided["decision"], decided["decided_by"]) == (decision, "Dr. Roe")
        assert decided["note"] == "seen"


def test_a_hold_that_was_not_seen_is_not_decided(client, night):
    (study,) = night.complete(1)
    night.hold(study)
    (seen,) = client.get(f"/api/studies/{study}").json()["holds"]
    night.hold(study, HoldReason.PATIENT_MISMATCH)
    for given in ([seen["id"]], [str(uuid.uuid4())]):
        answer = client.post(
            f"/api/studies/{study}/decision",
            json={"decision": "PROCEED", "by": "Dr. Roe", "holds": given},
        )
        assert answer.status_code == 409
    with unit_of_work() as session:
        assert [hold.decision for hold in holds.list_by_study(session, study)] == [None, None]


def test_nobody_decides_without_a_name(client, night):
    (study,) = night.complete(1)
    night.hold(study)
    (hold,) = client.get(f"/api/studies/{study}").json()["holds"]
    for by in ("", "   ", "a\x00b"):
        given = {"decision": "PROCEED", "by": by, "holds": [hold["id"]]}
        assert client.post(f"/api/studies/{study}/decision", json=given).status_code == 422


def test_what_is_kept_aside_has_no_picture(client, night):
    study = night.arrive(1)
    with unit_of_work() as session:
        one = drafts.list_by_study(session, study)
    assert one == []
    uid = client.get(f"/api/studies/{study}").json()["study"]["study_instance_uid"]
    from records.workflow.studies import Patient

    stranger = Patient("P-9", "", "STRANGER^SAM", "19500101", "M")
    night.arrive(2, study_instance_uid=uid, patient=stranger)
    seen = client.get(f"/api/studies/{study}").json()
    aside = [one for one in seen["instances"] if one["state"] == "MISMATCH"]
    assert aside
    assert {one["image"] for one in aside} == {None}
    for one in aside:
        assert client.get(f"/studies/{study}/views/{one['id']}.png").status_code == 404
    assert seen["study"]["state"] == "HELD"
    assert "STRANGER" not in client.get(f"/studies/{study}").text


def test_refusals_and_parts(client, night):
    parts_run("listener", "sweep")
    with unit_of_work() as session:
        refusals.record_refusal(
            session,
            calling_ae="CT1",
            sop_class_uid="1.2",
            sop_instance_uid="1.3",
            reason="sop_class",
            sentence="No film.",
        )
        alarms.raise_alarm(session, "draft", "The worker stopped itself.")
    (refused,) = client.get("/api/refusals").json()
    assert (refused["calling_ae"], refused["sentence"]) == ("CT1", "No film.")
    seen = client.get("/api/parts").json()
    assert seen["missing"] == ["prepare", "draft"]
    assert [alarm["sentence"] for alarm in seen["alarms"]] == ["The worker stopped itself."]


def test_a_change_from_another_site_changes_nothing(client, night):
    (study,) = night.complete(1, priority=Priority.STAT)
    night.fail(study)
    answer = client.post(f"/api/studies/{study}/retry", headers={"origin": "http://evil.example"})
    assert answer.status_code == 403
    assert client.get(f"/api/studies/{study}").json()["study"]["state"] == "FAILED"
