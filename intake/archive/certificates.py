"""The certificates by which a PACS is trusted, and by which it trusts us."""

from __future__ import annotations

import ssl

from intake.dicom_client import make_tls_context
from records.pacs import Pacs


def make_pacs_tls_context(pacs: Pacs) -> ssl.SSLContext:
    """How connections with a PACS are encrypted, by DIMSE and by HTTPS.

    Raises:
        SettingsError: a file cannot be used.
    """
    return make_tls_context(
        pacs.ca_file,
        pacs.certificate_file,
        pacs.key_file,
        (f"the PACS {pacs.name}: ca_file", "certificate_file", "key_file"),
    )
