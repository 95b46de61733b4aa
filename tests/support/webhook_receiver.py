"""A loopback HTTP server that takes messages about alarms, and checks their signature."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

SECRET = "a-secret-of-the-tests"


class WebhookReceiver:
    """Receives while the block runs. answers: the statuses of the next answers, then 204.

    A message whose signature is wrong, or older than five minutes, is answered 401 and not kept.
    """

    def __init__(self, *answers: int) -> None:
        self.answers = list(answers)
        self.messages: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.attempts = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(receiver.take(dict(self.headers), body))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/hook/token-of-the-room"

    def take(self, headers: dict[str, str], body: bytes) -> int:
        """Take a message as a careful receiver does; returns the status of the answer."""
        self.attempts += 1
        timestamp = headers["X-Nightdraft-Timestamp"]
        expected = hmac.new(SECRET.encode(), f"{timestamp}.".encode() + body, hashlib.sha256)
        is_ours = hmac.compare_digest(
            headers["X-Nightdraft-Signature"], f"sha256={expected.hexdigest()}"
        )
        if not is_ours or abs(time.time() - int(timestamp)) > 300:
            return 401
        if self.answers and (status := self.answers.pop(0)) >= 300:
            return status
        self.messages.append(json.loads(body))
        self.bodies.append(body)
        return 204

    def __enter__(self) -> WebhookReceiver:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
