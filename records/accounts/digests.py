"""Random tokens, and the digests that are kept instead of them."""

from __future__ import annotations

import hashlib
import secrets

_BYTES = 32
"""Of a token: 256 random bits, which nobody guesses, so a plain digest is enough."""


def new_token() -> str:
    """A token as addresses, cookies and headers carry it: 43 characters."""
    return secrets.token_urlsafe(_BYTES)


def digest(token: str) -> str:
    """What is kept of a token: SHA-256, in hexadecimal."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()
