"""Tokens of programs: shown once, kept as a digest, ended and revoked."""

import datetime as dt

import pytest

from records.accounts import programs
from records.database.session import database_time, unit_of_work
from records.errors import NotAllowed, NotFound
from records.states import Permission
from records.workflow import sites
from tests.support.accounts import let_pass, run_sql, trail_lines

pytestmark = pytest.mark.usefixtures("database", "data_dir")


def create(name="ris", permissions=(Permission.SEND_ORDERS,), **how):
    with unit_of_work() as session:
        return programs.create(session, name, permissions, "a test", **how)


def find(token):
    with unit_of_work() as session:
        return programs.find(session, token)


def test_a_token_is_found_with_what_it_may_do():
    with unit_of_work() as session:
        north = sites.create(session, "north").id
    token = create(permissions=[Permission.READ_STUDIES], site_code="north")
    assert token.startswith("nightdraft_")
    program = find(token)
    assert (program.name, program.permissions, program.site_id) == (
        "ris",
        {Permission.READ_STUDIES},
        north,
    )
    assert find(create("other")).site_id is None
    assert token not in str(run_sql("SELECT * FROM program_tokens")) + str(trail_lines())
    assert run_sql("SELECT used_at IS NOT NULL FROM program_tokens WHERE name = 'ris'") == [(True,)]


@pytest.mark.parametrize("token", ["", "x", "nightdraft_", "nightdraft_" + "a" * 43, "\udcff"])
def test_what_is_no_token_finds_nothing(token):
    create()
    assert find(token) is None


def test_a_token_ends():
    with unit_of_work() as session:
        now = database_time(session)
    with pytest.raises(NotAllowed, match="passed already"):
        create(ends_at=now)
    token = create(ends_at=now + dt.timedelta(hours=1))
    assert find(token)
    let_pass("program_tokens", 3601, "ends_at")
    assert find(token) is None


def test_a_token_is_revoked_at_once_and_its_name_is_not_used_again():
    token = create()
    with unit_of_work() as session:
        programs.revoke(session, "ris")
    assert find(token) is None
    with unit_of_work() as session, pytest.raises(NotFound):
        programs.revoke(session, "ris")
    with pytest.raises(NotAllowed, match="not used again"):
        create()
    assert [line[-1] for line in trail_lines()] == [
        "token ris created for SEND_ORDERS",
        "token ris revoked",
    ]


def test_no_program_may_manage_accounts_or_decide():
    for permission in (Permission.MANAGE_ACCOUNTS, Permission.DECIDE_HOLDS, Permission.READ_TRAIL):
        with pytest.raises(NotAllowed, match=permission):
            create(permissions=[permission])
    with pytest.raises(NotAllowed, match="at least one"):
        create(permissions=[])


def test_a_permission_that_is_none_any_more_gives_nothing():
    token = create()
    run_sql("UPDATE program_tokens SET permissions = '{MANAGE_ACCOUNTS,OLD_WORD}'")
    assert find(token).permissions == frozenset()
