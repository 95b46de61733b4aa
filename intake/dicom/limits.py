"""What may come in, as data: SOP classes, transfer syntaxes, UIDs, refusals and their statuses.

Knows no network, no file and no row.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from pydicom.uid import UID, UID_dictionary
from pynetdicom import ALL_TRANSFER_SYNTAXES
from pynetdicom.sop_class import _STORAGE_CLASSES

FILM_CLASSES = frozenset(
    {
        "1.2.840.10008.5.1.4.1.1.1",  # Computed Radiography
        "1.2.840.10008.5.1.4.1.1.1.1",  # Digital X-Ray, for presentation
        "1.2.840.10008.5.1.4.1.1.1.1.1",  # Digital X-Ray, for processing
        "1.2.840.10008.5.1.4.1.1.1.2",  # Digital Mammography, for presentation
        "1.2.840.10008.5.1.4.1.1.1.2.1",  # Digital Mammography, for processing
        "1.2.840.10008.5.1.4.1.1.1.3",  # Digital Intra-Oral X-Ray, for presentation
        "1.2.840.10008.5.1.4.1.1.1.3.1",  # Digital Intra-Oral X-Ray, for processing
    }
)
"""Projection radiography. Whether a film shows a chest is asked later, of its whole header."""

CAPTURE_CLASS = "1.2.840.10008.5.1.4.1.1.7"
CAPTURE_MODALITIES = frozenset({"CR", "DX", "RG"})
"""Secondary Capture is a film where (0008,0060) says so: many scanned and exported films come as
one. Of another modality it is a screenshot, a dose page, a photograph."""

RETIRED_CLASSES = tuple(
    uid
    for uid, (name, kind, _, retired, _) in UID_dictionary.items()
    if kind == "SOP Class"
    and retired
    and "Storage" in name
    and uid.startswith("1.2.840.10008.5.1.4.1.1.")
)
"""Retired storage classes of patients' objects; old devices still send them, and pynetdicom does
not know them by itself."""

STORAGE_CLASSES = (*sorted(_STORAGE_CLASSES.values()), *RETIRED_CLASSES)
"""What is negotiated. Private classes and objects without a patient (protocols, templates, colour
palettes) are not: nobody here could say what they are."""

_DEFLATED = {
    # A deflated data set of 1 MB unfolds to gigabytes before its first element can be looked at.
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.4.95",  # JPIP Referenced Deflate
    "1.2.840.10008.1.2.4.205",  # JPIP HTJ2K Referenced Deflate
}
_FIRST = "1.2.840.10008.1.2.1"

TRANSFER_SYNTAXES = (
    # The first of ours that a context offers is taken: explicit VR before implicit, so that the
    # kinds of private elements are told.
    _FIRST,
    *(uid for uid in ALL_TRANSFER_SYNTAXES if uid != _FIRST and uid not in _DEFLATED),
)

ASSOCIATE_BYTES = 262_144
"""Largest A-ASSOCIATE-RQ: 128 contexts with 40 transfer syntaxes each are half of it."""

MESSAGE_BYTES = 1_048_576
"""Most that a message may hold in memory: the command, and data sets other than C-STORE's."""

WAITING_MESSAGES = 8
"""Messages that may wait for an answer; the negotiated window is one (PS3.7 D.3.3.3)."""

VALUE_CHARACTERS = 256
"""Longest value that is kept of a header's field. The longest that PS3.5 6.2 allows in those kept
is 64, or three name groups of 64."""

_UID = re.compile(r"[0-9.]{1,64}")


