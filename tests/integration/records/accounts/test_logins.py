"""Logging in: what is refused, how long waits grow, and whom a stranger cannot lock out."""

import threading

import pyotp
import pytest

from records.accounts import accounts, lockouts, logins, passwords, sessions
from records.accounts.lockouts import (
    FIRST_WAIT_SECONDS,
    FREE_FAILURES,
    FREE_FAILURES_OF_ADDRESS,
    MOST_WAIT_SECONDS,
)
from records.database.session import database_time, unit_of_work
from records.errors import LoginRefused, NotAllowed
from tests.support.accounts import (
    ADDRESS,
    PASSWORD,
    begin_second_factor,
    let_pass,
    make_account,
    run_sql,
    trail_lines,
)

pytestmark = pytest.mark.usefixtures("database", "data_dir")


@pytest.fixture
def quick(monkeypatch):
    """Cheap hashes: these tests make many attempts."""
    import argon2

    monkeypatch.setattr(
        passwords, "_HASHER", argon2.PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    )
    passwords._hash_of_nobody.cache_clear()
    yield
    passwords._hash_of_nobody.cache_clear()


def log_in(login="ada", password=PASSWORD, code="", address=ADDRESS, device=""):
    return logins.log_in(login, password, code, address=address, device_token=device)


def fail(times=1, **changes):
    waits = []
    for _ in range(times):
        with pytest.raises(LoginRefused) as caught:
            log_in(**{"password": "wrong password", **changes})
        waits.append(caught.value.wait_seconds)
    return waits


def find(token):
    with unit_of_work() as session:
        return sessions.find(session, token)


def test_a_login_begins_a_session_and_its_token_is_kept_as_a_digest():
    account = make_account()
    done = log_in("  ADA ")
    live = find(done.session_token)
    assert (live.account_id, live.login, live.role, live.is_fresh) == (
        account.id,
        "ada",
        "READER",
        True,
    )
    rows = str(run_sql("SELECT * FROM account_sessions")) + str(
        run_sql("SELECT * FROM account_devices")
    )
    assert done.session_token not in rows
    assert done.device_token not in rows
    assert trail_lines()[-1] == ("LOGIN", "SUCCESS", "ACCOUNT", "ada", ADDRESS, "logged in")


def test_one_sentence_for_everything_that_is_wrong():
    make_account()
    make_account("off")
    with unit_of_work() as session:
        accounts.disable(session, "off")
    sentences = set()
    for login, password in [
        ("ada", "wrong password"),
        ("nobody", PASSWORD),
        ("off", PASSWORD),
        ("root", ""),  # has no password yet
        ("x" * 5000, PASSWORD),
        ("ada", "x" * 5000),
    ]:
        with pytest.raises(LoginRefused) as caught:
            log_in(login, password)
        sentences.add(str(caught.value))
    assert sentences == {logins.WRONG}
    details = [line[-1] for line in trail_lines() if line[1] == "REFUSED"]
    assert details == [
        "a login failed: account ada",
        "a login failed: no account has that name",
        "a login failed: account off",
        "a login failed: account root",
        "a login failed: no account has that name",
        "a login failed: account ada",
    ]


def test_waits_double_up_to_a_bound_and_refused_attempts_lengthen_nothing(quick):
    make_account()
    assert fail(FREE_FAILURES - 1) == [0.0] * (FREE_FAILURES - 1)
    seen = []
    for _ in range(8):
        (wait,) = fail()
        seen.append(round(wait / FIRST_WAIT_SECONDS))
        with pytest.raises(LoginRefused, match="too many attempts") as caught:
            log_in()  # the right password: nothing is looked at
        assert 0 < caught.value.wait_seconds <= wait
        let_pass("login_failures", wait, "locked_until")
    most = round(MOST_WAIT_SECONDS / FIRST_WAIT_SECONDS)
    assert seen == [1, 2, 4, 8, 16, 32, most, most]
    log_in()
    assert fail() == [0.0]  # the count began anew


def test_a_name_that_no_account_has_is_locked_as_any_other(quick):
    make_account()
    known = fail(FREE_FAILURES + 1)
    unknown = fail(FREE_FAILURES + 1, login="nobody")
    assert [round(wait) for wait in known] == [round(wait) for wait in unknown]


def test_failures_are_forgotten_after_an_hour(quick):
    make_account()
    fail(FREE_FAILURES - 1)
    let_pass("login_failures", lockouts.FORGOTTEN_AFTER_SECONDS + 1, "last_at")
    assert fail(FREE_FAILURES - 1) == [0.0] * (FREE_FAILURES - 1)


def test_a_stranger_locks_nobody_out_of_a_browser_that_is_known(quick):
    make_account()
    device = log_in().device_token
    fail(FREE_FAILURES + 3, address="203.0.113.9")
    with pytest.raises(LoginRefused):
        log_in()
    again = log_in(device=device)
    assert again.device_token == device
    # Nor from the same address, for they may share a proxy.
    fail(FREE_FAILURES_OF_ADDRESS + 3, login="other")
    log_in(device=device)
    # The browser has a count of its own; a cookie of another account's browser is none.
    assert fail(FREE_FAILURES, device=device)[-1] > 0
    make_account("bob")
    with pytest.raises(LoginRefused, match="too many"):
        log_in("bob", device=device)


