"""Public keys by which programs sign: sets of them (RFC 7517), from a file or from an address.

A key signs with RS384 or ES384 alone (SMART App Launch 2.2, section 6). An address is asked as the
program's registration names it, and never as an assertion does.
"""

from __future__ import annotations

import base64
import http.client
import ipaddress
import json
import re
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from joserfc.errors import JoseError
from joserfc.jwk import ECKey, RSAKey, import_key

from records.errors import NotAllowed, PartError, SettingsError
from records.settings import Settings
from records.tls.contexts import ClientFiles

ALGORITHMS = ("RS384", "ES384")
"""What an assertion may be signed with; every other one is refused before a key is looked for."""

MAX_BYTES = 65_536
MAX_KEYS = 20

FETCH_SECONDS = 5.0
"""How long an address may take to answer."""

KEPT_SECONDS = 300.0
"""For how long keys of an address are kept, at most."""

LEAST_SECONDS = 10.0
"""An address is asked no sooner again, whatever it answered and whoever asks for another key."""

_LEAST_BITS, _MOST_BITS = 2048, 8192
_WAITING = threading.BoundedSemaphore(2)
"""Requests that may wait for addresses: each holds a thread of the web server."""

_PRIVATE = ("d", "p", "q", "dp", "dq", "qi", "oth", "k")

Key = RSAKey | ECKey
KeySet = Mapping[str, Any]


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return


def parse(content: bytes) -> dict[str, Any]:
    """Read a key set that somebody registers.

    Returns:
        The set with the public keys, each with what is needed of it.

    Raises:
        NotAllowed: it is none, or a key of it is private, has no `kid`, or suits no algorithm.
    """
    keys = []
    for number, one in enumerate(_keys(content), 1):
        where = f"key {number} of the key set"
        if not isinstance(one, dict):
            raise NotAllowed(f"{where} is no JSON object")
        if any(name in one for name in _PRIVATE):
            raise NotAllowed(
                f"{where} is a private or secret key, which only the program may have: take it for "
                "known to others, make a new pair, and register the public key alone"
            )
        if not _id_of(one):
            raise NotAllowed(f"{where} has no `kid` of 1 to 200 characters")
        if _read(one) is None:
            raise NotAllowed(
                f"{where} suits neither RS384 (RSA with {_LEAST_BITS} to {_MOST_BITS} bits) nor "
                "ES384 (EC on P-384)"
            )
        keys.append(_reduced(one))
    if len({key["kid"] for key in keys}) < len(keys):
        raise NotAllowed("two keys of the key set have the same `kid`")
    return {"keys": keys}


def find(key_set: KeySet, key_id: str, algorithm: str) -> Key | None:
    """The key of an id that suits an algorithm; None where the set has none."""
    for one in key_set["keys"]:
        if one["kid"] == key_id and (key := _read(one)) is not None:
            kind = RSAKey if algorithm == "RS384" else ECKey
            return key if isinstance(key, kind) else None
    return None


def check_url(url: str) -> str:
    """An address of a key set, as it is kept.

    Raises:
        NotAllowed: it is none, or others could read and change what it answers.
    """
    try:
        parts = urllib.parse.urlsplit(url.strip())
        host, _ = parts.hostname or "", parts.port
    except ValueError:
        host = ""
    if not host or not re.fullmatch(r"[\x21-\x7e]{1,2000}", url.strip()):
        raise NotAllowed("the address of the key set is no address")
    if parts.username is not None or parts.fragment:
        raise NotAllowed("the address of the key set has a login or a fragment in it")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise NotAllowed("the address of the key set must begin with https://")
    return url.strip()


@dataclass(slots=True)
class _Kept:
    lock: threading.Lock = field(default_factory=threading.Lock)
    keys: KeySet | None = None
    until: float = 0.0
    asked_at: float = float("-inf")


