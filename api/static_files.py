"""Serves the pages' own files, and names the version that a page was made for in their address.

A browser may keep a file whose address holds its digest, for it never changes under it, and it
holds no patient. So every page after the first one loads its text alone.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

from fastapi.staticfiles import StaticFiles
from starlette.responses import Response

STATIC_DIR = Path(__file__).parent / "static"
KEPT = "public, max-age=31536000, immutable"
"""A year, the most that RFC 9111, 5.2.2.1 has in mind; `immutable` is of RFC 8246."""


@cache
def digest_of(name: str) -> str:
    """The first 12 hexadecimal digits of the SHA-256 of one of the pages' own files.

    Raises:
        FileNotFoundError: there is no such file.
    """
    return hashlib.sha256((STATIC_DIR / name).read_bytes()).hexdigest()[:12]


def static_address(name: str) -> str:
    """The address of one of the pages' own files in its present version."""
    return f"/static/{name}?v={digest_of(name)}"


class VersionedFiles(StaticFiles):
    """The pages' own files; who asks by the address of the present version may keep it."""

    def __init__(self) -> None:
        """Serve the folder `static` of this package."""
        super().__init__(directory=STATIC_DIR)

    async def get_response(self, path: str, scope: Any) -> Response:
        """Answer for a file, as Starlette does it."""
        response = await super().get_response(path, scope)
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("v")
        if asked and response.status_code in (200, 304) and asked == [digest_of(path)]:
            response.headers["cache-control"] = KEPT
        return response
