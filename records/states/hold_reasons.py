"""Why a study is held for a person, and what the person may decide."""

from __future__ import annotations

from enum import StrEnum


class HoldReason(StrEnum):
    """Why a person must decide before a study is drafted."""

    PATIENT_MISMATCH = "PATIENT_MISMATCH"
    CONFLICTING_BYTES = "CONFLICTING_BYTES"
    MOVED_HERE = "MOVED_HERE"
    MOVED_AWAY = "MOVED_AWAY"
    CHEST_UNKNOWN = "CHEST_UNKNOWN"
    VIEW_UNKNOWN = "VIEW_UNKNOWN"
    AGE_UNKNOWN = "AGE_UNKNOWN"
    SPECIES_UNKNOWN = "SPECIES_UNKNOWN"
    REJECTION_UNCLEAR = "REJECTION_UNCLEAR"
    SIGNED_REJECTED = "SIGNED_REJECTED"
    IMAGE_EMPTY = "IMAGE_EMPTY"
    ORDER_MISMATCH = "ORDER_MISMATCH"
    FINALS_DIFFER = "FINALS_DIFFER"


HOLD_SENTENCES: dict[HoldReason, str] = {
    HoldReason.PATIENT_MISMATCH: (
        "Images of the same study UID came under another patient. "
        "Proceeding drafts from the patient's images that came first only."
    ),
    HoldReason.CONFLICTING_BYTES: (
        "Another image came under a UID that is known. "
        "Proceeding drafts from the image that came first."
    ),
    HoldReason.MOVED_HERE: (
        "A film came that is already filed in another study. Proceeding leaves it there."
    ),
    HoldReason.MOVED_AWAY: (
        "A film of this study came again under another study. Proceeding leaves it here."
    ),
    HoldReason.CHEST_UNKNOWN: (
        "Nothing in the headers says whether this is a chest film. Proceeding takes it for one."
    ),
    HoldReason.VIEW_UNKNOWN: (
        "Nothing in the headers says whether the view is frontal or lateral. "
        "Proceeding drafts it and says so on the draft."
    ),
    HoldReason.AGE_UNKNOWN: (
        "The headers do not give the patient's age or contradict themselves on it, and the model "
        "is for adults. Proceeding takes the patient for an adult."
    ),
    HoldReason.SPECIES_UNKNOWN: (
        "Something in the headers is only usual for animals. Proceeding takes the patient for a "
        "human."
    ),
    HoldReason.IMAGE_EMPTY: (
        "A film shows nothing: it is black, white or of one grey in every window. "
        "Proceeding drafts from it and says so on the draft."
    ),
    HoldReason.REJECTION_UNCLEAR: (
        "A rejection note names films of this study, but it came under another patient or could "
        "not be read whole. Proceeding leaves the films that still count in the study."
    ),
    HoldReason.SIGNED_REJECTED: (
        "Films of this study were rejected after its report was signed. "
        "Proceeding leaves the signed report and its draft as they are."
    ),
    HoldReason.ORDER_MISMATCH: (
        "An order with this study's accession number is for another patient. "
        "Proceeding drafts without that order."
    ),
    HoldReason.FINALS_DIFFER: (
        "Final reports of this study differ: two from elsewhere, or one from elsewhere and the one "
        "that was signed here. Proceeding leaves all of them as they are."
    ),
}


class Decision(StrEnum):
    """What a person decided about a hold."""

    PROCEED = "PROCEED"  # go on with what came first, or in spite of what is unknown
    CANCEL = "CANCEL"  # no draft
    TAKE_NEW = "TAKE_NEW"  # what came later counts, and takes the place of what came first
    KEEP_BOTH = "KEEP_BOTH"  # the film counts in both studies
    SPLIT = "SPLIT"  # what came later becomes a study of its own


HOLD_DECISIONS: dict[HoldReason, tuple[Decision, ...]] = {
    HoldReason.PATIENT_MISMATCH: (Decision.TAKE_NEW, Decision.SPLIT),
    HoldReason.CONFLICTING_BYTES: (Decision.TAKE_NEW, Decision.SPLIT),
    HoldReason.MOVED_HERE: (Decision.TAKE_NEW, Decision.KEEP_BOTH),
    HoldReason.MOVED_AWAY: (Decision.TAKE_NEW, Decision.KEEP_BOTH),
    HoldReason.REJECTION_UNCLEAR: (Decision.TAKE_NEW,),
    HoldReason.ORDER_MISMATCH: (Decision.TAKE_NEW,),
}
"""What a person may decide about a hold besides PROCEED and CANCEL, which every hold has."""

DECISION_LABELS: dict[tuple[HoldReason, Decision], str] = {
    (HoldReason.PATIENT_MISMATCH, Decision.PROCEED): "Keep the old: draft from the first patient's",
    (HoldReason.PATIENT_MISMATCH, Decision.TAKE_NEW): "Take the new: all are of the newer patient",
    (HoldReason.PATIENT_MISMATCH, Decision.SPLIT): "Split: a study for each patient",
    (HoldReason.CONFLICTING_BYTES, Decision.PROCEED): "Keep the old film",
    (HoldReason.CONFLICTING_BYTES, Decision.TAKE_NEW): "Take the new film",
    (HoldReason.CONFLICTING_BYTES, Decision.SPLIT): "Split: the new film is a study of its own",
    (HoldReason.MOVED_HERE, Decision.PROCEED): "Keep the old: it stays in the other study",
    (HoldReason.MOVED_HERE, Decision.TAKE_NEW): "Take it here, and withdraw it there",
    (HoldReason.MOVED_HERE, Decision.KEEP_BOTH): "Keep both: it counts in both studies",
    (HoldReason.MOVED_AWAY, Decision.PROCEED): "Keep the old: it stays here",
    (HoldReason.MOVED_AWAY, Decision.TAKE_NEW): "Give it to the other study",
    (HoldReason.MOVED_AWAY, Decision.KEEP_BOTH): "Keep both: it counts in both studies",
    (HoldReason.REJECTION_UNCLEAR, Decision.PROCEED): "Keep the films, and ignore the note",
    (HoldReason.REJECTION_UNCLEAR, Decision.TAKE_NEW): "Apply the note: its films do not count",
    (HoldReason.ORDER_MISMATCH, Decision.PROCEED): "Leave the order out: it is another patient's",
    (HoldReason.ORDER_MISMATCH, Decision.TAKE_NEW): "Use the order: it is this patient's",
    (HoldReason.SIGNED_REJECTED, Decision.PROCEED): "Leave the signed report and its draft",
    (HoldReason.FINALS_DIFFER, Decision.PROCEED): "Leave the reports as they are",
}
"""The words on a decision's button, for the holds that are about images, orders and reports.

What cancelling does depends on the study: `hold_decisions.label_decisions` says it.
"""
