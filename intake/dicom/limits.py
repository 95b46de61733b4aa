"""What the listener takes and how it answers, as data: SOP classes, transfer syntaxes, statuses."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from pydicom.uid import UID, ExplicitVRLittleEndian, UID_dictionary
from pynetdicom import ALL_TRANSFER_SYNTAXES
from pynetdicom.sop_class import _STORAGE_CLASSES

RADIOGRAPH_CLASSES = frozenset(
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
"""Projection radiography. Whether an image shows a chest is decided later, of its whole header."""

SECONDARY_CAPTURE_CLASS = "1.2.840.10008.5.1.4.1.1.7"
SECONDARY_CAPTURE_MODALITIES = frozenset({"CR", "DX", "RG"})
"""A Secondary Capture with one of these in (0008,0060) is a radiograph: many scanned and exported
radiographs come as one. With another modality it is a screenshot, a dose page or a photograph."""

RETIRED_CLASSES = tuple(
    uid
    for uid, (name, kind, _, retired, _) in UID_dictionary.items()
    if kind == "SOP Class"
    and retired
    and "Storage" in name
    and uid.startswith("1.2.840.10008.5.1.4.1.1.")
)
"""Retired storage classes of patients' objects. Old devices still send them, and pynetdicom does
not know them by itself."""

STORAGE_CLASSES = (*sorted(_STORAGE_CLASSES.values()), *RETIRED_CLASSES)
"""The classes that are negotiated. Private classes and objects without a patient (protocols,
templates, colour palettes) are not: nobody here could say what they are."""

_DEFLATED = {
    # A deflated data set of 1 MB unfolds to gigabytes before its first element can be looked at.
    "1.2.840.10008.1.2.1.99",  # Deflated Explicit VR Little Endian
    "1.2.840.10008.1.2.4.95",  # JPIP Referenced Deflate
    "1.2.840.10008.1.2.4.205",  # JPIP HTJ2K Referenced Deflate
}

_RETIRED_JPEG = (
    # Old devices still send them, and pynetdicom does not know them by itself.
    UID("1.2.840.10008.1.2.4.53"),  # JPEG Spectral Selection
    UID("1.2.840.10008.1.2.4.55"),  # JPEG Full Progression
)

TRANSFER_SYNTAXES = (
    # pynetdicom accepts the first of these that a context offers. Explicit VR stands before
    # implicit VR, because only explicit VR carries the types of private elements.
    ExplicitVRLittleEndian,
    *(
        uid
        for uid in ALL_TRANSFER_SYNTAXES
        if uid != ExplicitVRLittleEndian and uid not in _DEFLATED
    ),
    *_RETIRED_JPEG,
)

C_STORE_REQUEST = 0x0001
"""(0000,0100) Command Field of a C-STORE-RQ, PS3.7 9.3.1.1."""

MAX_ASSOCIATE_BYTES = 262_144
"""Largest A-ASSOCIATE-RQ. One with 128 contexts of 40 transfer syntaxes each is half as long."""

MAX_MESSAGE_BYTES = 1_048_576
"""Most that a message may hold in memory: the command, and data sets other than a C-STORE's."""

MAX_WAITING_MESSAGES = 8
"""Messages that may wait for an answer; the negotiated window is one (PS3.7 D.3.3.3)."""

MAX_NESTING = 32
"""Deepest nesting of sequences. Structured reports have some ten levels, films two or three."""

MAX_VALUE_CHARACTERS = 256
"""Longest value that is kept of a header element. The longest that PS3.5 6.2 allows in the kept
elements is 64 characters, or three name groups of 64."""

_UID = re.compile(r"(?=.{1,64}\Z)[0-9]+(\.[0-9]+)*")


class RefusalReason(StrEnum):
    """Why something was refused. The values are stable: rows keep them and APIs show them."""

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
    NOT_ASKED_FOR = "not_asked_for"
    TOO_LARGE = "too_large"
    TOO_MANY_ELEMENTS = "too_many_elements"
    HEADER_TOO_LARGE = "header_too_large"
    NOT_FILED = "not_filed"
    # An association, a connection.
    CALLER_NOT_ALLOWED = "caller_not_allowed"
    CALLED_ANOTHER = "called_another"
    TOO_MANY = "too_many_associations"
    REQUEST_TOO_SLOW = "request_too_slow"
    CLASS_NOT_TAKEN = "class_not_taken"
    SYNTAX_NOT_TAKEN = "syntax_not_taken"
    PDU_TOO_LARGE = "pdu_too_large"
    BROKEN_MESSAGE = "broken_message"
    PLAIN_ON_TLS_PORT = "plain_on_tls_port"
    TLS_ON_PLAIN_PORT = "tls_on_plain_port"
    TLS_NO_CERTIFICATE = "tls_no_certificate"
    TLS_CERTIFICATE_UNTRUSTED = "tls_certificate_untrusted"
    TLS_CERTIFICATE_EXPIRED = "tls_certificate_expired"
    TLS_OURS_UNTRUSTED = "tls_ours_untrusted"
    TLS_TOO_OLD = "tls_too_old"
    TLS_FAILED = "tls_failed"


OUT_OF_RESOURCES = 0xA700
"""C-STORE status 0xA7xx (PS3.4 table B.2-1): the sender keeps the object and tries again."""


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """A C-STORE status (PS3.4 table B.2-1, PS3.7 annex C) and its sentence for a person."""

    code: int
    sentence: str


