"""Where a person goes after a login: a page of ours, and never another site's."""

from __future__ import annotations

import re
from urllib.parse import urlencode, urlsplit

_LOCAL = re.compile(r"/(?![/\\])[\x21-\x5b\x5d-\x7e]*")
"""A path of ours: browsers take `//name` and `/\\name` for another server."""


def local_path(given: str) -> str:
    """The path where it is one of ours, else ""."""
    if len(given) > 2000 or not _LOCAL.fullmatch(given):
        return ""
    try:
        parts = urlsplit(given)
    except ValueError:
        return ""
    return "" if parts.scheme or parts.netloc else given


def login_address(path: str) -> str:
    """The address of the login, which leads back to a path of ours."""
    back = local_path(path)
    return f"/login?{urlencode({'next': back})}" if back and back != "/" else "/login"
