"""SMART Backend Services: a token for a signed assertion (HL7 SMART App Launch 2.2, chapter 6).

The token is cached until shortly before it ends. Neither it nor the key is logged.
"""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey, import_key

from intake.queries.asking import QuestionFailed
from intake.queries.fhir_http import HttpClient
from intake.turns import SystemAway
from records.errors import SettingsError
from records.settings import Settings

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
ASSERTION_SECONDS = 240
"""How long an assertion is valid; five minutes are allowed."""

_EARLY_SECONDS = 30.0
"""A token is renewed so long before it ends."""
_DEFAULT_SECONDS = 300.0

WHO = "the authorization server"


class SmartLogin:
    """Gets and keeps a token of the authorization server."""

    def __init__(self, config: Settings, client: HttpClient) -> None:
        """Read the key.

        Raises:
            SettingsError: client id or key is missing, or the key cannot be used.
        """
        if not config.reports_client_id:
            raise SettingsError("NIGHTDRAFT_REPORTS_CLIENT_ID: the login smart needs it")
        self._config = config
        self._client = client
        self._key = _read_key(config.reports_key_file)
        self._algorithm = "RS384" if isinstance(self._key, RSAKey) else "ES384"
        self._key_id = config.reports_key_id or str(
            self._key.as_dict().get("kid") or self._key.thumbprint()
        )
        self._token = ""
        self._until = 0.0
        self._token_url = config.reports_token_url

    def token(self) -> str:
        """The token, from the cache or a new one.

        Raises:
            SystemAway: the authorization server gives none.
        """
        if not self._token or time.monotonic() >= self._until:
            self._renew()
        return self._token

    def forget(self) -> None:
        """Take the token for invalid."""
        self._token = ""

    def _renew(self) -> None:
        url = self._find_token_url()
        now = int(time.time())
        client_id = self._config.reports_client_id
        assertion = jwt.encode(
            {"alg": self._algorithm, "kid": self._key_id, "typ": "JWT"},
            {
                "iss": client_id,
                "sub": client_id,
                "aud": url,
                "exp": now + ASSERTION_SECONDS,
                "iat": now,
                "jti": str(uuid.uuid4()),
            },
            self._key,
            algorithms=[self._algorithm],
        )
        try:
            answer = self._client.call(
                WHO,
                url,
                form={
                    "grant_type": "client_credentials",
                    "scope": self._config.reports_scope,
                    "client_assertion_type": ASSERTION_TYPE,
                    "client_assertion": assertion,
                },
            )
        except QuestionFailed as error:  # 400: invalid_client, invalid_scope
            raise SystemAway(f"no token: {error}; see client id, key and scope") from None
        token, seconds = answer.get("access_token"), answer.get("expires_in")
        if not (isinstance(token, str) and token.isascii() and token.isprintable() and token):
            raise SystemAway(f"{WHO} gave no token")
        self._token = token
        lasts = seconds if isinstance(seconds, int | float) else _DEFAULT_SECONDS
        self._until = time.monotonic() + max(0.0, lasts - _EARLY_SECONDS)

    def _find_token_url(self) -> str:
        """The setting's, else what the FHIR server says (SMART App Launch 2.2, section 5)."""
        if not self._token_url:
            url = f"{self._config.reports_url.rstrip('/')}/.well-known/smart-configuration"
            try:
                found = self._client.call("the FHIR server", url).get("token_endpoint")
            except QuestionFailed as error:
                raise SystemAway(str(error)) from None
            if not (isinstance(found, str) and found.startswith(("https://", "http://"))):
                raise SystemAway(
                    "the FHIR server names no token_endpoint: set NIGHTDRAFT_REPORTS_TOKEN_URL"
                )
            if self._config.reports_url.startswith("https://") and found.startswith("http://"):
                raise SystemAway("the FHIR server names a token_endpoint without TLS")
            self._token_url = found
        return self._token_url


def _read_key(path: str) -> RSAKey | ECKey:
    """The private key of a file.

    Raises:
        SettingsError: it cannot be read, is no private key, or suits no algorithm.
    """
    wrong = f"NIGHTDRAFT_REPORTS_KEY_FILE: {path or 'no file'}"
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"{wrong} cannot be read ({error.strerror})") from None
    kinds: tuple[type[RSAKey] | type[ECKey], ...] = (RSAKey, ECKey)
    for kind in kinds:
        try:
            if content.lstrip().startswith(b"{"):
                read = import_key(_json(content))
            else:
                read = kind.import_key(content)
            if isinstance(read, RSAKey | ECKey) and read.is_private and _suits(read):
                return read
        except (JoseError, ValueError, TypeError, KeyError):
            continue
    raise SettingsError(
        f"{wrong} holds no private key in PEM or JWK for RS384 (RSA, 2048 bits at least) or ES384 "
        "(P-384)"
    )


def _json(content: bytes) -> dict[str, str | list[str]]:
    value: dict[str, str | list[str]] = json.loads(content)
    return value


def _suits(key: RSAKey | ECKey) -> bool:
    if isinstance(key, RSAKey):
        return bool(key.raw_value.key_size >= 2048)
    return str(key.as_dict(private=False).get("crv")) == "P-384"
