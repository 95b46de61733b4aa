"""The pages of orders, and what a study's page shows of its orders."""

import re

import pytest

from records.orders.order import OrderAction
from records.states import OrderTextSource, Priority
from records.workflow.patients import Patient
from tests.support.received_orders import order_text, send_order, send_order_for

SCRIPT = "<script>alert('x')</script>"
STRANGER = Patient("P-2", "HOSP", "PHANTOM^TWO", "19600101", "M")


def shown(page):
    return re.findall(r'id="order-([^"]+)"', page)


def test_the_list_has_the_newest_change_first_and_is_searched_by_whole_numbers(client, database):
    first = str(send_order(placer_order_number="1", accession_numbers=("A1",)).order_id)
    second = str(send_order(placer_order_number="2", accession_numbers=("A2", "B2")).order_id)
    other = send_order(placer_order_number="3", accession_numbers=("A3",), patient=STRANGER)
    cancelled = str(other.order_id)
    send_order(placer_order_number="3", action=OrderAction.CANCEL)
    assert shown(client.get("/orders").text) == [cancelled, second, first]
    for words, found in (
        ("b2", [second]),
        ("A1", [first]),
        (" p-1 ", [second, first]),
        ("A", []),
        ("P-2", [cancelled]),
    ):
        assert shown(client.get("/orders", params={"words": words}).text) == found, words
    assert shown(client.get("/orders", params={"status": "CANCELLED"}).text) == [cancelled]
    found = client.get("/orders", params={"status": "ACTIVE", "words": "P-2"}).text
    assert "No order matches." in found
    assert client.get("/orders", params={"status": "LOST"}).status_code == 422


def test_the_list_has_pages(client, database, monkeypatch):
    monkeypatch.setattr("api.order_pages.PAGE_SIZE", 2)
    ids = [str(send_order(placer_order_number=str(n)).order_id) for n in range(5)]
    page, found = client.get("/orders?words=P-1").text, []
    while True:
        found += shown(page)
        links = re.findall(r'id="older" href="([^"]+)"', page)
        if not links:
            break
        page = client.get(links[0].replace("&amp;", "&")).text
    assert found == ids[::-1]
    assert client.get("/orders", params={"after": "none"}).status_code == 409


def test_an_order_shows_its_texts_studies_and_history(client, seeder):
    (study,) = seeder.complete(1)
    order = send_order_for(study, texts=(order_text("Fever."),)).order_id
    texts = (
        order_text("Chest pain."),
        order_text("Smoker.", OrderTextSource.CLINICAL_INFORMATION),
    )
    send_order_for(study, texts=texts, procedure="XR CHEST 2 VIEWS")
    page = client.get(f"/orders/{order}").text
    assert '<dt>Reason</dt><dd class="lines">Chest pain.</dd>' in page
    assert '<dt>Clinical information</dt><dd class="lines">Smoker.</dd>' in page
    assert f'href="/studies/{study}"' in page
    assert "It counts for the study." in page
    history = page.partition('id="history-title"')[2]
    assert (
        "Why it was requested: <del>Reason: Fever.</del> → "
        "<ins>Reason: Chest pain.; Clinical information: Smoker.</ins>" in history
    )
    assert "<del>XR CHEST PA</del> → <ins>XR CHEST 2 VIEWS</ins>" in history
    send_order_for(study, action=OrderAction.CANCEL)
    page = client.get(f"/orders/{order}").text
    assert "The order was cancelled, so these texts are not used" in page
    assert "<del>ACTIVE</del> → <ins>CANCELLED</ins>" in page
    assert client.get("/orders/0b5ad1c4-0000-4000-8000-000000000000").status_code == 404


def test_text_of_orders_cannot_run(client, seeder):
    (study,) = seeder.complete(1)
    for patient in (None, Patient(f"X{SCRIPT}", SCRIPT, SCRIPT, SCRIPT, SCRIPT)):
        order = send_order_for(
            study,
            placer_order_number=f"{patient}",
            sender=SCRIPT,
            texts=(order_text(SCRIPT),),
            procedure=SCRIPT,
            site=SCRIPT,
            **({"patient": patient} if patient else {}),
        )
        for path in ("/orders", f"/orders/{order.order_id}", f"/studies/{study}", "/holds"):
            page = client.get(path).text
            assert "<script>" not in page, path
            assert "&lt;script&gt;" in page or path == "/holds", path


def test_a_study_shows_its_orders(client, seeder):
    (study,) = seeder.complete(1)
    assert "No order for this study has come." in client.get(f"/studies/{study}").text
    order = send_order_for(study, texts=(order_text("Fever & cough."),)).order_id
    page = client.get(f"/studies/{study}").text
    assert f'href="/orders/{order}"' in page
    assert "Fever &amp; cough." in page
    assert "It counts for the study." in page
    send_order_for(study, action=OrderAction.CANCEL)
    assert "It was cancelled and does not count." in client.get(f"/studies/{study}").text


