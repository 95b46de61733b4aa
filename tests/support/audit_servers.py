"""rsyslog as an audit server: syslog over TLS, run by the tests' own user with its own files."""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from nightdraft.station.wheels import free_port
from tests.support.waiting import eventually

_CONFIG = """\
global(
  workDirectory="{folder}"
  defaultNetstreamDriver="gtls"
  defaultNetstreamDriverCAFile="{ca}"
  defaultNetstreamDriverCertFile="{certificate}"
  defaultNetstreamDriverKeyFile="{key}"
  maxMessageSize="256k"
)
module(load="imtcp" streamDriver.name="gtls" streamDriver.mode="1" streamDriver.authMode="{auth}")
input(type="imtcp" port="{port}" address="127.0.0.1")
template(name="whole" type="list") {{
  property(name="pri") constant(value=" ")
  property(name="app-name") constant(value=" ")
  property(name="msgid") constant(value=" ")
  property(name="msg") constant(value="\\n")
}}
action(type="omfile" file="{log}" template="whole" fileCreateMode="0600")
"""


def make_certificates(folder: Path) -> None:
    """An authority, and certificates of it for `localhost` and for a client; needs openssl."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")

    def run(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")
    run(
        *("req", "-x509", *new_key, "-keyout", "ca.key", "-out", "ca.pem"),
        *("-subj", "/CN=Tests", "-days", "2"),
    )
    for name, subject in (("server", "localhost"), ("client", "nightdraft")):
        (folder / f"{name}.ext").write_text(f"subjectAltName=DNS:{subject}\n")
        run(
            *("req", *new_key, "-keyout", f"{name}.key", "-out", f"{name}.csr"),
            *("-subj", f"/CN={subject}"),
        )
        run(
            *("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key"),
            *("-CAcreateserial", "-out", f"{name}.pem", "-days", "2", "-extfile", f"{name}.ext"),
        )


@dataclass
class AuditServer:
    """A running rsyslog; `received` gives what it has written so far."""

    folder: Path
    port: int
    client_certificates: bool = False
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        config = self.folder / "rsyslog.conf"
        config.write_text(
            _CONFIG.format(
                folder=self.folder,
                ca=self.folder / "ca.pem",
                certificate=self.folder / "server.pem",
                key=self.folder / "server.key",
                auth="x509/certvalid" if self.client_certificates else "anon",
                port=self.port,
                log=self.folder / "received.log",
            )
        )
        with (self.folder / "output.log").open("ab") as output:
            self.process = subprocess.Popen(
                ["rsyslogd", "-n", "-f", config, "-i", self.folder / "rsyslog.pid"],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        eventually(self._answers)

    def stop(self) -> None:
        """End it, and wait for its end."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(20)
            self.process = None

    def received(self) -> list[tuple[str, str, str]]:
        """(priority, MSGID, text) of each message so far."""
        log = self.folder / "received.log"
        lines = log.read_text(encoding="utf-8-sig").splitlines() if log.exists() else []
        found = []
        for line in lines:
            priority, program, message_id, text = line.split(" ", 3)
            assert program == "nightdraft"
            found.append((priority, message_id, text.lstrip(" \ufeff")))
        return found

    def _answers(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self.folder / "output.log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def audit_server(folder: Path, *, client_certificates: bool = False) -> Iterator[AuditServer]:
    """An audit server that is not started yet; it is stopped at the end of the block."""
    drivers = list(Path("/usr/lib").glob("*/rsyslog/lmnsd_gtls.so"))
    if shutil.which("rsyslogd") is None or not drivers:
        pytest.skip("rsyslog with GnuTLS is not installed")
    make_certificates(folder)
    server = AuditServer(folder, free_port(), client_certificates)
    try:
        yield server
    finally:
        server.stop()
