"""The identity provider: its discovery document and keys, and what is asked of it for a login."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from authlib.oauth2.auth import ClientAuth
from authlib.oauth2.rfc6749.parameters import prepare_grant_uri, prepare_token_request
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc7636 import create_s256_code_challenge
from authlib.oidc.discovery import get_well_known_url
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey, import_key

from api.oidc import tokens
from api.oidc.calls import Calls, Json
from api.oidc.config import OidcConfig, is_protected
from api.oidc.errors import AnswerRefused, ProviderAway
from records.accounts.provider_accounts import Person, ProviderLogout
from records.accounts.provider_logins import Begun
from records.database.account_tables import ProviderLogin

DISCOVERY_SECONDS = 3600.0
"""The discovery document and the keys are read again after so long."""

KEY_LOOK_SECONDS = 30.0
"""For a key that is not known, the keys are read again no more often than that."""

ASSERTION_SECONDS = 120
"""How long an assertion is valid by which we log in to the provider."""

_MOST_KEYS = 100
_LEAST_RSA_BITS = 2048
_CURVES = {"ES256": "P-256", "ES384": "P-384", "ES512": "P-521"}
_FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the discovery document says (OpenID Connect Discovery 1.0, section 3).

    Attributes:
        authorization: where browsers are sent to log in.
        token: where a code is exchanged.
        keys: where its keys are.
        user_info: where more claims are; "" where it has none.
        end_session: where browsers are sent to log out; "" where it has none.
        says_issuer: whether its answers name it (RFC 9207).
        auth_methods: how clients may log in at `token`.
    """

    authorization: str
    token: str
    keys: str
    user_info: str
    end_session: str
    says_issuer: bool
    auth_methods: tuple[str, ...]


