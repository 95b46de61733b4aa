"""To which site orders and their studies belong, and that nothing is matched over a border."""

import pytest
from sqlalchemy import select

import migrations
from records import hold_decisions
from records.database.order_tables import Order, OrderChange, StudyOrder
from records.database.session import engine, unit_of_work
from records.database.site_tables import DEFAULT_SITE_ID
from records.database.tables import Event, Hold, Study
from records.errors import MessageError, NotAllowed, NotFound
from records.orders import matching, reading, receiving
from records.orders.receiving import OrderOutcome
from records.states import ChangeOrigin, Decision, EventKind, MatchState, Origin, SiteBasis
from records.workflow import site_scope
from tests.support.accounts import run_sql
from tests.support.ordered_studies import complete, new_order, receive
from tests.support.registered_studies import OTHER_PATIENT, new_instance
from tests.support.two_sites import NORTH_AE, NORTH_RIS, make_north, make_site, site_of

SOUTH_AE, SOUTH_RIS = "SOUTH_CR", "RIS|SOUTH"


@pytest.fixture
def north(database, data_dir):
    return make_north()


@pytest.fixture
def south(north):
    return make_site("south", [SOUTH_AE], [SOUTH_RIS])


def states():
    with unit_of_work() as session:
        return sorted(session.scalars(select(StudyOrder.state)))


def of_kind(kind):
    with unit_of_work() as session:
        return list(session.scalars(select(Event.detail).where(Event.kind == kind)))


def entry_sites():
    return run_sql(
        "SELECT code FROM worklist_entries JOIN sites ON sites.id = site_id ORDER BY code"
    )


def test_an_order_belongs_to_the_site_of_its_sender(north):
    assert site_of("orders", receive(sender=NORTH_RIS).order_id) == "north"
    assert site_of("orders", receive(sender="RIS|OTHER").order_id) == "default"


def test_an_order_takes_the_site_of_a_sender_that_is_named_later(north, south):
    order_id = receive(sender="RIS|WEST").order_id
    make_site("west", senders=["RIS|WEST"])
    assert receive(sender="RIS|WEST").outcome is OrderOutcome.CHANGED
    assert site_of("orders", order_id) == "west"
    # And it does not leave a site that is known.
    run_sql("UPDATE orders SET site_id = :south", south=south)
    assert receive(sender="RIS|WEST").outcome is OrderOutcome.UNCHANGED
    assert site_of("orders", order_id) == "south"


def test_a_study_without_a_known_site_takes_that_of_its_order(north):
    (study_id,) = complete(new_instance())
    assert entry_sites() == [("default",)]
    assert receive(sender=NORTH_RIS).study_ids == (study_id,)
    assert site_of("studies", study_id) == "north"
    assert entry_sites() == [("north",)]
    assert of_kind(EventKind.SITE) == ["belongs to site north: that is the site of its order"]
    with unit_of_work() as session:
        assert session.get_one(Study, study_id).site_basis == SiteBasis.ORDER


def test_a_study_that_comes_after_its_order_takes_its_site(north):
    receive(sender=NORTH_RIS)
    (study_id,) = complete(new_instance())
    assert site_of("studies", study_id) == "north"


def test_an_order_of_no_known_site_takes_that_of_its_study(north):
    (study_id,) = complete(new_instance(calling_ae=NORTH_AE))
    order_id = receive(sender="RIS|ALL").order_id
    assert states() == [MatchState.MATCHED]
    assert (site_of("orders", order_id), site_of("studies", study_id)) == ("north", "north")
    with unit_of_work() as session:
        changes = session.scalars(select(OrderChange).order_by(OrderChange.id)).all()
        assert [change.kind for change in changes] == ["PLACED", "CHANGED"]
        assert changes[1].new_values == {"site_id": str(north)}
        uid = session.get_one(Study, study_id).study_instance_uid
        assert (changes[1].origin, changes[1].sender) == (ChangeOrigin.STUDY, uid)
    assert of_kind(EventKind.SITE) == []
    # The version before knows no studies there, and keeps the line.
    migrations.downgrade(engine(), "0046")
    assert run_sql("SELECT origin, sender FROM order_changes") == [("HL7", "RIS|ALL")] * 2
    migrations.upgrade(engine())


def test_the_study_waits_for_nobody_who_is_taking_its_order_in(north):
    order_id = receive(sender="RIS|ALL").order_id
    with engine().begin() as other:
        other.execute(select(Order.id).where(Order.id == order_id).with_for_update(key_share=True))
        complete(new_instance(calling_ae=NORTH_AE))
        assert states() == [MatchState.MATCHED]
    assert site_of("orders", order_id) == "default"
    receive(sender="RIS|ALL", procedure="CR THORAX")
    assert site_of("orders", order_id) == "north"


def test_a_mismatched_patient_moves_no_study(north):
    (study_id,) = complete(new_instance())
    receive(sender=NORTH_RIS, patient=OTHER_PATIENT)
    assert states() == [MatchState.MISMATCH]
    assert site_of("studies", study_id) == "default"


def test_the_same_number_at_another_site_is_another_examination(south):
    (study_id,) = complete(new_instance(calling_ae=NORTH_AE))
    order_id = receive(sender=SOUTH_RIS, patient=OTHER_PATIENT).order_id
    assert states() == [MatchState.OTHER_SITE]
    with unit_of_work() as session:
        assert session.scalars(select(Hold)).all() == []
        assert matching.matched_orders(session, study_id) == []
    assert of_kind(EventKind.ORDER) == ["other site: order by HL7"]
    assert (site_of("studies", study_id), site_of("orders", order_id)) == ("north", "south")
    # It is said once, however often the study is looked at.
    with unit_of_work() as session:
        study = session.get_one(Study, study_id)
        assert matching.match_study(session, study) == []
    assert len(of_kind(EventKind.ORDER)) == 1


