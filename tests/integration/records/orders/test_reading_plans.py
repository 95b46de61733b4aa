"""What pages, REST and commands read of orders and messages has its indexes."""

import pytest
from sqlalchemy import text

from records import received_messages
from records.database.order_tables import Order, ReceivedMessage
from records.database.session import engine, unit_of_work
from records.database.site_tables import DEFAULT_SITE_ID
from records.database.tables import Study
from records.operations import overview
from records.orders import identities, matching, reading
from records.states import MessageOutcome, OrderStatus
from records.workflow import site_scope, sites
from tests.integration.records.workflow.test_query_plans import explained, nodes
from tests.support.ordered_studies import new_order

ROWS = 20_000
TABLES = ("orders", "order_keys", "order_changes", "study_orders", "received_messages", "studies")

FILL = """
INSERT INTO received_messages (origin, sender, control_id, message_type, processing_id, digest,
    outcome, answer_code, error_code, sentence, location, received_at)
SELECT 'HL7', 'RIS', n, 'ORM^O01', 'P', n,
    CASE WHEN n % 5000 = 0 THEN 'REFUSED' ELSE 'ACCEPTED' END, 'AA', '', '', '',
    now() - make_interval(secs => n)
FROM generate_series(1, :rows) n;

INSERT INTO orders (identity, origin, sender, status, placer_order_number, filler_order_number,
    accession_numbers, accession_number_issuer, study_instance_uids, patient_id, patient_id_issuer,
    other_patient_ids, patient_name, patient_birth_date, patient_sex, visit_number, texts,
    procedure, site, changed_at)
SELECT n, 'HL7', 'RIS', CASE WHEN n % 5000 = 0 THEN 'CANCELLED' ELSE 'ACTIVE' END, n, '',
    ARRAY['A' || n], '', '{}', 'P' || n / 2, '', '[]', 'PHANTOM', '', '', '', '[]', '', '',
    now() - make_interval(secs => n)
FROM generate_series(1, :rows) n;

INSERT INTO order_keys (order_id, kind, value)
SELECT id, 'ACCESSION', accession_numbers[1] FROM orders
UNION ALL SELECT id, 'PATIENT', patient_id FROM orders;

INSERT INTO order_changes (order_id, kind, origin, sender, message_id, old_values, new_values)
SELECT orders.id, 'PLACED', 'HL7', 'RIS', received_messages.id, '{}', '{}'
FROM orders JOIN received_messages ON control_id = identity;

INSERT INTO studies (study_instance_uid, patient_id, patient_id_issuer, patient_name,
    patient_birth_date, patient_sex, accession_number, study_date, study_description, priority,
    calling_ae)
SELECT '2.25.' || n, 'P' || n / 2, '', '', '', '', 'A' || n, '', '', 2, 'CR1'
FROM generate_series(1, 3000) n;

INSERT INTO study_orders (study_id, order_id, state, matched_by)
SELECT studies.id, orders.id, 'MATCHED', 'ACCESSION'
FROM studies JOIN orders ON accession_numbers[1] = accession_number;
"""


@pytest.fixture
def many_orders(database, data_dir):
    with unit_of_work() as session:
        for statement in FILL.strip().split(";\n"):
            session.execute(text(statement), {"rows": ROWS} if ":rows" in statement else {})
    with engine().connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM (ANALYZE)"))


def walked_tables(read):
    """The tables of which a reader walks every row, or sorts very many."""
    with unit_of_work() as session, explained() as plans:
        read(session)
    assert plans
    for _, plan in plans:
        for node in nodes(plan):
            if node["Node Type"].endswith("Seq Scan") and node["Relation Name"] in TABLES:
                yield node["Relation Name"]
            if node["Node Type"] == "Sort" and node["Plan Rows"] > ROWS / 10:
                yield "sort"


def test_every_reader_reads_an_index(many_orders):
    with unit_of_work() as session:
        order = session.query(Order).first().id
        study = session.query(Study).first().id
        message = session.query(ReceivedMessage).first().id
        mark = reading.read_page(session).next
        messages_mark = received_messages.read_page(session).next
    readers = {
        "orders": reading.read_page,
        "orders, next page": lambda s: reading.read_page(s, after=mark),
        "orders by status": lambda s: reading.read_page(s, status=OrderStatus.CANCELLED),
        "orders by status, next": lambda s: reading.read_page(
            s, status=OrderStatus.CANCELLED, after=mark
        ),
        "search": lambda s: reading.read_page(s, search="a77"),
        "search of nothing": lambda s: reading.read_page(s, search="none", after=mark),
        "an order": lambda s: reading.read_order(s, order),
        "orders of a study": lambda s: reading.list_by_study(s, study),
        "a study's orders by key": lambda s: matching.find_orders(s, s.get_one(Study, study)),
        "studies with orders": lambda s: matching.may_have_orders(
            s, s.query(Study).order_by(Study.id).limit(200).all()
        ),
        "matched orders": lambda s: matching.matched_orders(s, study),
        "orders of a message": lambda s: reading.list_by_message(s, message),
        "messages": received_messages.read_page,
        "messages, next page": lambda s: received_messages.read_page(s, after=messages_mark),
        "refused": lambda s: received_messages.read_page(s, outcome=MessageOutcome.REFUSED),
        "test": lambda s: received_messages.read_page(s, outcome=MessageOutcome.TEST),
        "open": lambda s: received_messages.read_page(s, only_open=True),
        "open, next page": lambda s: received_messages.read_page(
            s, only_open=True, after=messages_mark
        ),
        "count of open": overview.count_open_messages,
    }
    walks = {name: list(walked_tables(read)) for name, read in readers.items()}
    assert {name: tables for name, tables in walks.items() if tables} == {}
    with unit_of_work() as session:
        assert len(reading.read_page(session, status=OrderStatus.CANCELLED).orders) == 4
        assert len(reading.read_page(session, search="p7").orders) == 2


def test_the_orders_of_one_site_have_their_index(many_orders):
    """As there are none of the second site, a walk over all orders would read all of them."""
    with unit_of_work() as session:
        south = sites.create(session, "south").id
        mark = reading.read_page(session).next
    readers = {
        "orders": reading.read_page,
        "next page": lambda s: reading.read_page(s, after=mark),
        "by status": lambda s: reading.read_page(s, status=OrderStatus.ACTIVE),
        "by status, next": lambda s: reading.read_page(s, status=OrderStatus.ACTIVE, after=mark),
        "search": lambda s: reading.read_page(s, search="a77"),
        "messages": received_messages.read_page,
        "refused": lambda s: received_messages.read_page(s, outcome=MessageOutcome.REFUSED),
        "open": lambda s: received_messages.read_page(s, only_open=True),
        "oldest open": lambda s: received_messages.list_open(s, 50),
        "count of open": overview.count_open_messages,
        "a sender's number": lambda s: identities.resolve_identities(s, [new_order()]),
    }
    for shown in ([south], [DEFAULT_SITE_ID, south]):
        with site_scope.limited_to(shown):
            walks = {name: list(walked_tables(read)) for name, read in readers.items()}
        assert {name: tables for name, tables in walks.items() if tables} == {}
    with unit_of_work() as session:
        session.execute(text("DROP INDEX ix_orders_site_id, ix_orders_site_id_status"))
    with site_scope.limited_to([south]):
        assert list(walked_tables(reading.read_page))


def test_a_missing_index_is_found(many_orders):
    with unit_of_work() as session:
        session.execute(text("DROP INDEX ix_orders_changed_at"))
    assert list(walked_tables(reading.read_page))