class Provider:
    """The identity provider of the settings. Threads may share it.

    Args:
        config: what the settings say about it.

    Raises:
        SettingsError: the file of certificates cannot be used.
    """

    def __init__(self, config: OidcConfig) -> None:
        self.config = config
        self._calls = Calls(config)
        self._lock = threading.Lock()
        self._metadata: tuple[float, Metadata] | None = None
        self._keys: tuple[float, list[RSAKey | ECKey]] | None = None

    def metadata(self, *, is_cached_enough: bool = False) -> Metadata:
        """The discovery document.

        Args:
            is_cached_enough: whether one of the last hour will do; else the provider is asked.

        Raises:
            ProviderAway: it cannot be read, or is not this issuer's.
        """
        with self._calls.slot():
            return self._read_metadata(0.0 if not is_cached_enough else DISCOVERY_SECONDS)

    def authorization_url(self, begun: Begun, *, anew: bool = False) -> str:
        """Where a browser is sent to log in (OpenID Connect Core 1.0, section 3.1.2.1).

        Args:
            begun: the login.
            anew: whether the person must show there who it is, even if he or she is logged in.

        Raises:
            ProviderAway: the provider does not answer now, so the browser would find nobody there.
        """
        url: str = prepare_grant_uri(
            self.metadata().authorization,
            client_id=self.config.client_id,
            response_type="code",
            redirect_uri=self.config.redirect_uri,
            scope=self.config.scopes,
            state=begun.state,
            nonce=begun.nonce,
            code_challenge=create_s256_code_challenge(begun.verifier),
            code_challenge_method="S256",
            prompt="login" if anew else None,
            max_age="0" if anew else None,
        )
        return url

    def logout_url(self) -> str:
        """Where a browser is sent to log out there, too; "" where the provider has no such page.

        Raises:
            ProviderAway: the discovery document cannot be read.
        """
        end_session = self.metadata(is_cached_enough=True).end_session
        if not end_session:
            return ""
        query = urlencode(
            {
                "client_id": self.config.client_id,
                "post_logout_redirect_uri": self.config.logged_out_uri,
            }
        )
        return f"{end_session}{'&' if '?' in end_session else '?'}{query}"

    def fetch_person(self, answer: Mapping[str, str], login: ProviderLogin, now: float) -> Person:
        """Who has logged in, by the provider's answer to a login that was begun here.

        Args:
            answer: the parameters with which it sent the browser back.
            login: the login that they belong to.
            now: the time, in seconds since 1970.

        Raises:
            AnswerRefused: it says no, or something of it is not right.
            ProviderAway: it does not answer.
        """
        with self._calls.slot():
            metadata = self._read_metadata()
            issuer = answer.get("iss")
            # Before anything else is read: the answer may be another provider's (RFC 9207 2.4).
            if issuer != self.config.issuer and (issuer is not None or metadata.says_issuer):
                raise AnswerRefused("the answer is not from this identity provider")
            if "error" in answer:
                raise AnswerRefused(_words_of_error(answer["error"]))
            code = answer.get("code", "")
            if not code:
                raise AnswerRefused("the answer of the identity provider has no code")
            given = self._redeem(metadata, code, login.verifier)
            access_token = given.get("access_token")
            access_token = access_token if isinstance(access_token, str) else ""
            claims = tokens.check_id_token(
                str(given.get("id_token") or ""),
                self._find_key,
                issuer=self.config.issuer,
                client_id=self.config.client_id,
                nonce=login.nonce,
                access_token=access_token,
                now=now,
                proven_after=login.created_at.timestamp() if login.must_prove else None,
            )
            claims = self._add_user_info(metadata, claims, access_token)
        return self._person(claims)

    def check_logout(self, token: str, now: float) -> ProviderLogout:
        """What a logout token says, which the provider sent.

        Raises:
            AnswerRefused: it is not good.
            ProviderAway: the keys cannot be read.
        """
        with self._calls.slot():
            return tokens.check_logout_token(
                token,
                self._find_key,
                issuer=self.config.issuer,
                client_id=self.config.client_id,
                now=now,
            )

    def _read_metadata(self, most_seconds: float = DISCOVERY_SECONDS) -> Metadata:
        known = self._metadata
        if known is not None and time.monotonic() - known[0] < most_seconds:
            return known[1]
        document = self._calls.get(get_well_known_url(self.config.issuer, external=True))
        metadata = self._understand(document)
        self._metadata = (time.monotonic(), metadata)
        return metadata

    def _understand(self, document: Json) -> Metadata:
        name = self.config.name
        if document.get("issuer") != self.config.issuer:
            raise ProviderAway(
                f"the discovery document of {name} is another issuer's than NIGHTDRAFT_OIDC_ISSUER "
                "says; the two must be equal in every sign"
            )

        def address(key: str, *, is_needed: bool = True) -> str:
            value = document.get(key)
            if value is None and not is_needed:
                return ""
            if not (isinstance(value, str) and is_protected(value)):
                raise ProviderAway(
                    f"the discovery document of {name} has no {key}, or one without TLS"
                )
            return value

        challenges = document.get("code_challenge_methods_supported")
        if isinstance(challenges, list) and "S256" not in challenges:
            raise ProviderAway(f"{name} says that it does not know PKCE with S256")
        methods = document.get("token_endpoint_auth_methods_supported")
        return Metadata(
            authorization=address("authorization_endpoint"),
            token=address("token_endpoint"),
            keys=address("jwks_uri"),
            user_info=address("userinfo_endpoint", is_needed=False),
            end_session=address("end_session_endpoint", is_needed=False),
            says_issuer=document.get("authorization_response_iss_parameter_supported") is True,
            auth_methods=tuple(map(str, methods)) if isinstance(methods, list) else (),
        )

    def _redeem(self, metadata: Metadata, code: str, verifier: str) -> Json:
        body = prepare_token_request(
            "authorization_code",
            redirect_uri=self.config.redirect_uri,
            code=code,
            code_verifier=verifier,
        )
        auth = self._client_auth(metadata)
        url, headers, body = auth.prepare("POST", metadata.token, dict(_FORM), body)
        try:
            return self._calls.post(url, body, headers)
        except AnswerRefused as error:
            raise AnswerRefused(
                f"the code is not taken ({error}): it was used, or client id and secret are wrong"
            ) from None

    def _client_auth(self, metadata: Metadata) -> Any:
        config = self.config
        if config.key is not None:
            method = PrivateKeyJWT(
                metadata.token,
                claims={"exp": int(time.time()) + ASSERTION_SECONDS},
                headers={"kid": config.key.kid} if config.key.kid else None,
                alg="RS256" if isinstance(config.key, RSAKey) else "ES256",
            )
            return ClientAuth(config.client_id, config.key, method)
        methods = metadata.auth_methods
        if methods and "client_secret_basic" not in methods:
            return ClientAuth(config.client_id, config.secret, "client_secret_post")
        # RFC 6749 section 2.3.1 wants them encoded before they are joined.
        return ClientAuth(
            quote(config.client_id, safe=""), quote(config.secret, safe=""), "client_secret_basic"
        )

    def _add_user_info(self, metadata: Metadata, claims: Json, access_token: str) -> Json:
        """More claims, where the ID token lacks what is needed (OpenID Connect Core 1.0, 5.3)."""
        wanted = (self.config.groups_claim, self.config.login_claim)
        if all(_claim(claims, name) is not None for name in wanted):
            return claims
        if not (metadata.user_info and access_token):
            return claims
        if not (access_token.isascii() and access_token.isprintable()):
            raise AnswerRefused("the identity provider gave no token that can be sent")
        found = self._calls.get(metadata.user_info, {"Authorization": f"Bearer {access_token}"})
        if found.get("sub") != claims["sub"]:
            raise AnswerRefused("the identity provider told of another person than was asked for")
        return {**found, **claims}

    def _person(self, claims: Json) -> Person:
        config = self.config
        groups = _claim(claims, config.groups_claim)
        elsewhere = claims.get("_claim_names")
        if groups is None and isinstance(elsewhere, dict) and config.groups_claim in elsewhere:
            raise AnswerRefused(
                "the identity provider does not list the groups, for they are too many: let it "
                "list only those of this application"
            )
        if isinstance(groups, str):
            groups = [groups]
        listed = groups if isinstance(groups, list) else []
        login, name = _claim(claims, config.login_claim), claims.get("name")
        session, proven_at = claims.get("sid"), claims.get("auth_time")
        proven: dt.datetime | None = None
        if isinstance(proven_at, int | float):
            with suppress(OverflowError, ValueError, OSError):
                proven = dt.datetime.fromtimestamp(proven_at, dt.UTC)
        return Person(
            issuer=config.issuer,
            subject=claims["sub"],
            login=login if isinstance(login, str) else "",
            name=name if isinstance(name, str) else "",
            groups=tuple(group for group in listed if isinstance(group, str)),
            provider_session=session if isinstance(session, str) else "",
            proven_at=proven,
        )

    def _find_key(self, name: str | None, algorithm: str) -> RSAKey | ECKey:
        """The provider's key for a signature.

        Raises:
            AnswerRefused: it has none.
            ProviderAway: its keys cannot be read.
        """
        with self._lock:
            for look in (DISCOVERY_SECONDS, KEY_LOOK_SECONDS):
                known = self._keys
                if known is None or time.monotonic() - known[0] >= look:
                    known = self._keys = (time.monotonic(), self._read_keys())
                fitting = [
                    key
                    for key in known[1]
                    if (name is None or key.kid == name) and _suits(key, algorithm)
                ]
                if len(fitting) == 1:
                    return fitting[0]
        raise AnswerRefused(
            "the token is signed with a key that the identity provider does not name"
        )

    def _read_keys(self) -> list[RSAKey | ECKey]:
        listed = self._calls.get(self._read_metadata().keys).get("keys")
        found: list[RSAKey | ECKey] = []
        for one in listed[:_MOST_KEYS] if isinstance(listed, list) else ():
            if not isinstance(one, dict) or one.get("use", "sig") != "sig":
                continue
            if one.get("kty") not in ("RSA", "EC"):
                continue
            # Too short a modulus; base64 has six bits in a character.
            if one["kty"] == "RSA" and 6 * len(str(one.get("n"))) < _LEAST_RSA_BITS:
                continue
            with suppress(JoseError, ValueError, TypeError, KeyError):
                key = import_key(one)
                if isinstance(key, RSAKey | ECKey):
                    found.append(key)
        return found


def _suits(key: RSAKey | ECKey, algorithm: str) -> bool:
    """Whether a key may have made a signature of an algorithm (RFC 8725 section 3.1)."""
    if (key.alg or algorithm) != algorithm:
        return False
    if isinstance(key, ECKey):
        return _CURVES.get(algorithm) == key.curve_name
    return algorithm[:2] in ("RS", "PS") and key.raw_value.key_size >= _LEAST_RSA_BITS


def _claim(claims: Json, name: str) -> Any:
    """A claim by its name; a dot leads into a claim where none has the whole name."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _words_of_error(code: str) -> str:
    """What an error of the provider means (RFC 6749, 4.1.2.1; OpenID Connect Core, 3.1.2.6)."""
    if code == "access_denied":
        return "the identity provider did not let this person in, or the login was broken off"
    if code in ("temporarily_unavailable", "server_error"):
        return "the identity provider has a fault: try again in some minutes"
    known = (
        "login_required",
        "interaction_required",
        "consent_required",
        "invalid_request",
        "invalid_scope",
        "unauthorized_client",
        "unsupported_response_type",
    )
    return f"the identity provider answered with {code if code in known else 'an error'}"
