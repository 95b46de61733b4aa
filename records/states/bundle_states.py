"""Whether drafts of a bundle are shown at a site, and how a change of that is decided."""

from __future__ import annotations

from enum import StrEnum


class SiteMode(StrEnum):
    """What drafts are made for at a site."""

    RESEARCH = "RESEARCH"  # drafts are shown and are not for the care of patients
    SHADOW = "SHADOW"  # drafts are made and measured, and are shown to nobody
    CLINICAL = "CLINICAL"  # drafts of the bundles that two persons agreed on are shown


class Withheld(StrEnum):
    """Why a draft is shown to nobody."""

    STOPPED = "STOPPED"  # a person stopped its bundle
    SHADOW = "SHADOW"  # its site is in the mode SHADOW
    NOT_AGREED = "NOT_AGREED"  # its site is in the mode CLINICAL, with other bundles


WITHHELD_SENTENCES: dict[Withheld, str] = {
    Withheld.STOPPED: (
        "This draft is not shown: a person stopped the model that made it. Read this study without "
        "a draft."
    ),
    Withheld.SHADOW: (
        "This draft is not shown: this site is in the mode shadow, in which drafts are made and "
        "measured only."
    ),
    Withheld.NOT_AGREED: (
        "This draft is not shown: two persons have not agreed on its model for clinical use at "
        "this site."
    ),
}
"""What a reader is told in place of a draft."""

READ_FIRST_SENTENCE = "Read the films first: nothing of the draft is shown before that."
"""What a person is told who reads the films before the draft."""


class ProposalState(StrEnum):
    """What became of a proposed change of a site's mode or bundle."""

    OPEN = "OPEN"
    IN_FORCE = "IN_FORCE"  # a second person consented
    REFUSED = "REFUSED"
