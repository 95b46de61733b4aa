"""Checks who can be reached and shown what: certificates, callers, listeners and pages."""

from __future__ import annotations

import hashlib
import http.client
import socket
import ssl
from contextlib import suppress

from nightdraft.doctor.results import CheckWarning
from nightdraft.station.station import listener_address, loopback_of, page_address
from records.errors import PartError
from records.settings import Settings


def check_certificates(settings: Settings) -> str:
    """Check the certificates that this machine shows."""
    from records.pacs import read_pacs_file
    from records.tls import certificates, servers

    sentences: list[str] = []
    ending: list[str] = []
    found: list[tuple[str, str]] = []
    for name, files in (
        ("the listener", servers.listener_files(settings)),
        ("the HL7 listener", servers.hl7_files(settings)),
        ("the pages", servers.pages_files(settings)),
    ):
        if files is None:
            continue
        files.make_context()
        found.append((name, files.certificate))
    found.append(("the worklist", settings.worklist_certificate_file))
    for pacs in read_pacs_file(settings.pacs_file).values():
        if pacs.certificate_file:
            pacs.tls_files().make_context()
            found.append((f"the PACS {pacs.name}", pacs.certificate_file))
    for name, path in found:
        if not path:
            continue
        certificate = certificates.CertificateFile.read(path)
        days = certificate.days_left()
        if days < 0:
            raise PartError(f"that of {name} ended on {certificate.ends:%Y-%m-%d}: renew {path}")
        sentence = f"{name} until {certificate.ends:%Y-%m-%d}"
        (ending if days < certificates.SOON_DAYS else sentences).append(sentence)
    if ending:
        raise CheckWarning(f"renew soon: {', '.join(ending)}")
    return ", ".join(sentences) or "none is set: DICOM, HL7 and the pages are served without TLS"


def check_identity_provider(settings: Settings) -> str:
    """Check that people can log in at the identity provider, and what is left while they cannot."""
    from api.oidc.config import read_config
    from api.oidc.provider import Provider
    from records.accounts import local_logins, provider_accounts
    from records.database.session import unit_of_work

    config = read_config(settings)
    with unit_of_work() as session:
        local_logins.check_fallback_account(session)
        if config is not None:
            provider_accounts.check_sites(session)
    if config is None:
        return "none is set"
    metadata = Provider(config).metadata()
    sentence = f"{config.name} answers, and is {config.issuer}"
    if not metadata.end_session:
        raise CheckWarning(
            f"{sentence}; it has no page for logouts, so people stay logged in there"
        )
    return sentence


def check_callers(settings: Settings) -> str:
    """Check that urgent AE titles are tied to devices: else nobody has their priority, or all."""
    from intake.dicom.caller_proof import CallerProof

    proof = CallerProof(settings)
    name_them = (
        "name their addresses in NIGHTDRAFT_CALLER_ADDRESSES or their certificates in "
        "NIGHTDRAFT_CALLER_CERTIFICATES"
    )
    if titles := proof.claimable():
        raise CheckWarning(
            f"every sender may claim the priority of {', '.join(titles)}: {name_them}, or set "
            "NIGHTDRAFT_UNPROVEN_CALLERS=local"
        )
    if titles := proof.ignored():
        raise CheckWarning(
            f"the priority of {', '.join(titles)} does not count, for nothing says who the senders "
            f"are: {name_them}"
        )
    told = "no urgent priority goes by an AE title alone"
    if settings.unproven_callers == "believe":
        told += (
            ", and the STAT of a film's header counts from every title that is not listed "
            "(NIGHTDRAFT_UNPROVEN_CALLERS=believe)"
        )
    return told


