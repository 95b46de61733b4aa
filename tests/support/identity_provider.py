"""An identity provider on a real port (OpenID Connect), whose answers a test can make wrong."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlencode, urlsplit

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import RSAKey

CLIENT = "nightdraft"
SECRET = "a secret: of the tests"
EVENT = "http://schemas.openid.net/event/backchannel-logout"

RSA_KEY = RSAKey.generate_key(2048, {"kid": "first", "use": "sig"}, private=True)
"""The provider's key; one is enough for all tests, for making it takes a while."""


def sign(claims: dict[str, Any], key: Any = RSA_KEY, **header: Any) -> str:
    """A signed token; a header that is None is left out."""
    given = {"alg": "RS256", "kid": key.kid, **header}
    used = {name: value for name, value in given.items() if value is not None}
    return jwt.encode(used, claims, key, algorithms=[used["alg"]])


def changed(claims: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """Claims with changes; those that become None are left out."""
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def half_hash(text: str) -> str:
    """`at_hash` of an access token, for RS256."""
    half = hashlib.sha256(text.encode()).digest()[:16]
    return base64.urlsafe_b64encode(half).rstrip(b"=").decode()


@dataclass
class IdentityProvider:
    """Whoever is sent to it is logged in at once, as `person` says.

    Attributes:
        person: claims about who logs in.
        token: claims of the ID token that are others than they should be; None leaves one out.
        header: of the ID token, where it is another than it should be.
        key: what ID tokens are signed with.
        answer: parameters of the answer that are others than they should be.
        metadata: of the discovery document, where it is another than it should be.
        published: the keys that it names.
        user_info: what it says at its address for that; None has no such address.
        fault: (path) -> (status, body) that is answered in place of the right answer, or None.
        asked: every path that was asked for.
        sent: the queries of the browsers that were sent here to log in.
    """

    person: dict[str, Any] = field(
        default_factory=lambda: {
            "sub": "4711",
            "preferred_username": "Ada.Lovelace",
            "name": "Ada Lovelace",
            "groups": ["staff", "radiologists"],
            "sid": "session-1",
        }
    )
    token: dict[str, Any] = field(default_factory=dict)
    header: dict[str, Any] = field(default_factory=dict)
    key: Any = field(default_factory=lambda: RSA_KEY)
    answer: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    published: list[Any] = field(default_factory=lambda: [RSA_KEY.as_dict(private=False)])
    user_info: dict[str, Any] | None = None
    client_key: Any = None
    fault: Callable[[str], tuple[int, bytes] | None] = lambda _path: None
    asked: list[str] = field(default_factory=list)
    sent: list[dict[str, str]] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    port: int = 0
    _server: Any = None

    @property
    def issuer(self) -> str:
        return f"http://127.0.0.1:{self.port}/realm"

    def visit(self, url: str) -> str:
        """Go where a browser is sent; where it is sent from there."""
        parts = urlsplit(url)
        connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=10)
        try:
            connection.request("GET", f"{parts.path}?{parts.query}")
            answer = connection.getresponse()
            answer.read()
            assert answer.status == 303, answer.status
            return answer.headers["Location"]
        finally:
            connection.close()

    def logout_token(self, key: Any = None, header: dict[str, Any] | None = None, **changes: Any):
        """A token that ends the session of `person`, less what is None in `changes`."""
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 120,
            "jti": secrets.token_hex(8),
            "events": {EVENT: {}},
            "sid": self.person.get("sid"),
            "sub": self.person["sub"],
        }
        given = {"typ": "logout+jwt", **(header or {})}
        return sign(changed(claims, changes), key or self.key, **given)

    def __enter__(self) -> IdentityProvider:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer("")

            def do_POST(self) -> None:
                self._answer(self.rfile.read(int(self.headers["Content-Length"])).decode())

            def _answer(self, body: str) -> None:
                parts = urlsplit(self.path)
                outer.asked.append(parts.path)
                wrong = outer.fault(parts.path)
                status, content = wrong or outer._answer(parts.path, parts.query, body, self)
                self.send_response(status)
                if status == 303:
                    self.send_header("Location", content.decode())
                    content = b""
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Go away; the next `with` block is back at the same port."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _answer(self, path: str, query: str, body: str, handler: Any) -> tuple[int, bytes]:
        values = {name: found[-1] for name, found in parse_qs(query or body).items()}
        name = path.removeprefix("/realm")
        if name == "/.well-known/openid-configuration":
            return 200, json.dumps(self._document()).encode()
        if name == "/keys":
            return 200, json.dumps({"keys": self.published}).encode()
        if name == "/authorize":
            return self._authorize(values)
        if name == "/token":
            return self._give_token(values, handler.headers)
        if name == "/user-info":
            is_asked_rightly = handler.headers["Authorization"] == "Bearer access-token"
            return (200, json.dumps(self.user_info).encode()) if is_asked_rightly else (401, b"{}")
        if name == "/end-session":
            return 303, values["post_logout_redirect_uri"].encode()
        return 404, b"{}"

    def _document(self) -> dict[str, Any]:
        document = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/keys",
            "end_session_endpoint": f"{self.issuer}/end-session",
            "authorization_response_iss_parameter_supported": True,
            "code_challenge_methods_supported": ["S256"],
            "backchannel_logout_supported": True,
        }
        if self.user_info is not None:
            document["userinfo_endpoint"] = f"{self.issuer}/user-info"
        return changed(document, self.metadata)

    def _authorize(self, values: dict[str, str]) -> tuple[int, bytes]:
        self.sent.append(values)
        code = secrets.token_urlsafe(16)
        self.codes[code] = values
        answer = {"code": code, "state": values["state"], "iss": self.issuer}
        query = urlencode(changed(answer, self.answer))
        return 303, f"{values['redirect_uri']}?{query}".encode()

    def _give_token(self, values: dict[str, str], headers: Any) -> tuple[int, bytes]:
        if not self._is_client(values, headers):
            return 401, b'{"error": "invalid_client"}'
        asked = self.codes.pop(values.get("code", ""), None)  # a code counts once
        verifier = values.get("code_verifier", "")
        hashed = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        if (
            asked is None
            or asked["redirect_uri"] != values.get("redirect_uri")
            or asked["code_challenge_method"] != "S256"
            or asked["code_challenge"] != hashed.rstrip(b"=").decode()
        ):
            return 400, b'{"error": "invalid_grant"}'
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "auth_time": now if asked.get("prompt") == "login" else now - 5000,
            "nonce": asked["nonce"],
            "at_hash": half_hash("access-token"),
            **self.person,
        }
        token = sign(changed(claims, self.token), self.key, **self.header)
        given = {"access_token": "access-token", "token_type": "Bearer", "id_token": token}
        return 200, json.dumps(given).encode()

    def _is_client(self, values: dict[str, str], headers: Any) -> bool:
        if self.client_key is not None:
            try:
                claims = jwt.decode(
                    values.get("client_assertion", ""), self.client_key, algorithms=["ES256"]
                ).claims
            except JoseError:
                return False
            return claims["iss"] == claims["sub"] == CLIENT and claims["exp"] > time.time()
        kind, _, credentials = headers.get("Authorization", "").partition(" ")
        name, _, secret = base64.b64decode(credentials).decode().partition(":")
        return (kind, unquote(name), unquote(secret)) == ("Basic", CLIENT, SECRET)
