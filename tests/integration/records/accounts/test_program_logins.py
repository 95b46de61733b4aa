"""Programs log in with signed assertions: good ones once, and bad ones never."""

import base64
import json
import threading
import time

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from records.accounts import lockouts, programs
from records.accounts.program_logins import ASSERTION_TYPE, UNKNOWN, log_in, token_address
from records.accounts.programs import ProgramKeys
from records.database.session import unit_of_work
from records.errors import NotAllowed, NotFound, PartError, TokenRefused
from records.states import Permission
from tests.support.accounts import ADDRESS, let_pass, run_sql, trail_lines
from tests.support.assertions import EC, OTHER, RSA, claims, key_set, make_program, sign
from tests.support.key_publisher import KeyPublisher
from tests.support.query_plans import explained, nodes

pytestmark = pytest.mark.usefixtures("database", "data_dir")

SCOPE = "system/ServiceRequest.cruds"
NOW = int(time.time())


def ask(assertion, scope=SCOPE, **how):
    return log_in(assertion, scope, address=how.pop("address", ADDRESS), **how)


def find(token):
    with unit_of_work() as session:
        return programs.find(session, token)


def refused(assertion, match, code="invalid_client", **how):
    with pytest.raises(TokenRefused, match=match) as raised:
        ask(assertion, **how)
    assert raised.value.code == code
    assert run_sql("SELECT count(*) FROM program_access_tokens") == [(0,)]
    return raised.value


@pytest.mark.parametrize("key", [RSA, EC], ids=["RS384", "ES384"])
def test_an_assertion_gets_a_token_of_five_minutes(key):
    make_program()
    access = ask(sign(claims(), key))
    assert (access.seconds, access.scope) == (300, "system/ServiceRequest.cru")
    program = find(access.token)
    assert (program.name, program.permissions, program.fhir) == (
        "ris",
        {Permission.SEND_ORDERS},
        {"ServiceRequest": "cru"},
    )
    line = ("LOGIN", "SUCCESS", "PROGRAM", "ris", ADDRESS)
    assert trail_lines()[-1] == (*line, "was given a token for system/ServiceRequest.cru")
    rows = str(run_sql("SELECT * FROM program_access_tokens")) + str(trail_lines())
    assert access.token not in rows
    assert run_sql("SELECT used_at IS NOT NULL FROM program_tokens") == [(True,)]
    let_pass("program_access_tokens", 301, "ends_at")
    assert find(access.token) is None
    # The next one removes what has ended.
    ask(sign(claims(), key))
    assert run_sql("SELECT count(*) FROM program_access_tokens") == [(1,)]


def test_the_audience_may_be_a_list_of_one_and_the_client_id_be_in_the_form():
    make_program()
    assert ask(sign(claims(aud=[token_address()])), client_id="ris").token
    assert ask(sign(claims(), x5t="abc", mine={"a": 1})).token  # what is not known in a header
    refused_by_id = sign(claims())
    with pytest.raises(TokenRefused, match="client_id"):
        ask(refused_by_id, client_id="pacs")


def forge(payload, **header):
    """A JWT with a signature of nobody."""
    given = {"alg": "RS384", "kid": "rsa-1", "typ": "JWT"} | header
    kept = {name: value for name, value in given.items() if value is not None}
    return f"{encode(kept)}.{encode(payload)}.AAAA"