class Why(StrEnum):
    """Why something was refused. Kept with rows and shown in APIs, so the values are stable."""

    # Our own state: the sender tries again later.
    DISK_FULL = "disk_full"
    DATABASE_DOWN = "database_down"
    UNEXPECTED = "unexpected"
    # An object.
    OTHER_OBJECT = "other_object"
    NO_DATA_SET = "no_data_set"
    UNREADABLE = "unreadable"
    MISSING_UID = "missing_uid"
    BAD_UID = "bad_uid"
    DISAGREES = "disagrees"
    TOO_LARGE = "too_large"
    NOT_FILED = "not_filed"
    # An association, a connection.
    CALLER_NOT_ALLOWED = "caller_not_allowed"
    CALLED_ANOTHER = "called_another"
    TOO_MANY = "too_many_associations"
    CLASS_NOT_TAKEN = "class_not_taken"
    SYNTAX_NOT_TAKEN = "syntax_not_taken"
    PDU_TOO_LARGE = "pdu_too_large"
    BROKEN_MESSAGE = "broken_message"


@dataclass(frozen=True, slots=True)
class Answer:
    """A C-STORE status (PS3.4 table B.2-1, PS3.7 annex C) and what a person is told."""

    status: int
    sentence: str


ANSWERS: dict[Why, Answer] = {
    # 0xA7xx, out of resources: senders keep the object and try again.
    Why.DISK_FULL: Answer(0xA700, "The disk is full; send again when there is room."),
    Why.DATABASE_DOWN: Answer(0xA700, "The database does not answer; send again later."),
    Why.UNEXPECTED: Answer(0xA700, "The listener failed; send again later."),
    Why.OTHER_OBJECT: Answer(0x0122, "Only projection radiographs are taken here."),
    Why.NO_DATA_SET: Answer(0xC000, "The message has no data set."),
    Why.UNREADABLE: Answer(0xC000, "The header cannot be read as DICOM."),
    Why.MISSING_UID: Answer(0xC000, "Study, Series or SOP Instance UID is missing."),
    Why.BAD_UID: Answer(0xC000, "A UID is not 1 to 64 digits and dots."),
    # 0xA9xx: data set does not match SOP class.
    Why.DISAGREES: Answer(0xA900, "The command's UIDs are not the data set's."),
    Why.TOO_LARGE: Answer(0xC000, "Larger than NIGHTDRAFT_MAX_INSTANCE_MB."),
    Why.NOT_FILED: Answer(0xC000, "The database refused its row."),
}
"""The answer to an object. A sentence goes into (0000,0902), which holds 64 characters."""

SENTENCES: dict[Why, str] = {
    Why.CALLER_NOT_ALLOWED: "The calling AE title is not in NIGHTDRAFT_ALLOWED_CALLERS.",
    Why.CALLED_ANOTHER: "Another AE title than NIGHTDRAFT_AE_TITLE was called.",
    Why.TOO_MANY: "More associations at once than NIGHTDRAFT_MAX_ASSOCIATIONS.",
    Why.CLASS_NOT_TAKEN: "Objects of a class were offered that is no storage class known here.",
    Why.SYNTAX_NOT_TAKEN: "Objects were offered in transfer syntaxes that are not taken (Deflated "
    "is refused always).",
    Why.PDU_TOO_LARGE: "The sender announced a PDU over the limit (NIGHTDRAFT_MAX_PDU_BYTES).",
    Why.BROKEN_MESSAGE: "The sender broke the protocol; its association was aborted.",
}
"""What a person is told of a refused association."""


def uid_is_sound(uid: str) -> bool:
    """Whether a UID is of digits and dots, at most 64 (PS3.5 9.1).

    Rules on leading zeros are let go: real devices break them, and nothing here rests on them.
    """
    return _UID.fullmatch(uid) is not None


def is_film(sop_class: str, modality: str) -> bool:
    """Whether an object may be drafted from, by its class and (0008,0060)."""
    return sop_class in FILM_CLASSES or (
        sop_class == CAPTURE_CLASS and modality.strip().upper() in CAPTURE_MODALITIES
    )


def why_no_film(sop_class: str, modality: str) -> str:
    """One sentence for a person on an object that is no film; "" for a film."""
    if is_film(sop_class, modality):
        return ""
    if sop_class == CAPTURE_CLASS:
        given = f"modality {modality}" if modality else "no modality"
        return f"Secondary capture with {given}: not a radiograph."
    return f"{UID(sop_class).name}: not a projection radiograph."
