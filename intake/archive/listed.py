"""What a PACS lists: studies, and the images of a study."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Availability(StrEnum):
    """(0008,0056) Instance Availability (PS3.3 C.4.23.1.1); "" where it is not given."""

    UNKNOWN = ""
    ONLINE = "ONLINE"
    NEARLINE = "NEARLINE"
    OFFLINE = "OFFLINE"
    UNAVAILABLE = "UNAVAILABLE"

    @classmethod
    def of(cls, text: str) -> Availability:
        """The availability that a value gives."""
        try:
            return cls(text.strip().upper())
        except ValueError:
            return cls.UNKNOWN


SLOW = (Availability.NEARLINE, Availability.OFFLINE, Availability.UNAVAILABLE)
"""Media that the PACS cannot reach at once."""


@dataclass(frozen=True, slots=True)
class ListedStudy:
    """A study as a PACS lists it.

    Attributes:
        study_instance_uid: (0020,000D).
        accession_number: (0008,0050), or "".
        date: (0008,0020), eight digits, or "".
        time: (0008,0030), or "".
        modalities: (0008,0061).
        instances: (0020,1208), where it is given.
        availability: (0008,0056).
    """

    study_instance_uid: str
    accession_number: str = ""
    date: str = ""
    time: str = ""
    modalities: tuple[str, ...] = ()
    instances: int | None = None
    availability: Availability = Availability.UNKNOWN


@dataclass(frozen=True, slots=True)
class ListedInstance:
    """An object of a study as a PACS lists it.

    Attributes:
        sop_instance_uid: (0008,0018).
        sop_class_uid: (0008,0016), or "".
        series_instance_uid: (0020,000E).
        modality: (0008,0060) of its series, or "".
        availability: (0008,0056).
    """

    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    modality: str = ""
    availability: Availability = Availability.UNKNOWN


@dataclass(frozen=True, slots=True)
class StudyListing:
    """The objects of a study that a PACS lists.

    Attributes:
        wanted: those that are fetched.
        unwanted: by reason, how many are not.
    """

    wanted: Sequence[ListedInstance]
    unwanted: dict[str, int]
