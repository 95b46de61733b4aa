"""The files of what we serve, by settings: DICOM, HL7 and the pages."""

from __future__ import annotations

from records.errors import SettingsError
from records.settings import Settings
from records.tls.contexts import ServerFiles


def listener_files(settings: Settings) -> ServerFiles | None:
    """The TLS of the DICOM listener; None where it has no port for TLS.

    Raises:
        SettingsError: settings contradict each other.
    """
    names = (
        "NIGHTDRAFT_LISTEN_CERTIFICATE",
        "NIGHTDRAFT_LISTEN_CERTIFICATE_KEY",
        "NIGHTDRAFT_LISTEN_CLIENT_CA",
    )
    if not settings.listen_tls_port:
        if settings.listen_certificate or not settings.listen_plain:
            name = names[0] if settings.listen_certificate else "NIGHTDRAFT_LISTEN_PLAIN=false"
            raise SettingsError(f"{name} needs NIGHTDRAFT_LISTEN_TLS_PORT, the port for TLS")
        return None
    if not settings.listen_certificate:
        raise SettingsError(f"NIGHTDRAFT_LISTEN_TLS_PORT needs {names[0]}")
    clients = settings.listen_client_certificates
    if bool(settings.listen_client_ca) != (clients != "none"):
        raise SettingsError(
            f"{names[2]} and NIGHTDRAFT_LISTEN_CLIENT_CERTIFICATES belong together: the one says "
            "whose certificates count, the other whether they are `asked` for or `required`"
        )
    return ServerFiles(
        settings.listen_certificate,
        settings.listen_certificate_key,
        settings.listen_client_ca,
        clients,
        names,
    )


def hl7_files(settings: Settings) -> ServerFiles | None:
    """The TLS of the HL7 listener; None where it has no certificate.

    Raises:
        SettingsError: settings contradict each other.
    """
    if not settings.hl7_certificate:
        if settings.hl7_client_ca:
            raise SettingsError("NIGHTDRAFT_HL7_CLIENT_CA needs NIGHTDRAFT_HL7_CERTIFICATE")
        return None
    return ServerFiles(
        settings.hl7_certificate,
        settings.hl7_certificate_key,
        settings.hl7_client_ca,
        "required" if settings.hl7_client_ca else "none",
        (
            "NIGHTDRAFT_HL7_CERTIFICATE",
            "NIGHTDRAFT_HL7_CERTIFICATE_KEY",
            "NIGHTDRAFT_HL7_CLIENT_CA",
        ),
    )


def pages_files(settings: Settings) -> ServerFiles | None:
    """The TLS of the pages and REST; None where they have no certificate.

    Raises:
        SettingsError: settings contradict each other.
    """
    if not settings.serve_certificate:
        if settings.serve_certificate_key:
            raise SettingsError(
                "NIGHTDRAFT_SERVE_CERTIFICATE_KEY needs NIGHTDRAFT_SERVE_CERTIFICATE"
            )
        return None
    return ServerFiles(
        settings.serve_certificate,
        settings.serve_certificate_key,
        "",
        "none",
        ("NIGHTDRAFT_SERVE_CERTIFICATE", "NIGHTDRAFT_SERVE_CERTIFICATE_KEY", ""),
    )
