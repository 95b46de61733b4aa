"""The headers of every answer, that of an unexpected error included."""

from __future__ import annotations

SAFETY_HEADERS = {
    # Only our own files: no inline script, so text from an image's header can never run.
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    # Not `no-referrer`: with it browsers send `Origin: null` with our own forms.
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # A shared reading-room PC must not keep patients in its cache.
    "cache-control": "no-store",
}
