"""What a call of another system's HTTP service needs: no redirects, reasons without texts."""

from __future__ import annotations

import email.utils
import ssl
import urllib.request
from datetime import UTC, datetime
from typing import Any

from records.tls.faults import describe_error


class NoRedirects(urllib.request.HTTPRedirectHandler):
    """A redirect could carry our token and a patient's number to another server."""

    def redirect_request(self, *_: Any) -> None:
        """Follow none: the answer is an error with the redirect's status."""
        return


def retry_seconds(value: str | None) -> float | None:
    """Retry-After: seconds, or a date (RFC 9110, 10.2.3); None where it is neither."""
    if not value:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        moment = email.utils.parsedate_to_datetime(value)
    except (ValueError, OverflowError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def reason_of(error: Exception) -> str:
    """What kind of error it was; messages may quote an address with a patient's number in it."""
    inner = getattr(error, "reason", error)
    if isinstance(error, ssl.SSLError):  # whose `reason` is OpenSSL's word
        inner = error
    if isinstance(inner, ssl.SSLError):
        return describe_error(inner)
    if isinstance(inner, TimeoutError):
        return "time-out"
    if isinstance(inner, OSError) and inner.strerror and inner.errno:
        return inner.strerror
    return type(inner).__name__
