"""Names of what headers give as UIDs and codes, from pydicom's dictionaries (PS3.6, PS3.16)."""

from __future__ import annotations

from functools import cache

from pydicom.sr.codedict import codes
from pydicom.uid import UID_dictionary


def uid_name(uid: str) -> str:
    """The name of a SOP class, transfer syntax or service; the UID itself where it has none."""
    entry = UID_dictionary.get(uid)
    if entry is None:
        return uid
    name, retired = entry[0], entry[3]
    return f"{name} (retired)" if retired and "retired" not in name.casefold() else name


def modality_name(code: str) -> str:
    """The name of a modality (0008,0060), as `Digital Radiography`; "" where it has none."""
    return _modalities().get(code, "")


@cache
def _modalities() -> dict[str, str]:
    """The context group 29, Acquisition Modality (PS3.16)."""
    concepts = (getattr(codes.cid29, keyword) for keyword in codes.cid29.dir())
    return {concept.value: concept.meaning for concept in concepts}
