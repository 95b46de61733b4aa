"""What becomes of what arrives: studies, their films, what is wrong with a film, whose it is."""

from __future__ import annotations

from enum import StrEnum


class StudyState(StrEnum):
    """What is known of a study's arrival."""

    RECEIVING = "RECEIVING"  # images may still come; its quiet period runs
    COMPLETE = "COMPLETE"  # quiet, released, or all images are there


class InstanceState(StrEnum):
    """What became of one received object."""

    KEPT = "KEPT"  # an image that may be drafted from
    SKIPPED = "SKIPPED"  # kept on disk, of a class that is not drafted from
    CONFLICT = "CONFLICT"  # other bytes under a SOP instance UID that is known; a person decides
    MISMATCH = "MISMATCH"  # the study's UID, but another patient; a person decides
    UNCOMPARED = "UNCOMPARED"  # another encoding of a known object; a worker compares the pixels
    REPLACED = "REPLACED"  # a newer object under its UID took its place
    MOVED = "MOVED"  # a person decided that it belongs to another study
    REJECTED = "REJECTED"  # an IHE IOCM rejection note names it; kept on disk, never drafted from


class RejectionReason(StrEnum):
    """Why a rejection note rejects images: its document title, of scheme DCM (PS3.16 CID 7011).

    The actor and what it means are those of the IHE profile Imaging Object Change Management.
    """

    QUALITY = "113001"
    PATIENT_SAFETY = "113037"
    WORKLIST_ENTRY = "113038"
    RETENTION_EXPIRED = "113039"


OWN_OUTPUT = "Nightdraft sent it, and it was routed back."
"""The reason of an object that is our own: it says nothing of its study."""


REJECTION_SENTENCES: dict[RejectionReason, str] = {
    RejectionReason.QUALITY: "It was rejected for quality reasons.",
    RejectionReason.PATIENT_SAFETY: "It was rejected for patient safety reasons.",
    RejectionReason.WORKLIST_ENTRY: (
        "It was rejected because it was made for a wrong worklist entry."
    ),
    RejectionReason.RETENTION_EXPIRED: "It was rejected because its retention period is over.",
}
"""Each reason in one sentence for a person; "it" is the film."""


class Damage(StrEnum):
    """What is wrong with the stored file of an instance; the device's next send replaces it."""

    GONE = "GONE"  # there is no file
    CHANGED = "CHANGED"  # it is not what was received, or the disk cannot read it


DAMAGE_SENTENCES: dict[Damage, str] = {
    Damage.GONE: "The file of a film is gone from the data folder: send the film again.",
    Damage.CHANGED: "The file of a film is not what was received any more: send the film again.",
}


BYTES_REMOVED_SENTENCE = (
    "The film's file was removed here, as the rules of retention say. Fetch the study again from "
    "the PACS, as a campaign does, or send the film again."
)
"""What a person is told of a film without bytes."""


STANDING = (InstanceState.KEPT, InstanceState.SKIPPED)
"""The states of an object that counts under its UID; a study has one of each UID at most."""


class Comparison(StrEnum):
    """How an object differs from the one that counts under its UID, as `model.dicom.comparison`."""

    SAME = "SAME"  # in no value that is compared
    SHOWN = "SHOWN"  # in what is only shown: whose image it is
    DESCRIBED = "DESCRIBED"  # in patient, order or study, from which a draft is made
    OTHER = "OTHER"  # another image
    UNDECIDED = "UNDECIDED"  # the pixels would have to be decoded


class NameSpelling(StrEnum):
    """Which other spellings of a name are taken for the same person, all else being equal."""

    EXACT = "exact"
    SIMILAR = "similar"
    ANY = "any"


class SiteBasis(StrEnum):
    """Why a study belongs to its site."""

    DEFAULT = "DEFAULT"  # nothing says whose it is: it belongs to the first site
    CALLER = "CALLER"  # the calling AE title that first sent it
    ORDER = "ORDER"  # its order
    REPORT = "REPORT"  # a report about it
    CAMPAIGN = "CAMPAIGN"  # the campaign that fetched it
    PERSON = "PERSON"  # a person moved it there
