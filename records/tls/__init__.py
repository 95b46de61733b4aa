"""TLS of everything that is served and of every system that is asked: one set of rules.

The rules are BCP 195 (RFC 8996, RFC 9325), which DICOM PS3.15 B.12 and IHE ATNA refer to: TLS 1.2
with the cipher suites of RFC 9325 section 4.2, and TLS 1.3; no compression, no renegotiation, no
session tickets. Certificates are read again when their files change, without a restart: who is
connected stays connected, and the next connection has the new ones.
"""
