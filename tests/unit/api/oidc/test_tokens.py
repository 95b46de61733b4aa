"""Tokens of an identity provider that are not what they should be."""

import base64
import json

import pytest
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from api.oidc import tokens
from api.oidc.errors import AnswerRefused
from tests.support.identity_provider import EVENT, RSA_KEY, changed, half_hash, sign

ISSUER = "https://login.hospital.example"
NOW = 1_790_000_000.0
ID_CLAIMS = {
    "iss": ISSUER,
    "sub": "4711",
    "aud": "nightdraft",
    "exp": NOW + 300,
    "iat": NOW,
    "nonce": "n-1",
    "at_hash": half_hash("access-token"),
}
LOGOUT_CLAIMS = {
    "iss": ISSUER,
    "aud": "nightdraft",
    "iat": NOW,
    "exp": NOW + 120,
    "jti": "t-1",
    "events": {EVENT: {}},
    "sub": "4711",
    "sid": "session-1",
}


def find_key(name, algorithm):
    return RSA_KEY


def check(token, **values):
    given = {
        "issuer": ISSUER,
        "client_id": "nightdraft",
        "nonce": "n-1",
        "access_token": "access-token",
        "now": NOW,
        **values,
    }
    return tokens.check_id_token(token, find_key, **given)


def check_logout(token):
    return tokens.check_logout_token(
        token, find_key, issuer=ISSUER, client_id="nightdraft", now=NOW
    )


def unsigned(claims, algorithm="none"):
    parts = [json.dumps(part).encode() for part in ({"alg": algorithm, "kid": "first"}, claims)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


def test_a_good_id_token_is_taken():
    assert check(sign(ID_CLAIMS))["sub"] == "4711"
    # Without what may be left out, and for more than one client.
    assert check(sign(changed(ID_CLAIMS, {"at_hash": None, "aud": ["nightdraft"]})))
    several = {"aud": ["nightdraft", "other"], "azp": "nightdraft"}
    assert check(sign(changed(ID_CLAIMS, several)))
    # Clocks may differ a little.
    assert check(sign(changed(ID_CLAIMS, {"exp": NOW - 30, "iat": NOW + 30})))


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://login.other.example"},
        {"iss": f"{ISSUER}/"},
        {"iss": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 4711},
        {"sub": "4" * 256},
        {"aud": "other"},
        {"aud": ["other"]},
        {"aud": []},
        {"aud": None},
        {"aud": {"nightdraft": True}},
        {"aud": ["nightdraft", "other"]},  # without azp
        {"aud": ["nightdraft", "other"], "azp": "other"},
        {"azp": "other"},
        {"exp": NOW - 61},
        {"exp": None},
        {"exp": "tomorrow"},
        {"iat": NOW + 90},
        {"iat": None},
        {"nbf": NOW + 90},
        {"nonce": "n-2"},
        {"nonce": None},
        {"nonce": ["n-1"]},
        {"at_hash": half_hash("another-token")},
        {"events": {EVENT: {}}},
    ],
    ids=str,
)
def test_an_id_token_with_a_wrong_claim_is_refused(changes):
    with pytest.raises(AnswerRefused):
        check(sign(changed(ID_CLAIMS, changes)))


def test_an_id_token_that_nobody_has_signed_is_refused():
    for algorithm in ("none", "None", "RS256", ""):
        with pytest.raises(AnswerRefused):
            check(unsigned(ID_CLAIMS, algorithm))


def test_a_public_key_is_no_shared_secret():
    """RFC 8725 section 2.1: who knows the public key signs with it by HMAC."""
    for form in (RSA_KEY.as_pem(private=False), RSA_KEY.as_der(private=False)):
        forged = jwt.encode(
            {"alg": "HS256", "kid": "first"},
            ID_CLAIMS,
            OctKey.import_key(base64.urlsafe_b64encode(form).decode()),
            algorithms=["HS256"],
        )
        with pytest.raises(AnswerRefused):
            check(forged)


def test_a_token_of_another_key_or_with_a_changed_claim_is_refused():
    other = RSAKey.generate_key(2048, {"kid": "first"}, private=True)
    with pytest.raises(AnswerRefused):
        check(sign(ID_CLAIMS, other))
    # The key that a token brings itself counts for nothing.
    with pytest.raises(AnswerRefused):
        check(sign(ID_CLAIMS, other, jwk=other.as_dict(private=False)))
    head, _, signature = sign(ID_CLAIMS).split(".")
    body = base64.urlsafe_b64encode(json.dumps({**ID_CLAIMS, "sub": "1"}).encode())
    with pytest.raises(AnswerRefused):
        check(f"{head}.{body.rstrip(b'=').decode()}.{signature}")
    curve = ECKey.generate_key("P-256", private=True)
    with pytest.raises(AnswerRefused):
        check(sign(ID_CLAIMS, curve, alg="ES256", kid="first"))


