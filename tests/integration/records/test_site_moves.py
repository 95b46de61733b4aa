"""A person moves a study to another site, and all that is its own follows."""

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from starlette.testclient import TestClient
from typer.testing import CliRunner

import migrations
from api.app import make_app
from nightdraft.cli.main import app
from records import site_moves
from records.actors import Actor, acting_as
from records.database.order_tables import StudyOrder
from records.database.session import engine, unit_of_work
from records.database.tables import Event, Study
from records.errors import NotAllowed, NotFound
from records.reports import reading
from records.settings import settings
from records.states import ActorKind, EventKind, MatchState, SiteBasis
from records.workflow import site_scope, worklist
from tests.support.accounts import run_sql
from tests.support.ordered_studies import complete, receive
from tests.support.outside_reports import receive as receive_report
from tests.support.registered_studies import OTHER_PATIENT, draft_all, new_instance
from tests.support.two_sites import NORTH_AE, NORTH_RIS, make_north, make_site, site_of


@pytest.fixture
def north(database, data_dir):
    return make_north()


@pytest.fixture
def client(north):
    with TestClient(make_app(settings()), base_url="http://localhost") as client:
        yield client


@pytest.fixture
def south(north):
    return make_site("south", ["SOUTH_CR"], ["RIS|SOUTH"])


def move(study, code="south", because="sent by a borrowed device"):
    with unit_of_work() as session, acting_as(Actor(ActorKind.COMMAND, "ada")):
        return site_moves.move_study(session, study, code, "ada", because)


def states():
    with unit_of_work() as session:
        return sorted(session.scalars(select(StudyOrder.state)))


def test_a_study_moves_with_its_orders_reports_and_numbers(north, south):
    (study,) = complete(new_instance(calling_ae=NORTH_AE))
    draft_all()
    order = receive(sender=NORTH_RIS).order_id
    receive_report(sender=NORTH_RIS, accession_numbers=("A1",))
    report = receive_report(
        sender=NORTH_RIS, accession_numbers=("A1",), impression="Effusion."
    ).report_id
    moved = move(study)
    assert (moved.from_site, moved.to_site, moved.orders, moved.reports) == ("north", "south", 1, 2)
    assert site_of("studies", study) == site_of("orders", order) == "south"
    assert run_sql("SELECT DISTINCT site_id FROM received_reports") == [(south,)]
    assert states() == [MatchState.MATCHED]
    with unit_of_work() as session, site_scope.limited_to([south]):
        row = session.get_one(Study, study)
        assert row.site_basis == SiteBasis.PERSON
        assert [found.id for found in reading.list_by_study(session, row)] == [report]
        assert sum(worklist.count_by_state(session).values()) == 1
        assert [found.id for found in worklist.read_page(session).rows] == [study]
    with unit_of_work() as session, site_scope.limited_to([north]):
        assert sum(worklist.count_by_state(session).values()) == 0
        assert worklist.read_page(session).rows == []
    with unit_of_work() as session:
        (event,) = session.scalars(select(Event).where(Event.kind == EventKind.SITE))
    assert event.detail == (
        "belongs to site south: moved from north by ada: sent by a borrowed device"
    )
    # The trail shows what people did to studies.
    assert (event.actor_kind, event.actor_name) == (ActorKind.COMMAND, "ada")
    # The order's history says that a person moved it, and who.
    (change,) = run_sql(
        "SELECT origin, sender, old_values, new_values FROM order_changes WHERE kind = 'CHANGED'"
    )
    assert change == ("PERSON", "ada", {"site_id": str(north)}, {"site_id": str(south)})
    # The next message of the order finds it there, and asks nobody.
    receive(sender=NORTH_RIS, procedure="CR THORAX")
    assert states() == [MatchState.MATCHED]


def test_a_move_in_an_orders_history_is_a_persons_everywhere(north, south, client):
    (study,) = complete(new_instance(calling_ae=NORTH_AE))
    order = receive(sender=NORTH_RIS).order_id
    move(study)
    page = client.get(f"/orders/{order}").text
    assert "a person here, ada" in page
    placed, moved = client.get(f"/api/orders/{order}").json()["changes"]
    assert (placed["origin"], placed["sender"]) == ("HL7", NORTH_RIS)
    assert (moved["origin"], moved["sender"]) == ("PERSON", "ada")
    shown = CliRunner().invoke(app, ["orders", "show", str(order)])
    assert shown.exit_code == 0, shown.output
    assert "Belongs to site: north -> south; by a person here, ada" in " ".join(
        shown.output.split()
    )
    # The version before knows no persons there, and keeps the line.
    migrations.downgrade(engine(), "0045")
    assert run_sql("SELECT origin, sender FROM order_changes ORDER BY id") == [
        ("HL7", NORTH_RIS),
        ("REST", "ada"),
    ]
    with pytest.raises(IntegrityError):
        run_sql("DELETE FROM order_changes")
    migrations.upgrade(engine())


def test_an_order_for_studies_of_both_sites_stays_and_counts(north, south):
    first, second = complete(
        new_instance("1.1", accession_number="A1", calling_ae=NORTH_AE),
        new_instance("1.2", accession_number="A2", calling_ae=NORTH_AE),
    )
    order = receive(sender=NORTH_RIS, accession_numbers=("A1", "A2")).order_id
    assert move(first).orders == 0
    assert site_of("orders", order) == "north"
    assert states() == [MatchState.ACCEPTED, MatchState.MATCHED]
    receive(sender=NORTH_RIS, accession_numbers=("A1", "A2"), procedure="CR THORAX")
    assert states() == [MatchState.ACCEPTED, MatchState.MATCHED]
    assert move(second).orders == 1


def test_an_order_of_the_new_site_is_matched(north, south):
    (study,) = complete(new_instance(calling_ae=NORTH_AE))
    receive(sender="RIS|SOUTH", patient=OTHER_PATIENT)
    assert states() == [MatchState.OTHER_SITE]
    move(study)
    assert states() == [MatchState.MISMATCH]


def test_to_the_first_site_a_person_can_move_it_for_good(north):
    (study,) = complete(new_instance(calling_ae=NORTH_AE))
    move(study, "default")
    receive(sender=NORTH_RIS)
    # A person said so: the order does not take it back, and asks.
    assert site_of("studies", study) == "default"
    assert states() == [MatchState.MISMATCH]


def test_only_who_sees_both_sites_moves_a_study(north, south):
    (study,) = complete(new_instance(calling_ae=NORTH_AE))
    for shown in ([north], [south]):
        with pytest.raises(NotFound), site_scope.limited_to(shown):
            move(study)
    with site_scope.limited_to([north, south]):
        move(study)
    with pytest.raises(NotAllowed, match="already"):
        move(study)
    with pytest.raises(NotAllowed, match="say both"):
        move(study, "north", " ")
    with pytest.raises(NotFound, match="no site"):
        move(study, "west")
    with unit_of_work() as session, site_scope.limited_to([south]):
        assert site_moves.list_targets(session, study) == []
    assert site_of("studies", study) == "south"
