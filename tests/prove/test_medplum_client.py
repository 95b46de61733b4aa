"""Medplum's client as a foreign peer of our FHIR server.

Slow to set up; `make prove-peers` installs it.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import select

from records.database.order_tables import Order
from records.database.session import unit_of_work
from tests.acceptance.api.conftest import serve  # noqa: F401  a fixture
from tests.support.node_packages import require_package, run_script

SCRIPT = Path(__file__).with_name("medplum_client.js").read_text()


def test_its_orders_are_kept_and_it_reads_our_answers(request):
    require_package("@medplum/core")
    server = request.getfixturevalue("serve")(serve_port=0)
    assert run_script(SCRIPT, server.url.rstrip("/")) == {
        "again": True,
        "ifNoneExist": True,
        "read": "Cough.",
        "revoked": "revoked",
        "transaction": ["201", "201"],
        "nobody": "not-found",
        "search": "not-supported",
    }
    with unit_of_work() as session:
        orders = session.scalars(select(Order).order_by(Order.placer_order_number)).all()
        assert [(o.patient_id, o.accession_numbers, o.status) for o in orders] == [
            ("4711", ["A1"], "CANCELLED"),
            ("4712", ["A2"], "ACTIVE"),
        ]
