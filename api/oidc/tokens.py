"""Checks the tokens of the identity provider: who signed them, for whom, when, and for which login.

The rules are those of OpenID Connect Core 1.0, section 3.1.3.7 (ID tokens), and of OpenID Connect
Back-Channel Logout 1.0, section 2.6 (logout tokens). Signatures are joserfc's work, and the claims
of ID tokens Authlib's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey
from joserfc.jwt import JWTClaimsRegistry

from api.oidc.errors import AnswerRefused
from records.accounts.provider_accounts import ProviderLogout

ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
)
"""Signatures that are taken: with a key pair. `none` and those with a shared secret are not."""

LEEWAY_SECONDS = 60
"""By which the clocks of provider and server may differ."""

LOGOUT_SECONDS = 600
"""A logout token is taken for so long after it was issued."""

MAX_CHARACTERS = 100_000
"""Longest token. One with many groups has some 20,000."""

LOGOUT_EVENT = "http://schemas.openid.net/event/backchannel-logout"
_LOGOUT_TYPE = "logout+jwt"

FindKey = Callable[[str | None, str], RSAKey | ECKey]
"""The provider's key by its `kid` and the algorithm that it is used for; AnswerRefused for none."""

Claims = dict[str, Any]


def check_id_token(
    token: str,
    find_key: FindKey,
    *,
    issuer: str,
    client_id: str,
    nonce: str,
    access_token: str,
    now: float,
    proven_after: float | None = None,
) -> Claims:
    """The claims of an ID token that is good for one login.

    Args:
        token: in its compact form.
        find_key: the provider's keys.
        issuer: who must have issued it.
        client_id: for whom it must be.
        nonce: that of the login.
        access_token: that came with it, which `at_hash` must fit where it is there; "" is none.
        now: the time, in seconds since 1970.
        proven_after: since when the person must have shown at the provider who it is; None where
            that is not asked.

    Raises:
        AnswerRefused: it is not.
    """
    header, claims = _verify(token, find_key, "the ID token")
    if "events" in claims or _type_of(header) == _LOGOUT_TYPE:
        raise AnswerRefused("the ID token is a token for something else")
    checked = CodeIDToken(
        claims,
        header,
        options={
            "iss": {"essential": True, "value": issuer},
            "sub": {"essential": True},
            "aud": {"essential": True, "value": client_id},
            "exp": {"essential": True},
            "iat": {"essential": True},
        },
        params={"nonce": nonce, "client_id": client_id, "access_token": access_token},
    )
    try:
        checked.validate(now=int(now), leeway=LEEWAY_SECONDS)
    except (JoseError, TypeError, ValueError) as error:
        raise AnswerRefused(f"the ID token is not taken ({_words(error)})") from None
    if not claims["sub"] or len(claims["sub"]) > 255:
        raise AnswerRefused("the ID token names nobody")
    if proven_after is not None:
        proven_at = claims.get("auth_time")
        if not isinstance(proven_at, int | float):
            raise AnswerRefused("the identity provider does not say when the person logged in")
        if proven_at < proven_after - LEEWAY_SECONDS or proven_at > now + LEEWAY_SECONDS:
            raise AnswerRefused("the person did not log in anew at the identity provider")
    return claims


def check_logout_token(
    token: str, find_key: FindKey, *, issuer: str, client_id: str, now: float
) -> ProviderLogout:
    """What a logout token says; whether it was used before is not looked at.

    Args:
        token: in its compact form.
        find_key: the provider's keys.
        issuer: who must have issued it.
        client_id: for whom it must be.
        now: the time, in seconds since 1970.

    Raises:
        AnswerRefused: it is not good.
    """
    header, claims = _verify(token, find_key, "the logout token")
    if _type_of(header) not in ("", "jwt", _LOGOUT_TYPE):
        raise AnswerRefused("the logout token is a token for something else")
    registry = JWTClaimsRegistry(
        now=int(now),
        leeway=LEEWAY_SECONDS,
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": client_id},
        iat={"essential": True},
        jti={"essential": True},
    )
    try:
        registry.validate(claims)
    except (JoseError, TypeError, ValueError) as error:
        raise AnswerRefused(f"the logout token is not taken ({_words(error)})") from None
    if claims["iat"] < now - LOGOUT_SECONDS:
        raise AnswerRefused("the logout token is too old")
    if "nonce" in claims:
        raise AnswerRefused("the logout token has a nonce, as only ID tokens have")
    events = claims.get("events")
    if not (isinstance(events, dict) and isinstance(events.get(LOGOUT_EVENT), dict)):
        raise AnswerRefused("the logout token is about no logout")
    subject, session = claims.get("sub", ""), claims.get("sid", "")
    if not (isinstance(subject, str) and isinstance(session, str) and (subject or session)):
        raise AnswerRefused("the logout token names neither a person nor a session")
    return ProviderLogout(issuer, subject, session, claims["jti"])


def _verify(token: str, find_key: FindKey, what: str) -> tuple[dict[str, Any], Claims]:
    if len(token) > MAX_CHARACTERS:
        raise AnswerRefused(f"{what} is longer than is read")

    def key_of(signed: Any) -> RSAKey | ECKey:
        header = signed.headers()
        name = header.get("kid")
        return find_key(name if isinstance(name, str) else None, str(header.get("alg")))

    try:
        decoded = jwt.decode(token, cast(Any, key_of), algorithms=list(ALGORITHMS))
    except (JoseError, TypeError, ValueError, RecursionError) as error:
        raise AnswerRefused(f"{what} is not taken ({_words(error)})") from None
    return dict(decoded.header), dict(decoded.claims)


def _type_of(header: dict[str, Any]) -> str:
    """The type of a token in small letters (RFC 7515 section 4.1.9)."""
    return str(header.get("typ") or "").lower().removeprefix("application/")


def _words(error: Exception) -> str:
    """What kind of fault it is; the library's own words may quote a claim."""
    claim = getattr(error, "claim", "")
    kind = getattr(error, "error", "") or type(error).__name__
    return f"{kind}: {claim}" if isinstance(claim, str) and claim else str(kind)
