"""Requests that two servers in a row may cut into requests in two ways (RFC 9112 section 11.2)."""

from __future__ import annotations

import re
import socket
import ssl
from contextlib import suppress

MARK = "DELETE"
"""The method of the request that is hidden in a body; nothing of ours answers to it."""


def _hidden(host: str) -> bytes:
    return f"{MARK} /hidden HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def attacks(host: str) -> dict[str, bytes]:
    """Each try by its name: the bytes of a connection.

    Args:
        host: the Host header of each request.
    """
    hidden = _hidden(host)
    chunked_end = b"0\r\n\r\n" + hidden
    one_chunk = f"{len(hidden):x}\r\n".encode() + hidden + b"\r\n0\r\n\r\n"

    def post(headers: str, body: bytes) -> bytes:
        return f"POST /api/studies HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n\r\n".encode() + body

    length = f"Content-Length: {len(chunked_end)}"
    tries = {
        "CL.TE": post(f"{length}\r\nTransfer-Encoding: chunked", chunked_end),
        "TE.CL": post("Transfer-Encoding: chunked\r\nContent-Length: 4", one_chunk),
        "obs-fold in Transfer-Encoding": post(
            f"{length}\r\nTransfer-Encoding:\r\n chunked", chunked_end
        ),
        "obs-fold in Content-Length": post(f"Content-Length:\r\n\t{len(hidden)}", hidden),
        "two Content-Length": post(f"Content-Length: 0\r\nContent-Length: {len(hidden)}", hidden),
        "two Content-Length, the other order": post(
            f"Content-Length: {len(hidden)}\r\nContent-Length: 0", hidden
        ),
        "a list in Content-Length": post(f"Content-Length: 0, {len(hidden)}", hidden),
        "a sign in Content-Length": post(f"Content-Length: +{len(hidden)}", hidden),
        "a hexadecimal Content-Length": post(f"Content-Length: 0x{len(hidden):x}", hidden),
        "a space before the colon": post(f"{length}\r\nTransfer-Encoding : chunked", chunked_end),
        "a bare LF": post(f"X-One: 1\nTransfer-Encoding: chunked\r\n{length}", chunked_end),
        "a bare LF at the end of the head": (
            f"POST /api/studies HTTP/1.1\r\nHost: {host}\r\nContent-Length: {len(hidden)}\n\n"
        ).encode()
        + hidden,
        "a bare CR": post(f"X-One: 1\rTransfer-Encoding: chunked\r\n{length}", chunked_end),
        "a NUL in a header": post(
            f"X-One: \0\r\nTransfer-Encoding: chunked\r\n{length}", one_chunk
        ),
        "a chunk size with a sign": post("Transfer-Encoding: chunked", b"+0\r\n\r\n" + hidden),
    }
    for number, written in enumerate(
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked, identity",
            "Transfer-Encoding: xchunked",
            "Transfer-Encoding: x\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding:\x0bchunked",
            'Transfer-Encoding: "chunked"',
        )
    ):
        tries[f"TE.TE {number}"] = post(f"{length}\r\n{written}", chunked_end)
    return tries


def talk(
    port: int,
    content: bytes,
    tls: tuple[ssl.SSLContext, str] | None = None,
    source: str = "127.0.0.1",
) -> tuple[list[int], bytes]:
    """Send the bytes of a connection; return the statuses of the answers, and all that came.

    Args:
        port: where to.
        content: the bytes.
        tls: checks the certificate, by a name; None is no TLS.
        source: the address from which it is sent.
    """
    with socket.create_connection(("127.0.0.1", port), 30, (source, 0)) as plain:
        connection = plain if tls is None else tls[0].wrap_socket(plain, server_hostname=tls[1])
        received = b""
        with connection, suppress(ConnectionError, ssl.SSLError):
            connection.sendall(content)
            with suppress(TimeoutError):
                while piece := connection.recv(65536):
                    received += piece
                    connection.settimeout(1.5)  # another answer would follow at once
    return [int(found) for found in re.findall(rb"HTTP/1\.[01] (\d{3}) ", received)], received
