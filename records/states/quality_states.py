"""The groups by which the quality of drafts is counted, and the score of a second reader."""

from __future__ import annotations

from enum import StrEnum


class AgeGroup(StrEnum):
    """The age of a patient on the day of the study, in years."""

    UNDER_18 = "UNDER_18"
    FROM_18 = "FROM_18"  # 18 to 39
    FROM_40 = "FROM_40"  # 40 to 59
    FROM_60 = "FROM_60"  # 60 to 79
    FROM_80 = "FROM_80"
    UNKNOWN = "UNKNOWN"


AGE_LABELS: dict[AgeGroup, str] = {
    AgeGroup.UNDER_18: "under 18",
    AgeGroup.FROM_18: "18 to 39",
    AgeGroup.FROM_40: "40 to 59",
    AgeGroup.FROM_60: "60 to 79",
    AgeGroup.FROM_80: "80 and older",
    AgeGroup.UNKNOWN: "not known",
}
"""Each group in words for a person."""


class Sex(StrEnum):
    """The patient's sex, (0010,0040)."""

    F = "F"
    M = "M"
    OTHER = "OTHER"  # O, or nothing that DICOM knows
    UNKNOWN = "UNKNOWN"  # nothing was sent


SEX_LABELS: dict[Sex, str] = {
    Sex.F: "female",
    Sex.M: "male",
    Sex.OTHER: "other",
    Sex.UNKNOWN: "not known",
}
"""Each value in words for a person."""


class Device(StrEnum):
    """Whether the films were taken with a portable device, as far as headers and orders say."""

    PORTABLE = "PORTABLE"
    FIXED = "FIXED"
    UNKNOWN = "UNKNOWN"


DEVICE_LABELS: dict[Device, str] = {
    Device.PORTABLE: "portable",
    Device.FIXED: "not portable",
    Device.UNKNOWN: "not known",
}
"""Each value in words for a person."""


class PeerScore(StrEnum):
    """What a second reader thinks of a signed report, on the scale of RADPEER (ACR, from 2016 on).

    a: the difference is unlikely to be clinically significant. b: it is likely to be.
    """

    CONCUR = "1"
    MISSED_A = "2a"
    MISSED_B = "2b"
    EXPECTED_A = "3a"
    EXPECTED_B = "3b"


PEER_LABELS: dict[PeerScore, str] = {
    PeerScore.CONCUR: "1: I agree with the report",
    PeerScore.MISSED_A: "2a: I differ; the finding is easily missed, and hardly matters clinically",
    PeerScore.MISSED_B: "2b: I differ; the finding is easily missed, and matters clinically",
    PeerScore.EXPECTED_A: "3a: I differ; the finding is mostly seen, and hardly matters clinically",
    PeerScore.EXPECTED_B: "3b: I differ; the finding is mostly seen, and matters clinically",
}
"""Each score in words for a person."""
