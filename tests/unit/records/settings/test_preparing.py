"""Preparing: which devices' view positions are trusted."""

import pytest

from records.errors import SettingsError
from records.settings import read_settings


def test_the_trust_in_view_positions(monkeypatch):
    monkeypatch.setenv("NIGHTDRAFT_VIEW_POSITION_TRUST", "DigitalDiagnost=Always, CR-IR 359=never")
    trust = read_settings().view_position_trust
    assert trust == {"DigitalDiagnost": "always", "CR-IR 359": "never"}
    for wrong in ("DigitalDiagnost", "DigitalDiagnost=sometimes"):
        monkeypatch.setenv("NIGHTDRAFT_VIEW_POSITION_TRUST", wrong)
        with pytest.raises(SettingsError, match="VIEW_POSITION_TRUST"):
            read_settings()
