"""The hold about a patient's species, up and down."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

import migrations
from records.database.session import engine, unit_of_work
from records.states import HoldReason
from records.workflow import holds
from tests.support.registered_studies import complete, new_instance


def ask_about_all():
    with engine().begin() as connection:
        connection.execute(text("UPDATE holds SET reason = 'SPECIES_UNKNOWN'"))


def test_a_hold_about_the_species_stays_a_hold_when_the_software_goes_back(database):
    studies = complete(new_instance("1.2.3"), new_instance("1.2.4"))
    with unit_of_work() as session:
        for study in studies:
            holds.open_hold(session, study, HoldReason.SPECIES_UNKNOWN, "an owner")
        holds.open_hold(session, studies[1], HoldReason.CHEST_UNKNOWN, "no body part")
    migrations.downgrade(engine(), "0008")
    with engine().connect() as connection:
        rows = connection.execute(text("SELECT study_id, reason FROM holds WHERE decision IS NULL"))
        assert sorted(tuple(row) for row in rows) == sorted(
            (study, "CHEST_UNKNOWN") for study in studies
        )
    with pytest.raises(IntegrityError, match="reason_known"):
        ask_about_all()
    migrations.upgrade(engine())
    ask_about_all()
