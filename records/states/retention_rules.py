"""What is walked over for removal, and which rules a site may have of its own."""

from __future__ import annotations

from enum import StrEnum


class RetentionWalkRule(StrEnum):
    """What is walked over to find what is to be removed."""

    INSTANCES = "INSTANCES"
    PREPARED = "PREPARED"  # prepared inputs of drafts
    STRAY_PREPARED = "STRAY_PREPARED"  # prepared inputs of which no draft was made


class SiteRule(StrEnum):
    """Rules of retention that a site may have otherwise than the settings say."""

    SIGNED = "SIGNED"  # films, from the signature
    DRAFTED = "DRAFTED"  # films, from the draft
    UNDRAFTED = "UNDRAFTED"  # films of studies that were skipped or cancelled, from the arrival
    PREPARED = "PREPARED"  # prepared inputs, from the draft