def encode(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


def public_as_secret(form):
    """An assertion whose HMAC has the public key, which everybody knows, as its secret."""
    secret = RSA.as_pem(private=False) if form == "pem" else RSA.as_dict()["n"].encode()
    key = OctKey.import_key(base64.urlsafe_b64encode(secret).decode().rstrip("="))
    return sign(claims(), key, algorithm="HS384", kid="rsa-1")


@pytest.mark.filterwarnings("ignore::joserfc.errors.SecurityWarning")
@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: forge(claims(), alg="none"), "not signed with RS384 or ES384"),
        (lambda: forge(claims(), alg="none").removesuffix("AAAA"), "not signed with"),
        (lambda: public_as_secret("pem"), "not signed with"),
        (lambda: public_as_secret("n"), "not signed with"),
        (lambda: sign(claims(), algorithm="RS256"), "not signed with"),
        (lambda: sign(claims(), algorithm="PS384"), "not signed with"),
        (lambda: forge(claims(), alg=None), "no signed JWT"),
        (lambda: forge(claims(), alg=["RS384"]), "not signed with"),
        (lambda: sign(claims(), EC, kid="rsa-1"), UNKNOWN),
        (lambda: sign(claims(), RSA, kid="ec-1"), UNKNOWN),
        (lambda: sign(claims(), OTHER), UNKNOWN),
        (lambda: sign(claims(), kid="rsa-2"), UNKNOWN),
        (lambda: sign(claims(), kid=None), "names no key"),
        (lambda: forge(claims(), kid=7), "names no key"),
        (lambda: sign(claims(), jku="https://evil.example/jwks"), UNKNOWN),
        (lambda: forge(claims(), crit=["exp"], exp=1), "extensions"),
        (lambda: forge(claims()), UNKNOWN),
        (lambda: sign(claims("pacs")), UNKNOWN),
        (lambda: sign(claims("static")), UNKNOWN),
        (lambda: sign(claims(sub="pacs")), "iss and sub"),
        (lambda: sign(claims(iss=None)), "iss and sub"),
        (lambda: sign(claims(iss="", sub="")), "iss and sub"),
        (lambda: sign(claims(iss="\ud800", sub="\ud800")), "iss and sub"),
        (lambda: sign(claims(iss=["ris"], sub=["ris"])), "iss and sub"),
        (lambda: sign(claims(aud="https://other.example/auth/token")), "aud is not"),
        (lambda: sign(claims(aud=token_address() + "/")), "aud is not"),
        (lambda: sign(claims(aud=[token_address(), "https://other.example"])), "aud is not"),
        (lambda: sign(claims(aud=None)), "aud is not"),
        (lambda: sign(claims(exp=None)), "has no end"),
        (lambda: sign(claims(exp=NOW - 60)), "has ended"),
        (lambda: sign(claims(exp="soon")), "has no end"),
        (lambda: sign(claims(exp=True)), "has no end"),
        (lambda: sign(claims(exp=float("nan"))), "has no end"),
        (lambda: sign(claims(exp=10**400)), "has no end"),
        (lambda: sign(claims(exp=int(time.time()) + 3600)), "more than 300 s"),
        (lambda: sign(claims(nbf=int(time.time()) + 60)), "begins later"),
        (lambda: sign(claims(iat=int(time.time()) + 60)), "begins later"),
        (lambda: sign(claims(jti=None)), "jti is no text"),
        (lambda: sign(claims(jti=5)), "jti is no text"),
        (lambda: sign(claims(jti="x" * 201)), "jti is no text"),
        (lambda: sign(b"[]"), "no signed JWT"),
        (lambda: sign(b"x"), "no signed JWT"),
        (lambda: sign(b"[" * 10_000), "no signed JWT"),
        (lambda: sign(claims()).rsplit(".", 1)[0] + ".", UNKNOWN),
        (lambda: sign(claims())[:-6] + "AAAAAA", UNKNOWN),
        (lambda: sign(claims()) + ".x", "no signed JWT"),
        (lambda: "x", "no signed JWT"),
        (lambda: "", "no signed JWT"),
        (lambda: "ä.b.c", "not ASCII"),
        (lambda: "a" * 20_000, "longer than"),
        (lambda: sign(claims(pad="x" * 20_000)), "longer than"),
    ],
)
def test_a_bad_assertion_gets_none(make, why):
    make_program()
    with unit_of_work() as session:
        programs.create(session, "static", [Permission.SEND_ORDERS], "a test")
    refused(make(), why)
    action, outcome, kind, name, address, detail = trail_lines()[-1]
    assert (action, outcome, kind, name, address) == ("LOGIN", "REFUSED", "NOBODY", "", ADDRESS)
    assert detail.startswith("a program's login failed: ")


