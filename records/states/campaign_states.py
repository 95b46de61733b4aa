"""How far a campaign and each of its studies is, and why it ended a study's row."""

from __future__ import annotations

from enum import StrEnum


class CampaignKind(StrEnum):
    """Where the studies of a campaign are from."""

    AGAIN = "AGAIN"  # those that one bundle drafted, to be drafted by another
    LIST = "LIST"  # a list of accession numbers or Study Instance UIDs
    FOLDER = "FOLDER"  # DICOM files below a folder
    QUERY = "QUERY"  # what a PACS lists for a span of dates


class CampaignState(StrEnum):
    """How far a campaign is. Whether its window is open is not a state."""

    RUNNING = "RUNNING"  # it gives studies to the pipeline while its window is open
    PAUSED = "PAUSED"  # a person stopped it; a person resumes it
    CANCELLED = "CANCELLED"  # a person ended it
    DONE = "DONE"  # its source is walked to the end, and nothing of it waits


CAMPAIGN_ENDED = (CampaignState.CANCELLED, CampaignState.DONE)


class WalkState(StrEnum):
    """How far a campaign's source was walked; the walk makes a row for each study."""

    WALKING = "WALKING"
    WALKED = "WALKED"
    FAILED = "FAILED"  # the source cannot be walked; what was found before is still drafted


class CampaignStudyState(StrEnum):
    """What became of one study of a campaign."""

    WAITING = "WAITING"  # in the campaign: nothing of it is in the pipeline
    PULLING = "PULLING"  # its images are being fetched
    IN_WORK = "IN_WORK"  # it is received, prepared or drafted
    HELD = "HELD"  # a person must decide
    DRAFTED = "DRAFTED"
    SKIPPED = "SKIPPED"  # not drafted, with the reason
    FAILED = "FAILED"  # attempts used up
    MISSING = "MISSING"  # its images could not be had
    CANCELLED = "CANCELLED"  # a person decided against a draft, or it is reported elsewhere


CAMPAIGN_UNDER_WAY = (CampaignStudyState.PULLING, CampaignStudyState.IN_WORK)
"""States of studies that a campaign has given to the pipeline and that move by themselves."""

CAMPAIGN_MOVING = (CampaignStudyState.WAITING, *CAMPAIGN_UNDER_WAY)
"""States that lead on by themselves; a campaign is done when no study is in one of them."""


class CampaignReason(StrEnum):
    """Why a campaign itself ended a study's row, before there was a draft request."""

    ALREADY_DRAFTED = "ALREADY_DRAFTED"
    ALREADY_FINAL = "ALREADY_FINAL"
    ALREADY_LISTED = "ALREADY_LISTED"
    NOT_HERE = "NOT_HERE"
    NOT_AT_PACS = "NOT_AT_PACS"
    OFFLINE = "OFFLINE"
    IMAGES_MISSING = "IMAGES_MISSING"
    NO_IMAGES = "NO_IMAGES"
    PULL_FAILED = "PULL_FAILED"
    UNREADABLE = "UNREADABLE"
    BYTES_REMOVED = "BYTES_REMOVED"


CAMPAIGN_REASON_SENTENCES: dict[CampaignReason, str] = {
    CampaignReason.ALREADY_DRAFTED: "The study has a draft already.",
    CampaignReason.ALREADY_FINAL: "The study has a final report already.",
    CampaignReason.ALREADY_LISTED: (
        "The campaign has the study of this accession number under its study UID."
    ),
    CampaignReason.NOT_HERE: (
        "The study is not here, and the campaign names no PACS to fetch it from."
    ),
    CampaignReason.NOT_AT_PACS: "The PACS does not know the study.",
    CampaignReason.OFFLINE: "The PACS has the study offline: its media must be mounted there.",
    CampaignReason.IMAGES_MISSING: (
        "Images that the PACS lists did not come, although they were asked for again."
    ),
    CampaignReason.NO_IMAGES: "The PACS lists no image of the study that could be drafted from.",
    CampaignReason.PULL_FAILED: "The images could not be fetched, in several attempts.",
    CampaignReason.UNREADABLE: "The files of the study cannot be read.",
    CampaignReason.BYTES_REMOVED: (
        "The films of the study were removed here, as the rules of retention say, and the campaign "
        "names no PACS to fetch them from again."
    ),
}
"""Each reason in one sentence for a person."""
