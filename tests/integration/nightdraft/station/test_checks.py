"""The checks of a start, against servers that answer."""

from __future__ import annotations

import pytest

from nightdraft.station import checks
from records.errors import PartError
from records.settings import settings


def test_a_server_that_is_too_old_is_refused(
    database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = checks.check_database(settings())
    assert answer.startswith("PostgreSQL ")
    monkeypatch.setattr(checks, "OLDEST_POSTGRESQL", 99)
    with pytest.raises(PartError, match=r"is too old: version 99 or newer is needed"):
        checks.check_database(settings())