@pytest.mark.parametrize("token", ["", "a.b.c", "x", "é.é.é", "." * 5, "a" * 200_000, "[]"])
def test_what_is_no_token_is_refused(token):
    with pytest.raises(AnswerRefused):
        check(token)
    with pytest.raises(AnswerRefused):
        check_logout(token)


def test_a_token_whose_text_is_no_object_is_refused():
    from joserfc import jws

    for text in (b"[]", b"1", b'"x"', b"\xff", b"{", b"[" * 20_000):
        token = jws.serialize_compact({"alg": "RS256", "kid": "first"}, text, RSA_KEY)
        with pytest.raises(AnswerRefused):
            check(token)


def test_a_critical_header_that_is_not_known_is_refused():
    with pytest.raises(AnswerRefused):
        check(_with_header({"alg": "RS256", "kid": "first", "crit": ["x"], "x": 1}))


def _with_header(header):
    """A token whose header the library would not write."""
    parts = [json.dumps(part).encode() for part in (header, ID_CLAIMS)]
    text = ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    key = RSA_KEY.private_key
    signature = key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


def test_a_header_of_our_own_making_is_taken():
    """So the test before fails for its critical header alone."""
    assert check(_with_header({"alg": "RS256", "kid": "first"}))


@pytest.mark.parametrize(
    ("proven_at", "is_taken"),
    [(NOW - 20, True), (NOW - 79, True), (NOW - 81, False), (None, False), (NOW + 90, False)],
)
def test_who_must_prove_anew_has_done_so_since_it_was_asked_for(proven_at, is_taken):
    token = sign(changed(ID_CLAIMS, {"auth_time": proven_at}))
    assert check(token)
    if is_taken:
        assert check(token, proven_after=NOW - 20)
    else:
        with pytest.raises(AnswerRefused):
            check(token, proven_after=NOW - 20)


def test_a_good_logout_token_is_taken():
    for header in ({"typ": "logout+jwt"}, {"typ": "application/Logout+JWT"}, {"typ": "JWT"}, {}):
        logout = check_logout(sign(LOGOUT_CLAIMS, **header))
        assert (logout.subject, logout.provider_session, logout.token_id) == (
            "4711",
            "session-1",
            "t-1",
        )
    assert check_logout(sign(changed(LOGOUT_CLAIMS, {"sid": None}))).provider_session == ""
    assert check_logout(sign(changed(LOGOUT_CLAIMS, {"sub": None}))).subject == ""


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://login.other.example"},
        {"iss": None},
        {"aud": "other"},
        {"aud": None},
        {"iat": NOW + 90},
        {"iat": NOW - 601},
        {"iat": None},
        {"exp": NOW - 61},
        {"jti": None},
        {"jti": 1},
        {"nonce": "n-1"},
        {"events": None},
        {"events": {}},
        {"events": {EVENT: None}},
        {"events": [EVENT]},
        {"events": {"http://schemas.openid.net/event/other": {}}},
        {"sub": None, "sid": None},
        {"sub": "", "sid": ""},
        {"sid": 1},
        {"sub": ["4711"]},
    ],
    ids=str,
)
def test_a_logout_token_with_a_wrong_claim_is_refused(changes):
    with pytest.raises(AnswerRefused):
        check_logout(sign(changed(LOGOUT_CLAIMS, changes)))


def test_an_id_token_is_no_logout_token_and_the_other_way_round():
    with pytest.raises(AnswerRefused):
        check_logout(sign({**ID_CLAIMS, "jti": "t-1", "sid": "session-1"}))
    both = {**LOGOUT_CLAIMS, **ID_CLAIMS}
    with pytest.raises(AnswerRefused):
        check(sign(both))
    with pytest.raises(AnswerRefused):
        check(sign(ID_CLAIMS, typ="logout+jwt"))
    with pytest.raises(AnswerRefused):
        check_logout(sign(LOGOUT_CLAIMS, typ="at+jwt"))
    with pytest.raises(AnswerRefused):
        check_logout(unsigned(LOGOUT_CLAIMS))


def test_no_claim_is_in_the_words_of_a_refusal():
    with pytest.raises(AnswerRefused) as refused:
        check(sign(changed(ID_CLAIMS, {"iss": "https://PHANTOM.example"})))
    assert "iss" in str(refused.value)
    assert "PHANTOM" not in str(refused.value)