def test_claims_that_were_changed_after_signing_are_found():
    make_program()
    header, _, signature = sign(claims()).split(".")
    refused(f"{header}.{encode(claims(scope='x'))}.{signature}", UNKNOWN)


def test_an_assertion_counts_once():
    make_program()
    assertion = sign(claims())
    ask(assertion)
    with pytest.raises(TokenRefused, match="used before"):
        ask(assertion)
    with pytest.raises(TokenRefused, match="used before"):
        ask(sign(claims(jti=json.loads(decode(assertion))["jti"]), EC))
    # Another program has ids of its own.
    make_program("pacs")
    assert ask(sign(claims("pacs", jti=json.loads(decode(assertion))["jti"])))


def decode(assertion):
    part = assertion.split(".")[1]
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def test_of_many_at_once_with_one_assertion_one_gets_a_token():
    make_program()
    assertion = sign(claims())
    done, start = [], threading.Barrier(6)

    def try_it():
        start.wait()
        try:
            done.append(ask(assertion).token)
        except TokenRefused as error:
            done.append(error.code)

    threads = [threading.Thread(target=try_it) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one == "invalid_client" for one in done) == [False] + 5 * [True]


def test_assertions_that_have_ended_are_forgotten():
    make_program()
    ask(sign(claims()))
    let_pass("program_assertions", 400, "ends_at")
    ask(sign(claims()))
    assert run_sql("SELECT count(*) FROM program_assertions") == [(1,)]


def test_what_the_program_may_not_do_is_left_out_and_none_is_an_error():
    make_program(permissions=[Permission.SEND_ORDERS, Permission.READ_STUDIES])
    asked = "openid nightdraft/read_studies nightdraft/see_images system/Patient.rs"
    access = ask(sign(claims()), asked)
    assert access.scope == "nightdraft/read_studies system/Patient.r"
    for scope in ("openid", "nightdraft/manage_accounts", "x" * 5000 + " system/Patient.r"):
        with pytest.raises(TokenRefused, match="none of these scopes") as raised:
            ask(sign(claims()), scope)
        assert raised.value.code == "invalid_scope"


def test_a_program_that_has_ended_gets_no_token_and_its_tokens_end():
    make_program()
    token = ask(sign(claims())).token
    with unit_of_work() as session:
        programs.revoke(session, "ris")
    assert find(token) is None
    refused(sign(claims()), UNKNOWN)


def test_rights_that_were_taken_away_count_at_once():
    make_program(permissions=[Permission.SEND_ORDERS, Permission.READ_STUDIES])
    token = ask(sign(claims()), "nightdraft/read_studies system/*.cruds").token
    run_sql("UPDATE program_tokens SET permissions = '{READ_STUDIES}'")
    program = find(token)
    assert (program.permissions, program.fhir) == ({Permission.READ_STUDIES}, None)


def test_other_keys_end_the_tokens_of_the_older_ones():
    make_program()
    token = ask(sign(claims())).token
    new = RSAKey.generate_key(2048, {"kid": "rsa-1"})
    with unit_of_work() as session:
        programs.replace_keys(session, "ris", ProgramKeys(key_set(new)))
    assert find(token) is None
    refused(sign(claims()), UNKNOWN)
    assert ask(sign(claims(), new))
    with unit_of_work() as session:
        programs.create(session, "static", [Permission.SEND_ORDERS], "a test")
    for name in ("static", "nobody"):
        with pytest.raises(NotFound), unit_of_work() as session:
            programs.replace_keys(session, name, ProgramKeys(key_set(new)))


def test_a_program_proves_itself_in_one_way():
    make_program()
    for values in ("token_hash = 'x'", "key_set = NULL", "key_set_url = 'https://x'"):
        with pytest.raises(Exception, match="proves_in_one_way"):
            run_sql(f"UPDATE program_tokens SET {values}")
    with pytest.raises(NotAllowed, match="there is a token ris"):
        make_program()


