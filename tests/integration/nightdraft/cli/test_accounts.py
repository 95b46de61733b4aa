"""`nightdraft account`, `site` and `token`: what an administrator types."""

import json

import pytest
from typer.testing import CliRunner

from nightdraft.cli.looks import user_of_system
from nightdraft.cli.main import app
from records.accounts import accounts, programs
from records.database.session import unit_of_work
from records.settings import settings
from tests.support.accounts import PASSWORD, run_sql
from tests.support.assertions import EC, RSA, key_set

pytestmark = pytest.mark.usefixtures("database", "data_dir")


def run(*arguments, status=0):
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == status, (done.output, done.exception)
    return done


def run_json(*arguments):
    return json.loads(run(*arguments, "--json").stdout)


def create(login="root", role="administrator", *more):
    return run_json("account", "create", login, "--role", role, *more)["link"].rpartition("/")[2]


def test_the_first_account_must_be_an_administrators():
    wrong = run("account", "create", "ada", "--role", "reader", status=1)
    assert "the first account must be an ADMINISTRATOR's" in str(wrong.exception)
    assert "without a login" in run("account", "list").stdout
    done = run("account", "create", "root", "--role", "administrator", "--name", "The Root")
    address, link = settings().pages_address(), done.stdout.split("\n")[1]
    assert link.startswith(f"{address}/link/")
    with unit_of_work() as session:
        account = accounts.use_link(session, link.rpartition("/")[2], PASSWORD)
        assert (account.login, account.name) == ("root", "The Root")
        assert account.created_by == user_of_system().name


def test_accounts_are_listed_and_shown_without_secrets():
    with unit_of_work() as session:
        accounts.use_link(session, create(), PASSWORD)
    run("site", "create", "north", "--name", "North Hospital")
    create("ada", "LEAD", "--site", "north", "--site", "default")
    listed = run_json("account", "list")
    assert [(row["login"], row["role"], row["sites"]) for row in listed] == [
        ("ada", "LEAD", ["default", "north"]),
        ("root", "ADMINISTRATOR", ["default"]),
    ]
    assert not any("hash" in key or "secret" in key for key in listed[0])
    text = run("account", "list").stdout
    assert "has no password yet" in text
    shown = run_json("account", "show", "ADA")
    assert shown["account"] == listed[0]
    assert shown["sessions"] == []
    assert "without a second factor" in run("account", "show", "ada").stdout


def test_an_account_is_changed():
    create()
    token = create("ada", "reader")
    with unit_of_work() as session:
        accounts.use_link(session, token, PASSWORD)
    run("account", "role", "ada", "lead")
    run("site", "create", "north")
    run("account", "sites", "ada", "north")
    run("account", "disable", "ada")
    (row,) = (row for row in run_json("account", "list") if row["login"] == "ada")
    assert (row["role"], row["sites"], row["is_disabled"]) == ("LEAD", ["north"], True)
    run("account", "enable", "ada")
    run("account", "unlock", "ada")
    assert run_json("account", "end-sessions", "ada") == {"login": "ada", "ended": 0}
    link = run_json("account", "reset", "Ada", "--second-factor")["link"]
    assert run_sql("SELECT password_hash FROM accounts WHERE login = 'ada'") == [(None,)]
    with unit_of_work() as session:
        assert accounts.find_by_link(session, link.rpartition("/")[2]).login == "ada"
    wrong = run("account", "disable", "root", status=1)
    assert "only administrator" in str(wrong.exception)
    for command in ("show", "disable", "enable", "reset", "unlock", "end-sessions"):
        assert "no account" in str(run("account", command, "bob", status=1).exception)


def test_sites_have_callers():
    run("site", "create", "north", "--name", "North Hospital")
    run("site", "create", "south")
    assert run_json("site", "callers", "north", "CR1", "CR 2") == {
        "code": "north",
        "callers": ["CR1", "CR 2"],
    }
    assert "another site" in str(run("site", "callers", "south", "CR1", status=1).exception)
    assert "no other site" in str(run("site", "callers", "default", "CR3", status=1).exception)
    assert "no AE title" in str(run("site", "callers", "south", "X" * 17, status=1).exception)
    assert [(row["code"], row["callers"]) for row in run_json("site", "list")] == [
        ("default", []),
        ("north", ["CR 2", "CR1"]),
        ("south", []),
    ]
    run("site", "callers", "north")
    assert "no callers of its own" in run("site", "list").stdout
    assert "there is a site north" in str(run("site", "create", "north", status=1).exception)
    assert "small letters" in str(run("site", "create", "North!", status=1).exception)


def test_a_program_with_keys_gets_no_token(tmp_path):
    file = tmp_path / "jwks.json"
    file.write_text(json.dumps(key_set(RSA, EC)))
    done = run_json("token", "create", "ris", "--permission", "send_orders", "--jwks", str(file))
    assert done["client_id"] == "ris"
    assert done["token_address"].endswith("/auth/token")
    assert "token" not in done
    url = "https://ehr.example/jwks"
    said = run("token", "create", "ehr", "--permission", "send_orders", "--jwks-url", url).stdout
    assert "client id: ehr" in said
    assert done["token_address"] in said
    rows = {row["name"]: row["proves"] for row in run_json("token", "list")}
    assert rows == {"ris": "keys rsa-1, ec-1", "ehr": f"keys at {url}"}
    assert "rsa-1" in run("token", "list").stdout
    file.write_text(json.dumps(key_set(EC)))
    assert run_json("token", "keys", "ris", "--jwks", str(file))["keys"] == "keys ec-1"
    assert url in run("token", "keys", "ris", "--jwks-url", url).stdout
    for wrong, why in (
        (("--jwks", str(file), "--jwks-url", url), "give one of the two"),
        (("--jwks-url", "http://ris.example/jwks"), "https://"),
        (("--jwks", str(tmp_path / "none")), "cannot be read"),
        (("--jwks", str(tmp_path)), "cannot be read"),
        ((), "name the new keys"),
    ):
        assert why in str(run("token", "keys", "ris", *wrong, status=1).exception)
    file.write_text(json.dumps({"keys": [RSA.as_dict(private=True)]}))
    private = ("create", "x", "--permission", "send_orders", "--jwks", str(file))
    assert "only the program may have" in str(run("token", *private, status=1).exception)
    assert {row["name"] for row in run_json("token", "list")} == {"ris", "ehr"}


def test_a_token_is_shown_once_and_revoked():
    done = run_json("token", "create", "ris", "--permission", "send_orders", "--days", "30")
    with unit_of_work() as session:
        assert programs.find(session, done["token"]).name == "ris"
    listed = run("token", "list")
    assert "SEND_ORDERS" in listed.stdout
    assert done["token"] not in listed.stdout + run("token", "list", "--json").stdout
    run("token", "revoke", "ris")
    (row,) = run_json("token", "list")
    assert row["revoked_at"]
    with unit_of_work() as session:
        assert programs.find(session, done["token"]) is None
    wrong = run("token", "create", "x", "--permission", "manage_accounts", status=1)
    assert "no program may have MANAGE_ACCOUNTS" in str(wrong.exception)
