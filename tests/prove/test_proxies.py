"""nginx and Caddy as `docker/proxies` sets them up: who called arrives, and nothing is smuggled."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from nightdraft.station.wheels import free_port
from records.accounts import programs
from records.database.session import unit_of_work
from records.states import Permission, Role
from tests.acceptance.api.conftest import Server, serve  # noqa: F401
from tests.support.accounts import make_account
from tests.support.certificates import Authority
from tests.support.paths import ROOT
from tests.support.smuggling import MARK, attacks, talk
from tests.support.waiting import eventually

NAME = "nightdraft.hospital.example"
CALLER = "127.0.0.2"
"""From where the proxy is called. A request that is logged with another address is none that the
proxy saw as one."""
PROXIES = ROOT / "docker/proxies"


@dataclass
class Proxy:
    """A proxy that runs before a server of ours.

    Attributes:
        port: of its HTTPS.
        plain_port: of its HTTP.
        context: trusts its certificate.
        server: what is behind it.
        login: the header of a program that may read studies.
    """

    port: int
    plain_port: int
    context: ssl.SSLContext
    server: Server
    login: str

    def get(self, path: str, host: str = NAME, **headers: str) -> http.client.HTTPResponse:
        with (
            socket.create_connection(("127.0.0.1", self.port), 30, (CALLER, 0)) as plain,
            self.context.wrap_socket(plain, server_hostname=NAME) as connection,
        ):
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            head = f"GET {path} HTTP/1.1\r\nHost: {host}\r\n{self.login}\r\n{lines}"
            connection.sendall(f"{head}Connection: close\r\n\r\n".encode())
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            answer.read()
            return answer


def _nginx(folder: Path, port: int, plain_port: int, behind: str, own: tuple[Path, Path]) -> list:
    written = (PROXIES / "nginx.conf").read_text()
    written = re.sub(r"listen 443 ", f"listen 127.0.0.1:{port} ", written)
    written = re.sub(r"listen 80;", f"listen 127.0.0.1:{plain_port};", written)
    for old, new in (
        ("127.0.0.1:8080", behind),
        ("/etc/nginx/nightdraft.pem", str(own[0])),
        ("/etc/nginx/nightdraft.key", str(own[1])),
    ):
        assert old in written
        written = written.replace(old, new)
    temporary = "".join(
        f"{kind}_temp_path {folder}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = folder / "nginx.conf"
    config.write_text(
        f"pid {folder}/pid;\nerror_log {folder}/error.log;\nevents {{}}\n"
        f"http {{\n{temporary}access_log off;\n{written}\n}}\n"
    )
    return ["/usr/sbin/nginx", "-p", folder, "-c", config, "-g", "daemon off;"]


def _caddy(folder: Path, port: int, plain_port: int, behind: str, own: tuple[Path, Path]) -> list:
    written = (PROXIES / "Caddyfile").read_text()
    for old, new in (
        (
            "{\n\tservers",
            f"{{\n\tadmin off\n\thttps_port {port}\n\thttp_port {plain_port}\n\tservers",
        ),
        ("127.0.0.1:8080", behind),
        ("/etc/caddy/nightdraft.pem", str(own[0])),
        ("/etc/caddy/nightdraft.key", str(own[1])),
    ):
        assert old in written
        written = written.replace(old, new, 1)
    config = folder / "Caddyfile"
    config.write_text(written)
    return ["/usr/bin/caddy", "run", "--config", config, "--adapter", "caddyfile"]


@contextmanager
def running(command: list, folder: Path, port: int) -> Iterator[None]:
    environment = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
            return True
        return False

    try:
        eventually(answers)
        yield
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(params=["nginx", "caddy"])
def proxy(request, serve, tmp_path):  # noqa: F811
    """The pages behind a proxy, as its example sets both up."""
    program = {"nginx": "/usr/sbin/nginx", "caddy": "/usr/bin/caddy"}[request.param]
    if shutil.which(program) is None:
        pytest.skip(f"no {request.param}: apt-get install nginx-light caddy")
    folder = tmp_path / request.param
    folder.mkdir()
    folder.chmod(0o755)
    example = (PROXIES / {"nginx": "nginx.conf", "caddy": "Caddyfile"}[request.param]).read_text()
    named = dict(re.findall(r"^#   NIGHTDRAFT_(\w+)=(\S+)$", example, re.M))
    # Behind a proxy nothing is served before there is an account.
    make_account("root", Role.ADMINISTRATOR)
    with unit_of_work() as session:
        token = programs.create(session, "prover", [Permission.READ_STUDIES], "a test")
    server = serve(**{name.lower(): value for name, value in named.items()})
    authority = Authority(folder)
    own = authority.issue("proxy", names=(NAME,))
    port, plain_port = free_port(), free_port()
    make = {"nginx": _nginx, "caddy": _caddy}[request.param]
    behind = server.url.removeprefix("http://")
    command = make(folder, port, plain_port, behind, (own.certificate, own.key))
    context = ssl.create_default_context(cafile=str(authority.file))
    with running(command, folder, port):
        yield Proxy(port, plain_port, context, server, f"Authorization: Bearer {token}")


STAND_INS = (
    ("http://internal.example", f"Host: {NAME}"),
    (f"http://{NAME}", "Host: internal.example"),
    ("", f"Host: {NAME}\r\nHost: internal.example"),
    ("", f"Host: {NAME}\r\nX-Large: {'x' * 100_000}"),
    ("", "X-One: 1"),
)
"""The address and the headers of requests in somebody else's name. A proxy may answer an absolute
address by the name in it (RFC 9112 section 3.2.2)."""


def test_what_its_example_promises(proxy):
    check_who_called(proxy)
    check_other_names(proxy)
    check_smuggling(proxy)
    check_stand_ins(proxy)


def check_who_called(proxy):
    answer = proxy.get(
        "/api/studies",
        **{"X-Forwarded-For": "6.6.6.6", "X-Forwarded-Proto": "http", "X-Real-IP": "6.6.6.6"},
    )
    assert answer.status == 200
    assert answer.headers["Strict-Transport-Security"]
    log = eventually(lambda: (log := proxy.server.log.read_text()).count("/api/studies") and log)
    assert "6.6.6.6" not in log
    assert re.search(rf"host={CALLER} .*route=/api/studies", log)


def check_other_names(proxy):
    before = proxy.server.log.read_text().count("route=/api/studies")
    request = f"GET /api/studies HTTP/1.1\r\nHost: internal.example\r\n{proxy.login}\r\n\r\n"
    _, answer = talk(proxy.port, request.encode(), (proxy.context, NAME), CALLER)
    assert b"studies" not in answer
    assert proxy.server.log.read_text().count("route=/api/studies") == before
    statuses, answer = talk(
        proxy.plain_port, f"GET /api/studies HTTP/1.1\r\nHost: {NAME}\r\n\r\n".encode()
    )
    assert statuses[0] in (301, 308)
    assert f"https://{NAME}".encode() in answer


def check_smuggling(proxy):
    calls = 0
    # The login follows the name, so that whoever may read studies attacks.
    for name, content in attacks(f"{NAME}\r\n{proxy.login}").items():
        talk(proxy.port, content, (proxy.context, NAME), CALLER)
        # Whoever calls next over the proxy's connection to us would get the hidden answer.
        for _ in range(2):
            assert proxy.get("/api/studies").status == 200, name
            calls += 1
    eventually(lambda: len(re.findall("method=GET .*200", proxy.server.log.read_text())) >= calls)
    log = proxy.server.log.read_text()
    # A proxy may take what follows for a request of the same caller, and pass that on as one.
    assert not re.search(rf"host=(?!{re.escape(CALLER)} )\S+ method=", log)
    assert not re.search(rf"method={MARK} .*status=2", log)


def check_stand_ins(proxy):
    for place, headers in STAND_INS:
        content = f"GET {place}/api/studies HTTP/1.1\r\n{headers}\r\n{proxy.login}\r\n\r\n"
        statuses, answer = talk(proxy.port, content.encode(), (proxy.context, NAME), CALLER)
        is_by_our_name = place == f"http://{NAME}"
        # nginx hangs up, and Caddy gives an empty answer, where the name is not the example's.
        body = answer.partition(b"\r\n\r\n")[2]
        assert is_by_our_name or all(status >= 400 for status in statuses) or not body, answer
        assert is_by_our_name or b'"studies"' not in answer, (content[:60], answer)