def test_one_address_that_tries_many_names_must_wait(quick):
    make_account()
    for number in range(FREE_FAILURES_OF_ADDRESS):
        (wait,) = fail(login=f"name{number}")
    assert wait > 0
    with pytest.raises(LoginRefused, match="too many"):
        log_in()
    log_in(address="198.51.100.1")


def test_a_login_that_succeeds_does_not_forgive_its_address(quick):
    make_account()
    for number in range(FREE_FAILURES_OF_ADDRESS - 1):
        fail(login=f"name{number}")
    log_in()
    (wait,) = fail(login="another")
    assert wait > 0


def test_an_administrator_unlocks(quick):
    make_account()
    device = log_in().device_token
    fail(FREE_FAILURES)
    fail(FREE_FAILURES, device=device)
    with unit_of_work() as session:
        assert lockouts.locked_until(session, "ada") is not None
        accounts.unlock(session, "ada")
        assert lockouts.locked_until(session, "ada") is None
    log_in()
    log_in(device=device)


def test_attempts_at_the_same_time_are_counted_before_they_are_looked_at(quick):
    make_account()
    outcomes = []

    def attempt():
        try:
            log_in(password="wrong password")
        except LoginRefused as error:
            outcomes.append(str(error) == logins.WRONG)

    threads = [threading.Thread(target=attempt) for _ in range(3 * FREE_FAILURES)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count(True) == FREE_FAILURES  # only these reached the password
    assert len(outcomes) == 3 * FREE_FAILURES


def test_counts_that_mean_nothing_any_more_are_removed(quick):
    make_account()
    fail(login="long-ago")
    let_pass("login_failures", 90_000, "last_at")
    log_in()
    assert run_sql("SELECT count(*) FROM login_failures WHERE number > 0") == [(0,)]


def code_now(secret, steps=0):
    with unit_of_work() as session:
        now = int(database_time(session).timestamp())
    return pyotp.TOTP(secret).at(now + 30 * steps)


def test_a_second_factor_is_asked_for_and_no_code_is_accepted_twice():
    make_account()
    secret, _ = begin_second_factor()
    fail(password=PASSWORD)
    fail(password=PASSWORD, code="000000")
    code = code_now(secret)
    log_in(code=f"{code[:3]} {code[3:]}")
    fail(password=PASSWORD, code=code)
    # Nor an older one after it, which was seen over a shoulder.
    fail(password=PASSWORD, code=code_now(secret, -1))
    fail(password=PASSWORD, code=code_now(secret, 2))


def test_a_wrong_password_uses_no_code_up():
    make_account()
    secret, codes = begin_second_factor()
    code = code_now(secret)
    fail(code=code)
    fail(code=codes[0])
    log_in(code=code)
    log_in(code=codes[0])


def test_a_recovery_code_counts_once_and_is_kept_as_a_digest():
    make_account()
    secret, codes = begin_second_factor()
    assert len(set(codes)) == 10
    log_in(code=codes[3].upper().replace("-", " "))
    fail(password=PASSWORD, code=codes[3])
    log_in(code=codes[4])
    rows = str(run_sql("SELECT code_hash FROM recovery_codes"))
    assert not any(code.replace("-", "") in rows for code in codes)
    (kept,) = run_sql("SELECT totp_secret FROM accounts WHERE login = 'ada'")
    assert secret.encode() not in bytes(kept[0])


def test_two_requests_with_one_code_let_one_in():
    make_account()
    secret, _ = begin_second_factor()
    code = code_now(secret)
    done = []

    def attempt():
        try:
            done.append(log_in(code=code))
        except LoginRefused:
            done.append(None)

    threads = [threading.Thread(target=attempt) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len([one for one in done if one]) == 1


def test_another_password_ends_every_session_and_begins_one():
    make_account()
    first, second = log_in(), log_in()
    with pytest.raises(NotAllowed, match="too short"):
        logins.change_password("ada", PASSWORD, "", "short", ADDRESS)
    assert find(first.session_token)
    with pytest.raises(LoginRefused):
        logins.change_password("ada", "wrong password", "", "another long password", ADDRESS)
    token = logins.change_password("ada", PASSWORD, "", "another long password", ADDRESS)
    assert find(first.session_token) is None
    assert find(second.session_token) is None
    assert find(token).login == "ada"
    fail(password=PASSWORD)
    log_in(password="another long password")


def test_a_hash_with_weaker_parameters_is_made_anew(quick, monkeypatch):
    make_account()
    (weak,) = run_sql("SELECT password_hash FROM accounts WHERE login = 'ada'")
    monkeypatch.undo()
    log_in()
    (strong,) = run_sql("SELECT password_hash FROM accounts WHERE login = 'ada'")
    assert "m=8," in weak[0]
    assert "m=65536," in strong[0]