class KeyFetcher:
    """Asks addresses for key sets, and keeps what they answered for a while."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}
        self._lock = threading.Lock()

    def find(self, url: str, key_id: str, algorithm: str, config: Settings) -> Key | None:
        """The key of an id; the address is asked where nothing is kept, or the id is not among it.

        Args:
            url: of a key set, as `check_url` gave it.
            key_id: the `kid`.
            algorithm: one of ALGORITHMS.
            config: whom the address's certificate must be from.

        Raises:
            PartError: the address does not answer as it should.
        """
        with self._lock:
            kept = self._kept.setdefault(url, _Kept())
        now = time.monotonic()
        if kept.keys is not None and now < kept.until:
            key = find(kept.keys, key_id, algorithm)
            if key is not None or now - kept.asked_at < LEAST_SECONDS:
                return key
        if not _WAITING.acquire(blocking=False):
            raise PartError("the keys of other programs are being asked for: try again")
        try:
            with kept.lock:
                if time.monotonic() - kept.asked_at >= LEAST_SECONDS:
                    self._fetch(kept, url, config)
        finally:
            _WAITING.release()
        if kept.keys is None:
            raise PartError("the address of the program's keys did not answer a moment ago")
        return find(kept.keys, key_id, algorithm)

    @staticmethod
    def _fetch(kept: _Kept, url: str, config: Settings) -> None:
        try:
            kept.keys, seconds = _fetch(url, config)
            kept.until = time.monotonic() + seconds
        except PartError:
            if time.monotonic() >= kept.until:
                kept.keys = None
            raise
        finally:
            kept.asked_at = time.monotonic()


def _fetch(url: str, config: Settings) -> tuple[KeySet, float]:
    """The keys of an address, and for how long they may be kept."""
    name = "NIGHTDRAFT_PROGRAM_KEYS_CA_FILE"
    deadline = time.monotonic() + FETCH_SECONDS
    try:
        files = ClientFiles(config.program_keys_ca_file, "", "", (name, name, name))
        opener = urllib.request.build_opener(
            _NoRedirects(), urllib.request.HTTPSHandler(context=files.make_context())
        )
        with opener.open(url, timeout=FETCH_SECONDS) as answer:
            content = bytearray()
            while chunk := answer.read1(MAX_BYTES):
                content += chunk
                if len(content) > MAX_BYTES:
                    raise PartError("the key set at the program's address is too large")
                if time.monotonic() > deadline:
                    raise PartError("the address of the program's keys took too long to answer")
            control = str(answer.headers.get("cache-control", ""))
        found = _keys(bytes(content))
    except SettingsError as error:
        raise PartError(str(error)) from None
    except NotAllowed as error:
        raise PartError(f"the program's address: {error}") from None
    except (OSError, http.client.HTTPException, ValueError):
        raise PartError("the address of the program's keys does not answer as it should") from None
    # One may be for encryption, or for an algorithm that we do not take: the others count.
    usable = [
        _reduced(one)
        for one in found
        if isinstance(one, dict)
        and not any(name in one for name in _PRIVATE)
        and _id_of(one)
        and _read(one) is not None
    ]
    return {"keys": usable}, _seconds(control)


def _seconds(control: str) -> float:
    """For how long an answer may be kept (RFC 9111, 5.2.2)."""
    words = [word.strip().lower() for word in control.split(",")]
    if "no-store" in words or "no-cache" in words:
        return 0.0
    ages = [word[8:].strip('"') for word in words if word.startswith("max-age=")]
    ends = [float(age) for age in ages if age.isascii() and age.isdigit() and len(age) < 10]
    return min([KEPT_SECONDS, *ends])


def _keys(content: bytes) -> list[Any]:
    if len(content) > MAX_BYTES:
        raise NotAllowed(f"the key set is larger than {MAX_BYTES} bytes")
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        raise NotAllowed("the key set is no JSON") from None
    keys = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(keys, list) or not keys:
        raise NotAllowed('the key set is no JSON object with a list "keys" (RFC 7517, 5)')
    if len(keys) > MAX_KEYS:
        raise NotAllowed(f"the key set has more than {MAX_KEYS} keys")
    return keys


def _id_of(one: Mapping[str, Any]) -> str:
    key_id = one.get("kid")
    return key_id if isinstance(key_id, str) and 0 < len(key_id) <= 200 else ""


def _read(one: Mapping[str, Any]) -> Key | None:
    """A public key for one of ALGORITHMS; None where it is none."""
    uses = one.get("key_ops", ["verify"])
    if one.get("use", "sig") != "sig" or not isinstance(uses, list) or "verify" not in uses:
        return None
    # A key that is too short or of another curve is none that the library should look at.
    is_rsa = one.get("kty") == "RSA" and _LEAST_BITS <= _count_bits(one.get("n")) <= _MOST_BITS
    is_ec = one.get("kty") == "EC" and one.get("crv") == "P-384"
    algorithm = "RS384" if is_rsa else "ES384"
    if not (is_rsa or is_ec) or one.get("alg", algorithm) != algorithm:
        return None
    try:
        key = import_key(_reduced(one))
    except (JoseError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return key if isinstance(key, RSAKey | ECKey) else None


def _count_bits(number: object) -> int:
    """Of a number in base64url without padding (RFC 7518, 6.3.1); 0 where it is none."""
    if not isinstance(number, str) or not re.fullmatch(r"[\w-]{1,4000}", number, re.ASCII):
        return 0
    try:
        decoded = base64.urlsafe_b64decode(f"{number}{'=' * (-len(number) % 4)}")
    except ValueError:
        return 0
    return int.from_bytes(decoded).bit_length()


def _reduced(one: Mapping[str, Any]) -> dict[str, Any]:
    """A key with nothing but what says which it is."""
    return {name: one[name] for name in ("kty", "kid", "n", "e", "crv", "x", "y") if name in one}


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.casefold() == "localhost"
