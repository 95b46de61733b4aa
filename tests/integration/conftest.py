"""What tests with real servers share."""

from __future__ import annotations

from collections.abc import Iterator

import argon2
import pytest

from records.accounts import passwords


@pytest.fixture(autouse=True)
def _passwords_hashed_fast(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Hash with little memory: tests make hundreds of accounts, and unit tests hash as we do."""
    monkeypatch.setattr(passwords, "_HASHER", argon2.PasswordHasher(time_cost=1, memory_cost=64))
    passwords._hash_of_nobody.cache_clear()
    yield
    passwords._hash_of_nobody.cache_clear()
