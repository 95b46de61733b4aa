"""What an address says of the server that it leads to."""

from __future__ import annotations

from urllib.parse import urlsplit


def host_names(url: str) -> set[str]:
    """How an allow list may name the server of an address: its host, or host and port."""
    try:
        parts = urlsplit(url)
        host = (parts.hostname or "").casefold()
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:
        return set()
    return {host, f"{f'[{host}]' if ':' in host else host}:{port}"}


def place_of(url: str) -> str:
    """Where an address points, as `host:port` or a socket's path, without user and password."""
    try:
        parts = urlsplit(url)
        if parts.scheme == "sentinel":
            return parts.netloc.rpartition("@")[2]
        port = parts.port
    except ValueError:
        return "its address"
    if parts.hostname:
        return f"{parts.hostname}:{port}" if port else parts.hostname
    for pair in parts.query.split("&"):
        name, _, value = pair.partition("=")
        if name == "host":
            return value.replace("%2F", "/")
    # What is no URL at all may still hold a password.
    return parts.path if parts.path.startswith("/") else "its address"
