"""What a TLS port speaks, as sslscan finds it out."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import pytest

from records.tls.contexts import CIPHERS


@dataclass(frozen=True)
class Scan:
    """The findings of a scan.

    Attributes:
        protocols: versions that are spoken, as "tls 1.2".
        old_suites: cipher suites of TLS 1.2, as OpenSSL names them.
        faults: what is found beside them: renegotiation, compression, Heartbleed.
    """

    protocols: frozenset[str]
    old_suites: frozenset[str]
    faults: tuple[str, ...]


def scan(port: int, folder: Path) -> Scan:
    """Scan a port on localhost; skips where sslscan is missing."""
    program = shutil.which("sslscan")
    if program is None:
        pytest.skip("no sslscan: apt-get install sslscan")
    report = folder / f"report-{port}.xml"
    subprocess.run(
        [program, "--no-colour", f"--xml={report}", f"localhost:{port}"],
        check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    test = ElementTree.parse(report).getroot().find("ssltest")
    assert test is not None
    faults = []
    for name, attribute in (
        ("renegotiation", "supported"),
        ("compression", "supported"),  # an OpenSSL that knows none looks for none
        ("heartbleed", "vulnerable"),
    ):
        if any(one.get(attribute) != "0" for one in test.iter(name)):
            faults.append(name)
    return Scan(
        frozenset(
            f"{one.get('type')} {one.get('version')}"
            for one in test.iter("protocol")
            if one.get("enabled") == "1"
        ),
        frozenset(
            one.get("cipher", "")
            for one in test.iter("cipher")
            if one.get("sslversion") == "TLSv1.2"
        ),
        tuple(faults),
    )


def expected_scan(kind: str) -> Scan:
    """What a scan must find where the server's certificate has such a key: "RSA" or "ECDSA"."""
    suites = frozenset(name for name in CIPHERS if kind in name)
    return Scan(frozenset({"tls 1.2", "tls 1.3"}), suites, ())
