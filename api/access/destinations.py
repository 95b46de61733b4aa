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


def login_address(path: str, why: str = "") -> str:
    """The address of the login, which leads back to a path of ours.

    Args:
        path: of ours; another site's is left out.
        why: the login is needed, as `api.login_pages` words it.
    """
    back = local_path(path)
    values = {"why": why, "next": back if back != "/" else ""}
    given = urlencode({name: value for name, value in values.items() if value})
    return f"/login?{given}" if given else "/login"
