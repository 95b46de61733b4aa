"""When a session ends, and what its queries read."""

import pytest

from records.accounts import accounts, lockouts, logins, programs, sessions
from records.database.session import engine, unit_of_work
from records.errors import LoginRefused
from records.settings import settings
from records.states import Permission, Role
from tests.support.accounts import ADDRESS, PASSWORD, let_pass, make_account, run_sql
from tests.support.query_plans import explained, nodes

pytestmark = pytest.mark.usefixtures("database", "data_dir")


def begin(login="ada"):
    with unit_of_work() as session:
        return sessions.begin(session, accounts.get(session, login).id, ADDRESS)


def find(token, **how):
    with unit_of_work() as session:
        return sessions.find(session, token, **how)


def test_a_session_ends_when_it_is_not_used():
    make_account()
    token = begin()
    idle = 60 * settings().session_idle_minutes
    let_pass("account_sessions", idle - 30, "used_at")
    assert find(token)  # which is a use
    let_pass("account_sessions", idle - 30, "used_at")
    assert find(token, is_use=False)  # which is none
    let_pass("account_sessions", 60, "used_at")
    assert find(token) is None


def test_a_session_ends_so_long_after_it_began_however_much_it_is_used(setting):
    make_account()
    token = begin()
    let_pass("account_sessions", 3600 * settings().session_hours - 60, "created_at")
    assert find(token)
    let_pass("account_sessions", 61, "created_at")
    assert find(token) is None
    begin()  # which removes it
    assert run_sql("SELECT count(*) FROM account_sessions") == [(1,)]


def test_the_settings_of_the_moment_count(setting):
    make_account()
    token = begin()
    let_pass("account_sessions", 120, "used_at")
    setting(session_idle_minutes=1)
    assert find(token) is None
    setting(session_idle_minutes=5)
    assert find(token)


def test_disabling_ends_sessions_and_a_role_counts_at_once():
    make_account()
    token = begin()
    with unit_of_work() as session:
        accounts.set_role(session, "ada", Role.TRAINEE)
    assert find(token).role is Role.TRAINEE
    with unit_of_work() as session:
        accounts.disable(session, "ada")
    assert find(token) is None
    with unit_of_work() as session:
        accounts.enable(session, "ada")
    assert find(token) is None


def test_a_session_is_ended_by_its_token_and_others_by_their_account():
    account = make_account()
    first, second, third = begin(), begin(), begin()
    with unit_of_work() as session:
        assert sessions.end(session, first) == account.id
        assert sessions.end(session, first) is None
        kept = sessions.find(session, second).id
        assert sessions.end_all(session, account.id, but=kept) == 1
        assert [row.id for row in sessions.list_live(session, account.id)] == [kept]
    assert find(third) is None


def test_the_password_is_given_again_for_what_needs_it(setting):
    make_account()
    token = begin()
    let_pass("account_sessions", 60 * settings().fresh_minutes + 1, "proven_at")
    live = find(token)
    assert not live.is_fresh
    with pytest.raises(LoginRefused):
        logins.prove_again(live.id, "ada", "wrong password", "", ADDRESS)
    assert not find(token).is_fresh
    logins.prove_again(live.id, "ada", PASSWORD, "", ADDRESS)
    assert find(token).is_fresh


def test_who_sits_at_an_open_session_does_not_guess_for_ever():
    make_account()
    live = find(begin())
    for _ in range(lockouts.FREE_FAILURES):
        with pytest.raises(LoginRefused):
            logins.prove_again(live.id, "ada", "wrong password", "", ADDRESS)
    with pytest.raises(LoginRefused, match="too many"):
        logins.prove_again(live.id, "ada", PASSWORD, "", ADDRESS)
    logins.log_in("ada", PASSWORD, "", address=ADDRESS)  # the person is not locked out by it


def test_what_grows_is_read_by_an_index():
    account = make_account()
    with engine().begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO account_sessions (account_id, token_hash, address, created_at)"
            f" SELECT '{account.id}', md5(n::text), '', now() - make_interval(secs => n)"
            " FROM generate_series(1, 20000) AS n"
        )
        connection.exec_driver_sql(
            "INSERT INTO login_failures (key, number, last_at)"
            " SELECT md5(n::text), 1, now() - make_interval(secs => n)"
            " FROM generate_series(1, 20000) AS n"
        )
        connection.exec_driver_sql(
            "INSERT INTO account_devices (account_id, token_hash)"
            f" SELECT '{account.id}', md5(n::text) FROM generate_series(1, 20000) AS n"
        )
        connection.exec_driver_sql("ANALYZE")
    token = begin()
    with unit_of_work() as session:
        programs.create(session, "ris", [Permission.SEND_ORDERS], "a test")
    with explained() as plans:
        find(token)
        logins.log_in("ada", PASSWORD, "", address=ADDRESS, device_token="x")
        with unit_of_work() as session:
            lockouts.forget_old(session)
            sessions.begin(session, account.id, ADDRESS)
            sessions.end(session, token)
    walked = {
        node["Relation Name"]
        for _, plan in plans
        for node in nodes(plan)
        if node["Node Type"] == "Seq Scan"
    }
    assert walked.isdisjoint({"account_sessions", "login_failures", "account_devices"}), walked
