"""A loopback SMTP server (RFC 5321) with STARTTLS or TLS and a login, which keeps its mails."""

from __future__ import annotations

import base64
import contextlib
import email
import email.policy
import shutil
import socketserver
import ssl
import subprocess
import threading
from email.message import EmailMessage
from pathlib import Path
from types import TracebackType
from typing import Literal

import pytest

USER, PASSWORD = "nightdraft", "a-password-of-the-tests"


def make_certificate(folder: Path) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1 that signs itself, and its key; skips without openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "1", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


class SmtpReceiver:
    """Receives while the block runs.

    Args:
        certificate: the certificate and its key; None offers no TLS.
        security: how a connection is encrypted.
        refused: recipients that are answered 550.
    """

    def __init__(
        self,
        certificate: tuple[Path, Path] | None = None,
        security: Literal["starttls", "tls", "none"] = "none",
        refused: frozenset[str] = frozenset(),
    ) -> None:
        self.mails: list[EmailMessage] = []
        self.logins: list[tuple[str, bool]] = []
        """Who logged in, and whether the connection was encrypted."""
        self.refused = refused
        self.security = security
        self.context: ssl.SSLContext | None = None
        if certificate is not None:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
        receiver = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                # A client that does not trust the certificate hangs up.
                with contextlib.suppress(OSError):
                    _Conversation(receiver, self.request).run()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self.port = self._server.server_address[1]

    def __enter__(self) -> SmtpReceiver:
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


class _Conversation:
    """One connection: commands and answers, a line each."""

    def __init__(self, receiver: SmtpReceiver, connection: object) -> None:
        self._receiver = receiver
        self._connection = connection
        self._is_encrypted = False
        self._has_login = False
        if receiver.security == "tls":
            self._encrypt()
        else:
            self._open_file()

    def _encrypt(self) -> None:
        assert self._receiver.context is not None
        self._connection = self._receiver.context.wrap_socket(self._connection, server_side=True)
        self._is_encrypted = True
        self._open_file()

    def _open_file(self) -> None:
        self._file = self._connection.makefile("rwb")

    def _answer(self, line: str) -> None:
        self._file.write(f"{line}\r\n".encode())
        self._file.flush()

    def run(self) -> None:
        """Answer until the client quits or hangs up."""
        try:
            self._answer("220 test")
            while line := self._file.readline():
                if not self._take(line.decode().strip()):
                    return
        finally:
            self._file.close()
            self._connection.close()

    def _take(self, line: str) -> bool:
        verb = line.split(":")[0].split()[0].upper()
        if verb == "QUIT":
            self._answer("221 bye")
            return False
        if verb == "EHLO":
            self._answer("250-test")
            if self._receiver.security == "starttls" and not self._is_encrypted:
                self._answer("250-STARTTLS")
            self._answer("250 AUTH PLAIN" if self._receiver.context else "250 8BITMIME")
        elif verb == "STARTTLS" and self._receiver.security == "starttls":
            self._answer("220 go ahead")
            self._encrypt()
        elif verb == "AUTH":
            _, user, password = base64.b64decode(line.split()[2]).decode().split("\0")
            self._has_login = (user, password) == (USER, PASSWORD)
            if self._has_login:
                self._receiver.logins.append((user, self._is_encrypted))
            self._answer("235 welcome" if self._has_login else f"535 no, not with {password}")
        elif verb == "RCPT" and line.partition("<")[2].rstrip(">") in self._receiver.refused:
            self._answer("550 nobody of that name")
        elif self._receiver.context and not self._has_login:
            self._answer("530 log in first")
        elif verb == "DATA":
            self._answer("354 go on")
            lines = []
            while (data := self._file.readline()) != b".\r\n":
                lines.append(data.removeprefix(b"."))
            mail = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
            self._receiver.mails.append(mail)
            self._answer("250 taken")
        else:
            self._answer("250 ok")
        return True
