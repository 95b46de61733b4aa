"""The examples of the page on FHIR run against a server, and so does a client that is not ours."""

import json
import subprocess
import urllib.request

from fhir.resources.R4B.bundle import Bundle
from fhir.resources.R4B.servicerequest import ServiceRequest
from sqlalchemy import select

from records.database.order_tables import Order
from records.database.session import unit_of_work
from tests.support.doc_commands import code_blocks


def test_the_examples_do_what_the_page_says(serve):
    server = serve(serve_port=0)
    blocks = code_blocks("docs/operate/integration/fhir.md", "Try it")
    assert len(blocks) == 2
    for block in blocks:
        script = block.replace("http://127.0.0.1:8080", server.url.rstrip("/"))
        ran = subprocess.run(["bash", "-ec", script], capture_output=True, text=True, timeout=60)
        assert ran.returncode == 0, ran.stdout + ran.stderr
    assert read_orders() == {("4711", "A1001"), ("4712", "A1002")}


def test_resources_of_another_library_are_taken(serve):
    server = serve(serve_port=0)
    order = ServiceRequest.model_validate(
        {
            "resourceType": "ServiceRequest",
            "status": "active",
            "intent": "order",
            "subject": {"identifier": {"system": "http://hospital.example/mrn", "value": "P1"}},
            "identifier": [{"system": "http://ehr.example", "value": "7"}],
            "occurrenceDateTime": "2026-11-27T08:00:00+01:00",
        }
    )
    bundle = Bundle.model_validate(
        {
            "resourceType": "Bundle",
            "type": "transaction",
            "entry": [{"resource": order, "request": {"method": "POST", "url": "ServiceRequest"}}],
        }
    )
    request = urllib.request.Request(
        f"{server.url.rstrip('/')}/fhir",
        bundle.model_dump_json().encode(),
        {"Content-Type": "application/fhir+json"},
    )
    with urllib.request.urlopen(request) as answer:
        entries = Bundle.model_validate(json.load(answer)).entry
    assert [entry.response.status for entry in entries] == ["201 Created"]
    assert read_orders() == {("P1", "")}


def read_orders():
    with unit_of_work() as session:
        return {
            (order.patient_id, "".join(order.accession_numbers))
            for order in session.scalars(select(Order))
        }
