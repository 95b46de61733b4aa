"""Accounts of an identity provider as rows: what their queries read, and two logins at once."""

import datetime as dt
import threading

import pytest

from records.accounts import local_logins, provider_accounts, provider_logins, sessions
from records.accounts.provider_accounts import Person, ProviderLogout
from records.database.session import engine, unit_of_work
from records.errors import LoginRefused, NotAllowed, SettingsError
from records.states import Role
from tests.support.accounts import ADDRESS, let_pass, make_account, run_sql
from tests.support.query_plans import explained, nodes

ISSUER = "https://login.hospital.example"


@pytest.fixture(autouse=True)
def provider(database, data_dir, setting):
    setting(oidc_issuer=ISSUER, oidc_roles="readers=reader")


def person(number=1, **changes):
    given = {
        "issuer": ISSUER,
        "subject": f"s{number}",
        "login": f"person{number}",
        "name": "",
        "groups": ("readers",),
        "provider_session": f"session-{number}",
        "proven_at": None,
    }
    return Person(**{**given, **changes})


def test_the_first_account_of_all_may_be_anybodys():
    account, token = provider_accounts.log_in(person(), ADDRESS)
    assert (account.login, account.name) == ("person1", "person1")
    with unit_of_work() as session:
        live = sessions.find(session, token)
        assert live.is_of_provider
        assert not live.is_fresh  # nobody said when the person showed who it is


def test_the_same_subject_of_another_provider_is_another_person():
    provider_accounts.log_in(person(), ADDRESS)
    provider_accounts.log_in(person(issuer="https://login.other.example", login="other"), ADDRESS)
    assert run_sql("SELECT count(*) FROM accounts") == [(2,)]
    # Its sessions do not last, as it is not the provider of the settings.
    with unit_of_work() as session:
        _, token = provider_accounts.log_in(
            person(issuer="https://login.other.example", login="other"), ADDRESS
        )
        assert sessions.find(session, token) is None


def test_two_first_logins_at_once_make_one_account():
    barrier = threading.Barrier(4)
    failures = []

    def log_in():
        barrier.wait()
        try:
            provider_accounts.log_in(person(), ADDRESS)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=log_in) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert run_sql("SELECT count(*) FROM accounts") == [(1,)]
    assert run_sql("SELECT count(*) FROM account_sessions") == [(4,)]


def test_a_logout_token_that_is_used_at_once_by_two_counts_once():
    provider_accounts.log_in(person(), ADDRESS)
    logout = ProviderLogout(ISSUER, "s1", "", "t-1")
    barrier = threading.Barrier(4)
    ended = []

    def end():
        barrier.wait()
        try:
            ended.append(provider_accounts.end_sessions(logout))
        except NotAllowed:
            ended.append(None)

    threads = [threading.Thread(target=end) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended, key=str) == [1, None, None, None]
    # It is forgotten once it is too old to be taken.
    let_pass("logout_tokens", provider_accounts.TOKEN_KEPT_SECONDS + 1, "used_at")
    provider_accounts.end_sessions(ProviderLogout(ISSUER, "s1", "", "t-2"))
    assert run_sql("SELECT count(*) FROM logout_tokens") == [(1,)]


def test_names_are_one_line_of_printable_signs():
    account, _ = provider_accounts.log_in(person(name="  Ada\r\n\x1b[1mL.  "), ADDRESS)
    assert account.name == "Ada [1mL."


def test_a_login_in_the_future_is_one_of_now():
    later = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    provider_accounts.log_in(person(proven_at=later), ADDRESS)
    assert run_sql("SELECT proven_at <= clock_timestamp() FROM account_sessions") == [(True,)]


def test_the_fallback_account_must_be_able_to_log_in(setting):
    make_account("root", Role.ADMINISTRATOR)
    provider_accounts.log_in(person(), ADDRESS)

    def problem(login, **values):
        setting(fallback_account=login, **values)
        with unit_of_work() as session:
            try:
                local_logins.check_fallback_account(session)
            except SettingsError as error:
                return str(error)
        return ""

    assert problem("") == ""
    assert problem("Root") == ""
    assert "no such account" in problem("nobody")
    assert "of the identity provider" in problem("person1")
    run_sql("UPDATE accounts SET password_hash = NULL WHERE login = 'root'")
    assert "no password" in problem("root")
    run_sql("UPDATE accounts SET disabled_at = now() WHERE login = 'root'")
    assert "disabled" in problem("root")
    assert "names no identity provider" in problem("root", oidc_issuer="")


def test_the_queries_use_indexes():
    account, _ = provider_accounts.log_in(person(), ADDRESS)
    with engine().begin() as connection:
        for statement in (
            "INSERT INTO accounts (login, name, role, created_by, issuer, subject)"
            f" SELECT 'x' || n, '', 'READER', '', '{ISSUER}', 'x' || n"
            " FROM generate_series(1, 20000) AS n",
            "INSERT INTO account_sessions (account_id, token_hash, address, provider_session)"
            f" SELECT '{account.id}', md5(n::text), '', md5(n::text)"
            " FROM generate_series(1, 20000) AS n",
            "INSERT INTO provider_logins (state_hash, browser_hash, nonce, verifier, back,"
            " must_prove, address, ends_at) SELECT md5(n::text), '', '', '', '', false,"
            " md5(n::text), now() + interval '1 hour' FROM generate_series(1, 20000) AS n",
            "INSERT INTO logout_tokens (token_hash)"
            " SELECT md5(n::text) FROM generate_series(1, 20000) AS n",
            "ANALYZE",
        ):
            connection.exec_driver_sql(statement)
    begun = provider_logins.Begun.new()
    with explained() as plans:
        provider_accounts.log_in(person(), ADDRESS)
        with unit_of_work() as session:
            provider_logins.keep(session, begun, browser_token="b", back="", address=ADDRESS)
            assert provider_logins.take(session, begun.state, "c") is None
            assert provider_logins.take(session, begun.state, "b").nonce == begun.nonce
        assert provider_accounts.end_sessions(ProviderLogout(ISSUER, "", "session-1", "1")) == 2
        assert provider_accounts.end_sessions(ProviderLogout(ISSUER, "s1", "x", "2")) == 0
    walked = {
        node["Relation Name"]
        for _, plan in plans
        for node in nodes(plan)
        if node["Node Type"] == "Seq Scan"
    }
    named = {"accounts", "account_sessions", "provider_logins", "logout_tokens"}
    assert walked.isdisjoint(named), walked


def test_a_refusal_is_in_the_trail_and_changes_nothing():
    with pytest.raises(LoginRefused):
        provider_accounts.log_in(person(groups=()), ADDRESS)
    assert run_sql("SELECT outcome, actor_address FROM audit_entries") == [("REFUSED", ADDRESS)]
    assert run_sql("SELECT count(*) FROM accounts") == [(0,)]
