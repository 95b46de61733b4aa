"""Why an image or a study is not drafted, or is drafted with a note: words and sentences."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why an image is left out, or a study is skipped, held or drafted with a note.

    The values are stable: they are stored with rows and shown by the API. SENTENCES has the text.
    """

    # Of an image, or of a study without a usable image. The order counts: an image with a later
    # reason was nearer to being usable.
    NOT_AN_IMAGE = "not_an_image"
    NO_PIXELS = "no_pixels"
    UNREADABLE = "unreadable"
    MULTI_FRAME = "multi_frame"
    REJECTED = "rejected"
    MODALITY = "modality"
    BODY_PART = "body_part"
    NOT_CHEST = "not_chest"
    UNKNOWN_BODY_PART = "unknown_body_part"
    NOT_HUMAN = "not_human"
    UNKNOWN_SPECIES = "unknown_species"
    TOO_YOUNG = "too_young"
    UNKNOWN_AGE = "unknown_age"
    DOUBTFUL_AGE = "doubtful_age"
    VIEW_NOT_WANTED = "view_not_wanted"
    UNKNOWN_VIEW = "unknown_view"
    EMPTY = "empty"
    PAGE = "page"
    BONE_IMAGE = "bone_image"
    FOR_PROCESSING = "for_processing"
    SOFT_TISSUE_IMAGE = "soft_tissue_image"
    ENHANCED_COPY = "enhanced_copy"
    DERIVED_COPY = "derived_copy"
    MORE_THAN_NEEDED = "more_than_needed"
    # Of a study.
    NO_FILMS = "no_films"
    NEEDED_VIEW_MISSING = "needed_view_missing"


SENTENCES: dict[Reason, str] = {
    Reason.NOT_AN_IMAGE: "It is not an image (a report, a key object note, a document).",
    Reason.NO_PIXELS: "It is a header without pixels.",
    Reason.UNREADABLE: "Its pixels could not be read.",
    Reason.MULTI_FRAME: "It has several frames; a chest film has one.",
    Reason.REJECTED: "It is marked as rejected or as a quality control image.",
    Reason.MODALITY: "Its modality is not one that this model reads.",
    Reason.BODY_PART: "This model is not for the chest, and only chest films are known here.",
    Reason.NOT_CHEST: "It is not a chest film.",
    Reason.UNKNOWN_BODY_PART: "Nothing says for certain that it is a chest film.",
    Reason.NOT_HUMAN: "The patient is an animal, and this model reads humans only.",
    Reason.UNKNOWN_SPECIES: "It is not certain that the patient is a human.",
    Reason.TOO_YOUNG: "The patient is younger than this model's least age.",
    Reason.UNKNOWN_AGE: "The patient's age is not known, and this model has a least age.",
    Reason.DOUBTFUL_AGE: "What the headers say of the age does not agree or proves nothing.",
    Reason.VIEW_NOT_WANTED: "Its view is not one that this model reads.",
    Reason.UNKNOWN_VIEW: "Nothing says for certain whether it is frontal or lateral.",
    Reason.EMPTY: "It shows nothing: it is black, white or of one grey in every window.",
    Reason.FOR_PROCESSING: "It is raw (FOR PROCESSING), and the same film came FOR PRESENTATION.",
    Reason.PAGE: "It is a page with text, such as a dose report, and no film.",
    Reason.BONE_IMAGE: "It is the bone image of a dual-energy exposure.",
    Reason.SOFT_TISSUE_IMAGE: "It is a soft-tissue image, and the standard film is there.",
    Reason.ENHANCED_COPY: "It is a processed image (bones, tubes or lines), and the film is there.",
    Reason.DERIVED_COPY: "It is another copy of an exposure that is read.",
    Reason.MORE_THAN_NEEDED: "The model reads only so many films, and others were preferred.",
    Reason.NO_FILMS: "The study has no films.",
    Reason.NEEDED_VIEW_MISSING: "The study lacks a view that this model needs.",
}
"""Each reason in one sentence for a person; "it" is the film, that is the image."""

NOTES: dict[Reason, str] = {
    Reason.UNKNOWN_BODY_PART: "Body part not certain for every film.",
    Reason.UNKNOWN_VIEW: "View position unknown.",
    Reason.UNKNOWN_AGE: "Patient's age unknown.",
    Reason.DOUBTFUL_AGE: "What the headers say of the age does not agree or proves nothing.",
    Reason.UNKNOWN_SPECIES: "Not certain that the patient is a human.",
    Reason.FOR_PROCESSING: "Drafted from a raw film (FOR PROCESSING).",
    Reason.SOFT_TISSUE_IMAGE: "Drafted from a soft-tissue image; the standard film is not there.",
    Reason.ENHANCED_COPY: "Drafted from a processed image; the film itself is not there.",
    Reason.NO_PIXELS: "A film of the study came without its pixels.",
    Reason.UNREADABLE: "A film of the study could not be read.",
    Reason.EMPTY: "A film of the study shows nothing.",
    Reason.MORE_THAN_NEEDED: "The study has more films than were read.",
}
"""A note for the reader of the draft, where something was open and the study was drafted."""

SECONDARY_CAPTURE_NOTE = (
    "Drafted from a secondary capture (a scan, an export or a picture file): it may show less than "
    "the film, and text may be burned in."
)

NOTED = {
    Reason.NO_PIXELS,
    Reason.UNREADABLE,
    Reason.EMPTY,
    Reason.MORE_THAN_NEEDED,
    Reason.UNKNOWN_BODY_PART,
}
"""Reasons for leaving an image out that the reader of the draft should know."""