@pytest.mark.parametrize(
    "changed",
    [
        {},  # the same patient
        {"patient": OTHER_PATIENT, "study_instance_uids": ("1.2.3",)},
        {"patient": OTHER_PATIENT, "accession_number_issuer": "TRUST"},
    ],
)
def test_what_points_to_one_examination_of_two_sites_asks_a_person(south, changed):
    (study_id,) = complete(
        new_instance("1.2.3", calling_ae=NORTH_AE, accession_number_issuer="TRUST")
    )
    order_id = receive(sender=SOUTH_RIS, **changed).order_id
    assert states() == [MatchState.MISMATCH]
    with unit_of_work() as session:
        (hold,) = session.scalars(select(Hold))
        assert hold.detail == f"by HL7 from {SOUTH_RIS}, which is of another site"
        assert matching.matched_orders(session, study_id) == []
    assert (site_of("studies", study_id), site_of("orders", order_id)) == ("north", "south")


def test_who_sees_both_sites_decides(north, south):
    (study_id,) = complete(new_instance(calling_ae=NORTH_AE))
    receive(sender=SOUTH_RIS)
    with unit_of_work() as session, site_scope.limited_to([north]):
        assert reading.list_by_study(session, study_id) == []
        with pytest.raises(NotAllowed, match="another site"):
            hold_decisions.decide(session, study_id, Decision.TAKE_NEW, "Dr. Roe")
    with unit_of_work() as session, site_scope.limited_to([north, south]):
        assert hold_decisions.decide(session, study_id, Decision.TAKE_NEW, "Dr. Roe") == 1
    assert states() == [MatchState.ACCEPTED]
    # It counts for the study, so who sees the study sees it.
    with unit_of_work() as session, site_scope.limited_to([north]):
        assert len(reading.list_by_study(session, study_id)) == 1


def test_about_an_order_of_no_known_site_the_study_s_readers_decide(north):
    (study_id,) = complete(new_instance(calling_ae=NORTH_AE))
    order_id = receive(sender="RIS|ALL", patient=OTHER_PATIENT).order_id
    with unit_of_work() as session, site_scope.limited_to([north]):
        assert [order.id for _, order in reading.list_by_study(session, study_id)] == [order_id]
        assert reading.read_page(session).orders == []
        assert hold_decisions.decide(session, study_id, Decision.PROCEED, "Dr. Roe") == 1
        assert reading.list_by_study(session, study_id) == []


def test_an_order_of_another_site_that_a_person_refused_is_not_asked_about_again(south):
    (study_id,) = complete(new_instance(calling_ae=NORTH_AE))
    receive(sender=SOUTH_RIS)
    with unit_of_work() as session:
        hold_decisions.decide(session, study_id, Decision.PROCEED, "Dr. Roe")
    receive(sender=SOUTH_RIS, procedure="CR THORAX")
    assert states() == [MatchState.REFUSED]
    with unit_of_work() as session:
        assert len(session.scalars(select(Hold)).all()) == 1


def test_nobody_sees_or_changes_an_order_of_another_site(north, south):
    own = receive(sender=NORTH_RIS).order_id
    other = receive(sender="REST", placer_order_number="78").order_id
    run_sql("UPDATE orders SET site_id = :south WHERE id = :id", south=south, id=other)
    with unit_of_work() as session, site_scope.limited_to([north]):
        assert [order.id for order in reading.read_page(session).orders] == [own]
        assert [order.id for order in reading.read_page(session, search="A1").orders] == [own]
        with pytest.raises(NotFound):
            reading.read_order(session, other)
        with pytest.raises(NotFound):
            receiving.get_order(session, other)
        with pytest.raises(NotFound):
            receiving.cancel_order(session, other, Origin.REST, "x")
    with (
        pytest.raises(MessageError, match="another site"),
        unit_of_work() as session,
        site_scope.limited_to([north]),
    ):
        receiving.receive_order(
            session, new_order(sender="REST", placer_order_number="78", procedure="x")
        )
    with unit_of_work() as session:
        assert session.get_one(Order, other).procedure != "x"
    # Nor is it taken for the one that is meant, where a number is equal.
    with unit_of_work() as session, site_scope.limited_to([north]):
        result = receiving.receive_order(
            session,
            new_order(sender="REST", placer_order_number="78", filler_order_number="F1"),
        )
    assert result.outcome is OrderOutcome.PLACED
    assert site_of("orders", result.order_id) == "north"


def test_pages_of_some_sites_have_one_order_and_no_gaps(north, south):
    for number in range(7):
        sender = (NORTH_RIS, SOUTH_RIS, "RIS|ALL")[number % 3]
        receive(sender=sender, placer_order_number=str(number), accession_numbers=(f"B{number}",))
    with unit_of_work() as session, site_scope.limited_to([north, south]):
        whole = [order.id for order in reading.read_page(session).orders]
        paged, after = [], None
        while True:
            page = reading.read_page(session, limit=2, after=after)
            paged += [order.id for order in page.orders]
            after = page.next
            if after is None:
                break
        assert paged == whole
        assert len(whole) == 5
    with unit_of_work() as session, site_scope.limited_to([]):
        assert reading.read_page(session).orders == []
    with unit_of_work() as session, site_scope.limited_to([DEFAULT_SITE_ID]):
        assert len(reading.read_page(session).orders) == 2
