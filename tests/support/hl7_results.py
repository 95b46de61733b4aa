"""HL7 result messages, as a radiology system sends them."""

from __future__ import annotations


def result(
    accession: str = "A1",
    observations: tuple[str, ...] = ("TX|18748-4^REPORT||IMPRESSION: Clear.",),
    *,
    status: str = "F",
    issued: str = "20260301120000",
    patient: str = "P1^^^SITE",
    name: str = "Plugh^Xyzzy^^^",
    reason: str = "",
    extra: str = "",
    kind: str = "ORU^R01^ORU_R01",
    processing: str = "P",
    charset: str = "UNICODE UTF-8",
) -> str:
    """Return a message with one result; `extra` is a segment at its end.

    Each observation is OBX-2 to OBX-5; the status follows, or stands behind "!" at its end.
    """
    lines = [
        rf"MSH|^~\&|RIS|SITE|X|Y|{issued}||{kind}|C{accession}|{processing}|2.5.1||||||{charset}",
        f"PID|1||{patient}||{name}||19500203|F",
        f"OBR|1|PL1|FI1|24627-2^XR CHEST|||20260228101500|||||||||||{accession}||||{issued}"
        f"|||{status}||||||^{reason}",
    ]
    for number, observation in enumerate(observations, start=1):
        text, _, own = observation.partition("!")
        lines.append(f"OBX|{number}|{text}||||||{own or status}")
    return "\r".join([*lines, *([extra] if extra else [])]) + "\r"