def check_listener(settings: Settings) -> str:
    """Check that the listener answers C-ECHO (PS3.4, annex A)."""
    from pynetdicom import AE
    from pynetdicom.sop_class import Verification

    over_tls = _tls_port(settings) if settings.listen_tls_port else ""
    if not settings.listen_plain:
        return over_tls
    host, port = listener_address(settings)
    # Where only listed callers are allowed, the check uses a title of the list.
    calling = settings.allowed_callers[0] if settings.allowed_callers else "NIGHTDRAFT_DOC"
    ae = AE(ae_title=calling)
    ae.acse_timeout = ae.dimse_timeout = ae.connection_timeout = 5
    ae.add_requested_context(Verification)
    association = ae.associate(host, port, ae_title=settings.ae_title)
    if not association.is_established:
        raise PartError(
            f"nobody answers C-ECHO at {host} port {port}: start `nightdraft listen`, or correct "
            "NIGHTDRAFT_LISTEN_PORT"
        )
    try:
        status = association.send_c_echo()
    finally:
        association.release()
    if not status or status.Status != 0:
        raise PartError(f"the listener at {host} port {port} does not answer C-ECHO with success")
    answered = f"C-ECHO answered at {host} port {port}"
    return f"{answered}; {over_tls}" if over_tls else answered


def _tls_port(settings: Settings) -> str:
    """Check that the listener shows the certificate of its file."""
    from records.tls.certificates import CertificateFile

    host, port = loopback_of(settings.listen_host), settings.listen_tls_port
    try:
        pin = _served_pin(host, port)
    except OSError:
        raise PartError(
            f"nobody takes DICOM over TLS at {host} port {port}: start `nightdraft listen`, or "
            "correct NIGHTDRAFT_LISTEN_TLS_PORT"
        ) from None
    if pin and pin != CertificateFile.read(settings.listen_certificate).pin:
        raise CheckWarning(
            f"the listener shows another certificate than {settings.listen_certificate} has: its "
            "log says why it was not read again"
        )
    return f"TLS answered at {host} port {port}"


def _served_pin(host: str, port: int) -> str:
    """SHA-256 of the certificate that is shown on a port; "" where TLS wants one of ours first.

    Raises:
        OSError: nobody answers.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # it is compared with the file
    try:
        with (
            socket.create_connection((host, port), timeout=5) as plain,
            context.wrap_socket(plain) as connection,
        ):
            return hashlib.sha256(connection.getpeercert(binary_form=True) or b"").hexdigest()
    except ssl.SSLError:
        return ""


def check_hl7(settings: Settings) -> str:
    """Check that the HL7 listener takes connections; a message would be kept."""
    host, port = settings.hl7_host, settings.hl7_port
    try:
        with socket.create_connection((loopback_of(host), port), timeout=5):
            pass
    except OSError:
        raise PartError(
            f"nobody takes HL7 messages at {host} port {port}: start `nightdraft listen --hl7`, or "
            "correct NIGHTDRAFT_HL7_PORT"
        ) from None
    return f"connections are taken at {host} port {port}"


def check_pages(settings: Settings) -> str:
    """Check that the pages answer and show the certificate of their file."""
    from records.tls.certificates import CertificateFile

    host, port = page_address(settings)
    is_https = bool(settings.serve_certificate)
    connection = http.client.HTTPConnection(host, port, timeout=5)
    if is_https:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE  # `_served_pin` compares it with the file
        connection = http.client.HTTPSConnection(host, port, timeout=5, context=context)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        response.read()
    except (OSError, http.client.HTTPException):
        raise PartError(
            f"nobody serves the pages at {host} port {port}: start `nightdraft serve`, or correct "
            "NIGHTDRAFT_SERVE_PORT"
        ) from None
    finally:
        connection.close()
    address = f"{'https' if is_https else 'http'}://{host}:{port}"
    if response.status != 200:
        raise PartError(f"{address}/readyz answers {response.status}: see the lines above")
    if is_https:
        with suppress(OSError):
            if _served_pin(host, port) != CertificateFile.read(settings.serve_certificate).pin:
                raise CheckWarning(
                    f"the pages show another certificate than {settings.serve_certificate} has: "
                    "the log of `nightdraft serve` says why it was not read again"
                )
    return f"{address}/"
