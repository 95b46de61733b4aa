"""A station with accounts and TLS under attack: by each role, by nobody, and at its TLS ports.

Slow; part of `make prove-security`. SECURITY_SEED and SECURITY_EXAMPLES repeat or lengthen it. The
results are in docs/operate/threat-model.md.
"""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2 as httpx
import psutil
import pydicom
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given
from hypothesis import seed as seeded
from hypothesis import settings as examples

from api.access.table import TABLE, Door
from api.access_control import FORM_HEADER
from nightdraft.station.wheels import free_port
from records.accounts.roles import PERMISSIONS
from records.states import Permission, Role
from tests.support.certificates import Authority
from tests.support.dicom_senders import send_images
from tests.support.fhir_resources import diagnostic_report, patient, service_request
from tests.support.mutations import mutated
from tests.support.station import Station, running_station
from tests.support.tls_scan import expected_scan, scan
from tests.support.waiting import eventually
from training.corpus.phantoms_dicom import write_phantoms

SEED = int(os.environ.get("SECURITY_SEED", "20261127"))
EXAMPLES = int(os.environ.get("SECURITY_EXAMPLES", "1000"))
"""Mutated messages for each TLS port, and a hundredth of it as calls of each address by each."""

PLANTED = "Zzyzxqvist"
PASSWORD = "Qvistplanted-password"
PORTS = {name: free_port() for name in ("dicom", "hl7")}

NOBODY = "nobody"
PERSONS = [role for role in Role if role is not Role.SERVICE]
CALLERS = (NOBODY, *(role.value for role in PERSONS), Role.SERVICE.value)


@dataclass
class Caller:
    """Somebody who calls.

    Attributes:
        permissions: what he or she may do; None is nobody.
        headers: what each call carries.
        secrets: what of it no log may hold.
    """

    permissions: frozenset[Permission] | None = None
    headers: dict[str, str] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)


@dataclass
class Guarded:
    """A station with accounts, its addresses, and who calls."""

    station: Station
    authority: Authority
    page: str
    callers: dict[str, Caller]
    study_id: str = ""

    def client(self, caller: str) -> httpx.Client:
        return httpx.Client(
            base_url=self.page,
            verify=ssl.create_default_context(cafile=str(self.authority.file)),
            headers=self.callers[caller].headers,
            follow_redirects=False,
            timeout=60,
        )


@pytest.fixture(scope="module")
def guarded(short_folder: Callable[[], Path]) -> Iterator[Guarded]:
    authority = Authority(short_folder())
    own = authority.issue("station", bits=2048)
    own.key.chmod(0o644)  # the station's user reads it
    certificate = {"CERTIFICATE": str(own.certificate), "CERTIFICATE_KEY": str(own.key)}
    with running_station(
        short_folder(),
        BUNDLE="demo",
        LOG_LEVEL="debug",
        LISTEN_TLS_PORT=str(PORTS["dicom"]),
        HL7_PORT=str(PORTS["hl7"]),
        IDLE_SECONDS="1",
        REQUEST_SECONDS="2",
        # Tests of their own are about these limits; here they would only hide other answers.
        ACCOUNT_REQUESTS_PER_MINUTE="0",
        TOKEN_REQUESTS_PER_MINUTE="0",
        STRANGER_REQUESTS_PER_MINUTE="0",
        **{f"{part}_{name}": value for part in ("LISTEN", "HL7", "SERVE")
           for name, value in certificate.items()},
    ) as station:  # fmt: skip
        page = f"https://localhost:{station.addresses['serve_port']}"
        made = Guarded(station, authority, page, {NOBODY: Caller()})
        for role in sorted(PERSONS, key=lambda role: role is not Role.ADMINISTRATOR):
            made.callers[role.value] = log_in(made, role)
        made.callers[Role.SERVICE.value] = make_token(made)
        made.study_id = plant(made, short_folder())
        yield made


def log_in(made: Guarded, role: Role) -> Caller:
    """Make an account as an administrator does, choose its password by the link, and log in."""
    login = role.value.lower()
    done = made.station.run("account", "create", login, "--role", login, "--json")
    assert done.returncode == 0, done.stderr
    token = json.loads(done.stdout)["link"].rpartition("/")[2]
    with made.client(NOBODY) as browser:
        chosen = browser.post(
            f"/link/{token}", data={"new": f"{PASSWORD}-{login}", "repeated": f"{PASSWORD}-{login}"}
        )
        assert chosen.status_code == 303, chosen.text
        answer = browser.post("/login", data={"login": login, "password": f"{PASSWORD}-{login}"})
        assert answer.status_code == 303, answer.text
        cookies = {one.name: one.value or "" for one in browser.cookies.jar}
        assert cookies
        page = browser.get("/account").text
    form_token = re.search(r'<meta name="form-token" content="([0-9a-f]{64})">', page)
    assert form_token is not None
    return Caller(
        PERMISSIONS[role],
        {
            "cookie": "; ".join(f"{name}={value}" for name, value in cookies.items()),
            FORM_HEADER: form_token[1],
        },
        [token, f"{PASSWORD}-{login}", *cookies.values(), form_token[1]],
    )


