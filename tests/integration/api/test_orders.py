"""Orders by REST: placed, changed, replaced and cancelled."""

import uuid

import pytest

ORDER = {
    "sender": "RIS",
    "patient_id": "P1",
    "patient_name": "ROE^JANE",
    "patient_birth_date": "1970-01-31",
    "patient_sex": "F",
    "placer_order_number": "77",
    "accession_numbers": ["A1"],
    "texts": [{"text": "Fever\nand cough."}],
    "procedure": "Chest 2 views",
    "visit_number": "V1",
    "site": "ED",
    "priority": "STAT",
    "scheduled_at": "2026-11-27T08:00:00+01:00",
}


def place(client, answered=200, **changed):
    response = client.post("/api/orders", json=ORDER | changed)
    assert response.status_code == answered, response.text
    return response


def test_an_order_is_placed_once_and_changed_by_its_number(client):
    placed = place(client, 201)
    result = placed.json()
    assert result["outcome"] == "PLACED"
    assert placed.headers["location"] == f"/api/orders/{result['order']['id']}"
    assert result["order"] | ORDER == result["order"] | {
        "patient_birth_date": "1970-01-31",
        "texts": ORDER["texts"],
        "scheduled_at": ORDER["scheduled_at"],
    }
    assert result["order"]["patient_birth_date"] == "19700131"
    assert result["order"]["texts"] == [{"source": "order_reason", "text": "Fever\nand cough."}]
    assert result["order"]["scheduled_at"] == "2026-11-27T07:00:00Z"
    assert place(client).json() == result | {"outcome": "UNCHANGED"}
    changed = place(client, priority="ROUTINE").json()
    assert (changed["outcome"], changed["order"]["version"]) == ("CHANGED", 2)
    assert place(client, status="CANCELLED").json()["outcome"] == "CANCELLED"


def test_an_order_is_replaced_and_cancelled_by_our_id(client):
    id_ = place(client, 201).json()["order"]["id"]
    replaced = client.put(f"/api/orders/{id_}", json=ORDER | {"placer_order_number": "78"}).json()
    assert replaced["outcome"] == "CHANGED"
    assert replaced["order"]["id"] == id_
    cancelled = client.post(f"/api/orders/{id_}/cancel", json={"by": "Dr. Roe"}).json()
    assert (cancelled["outcome"], cancelled["order"]["status"]) == ("CANCELLED", "CANCELLED")
    again = client.post(f"/api/orders/{id_}/cancel", json={"by": "Dr. Roe"}).json()
    assert again["outcome"] == "UNCHANGED"
    assert place(client).json()["outcome"] == "REINSTATED"


def test_an_older_message_changes_nothing(client):
    place(client, 201, sent_at="2026-11-27T12:00:00Z")
    older = place(client, sent_at="2026-11-27T11:00:00Z", procedure="Hand").json()
    assert (older["outcome"], older["order"]["procedure"]) == ("OUTDATED", "Chest 2 views")


def test_an_order_that_counts_for_a_study_names_it(client, seeder):
    (study,) = seeder.complete(1)
    row = client.get(f"/api/studies/{study}").json()["study"]
    changed = {
        "accession_numbers": [row["accession_number"]],
        "patient_id": row["patient"]["patient_id"],
    }
    result = place(client, 201, **changed).json()
    assert result["studies"] == [str(study)]


@pytest.mark.parametrize(
    ("changed", "at"),
    [
        ({"placer_order_number": "", "accession_numbers": []}, "the order needs a filler"),
        ({"patient_id": ""}, "body.patient_id"),
        ({"indication": "Fever"}, "body.indication"),
        ({"priority": "SOON"}, "body.priority"),
        ({"scheduled_at": "2026-11-27T08:00:00"}, "body.scheduled_at"),
        ({"procedure": "a\nb"}, "body.procedure"),
        ({"texts": [{"text": "a\0b"}]}, "body.texts.0.text"),
        ({"study_instance_uids": ["1.2.x"]}, "body.study_instance_uids.0"),
    ],
)
def test_what_is_wrong_is_named(client, changed, at):
    problem = place(client, 422, **changed).json()
    assert at in problem["detail"]


def test_an_order_that_is_not_known_is_404(client):
    path = f"/api/orders/{uuid.uuid4()}"
    assert client.put(path, json=ORDER).status_code == 404
    assert client.post(f"{path}/cancel", json={"by": "Dr. Roe"}).status_code == 404
