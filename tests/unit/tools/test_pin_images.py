"""Images are pinned by the digest that a registry gives, and the check names those that are not."""

from __future__ import annotations

import pytest

from tools.pin_images import FILES, pin, unpinned

DIGEST = f"sha256:{'0a' * 32}"
TEXT = (
    "FROM python:3.11-slim AS base\nFROM base AS cpu\n    image: ours:${X:-y}\n    image: redis:8\n"
)


def test_each_image_with_a_tag_gets_its_digest() -> None:
    assert unpinned(TEXT) == ["python:3.11-slim", "redis:8"]
    pinned = pin(TEXT, lambda _: DIGEST)
    assert f"FROM python:3.11-slim@{DIGEST} AS base\nFROM base AS cpu\n" in pinned
    assert f"    image: redis:8@{DIGEST}\n" in pinned
    assert unpinned(pinned) == []
    newer = DIGEST.replace("0a", "0b")
    assert pin(pinned, lambda _: newer) == pinned.replace(DIGEST, newer)


def test_what_is_no_digest_is_refused() -> None:
    with pytest.raises(ValueError, match="redis:8: 'latest' is no digest"):
        pin("    image: redis:8\n", lambda _: "latest")


def test_every_image_of_ours_is_seen() -> None:
    names = {name for file in FILES for name in unpinned(pin_nothing(file.read_text()))}
    bases = {"python", "postgres", "redis", "prom/prometheus", "grafana/grafana"}
    assert {name.partition(":")[0] for name in names} == bases


def pin_nothing(text: str) -> str:
    """The text without the digests that it may have."""
    return "\n".join(line.partition("@sha256:")[0] for line in text.splitlines())
