"""The group of a draft: its views, the device, the patient's age and sex, and the day."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from records.settings import settings
from records.states import AgeGroup, Device, Sex
from records.worklist.ages import years_at

PORTABLE_WORDS = ("PORTABLE", "MOBILE", "BEDSIDE", "BETTAUFNAHME", "MOBIL")
"""What a description or a header says of a film that was taken at the bedside."""

_PORTABLE = re.compile(rf"\b({'|'.join(PORTABLE_WORDS)})\b")
_SAID = re.compile(r'\bViewPosition "(PA|AP)"')
"""What the evidence on a frontal film says of the beam (model.dicom.evidence)."""
_AGES = (
    (18, AgeGroup.UNDER_18),
    (40, AgeGroup.FROM_18),
    (60, AgeGroup.FROM_40),
    (80, AgeGroup.FROM_60),
    (150, AgeGroup.FROM_80),
)


def name_views(views: Sequence[Any]) -> str:
    """The views that the model read, as "AP" or "PA+lateral".

    Args:
        views: those of a draft, each with its position and with what in the header says so.
    """
    return "+".join(sorted({_name_view(view) for view in views}, key=_by_lateral)) or "unknown"


def find_device(views: Sequence[Any], *descriptions: str) -> Device:
    """Whether the films are of a portable device: by words, else by a PA view, which is not."""
    said = " ".join([*descriptions, *(str(view.get("why") or "") for view in views)])
    if _PORTABLE.search(said.upper().replace("_", " ")):
        return Device.PORTABLE
    is_pa = any(_name_view(view) == "PA" for view in views)
    return Device.FIXED if is_pa else Device.UNKNOWN


def find_age(birth_date: str, study_date: str) -> AgeGroup:
    """The age group by (0010,0030) and (0008,0020)."""
    years = years_at(birth_date, study_date)
    if years is None:
        return AgeGroup.UNKNOWN
    return next((group for limit, group in _AGES if years < limit), AgeGroup.UNKNOWN)


def find_sex(sent: str) -> Sex:
    """The sex by (0010,0040)."""
    value = sent.strip().upper()
    if not value:
        return Sex.UNKNOWN
    return Sex(value) if value in ("F", "M") else Sex.OTHER


def local_day(at: dt.datetime) -> dt.date:
    """The day of a moment in the site's time zone (NIGHTDRAFT_TIME_ZONE)."""
    name = settings().time_zone
    return at.astimezone(ZoneInfo(name) if name else None).date()


def _name_view(view: Any) -> str:
    position = str(view.get("position") or "unknown")
    said = _SAID.search(str(view.get("why") or ""))
    return said[1] if said and position == "frontal" else position


def _by_lateral(name: str) -> tuple[bool, str]:
    return name == "lateral", name