def make_token(made: Guarded) -> Caller:
    """A program with every permission that a program may have."""
    permissions = PERMISSIONS[Role.SERVICE]
    words = [word for one in sorted(permissions) for word in ("--permission", one.value)]
    done = made.station.run("token", "create", "prover", *words, "--json")
    assert done.returncode == 0, done.stderr
    token = json.loads(done.stdout)["token"]
    return Caller(permissions, {"authorization": f"Bearer {token}"}, [token])


def plant(made: Guarded, folder: Path) -> str:
    """A drafted study, an order and a report of a patient with a name of its own."""
    for _ in write_phantoms(folder, range(2_100_000_000, 2_100_000_001), size=256):
        pass
    films = [pydicom.dcmread(path) for path in sorted(folder.rglob("*.dcm"))]
    for film in films:
        film.PatientName = f"{PLANTED}^Ada"
    assert set(send_images(made.station.port, *films)) == {0}
    named = patient(id="p", name=[{"family": PLANTED, "given": ["Ada"]}])
    with made.client(Role.SERVICE.value) as program:
        for kind, resource in (
            ("ServiceRequest", service_request(contained=[named])),
            ("DiagnosticReport", diagnostic_report(contained=[named])),
        ):
            answer = program.post(
                f"/fhir/{kind}",
                content=json.dumps(resource),
                headers={"content-type": "application/fhir+json"},
            )
            assert answer.status_code == 201, answer.text
    eventually(lambda: made.station.all_ended(1), 120)
    uid = str(films[0].StudyInstanceUID)
    ((study_id,),) = made.station.query(
        f"SELECT id FROM studies WHERE study_instance_uid = '{uid}'"
    )
    return str(study_id)


@pytest.fixture
def unharmed(guarded: Guarded) -> Iterator[None]:
    """Fail where an attack killed a part."""
    before = guarded.station.parts()
    yield
    assert guarded.station.parts() == before, "a part was started again"


# ---- Each role, and nobody ----


def may(caller: Caller, method: str, path: str) -> bool:
    """Whether the table of routes lets somebody call an address."""
    row = TABLE[method, path]
    if row.needs is Door.PUBLIC or row.is_probe:  # probes of this machine need nothing
        return True
    if caller.permissions is None:
        return False
    if row.needs is Door.LOGGED_IN:
        return "cookie" in caller.headers
    return row.needs in caller.permissions


SHOWS_PATIENTS = {Permission.READ_STUDIES, Permission.SEND_ORDERS, Permission.READ_MESSAGES}


@pytest.mark.parametrize("name", CALLERS)
def test_every_page_is_answered_as_the_table_says(guarded: Guarded, name: str) -> None:
    caller = guarded.callers[name]
    shown = 0
    with guarded.client(name) as client:
        for method, path in TABLE:
            if method != "GET" or path.startswith("/link/"):
                continue
            address = path.replace("{study}", guarded.study_id)
            address = re.sub(r"\{\w+\}", "00000000-0000-0000-0000-000000000000", address)
            answer = client.get(address)
            assert answer.status_code < 500 or path == "/readyz", (path, answer.text)
            if may(caller, method, path):
                assert answer.status_code not in (401, 403), path
            else:
                assert answer.status_code in (303, 401, 403), (path, answer.status_code)
                assert PLANTED not in answer.text
            shown += PLANTED in answer.text
    may_see = bool(caller.permissions and caller.permissions & SHOWS_PATIENTS)
    assert bool(shown) == may_see


@pytest.mark.parametrize("name", CALLERS)
def test_the_rest_calls_of_each_role(guarded: Guarded, unharmed: None, name: str) -> None:
    caller = guarded.callers[name]
    with guarded.client(Role.LEAD.value) as reader:
        document = reader.get("/api/openapi.json").json()
    schema = schemathesis.openapi.from_dict(document)
    called = 0
    for result in schema.get_all_operations():
        operation = result.ok()
        called += call_at_random(guarded, caller, operation)
    assert called > 100


