"""Which objects of a study are fetched: a table of rules, each with its reason.

A study is complete when what is wanted of it is here. A presentation state that a PACS lists, and
that nobody would draft from, must not keep its study waiting.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from intake.archive.listed import ListedInstance, StudyListing
from intake.dicom.limits import (
    RADIOGRAPH_CLASSES,
    SECONDARY_CAPTURE_CLASS,
    SECONDARY_CAPTURE_MODALITIES,
)


@dataclass(frozen=True, slots=True)
class UnwantedRule:
    """Objects that are not fetched.

    Attributes:
        reason: what they are, in the plural, for a person.
        class_prefixes: beginnings of SOP Class UIDs (0008,0016), each a whole class or root.
        modalities: values of Modality (0008,0060), where the PACS names no class.
    """

    reason: str
    class_prefixes: tuple[str, ...]
    modalities: frozenset[str]


UNWANTED = (
    UnwantedRule(
        "presentation states",
        ("1.2.840.10008.5.1.4.1.1.11",),
        frozenset({"PR"}),
    ),
    UnwantedRule(
        "key object selections",
        ("1.2.840.10008.5.1.4.1.1.88.59",),
        frozenset({"KO"}),
    ),
    UnwantedRule(
        "structured reports",
        ("1.2.840.10008.5.1.4.1.1.88",),
        frozenset({"SR"}),
    ),
    UnwantedRule(
        "encapsulated documents",
        ("1.2.840.10008.5.1.4.1.1.104",),
        frozenset({"DOC"}),
    ),
    UnwantedRule(
        "waveforms and sound",
        ("1.2.840.10008.5.1.4.1.1.9",),
        frozenset({"ECG", "AU", "HD", "EPS", "RESP"}),
    ),
    UnwantedRule(
        "segmentations, registrations and measurements",
        (
            "1.2.840.10008.5.1.4.1.1.66",
            "1.2.840.10008.5.1.4.1.1.67",
            "1.2.840.10008.5.1.4.1.1.68",
        ),
        frozenset({"SEG", "REG", "FID", "RWV"}),
    ),
    UnwantedRule(
        "radiotherapy objects",
        ("1.2.840.10008.5.1.4.1.1.481",),
        frozenset({"RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "RTIMAGE"}),
    ),
)
"""Objects that are no images of their own; the first rule that fits is the reason."""

OTHER_IMAGES = "images that are no projection radiographs"
"""What no rule names and nobody would draft from: CT, MR, ultrasound, screenshots, photographs."""

FETCHED_MODALITIES = frozenset({"", "CR", "DX", "RG", "MG", "IO", "PX", "XC", "SC", "OT"})
"""Where the PACS names no class: of these modalities an object may be a radiograph. Scanned and
exported radiographs come as OT or SC; their own header decides once they are here."""


def unwanted_reason(sop_class: str, modality: str) -> str:
    """Why an object is not fetched; "" where it is.

    Args:
        sop_class: (0008,0016), or "" where the PACS names none.
        modality: (0008,0060) of its series, or "".
    """
    modality = modality.strip().upper()
    if sop_class in RADIOGRAPH_CLASSES:
        return ""
    if sop_class == SECONDARY_CAPTURE_CLASS:
        # As the listener has it: with another modality it is a screenshot or a dose page.
        if not modality or modality in SECONDARY_CAPTURE_MODALITIES:
            return ""
        return OTHER_IMAGES
    for rule in UNWANTED:
        if sop_class:
            if any(sop_class == p or sop_class.startswith(f"{p}.") for p in rule.class_prefixes):
                return rule.reason
        elif modality in rule.modalities:
            return rule.reason
    if sop_class or modality not in FETCHED_MODALITIES:
        return OTHER_IMAGES
    return ""


def sort_out(
    listed: Iterable[ListedInstance], unwanted: Counter[str] | None = None
) -> StudyListing:
    """Divide what a PACS lists into what is fetched and what is not; an object counts once.

    Args:
        listed: the objects.
        unwanted: by reason, the series that were left out before their objects were listed.
    """
    wanted: dict[str, ListedInstance] = {}
    counts = Counter(unwanted or {})
    seen: set[str] = set()
    for one in listed:
        if one.sop_instance_uid in seen:
            continue
        seen.add(one.sop_instance_uid)
        reason = unwanted_reason(one.sop_class_uid, one.modality)
        if reason:
            counts[reason] += 1
        else:
            wanted[one.sop_instance_uid] = one
    return StudyListing(tuple(wanted.values()), dict(counts))
