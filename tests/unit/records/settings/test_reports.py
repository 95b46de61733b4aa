"""Reports: the shares of readings that are drawn are not more than all of them."""

import pytest

from records.errors import SettingsError
from records.settings import read_settings


@pytest.mark.parametrize(("first", "without"), [(0.6, 0.5), (1.0, 0.1), (0.1, 1.0)])
def test_shares_that_are_more_than_one_are_refused(first, without):
    with pytest.raises(SettingsError, match=r"WITHOUT_DRAFT_SHARE: .* more than 1"):
        read_settings(read_first_share=first, without_draft_share=without)


@pytest.mark.parametrize(("first", "without"), [(0.0, 0.0), (0.0, 1.0), (0.5, 0.5), (1.0, 0.0)])
def test_shares_up_to_one_are_taken(first, without):
    config = read_settings(read_first_share=first, without_draft_share=without)
    assert config.without_draft_share == without