def test_keys_at_an_address_are_asked_for_and_a_header_names_no_other():
    with KeyPublisher(json.dumps(key_set(RSA, EC)).encode()) as publisher:
        make_program(keys=ProgramKeys(url=publisher.url))
        assert ask(sign(claims())).token
        assert ask(sign(claims(), jku=publisher.url)).token
        run_sql("DELETE FROM program_access_tokens")
        with KeyPublisher(json.dumps(key_set(OTHER)).encode()) as evil:
            refused(sign(claims(), OTHER, jku=evil.url), UNKNOWN)
            refused(sign(claims(), OTHER, kid="other", jku=evil.url), UNKNOWN)
            assert evil.asked == 0
        refused(sign(claims(), OTHER), UNKNOWN)
        refused(sign(claims(), kid="other"), UNKNOWN)
        assert publisher.asked == 1


def test_an_address_that_is_away_is_no_failure_of_the_program(free_port):
    make_program(keys=ProgramKeys(url=f"http://127.0.0.1:{free_port}/jwks"))
    for _ in range(lockouts.FREE_FAILURES_OF_ADDRESS + 5):
        with pytest.raises(PartError):
            ask(sign(claims()))
    assert run_sql("SELECT number FROM login_failures") == []


def test_many_failures_let_the_address_wait_and_no_other():
    make_program()
    for _ in range(lockouts.FREE_FAILURES_OF_ADDRESS - 1):
        assert refused("x", "no signed JWT").wait_seconds == 0
    assert 0 < refused("x", "no signed JWT").wait_seconds <= lockouts.FIRST_WAIT_SECONDS
    assert refused(sign(claims()), "too many attempts").wait_seconds >= 1
    assert trail_lines()[-1][-1].startswith("a program's login failed: too many attempts")
    assert ask(sign(claims()), address="192.0.2.8")
    # People at the same address log in as before.
    with unit_of_work() as session:
        assert isinstance(lockouts.begin(session, "ada", ADDRESS, None), lockouts.Attempt)
    let_pass("login_failures", 16, "locked_until")
    assert ask(sign(claims()))


def test_logins_that_succeed_never_let_an_address_wait():
    make_program()
    for _ in range(lockouts.FREE_FAILURES_OF_ADDRESS + 5):
        ask(sign(claims(), EC))
    assert run_sql("SELECT number FROM login_failures") == []


def test_tokens_and_assertions_have_their_indexes():
    make_program()
    run_sql(
        "INSERT INTO program_access_tokens (token_hash, program_id, scope, ends_at)"
        " SELECT n::text, id, '', now() + interval '1 minute'"
        " FROM program_tokens, generate_series(1, 20000) n"
    )
    run_sql(
        "INSERT INTO program_assertions (program_id, jti_hash, ends_at)"
        " SELECT id, n::text, now() + interval '1 minute'"
        " FROM program_tokens, generate_series(1, 20000) n"
    )
    run_sql("ANALYZE program_access_tokens, program_assertions")
    with explained() as plans:
        token = ask(sign(claims())).token
        find(token)
        with unit_of_work() as session:
            programs.revoke(session, "ris")
    walked = {
        node["Relation Name"]
        for _, plan in plans
        for node in nodes(plan)
        if node["Node Type"] == "Seq Scan"
    }
    assert "program_assertions" not in walked
    # All 20,000 tokens are of the one program, so revoking it reads them all.
    found = [plan for statement, plan in plans if "program_access_tokens" in statement]
    assert [node["Node Type"] for plan in found[:2] for node in nodes(plan)].count("Seq Scan") == 0


def test_the_type_of_assertions_is_that_of_our_own_client():
    from intake.queries import smart_login

    assert smart_login.ASSERTION_TYPE == ASSERTION_TYPE
    assert isinstance(EC, ECKey)
