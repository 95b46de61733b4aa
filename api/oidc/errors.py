"""Why a login at the identity provider ends here."""

from __future__ import annotations

from records.errors import NightdraftError, PartError


class ProviderAway(PartError):
    """The identity provider does not answer as it should. Nothing was changed; try it again."""


class AnswerRefused(NightdraftError):
    """An answer or token of the identity provider is not taken. Log in again."""