STORE_STATUSES: dict[RefusalReason, StoreStatus] = {
    RefusalReason.DISK_FULL: StoreStatus(
        OUT_OF_RESOURCES, "The disk is full; send again when there is room."
    ),
    RefusalReason.DATABASE_DOWN: StoreStatus(
        OUT_OF_RESOURCES, "The database does not answer; send again later."
    ),
    RefusalReason.UNEXPECTED: StoreStatus(
        OUT_OF_RESOURCES, "The listener failed; send again later."
    ),
    RefusalReason.OTHER_OBJECT: StoreStatus(0x0122, "Only projection radiographs are taken here."),
    RefusalReason.NO_DATA_SET: StoreStatus(0xC000, "The message has no data set."),
    RefusalReason.UNREADABLE: StoreStatus(0xC000, "The header cannot be read as DICOM."),
    RefusalReason.MISSING_UID: StoreStatus(0xC000, "Study, Series or SOP Instance UID is missing."),
    RefusalReason.BAD_UID: StoreStatus(
        0xC000, "A UID is not numbers joined by dots, 64 characters at most."
    ),
    # 0xA9xx: data set does not match SOP class.
    RefusalReason.DISAGREES: StoreStatus(0xA900, "The command's UIDs are not the data set's."),
    RefusalReason.NOT_ASKED_FOR: StoreStatus(
        0xA900, "Another object than the one that was asked for."
    ),
    RefusalReason.TOO_LARGE: StoreStatus(0xC000, "Larger than NIGHTDRAFT_MAX_INSTANCE_MB."),
    RefusalReason.TOO_MANY_ELEMENTS: StoreStatus(
        0xC000, "More elements or nesting than NIGHTDRAFT_MAX_ELEMENTS allows."
    ),
    RefusalReason.HEADER_TOO_LARGE: StoreStatus(
        0xC000, "A larger header than NIGHTDRAFT_MAX_HEADER_MB allows."
    ),
    RefusalReason.NOT_FILED: StoreStatus(0xC000, "The database refused its row."),
}
"""The answer to an object that is refused. The sentence goes into (0000,0902), which holds 64
characters."""

ASSOCIATION_SENTENCES: dict[RefusalReason, str] = {
    RefusalReason.CALLER_NOT_ALLOWED: (
        "The calling AE title is not in NIGHTDRAFT_ALLOWED_CALLERS."
    ),
    RefusalReason.CALLED_ANOTHER: "The called AE title is not NIGHTDRAFT_AE_TITLE.",
    RefusalReason.TOO_MANY: "More associations at once than NIGHTDRAFT_MAX_ASSOCIATIONS.",
    RefusalReason.REQUEST_TOO_SLOW: (
        "The sender did not request an association within NIGHTDRAFT_REQUEST_SECONDS."
    ),
    RefusalReason.CLASS_NOT_TAKEN: (
        "The sender offered objects of a class that is not a storage class known here."
    ),
    RefusalReason.SYNTAX_NOT_TAKEN: (
        "The sender offered objects only in transfer syntaxes that are not taken. Deflated ones "
        "are never taken."
    ),
    RefusalReason.PDU_TOO_LARGE: (
        "The sender announced a PDU over the limit (NIGHTDRAFT_MAX_PDU_BYTES)."
    ),
    RefusalReason.BROKEN_MESSAGE: "The sender broke the protocol; its association was aborted.",
    RefusalReason.PLAIN_ON_TLS_PORT: (
        "The sender spoke without TLS on the port for TLS (NIGHTDRAFT_LISTEN_TLS_PORT)."
    ),
    RefusalReason.TLS_ON_PLAIN_PORT: (
        "The sender spoke TLS on the port without TLS (NIGHTDRAFT_LISTEN_PORT)."
    ),
    RefusalReason.TLS_NO_CERTIFICATE: (
        "The sender showed no certificate, which NIGHTDRAFT_LISTEN_CLIENT_CERTIFICATES requires."
    ),
    RefusalReason.TLS_CERTIFICATE_UNTRUSTED: (
        "The sender's certificate is not of an authority in NIGHTDRAFT_LISTEN_CLIENT_CA, or not "
        "meant for this use."
    ),
    RefusalReason.TLS_CERTIFICATE_EXPIRED: (
        "The sender's certificate has expired or is not valid yet."
    ),
    RefusalReason.TLS_OURS_UNTRUSTED: (
        "The sender does not trust the certificate in NIGHTDRAFT_LISTEN_CERTIFICATE, or calls the "
        "listener by a name that is not in it."
    ),
    RefusalReason.TLS_TOO_OLD: (
        "The sender offered neither TLS 1.3 nor TLS 1.2 with a cipher suite of BCP 195."
    ),
    RefusalReason.TLS_FAILED: "The TLS handshake of the sender failed or broke off.",
}
"""The sentence for a person on a refused association, class or connection."""


def is_valid_uid(uid: str) -> bool:
    """Whether a UID is numbers joined by dots, 64 characters at most (PS3.5 9.1).

    Leading zeros are not refused: real devices write them, and nothing here depends on them. An
    empty number is: "..", which no device writes, has a meaning in paths and addresses.
    """
    return _UID.fullmatch(uid) is not None


def is_radiograph(sop_class: str, modality: str) -> bool:
    """Whether an object may be drafted from, by its class and (0008,0060)."""
    return sop_class in RADIOGRAPH_CLASSES or (
        sop_class == SECONDARY_CAPTURE_CLASS
        and modality.strip().upper() in SECONDARY_CAPTURE_MODALITIES
    )


def skip_reason(sop_class: str, modality: str) -> str:
    """One sentence on why an object is not drafted from; "" for a radiograph."""
    if is_radiograph(sop_class, modality):
        return ""
    if sop_class == SECONDARY_CAPTURE_CLASS:
        modality_text = f"modality {modality}" if modality else "no modality"
        return f"Secondary capture with {modality_text}: not a radiograph."
    return f"{UID(sop_class).name}: not a projection radiograph."
