"""What the settings say about the identity provider."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey, import_key

from records.errors import SettingsError
from records.settings import Settings
from records.tls.contexts import ClientFiles

CALLBACK_PATH = "/login/oidc/callback"
LOGGED_OUT_PATH = "/login/oidc/logged-out"

_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_LEAST_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class OidcConfig:
    """What is known of the identity provider before it is asked.

    Attributes:
        issuer: its name, which is an address.
        name: its name for people.
        client_id: ours there.
        secret: ours there; "" where `key` is used.
        key: our private key (private_key_jwt); None where `secret` is used.
        scopes: which are asked for, with spaces between them.
        login_claim: which holds the login name of a new account.
        groups_claim: which lists the groups.
        pages: the address of the pages, without a slash at its end.
        tls: how its certificate is checked.
        seconds: how long one call may take.
    """

    issuer: str
    name: str
    client_id: str
    secret: str
    key: RSAKey | ECKey | None
    scopes: str
    login_claim: str
    groups_claim: str
    pages: str
    tls: ClientFiles
    seconds: float

    @property
    def redirect_uri(self) -> str:
        """Where the provider sends browsers back to after a login."""
        return f"{self.pages}{CALLBACK_PATH}"

    @property
    def logged_out_uri(self) -> str:
        """Where the provider sends browsers back to after a logout."""
        return f"{self.pages}{LOGGED_OUT_PATH}"


def is_protected(url: str) -> bool:
    """Whether an address is https, or on this machine."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
    except ValueError:
        return False
    if not host or "@" in parts.netloc or parts.fragment:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and host in _LOOPBACK)


def read_config(settings: Settings) -> OidcConfig | None:
    """The identity provider of the settings; None where they name none.

    Raises:
        SettingsError: something of it is missing or cannot be used.
    """
    if not settings.oidc_issuer:
        return None
    secret = settings.oidc_client_secret.get_secret_value()
    if not settings.oidc_client_id:
        raise SettingsError("NIGHTDRAFT_OIDC_ISSUER needs NIGHTDRAFT_OIDC_CLIENT_ID")
    if bool(secret) == bool(settings.oidc_client_key_file):
        raise SettingsError(
            "NIGHTDRAFT_OIDC_ISSUER needs NIGHTDRAFT_OIDC_CLIENT_SECRET_FILE or "
            "NIGHTDRAFT_OIDC_CLIENT_KEY_FILE, and not both"
        )
    if not settings.oidc_roles:
        raise SettingsError(
            "NIGHTDRAFT_OIDC_ISSUER needs NIGHTDRAFT_OIDC_ROLES, or nobody could log in there"
        )
    pages = settings.pages_address()
    if not is_protected(pages):
        raise SettingsError(
            f"NIGHTDRAFT_PAGES_URL: the identity provider sends browsers back to {pages}, and a "
            "login is not sent over a network without TLS: set it to the https address of the pages"
        )
    tls = ClientFiles(settings.oidc_ca_file, "", "", ("NIGHTDRAFT_OIDC_CA_FILE", "", ""))
    return OidcConfig(
        issuer=settings.oidc_issuer,
        name=settings.oidc_name.strip() or urlsplit(settings.oidc_issuer).hostname or "",
        client_id=settings.oidc_client_id,
        secret=secret,
        key=_read_key(settings.oidc_client_key_file) if settings.oidc_client_key_file else None,
        scopes=settings.oidc_scopes,
        login_claim=settings.oidc_login_claim,
        groups_claim=settings.oidc_groups_claim,
        pages=pages,
        tls=tls,
        seconds=settings.oidc_seconds,
    )


def _read_key(path: str) -> RSAKey | ECKey:
    """The private key of a file.

    Raises:
        SettingsError: it cannot be read, is no private key, or suits neither RS256 nor ES256.
    """
    wrong = f"NIGHTDRAFT_OIDC_CLIENT_KEY_FILE: {path}"
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise SettingsError(f"{wrong} cannot be read ({error.strerror})") from None
    kinds: tuple[type[RSAKey] | type[ECKey], ...] = (RSAKey, ECKey)
    for kind in kinds:
        try:
            is_json = content.lstrip().startswith(b"{")
            key = import_key(json.loads(content)) if is_json else kind.import_key(content)
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        if not (isinstance(key, RSAKey | ECKey) and key.is_private):
            continue
        if isinstance(key, ECKey):
            if key.curve_name == "P-256":
                return key
        elif key.raw_value.key_size >= _LEAST_RSA_BITS:
            return key
    raise SettingsError(
        f"{wrong} holds no private key in PEM or JWK for RS256 (RSA, 2048 bits at least) or ES256 "
        "(P-256)"
    )
