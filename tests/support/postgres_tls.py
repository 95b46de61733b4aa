"""A PostgreSQL of the system on a TCP port, which speaks TLS with a certificate of the test."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg2
import pytest

from nightdraft.station.wheels import free_port
from tests.support.certificates import Issued
from tests.support.waiting import eventually

PASSWORD = "Qvistplanted"
ROLE = "nightdraft"

_ENVIRONMENT = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8"}


class TlsPostgres:
    """One cluster, which is started with one certificate after the other.

    The embedded PostgreSQL is built without OpenSSL, so this is the one that Debian installs.

    Args:
        folder: an empty folder that every user may pass through.
    """

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))
        if not found:
            pytest.skip("no PostgreSQL with TLS is installed: apt install postgresql")
        self._programs = found[-1].parent
        self._folder = folder
        self._cluster = folder / "cluster"
        # PostgreSQL refuses to run as root.
        self._user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        self.port = free_port()
        folder.chmod(0o711)
        self._cluster.mkdir(mode=0o700)
        self._give(self._cluster)
        password = folder / "password"
        password.write_text(PASSWORD)
        self._give(password)
        self._run(
            "initdb", "-D", str(self._cluster), "-U", ROLE, f"--pwfile={password}", "--no-sync",
            "--auth-local=reject", "--auth-host=scram-sha-256", "--no-instructions",
        )  # fmt: skip
        with (self._cluster / "pg_hba.conf").open("a") as lines:
            lines.write("host all all 0.0.0.0/0 scram-sha-256\n")

    def url(self, host: str, **query: object) -> str:
        """Its address by one of its names."""
        words = "&".join(f"{name}={value}" for name, value in query.items())
        return f"postgresql://{ROLE}:{PASSWORD}@{host}:{self.port}/postgres?{words}"

    @contextmanager
    def running(self, issued: Issued | None, *options: str) -> Iterator[None]:
        """Run with a certificate, or without TLS.

        Args:
            issued: the certificate and its key; None speaks no TLS.
            options: settings more, as `name=value`.
        """
        settings = [
            "listen_addresses=*", f"port={self.port}", "unix_socket_directories=", "fsync=off",
            "max_connections=10", "shared_buffers=16MB", *options,
        ]  # fmt: skip
        if issued is not None:
            certificate, key = self._cluster / "server.pem", self._cluster / "server.key"
            shutil.copyfile(issued.certificate, certificate)
            shutil.copyfile(issued.key, key)
            key.chmod(0o600)
            for path in (certificate, key):
                self._give(path)
            settings += ["ssl=on", "ssl_cert_file=server.pem", "ssl_key_file=server.key"]
        with (self._folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [
                    *(str(self._programs / "postgres"), "-D", str(self._cluster)),
                    *(word for setting in settings for word in ("-c", setting)),
                ],
                env=_ENVIRONMENT, stdout=log, stderr=log, cwd="/", **self._as_user(),
            )  # fmt: skip
        try:
            eventually(lambda: self._answers(process), 60)
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)

    def _answers(self, process: subprocess.Popen[bytes]) -> bool:
        assert process.poll() is None, (self._folder / "log").read_text()
        try:
            psycopg2.connect(self.url("127.0.0.1")).close()
        except psycopg2.OperationalError:
            return False
        return True

    def _run(self, program: str, *words: str) -> None:
        subprocess.run(
            [str(self._programs / program), *words],
            env=_ENVIRONMENT, cwd="/", check=True, capture_output=True, **self._as_user(),
        )  # fmt: skip

    def _as_user(self) -> dict[str, object]:
        if self._user is None:
            return {}
        return {"user": self._user.pw_uid, "group": self._user.pw_gid, "extra_groups": []}

    def _give(self, path: Path) -> None:
        if self._user is not None:
            os.chown(path, self._user.pw_uid, self._user.pw_gid)