def call_at_random(guarded: Guarded, caller: Caller, operation: Any) -> int:
    """Call one address with made-up parameters and bodies; returns how often."""
    is_allowed = may(caller, operation.method.upper(), operation.path)
    called = 0

    @seeded(SEED)
    @examples(
        max_examples=max(EXAMPLES // 100, 5),
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy())
    def check(case: schemathesis.Case) -> None:
        nonlocal called
        called += 1
        answer = case.call(
            base_url=guarded.page, headers=caller.headers, verify=str(guarded.authority.file)
        )
        assert answer.status_code < 500 or case.path == "/readyz", answer.text
        assert "Traceback" not in answer.text
        if not is_allowed:
            assert answer.status_code >= 400, (case.method, case.path)
            assert PLANTED not in answer.text

    check()
    return called


@pytest.mark.parametrize("role", PERSONS)
def test_a_form_of_another_page_changes_nothing(guarded: Guarded, role: Role) -> None:
    caller = guarded.callers[role.value]
    for headers in (
        {"cookie": caller.headers["cookie"]},
        {"cookie": caller.headers["cookie"], FORM_HEADER: "0" * 64},
        {**caller.headers, "origin": "https://evil.example"},
        {**caller.headers, "host": "evil.example"},
    ):
        with httpx.Client(
            base_url=guarded.page,
            verify=ssl.create_default_context(cafile=str(guarded.authority.file)),
        ) as client:
            for path in ("/account/sessions", "/holds", "/api/failures/retry", "/logout"):
                answer = client.post(path, headers=headers)
                assert answer.status_code in (403, 421), (path, headers, answer.status_code)
    with guarded.client(role.value) as client:
        assert client.get("/account").status_code == 200  # still logged in


@pytest.mark.parametrize(
    "header",
    [
        {"authorization": "Bearer"}, {"authorization": "Bearer null"},
        {"authorization": "Basic YWRtaW46YWRtaW4="}, {"authorization": "Bearer " + "A" * 8000},
        {"cookie": "__Host-nightdraft=' OR 1=1 --"}, {"cookie": "session=" + "a" * 8000},
        {"x-forwarded-for": "127.0.0.1"}, {"x-forwarded-user": "administrator"},
        {"x-remote-user": "administrator"}, {"x-original-url": "/api/studies"},
    ],
    ids=str,
)  # fmt: skip
def test_made_up_logins_are_nobody(guarded: Guarded, header: dict[str, str]) -> None:
    with guarded.client(NOBODY) as client:
        for path in ("/api/studies", "/fhir/metadata", "/api/trail", "/api/parts"):
            answer = client.get(path, headers=header)
            assert answer.status_code in (401, 400, 431), (path, answer.status_code)
            assert PLANTED not in answer.text


# ---- TLS ----


def tls_ports(guarded: Guarded) -> dict[str, int]:
    return {**PORTS, "pages": int(guarded.station.addresses["serve_port"])}


@pytest.mark.parametrize("door", ["dicom", "hl7", "pages"])
def test_sslscan_finds_no_old_version_and_no_weak_suite(
    guarded: Guarded, tmp_path: Path, unharmed: None, door: str
) -> None:
    assert scan(tls_ports(guarded)[door], tmp_path) == expected_scan("RSA")


def client_hello() -> bytes:
    """The first bytes of a good handshake."""
    outgoing = ssl.MemoryBIO()
    context = ssl.create_default_context()
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


@pytest.mark.parametrize("door", ["dicom", "hl7", "pages"])
def test_wrong_handshakes(guarded: Guarded, unharmed: None, door: str) -> None:
    port = tls_ports(guarded)[door]

    def say(content: bytes) -> None:
        with socket.create_connection(("127.0.0.1", port), 30) as plain, suppress(OSError):
            plain.sendall(content)
            plain.shutdown(socket.SHUT_WR)
            while plain.recv(65536):
                pass

    good = client_hello()
    assert good[:1] == b"\x16"
    with ThreadPoolExecutor(8) as pool:
        for _ in pool.map(say, mutated([good], SEED, EXAMPLES)):
            pass
    context = ssl.create_default_context(cafile=str(guarded.authority.file))
    with (
        socket.create_connection(("127.0.0.1", port), 30) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as secured,
    ):
        assert secured.version() in ("TLSv1.2", "TLSv1.3")


@pytest.mark.parametrize("door", ["dicom", "hl7", "pages"])
def test_silent_connections_keep_nobody_out(guarded: Guarded, unharmed: None, door: str) -> None:
    port = tls_ports(guarded)[door]
    context = ssl.create_default_context(cafile=str(guarded.authority.file))
    silent = [socket.create_connection(("127.0.0.1", port), 60) for _ in range(150)]
    try:
        with (
            socket.create_connection(("127.0.0.1", port), 60) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            assert secured.version()
        for connection in silent:
            with suppress(ConnectionResetError):
                while connection.recv(4096):
                    pass  # a refusal; then the end
    finally:
        for connection in silent:
            connection.close()


# ---- Afterwards ----


def test_no_log_metric_bell_argument_or_environment_holds_a_patient_or_a_secret(
    guarded: Guarded,
) -> None:
    station = guarded.station
    secrets = [secret for caller in guarded.callers.values() for secret in caller.secrets]
    assert len(secrets) > 3 * len(PERSONS)
    logs = station.logs()
    assert "GET" in logs  # the calls are logged
    with guarded.client(Role.ADMINISTRATOR.value) as client:
        shown = {"metrics": client.get("/metrics").text, "logs": logs}
    assert "nightdraft_up" in shown["metrics"]
    with station.broker() as broker:
        shown["bells"] = str([broker.dump(key) for key in broker.scan_iter()])
    shown["ps"] = subprocess.run(
        ["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True
    ).stdout
    root = psutil.Process(station.process.pid)
    for process in (root, *root.children(recursive=True)):
        with suppress(psutil.NoSuchProcess, OSError):
            shown[f"environment of {process.pid}"] = Path(f"/proc/{process.pid}/environ").read_text(
                errors="replace"
            )
    for place, content in shown.items():
        assert PLANTED.casefold() not in content.casefold(), place
        for secret in secrets:
            assert secret not in content, place
