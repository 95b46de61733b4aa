"""No setting of the machine that runs the tests counts."""

import pytest

from records.settings import Settings


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"NIGHTDRAFT_{name.upper()}", raising=False)
