"""Sites, and whose studies, orders and reports are whose by their senders."""

import pytest

from records.database.session import unit_of_work
from records.database.site_tables import DEFAULT_SITE_ID
from records.errors import NotAllowed, NotFound
from records.workflow import site_scope, sites
from tests.support.accounts import trail_lines
from tests.support.two_sites import NORTH_RIS, make_north, make_site

pytestmark = pytest.mark.usefixtures("database", "data_dir")


def set_senders(code, *senders):
    with unit_of_work() as session:
        sites.set_senders(session, code, senders)


def find(*senders, limited_to=None):
    with unit_of_work() as session, site_scope.limited_to(limited_to):
        return sites.sites_of_senders(session, senders)


def test_a_sender_is_known_in_any_capitals_and_no_other_one_is():
    north = make_north()
    assert find(" ris|north", "RIS|SOUTH") == {" ris|north": north}
    set_senders("north", "https://north.example/fhir", "NORTH_MWL")
    assert find(NORTH_RIS) == {}
    with unit_of_work() as session:
        assert sites.list_senders(session) == {north: ["HTTPS://NORTH.EXAMPLE/FHIR", "NORTH_MWL"]}
        assert sites.site_of_sender(session, "x") == DEFAULT_SITE_ID
    assert trail_lines()[-1][0] == "SETTING"
    assert trail_lines()[-1][5].startswith("site north: senders HTTPS")


def test_a_sender_is_of_one_site_and_the_first_site_names_none():
    make_north()
    make_site("south")
    with pytest.raises(NotAllowed, match="another site"):
        set_senders("south", "ris|north ")
    with pytest.raises(NotAllowed, match="no other site"):
        set_senders("default", "RIS")
    with pytest.raises(NotFound):
        set_senders("west", "RIS")
    for blank in ("", " ", "|"):
        with pytest.raises(NotAllowed, match="has a name"):
            set_senders("south", blank)
    set_senders("default")


def test_who_is_limited_sends_for_his_own_site_alone():
    north, south = make_north(), make_site("south", senders=["SOUTH"])
    assert find("SOUTH", "x", limited_to=[south]) == {"SOUTH": south, "x": south}
    with pytest.raises(NotAllowed, match="none of your sites"):
        find(NORTH_RIS, limited_to=[south])
    assert find(NORTH_RIS, "SOUTH", limited_to=[north, south]) == {NORTH_RIS: north, "SOUTH": south}
    with pytest.raises(NotAllowed, match="none of your sites"):
        find("x", limited_to=[north, south])
    with pytest.raises(NotAllowed, match="none of your sites"):
        find("SOUTH", limited_to=[])