@pytest.mark.parametrize("path", ["/studies/{study}", "/holds", "/holds?reason=ORDER_MISMATCH"])
def test_an_order_for_another_patient_is_held_with_both_sides(client, seeder, path):
    (study,) = seeder.complete(1)
    sides = client.get(f"/api/studies/{study}").json()["study"]["patient"]
    send_order_for(
        study,
        patient=Patient("P-2", "", sides["name"], "19600101", ""),
        texts=(order_text("Fever."),),
    )
    page = client.get(path.format(study=study)).text
    compared = page.partition('class="plain compared"')[2].partition("</table>")[0]
    differing = set(re.findall(r'<tr class="differs"><th scope="row">([\w ]+) <b', compared))
    assert differing == {"Patient ID", "Born"}
    assert "P-2" in compared
    assert sides["patient_id"] in compared
    assert "Fever." in compared
    if path != "/holds":
        assert "Use the order: it is this patient" in page
        assert "Leave the order out: it is another patient" in page


def test_rest_gives_both_sides_of_an_order_for_another_patient(client, seeder):
    (study,) = seeder.complete(1)
    order = send_order_for(study, patient=STRANGER).order_id
    (hold,) = client.get("/api/holds", params={"reason": "ORDER_MISMATCH"}).json()
    (side,) = hold["orders"]
    assert side["order"] == str(order)
    fields = {field["name"]: field for field in side["fields"]}
    assert fields["patient_id"]["differs"] is True
    assert fields["patient_id"]["order"] == "P-2"
    assert fields["issuer"] == {"name": "issuer", "study": "", "order": "HOSP", "differs": False}
    assert hold["sides"] == []


def test_rest_gives_lists_of_orders_and_one_with_its_history(client, seeder):
    (study,) = seeder.complete(1)
    order = str(send_order_for(study, placer_order_number="1").order_id)
    send_order_for(study, placer_order_number="1", procedure="XR CHEST 2V")
    other = str(send_order(placer_order_number="2").order_id)
    first = client.get("/api/orders", params={"limit": 1}).json()
    assert [row["id"] for row in first["orders"]] == [other]
    rest = client.get("/api/orders", params={"limit": 1, "after": first["next"]}).json()
    assert [row["id"] for row in rest["orders"]] == [order]
    assert rest["next"] is None
    assert client.get("/api/orders", params={"status": "CANCELLED"}).json()["orders"] == []
    found = client.get("/api/orders", params={"words": "p-1"}).json()["orders"]
    assert [row["id"] for row in found] == [other]
    detail = client.get(f"/api/orders/{order}").json()
    assert detail["order"]["procedure"] == "XR CHEST 2V"
    assert [change["kind"] for change in detail["changes"]] == ["PLACED", "CHANGED"]
    assert detail["changes"][1]["old_values"] == {"procedure": "XR CHEST PA"}
    (matched,) = detail["studies"]
    assert (matched["study"], matched["state"]) == (str(study), "MATCHED")
    (of_study,) = client.get(f"/api/studies/{study}").json()["orders"]
    assert (of_study["order"], of_study["state"]) == (order, "MATCHED")
    assert of_study["texts"] == [{"source": "order_reason", "text": "Fever and cough."}]


@pytest.mark.parametrize(
    ("decision", "state", "sentence"),
    [
        ("TAKE_NEW", "ACCEPTED", "It counts for the study: a person decided so."),
        ("PROCEED", "REFUSED", "a person decided that it is not the study"),
        ("CANCEL", "REFUSED", "a person decided that it is not the study"),
    ],
)
def test_a_person_decides_whose_the_order_is(client, seeder, decision, state, sentence):
    (study,) = seeder.complete(1)
    send_order_for(study, patient=STRANGER, priority=Priority.STAT)
    page = client.get(f"/studies/{study}").text
    (hold,) = re.findall(r'name="holds" value="([^"]+)"', page)
    fields = {"by": "Dr. Roe", "note": "", "decision": decision, "holds": hold}
    page = client.post(f"/studies/{study}/decision", data=fields).text
    assert sentence in page
    detail = client.get(f"/api/studies/{study}").json()
    assert [order["state"] for order in detail["orders"]] == [state]
    assert detail["orders"][0]["decided_by"] == "Dr. Roe"
    # Only an order that counts makes the study urgent.
    assert detail["study"]["priority"] == ("STAT" if decision == "TAKE_NEW" else "ROUTINE")
    assert detail["study"]["state"] == ("CANCELLED" if decision == "CANCEL" else "WAITING")
    send_order_for(study, patient=STRANGER, procedure="XR CHEST 2V")
    assert client.get("/api/holds").json() == []
