"""Accounts as rows: the first one, roles and sites, disabling, and the link that is used once."""

import pytest

from records.accounts import accounts, passwords
from records.database.session import unit_of_work
from records.errors import NotAllowed, NotFound
from records.states import Role
from records.workflow import sites
from tests.support.accounts import PASSWORD, let_pass, make_account, run_sql, trail_lines

pytestmark = pytest.mark.usefixtures("database")


def create(login, role=Role.ADMINISTRATOR, codes=(), name=""):
    with unit_of_work() as session:
        return accounts.create(session, login, role, codes, "a test", name)


def test_the_first_account_is_an_administrators_and_the_error_says_why():
    with pytest.raises(NotAllowed, match="only an administrator can make further accounts"):
        create("ada", Role.READER)
    assert run_sql("SELECT count(*) FROM accounts") == [(0,)]
    create("root")
    create("ada", Role.READER)
    assert run_sql("SELECT login, role FROM accounts ORDER BY login") == [
        ("ada", "READER"),
        ("root", "ADMINISTRATOR"),
    ]


def test_two_spellings_of_a_login_name_are_one():
    create("Root ")
    with pytest.raises(NotAllowed, match="login name root"):
        create("ROOT")
    for name in ("", "a b", "rööt", "x" * 65, "ro\not"):
        with pytest.raises(NotAllowed, match="a login name has letters"):
            create(name)


def test_no_person_has_the_role_of_programs():
    create("root")
    with pytest.raises(NotAllowed, match="token"):
        create("robot", Role.SERVICE)
    with unit_of_work() as session, pytest.raises(NotAllowed, match="token"):
        accounts.set_role(session, "root", Role.SERVICE)


def test_a_link_is_used_once_and_kept_as_a_digest():
    account, token = create("root")
    with unit_of_work() as session:
        assert accounts.find_by_link(session, token).id == account.id
    with unit_of_work() as session, pytest.raises(NotAllowed, match="too short"):
        accounts.use_link(session, token, "short")
    with unit_of_work() as session:  # it stays after a password that was not taken
        accounts.use_link(session, token, PASSWORD)
    with unit_of_work() as session, pytest.raises(NotFound, match="was used"):
        accounts.use_link(session, token, PASSWORD)
    (kept,) = run_sql("SELECT password_hash FROM accounts")
    assert passwords.is_right(PASSWORD, kept[0])


def test_a_link_ends_after_a_day_and_when_a_newer_one_is_made():
    _, first = create("root")
    with unit_of_work() as session:
        second = accounts.reset(session, "root", "a test")
    for token in (first, "", "x"):
        with unit_of_work() as session, pytest.raises(NotFound):
            accounts.find_by_link(session, token)
    let_pass("account_links", accounts.LINK_SECONDS - 60, "ends_at")
    with unit_of_work() as session:
        accounts.find_by_link(session, second)
    let_pass("account_links", 61, "ends_at")
    with unit_of_work() as session, pytest.raises(NotFound, match="older than a day"):
        accounts.find_by_link(session, second)
    assert second not in str(run_sql("SELECT * FROM account_links"))


def test_the_last_administrator_stays_one():
    create("root")
    with unit_of_work() as session, pytest.raises(NotAllowed, match="only administrator"):
        accounts.disable(session, "root")
    with unit_of_work() as session, pytest.raises(NotAllowed, match="only administrator"):
        accounts.set_role(session, "root", Role.READER)
    create("second")
    with unit_of_work() as session:
        accounts.disable(session, "root")
    with unit_of_work() as session, pytest.raises(NotAllowed, match="only administrator"):
        accounts.disable(session, "second")


def test_a_disabled_account_loses_its_link_and_is_enabled_again():
    create("root")
    _, token = create("ada", Role.READER)
    with unit_of_work() as session:
        accounts.disable(session, "ada")
    with unit_of_work() as session, pytest.raises(NotFound):
        accounts.find_by_link(session, token)
    with unit_of_work() as session, pytest.raises(NotAllowed, match="enable it first"):
        accounts.reset(session, "ada", "a test")
    with unit_of_work() as session:
        accounts.enable(session, "ada")
        accounts.reset(session, "ada", "a test")


def test_sites_are_those_that_were_named_last():
    make_account("ada")
    with unit_of_work() as session:
        sites.create(session, "north")
        sites.create(session, "south", "South Hospital")
        accounts.set_sites(session, "ada", ["north", "south", "north"])
    with unit_of_work() as session, pytest.raises(NotFound, match="nowhere"):
        accounts.set_sites(session, "ada", ["nowhere"])
    with unit_of_work() as session:
        account = accounts.get(session, "ada")
        assert [site.code for site in accounts.list_sites(session)[account.id]] == [
            "north",
            "south",
        ]


def test_a_trail_of_every_change_and_no_secret_in_it():
    make_account("ada")
    with unit_of_work() as session:
        sites.create(session, "north")
        accounts.set_role(session, "ada", Role.LEAD)
        accounts.set_sites(session, "ada", ["north"])
        accounts.unlock(session, "ada")
        token = accounts.reset(session, "ada", "a test", second_factor=True)
        accounts.disable(session, "ada")
        accounts.enable(session, "ada")
    lines = trail_lines()
    assert [line[-1] for line in lines][-7:] == [
        "account ada: password chosen by link",
        "account ada: READER to LEAD",
        "account ada: sites north",
        "account ada unlocked",
        "account ada: password and second factor reset",
        "account ada disabled",
        "account ada enabled",
    ]
    assert token not in str(lines)
    assert PASSWORD not in str(lines)
