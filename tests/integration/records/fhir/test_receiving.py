"""Resources are found by an index, and the same at once from many is one."""

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import event, select, text

from records.database.fhir_tables import FhirResource
from records.database.order_tables import Order
from records.database.session import engine, unit_of_work
from records.fhir import store
from records.fhir.receiving import Incoming, WriteOutcome, receive
from records.fhir.versions import FhirVersion
from tests.support.fhir_resources import patient, service_request

FILL = """
INSERT INTO fhir_resources (resource_type, id, fhir_version, identifiers, content)
SELECT 'Patient', 'p' || n, '4.0', ARRAY['urn:x|' || n], '{}' FROM generate_series(1, 20000) n
"""


def take_in(resource, id_=""):
    with unit_of_work() as session:
        return receive(session, Incoming(resource, FhirVersion.R4, id_), "http://x/fhir/").outcome


def test_the_same_order_from_many_at_once_is_one(database):
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda _: take_in(service_request()), range(16)))
        outcomes += pool.map(lambda _: take_in(service_request(id="x"), "x"), range(16))
    assert outcomes.count(WriteOutcome.CREATED) == 2
    assert outcomes.count(WriteOutcome.UNCHANGED) == 30
    with unit_of_work() as session:
        assert len(session.scalars(select(Order)).all()) == 2
        assert len(session.scalars(select(FhirResource)).all()) == 2


def test_a_resource_is_found_by_an_index(database):
    with unit_of_work() as session:
        session.execute(text(FILL))
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE) fhir_resources"))
    plans = []

    def explain(connection, cursor, statement, parameters, context, executemany):
        if "fhir_resources" in statement:
            with connection.connection.cursor() as other:
                other.execute(f"EXPLAIN {statement}", parameters)
                plans.append("\n".join(row[0] for row in other.fetchall()))

    event.listen(engine(), "before_cursor_execute", explain)
    try:
        with unit_of_work() as session:
            assert store.find(session, "Patient", "p7").id == "p7"
            assert store.find_by_keys(session, "Patient", ["urn:x|8"])[0].id == "p8"
    finally:
        event.remove(engine(), "before_cursor_execute", explain)
    assert "pk_fhir_resources" in plans[0]
    assert "ix_fhir_resources_identifiers" in plans[1]


def test_a_resource_is_served_with_our_version(database):
    take_in(patient(), "jane")
    with unit_of_work() as session:
        row = store.find(session, "Patient", "jane")
        assert store.served_form(row)["meta"]["versionId"] == "1"
        assert row.identifiers == ["http://hospital.example/mrn|P1"]
